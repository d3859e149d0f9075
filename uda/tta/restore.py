"""Teachers that follow, and weights that are drawn back to the source."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def follow(
    teacher: nn.Module, student: Mapping[str, nn.Parameter], decay: float | Mapping[str, float]
) -> None:
    """Move the teacher's parameters: `phi <- a phi + (1 - a) theta`; buffers stay.

    As the released code of CoTTA, without the warm-up that `EMATeacher` has for training.

    Args:
        teacher: Of the student's architecture.
        student: The student's parameters that move, by name. The others stay as they are, while
            an average of two equal values would drift by rounding.
        decay: Share a of the old teacher, for all or by the names of parameters.
    """
    own = dict(teacher.named_parameters())
    for name, parameter in student.items():
        kept = decay if isinstance(decay, float | int) else decay[name]
        # Rounded as the released code rounds it: while teacher and student are nearly equal, Adam
        # makes visible steps of the last bits of their difference.
        own[name].copy_(kept * own[name] + (1 - kept) * parameter)


class StochasticRestore:
    """Puts each entry of the parameters back to its source value with a small probability.

    Wang et al., CoTTA, CVPR 2022, eqs. 7 and 8. The mask is drawn on the CPU, so that a stream
    gives the same result on every device.

    Args:
        rate: Probability of an entry in [0, 1].

    Raises:
        ValueError: `rate` is out of range.
    """

    def __init__(self, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"restore is a probability, it has to lie in [0, 1], not {rate}.")
        self.rate = rate

    def mask(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Where a parameter goes back: (shape) bool on the CPU."""
        return torch.rand(shape, generator=generator) < self.rate

    @torch.no_grad()
    def __call__(
        self,
        parameters: Mapping[str, nn.Parameter],
        source: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> None:
        """Restore entries of `parameters` from `source`, in order of the names given."""
        if self.rate == 0:
            return
        for name, parameter in parameters.items():
            mask = self.mask(name, parameter.shape, generator).to(parameter.device)
            parameter.copy_(torch.where(mask, source[name], parameter))


def as_restore(restore: float | StochasticRestore) -> StochasticRestore:
    """A restore as it is, or one with this probability."""
    return restore if isinstance(restore, StochasticRestore) else StochasticRestore(restore)
