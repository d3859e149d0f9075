"""What every method of test-time adaptation states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from uda.tta.exported import Exported
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.parameters import Parameters, norm_parameters
from uda.tta.statistics import Statistics


class Method(nn.Module):
    """An algorithm: what moves, by which statistics, by which loss. A subclass writes `step`.

    Networks that a method keeps (teacher, anchor) are submodules, so that they are saved; what else
    it remembers stands in `memory`.

    Attributes:
        needs: What must move for the method to make sense: `"norm"` affine weights, `"all"`
            parameters, or `"nothing"`.
    """

    needs: ClassVar[str] = "norm"

    def moves(self, network: nn.Module) -> Parameters:
        """The parameters that move, by name."""
        return norm_parameters(network) if self.needs == "norm" else {}

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """Optimiser and learning rate of the paper."""
        return OptimiserSettings()

    def statistics(self, *, dense: bool) -> Statistics:
        """How batch normalisation works unless the user says otherwise."""
        return Statistics("auto")

    def own_lr(self, name: str) -> float | None:
        """A learning rate of its own for a parameter, None for the common one."""
        return None

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network to adapt; some methods add modules to it."""
        return network

    def attach(self, network: nn.Module) -> None:
        """Make teacher and anchor from the source network."""

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Adapt to a batch once.

        Args:
            learner: Student and optimiser.
            image: (N, C, H, W), or whatever the network takes first.
            valid: (N,) or (N, H, W) bool, False where nothing may be learnt; None: everywhere.

        Returns:
            The logits to give to the user.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define `step`.")

    def predict(self, learner: Learner, image: Tensor) -> Tensor:
        """Logits without adaptation."""
        return learner.predict(image)

    def predictor(self, network: nn.Module) -> nn.Module:
        """The network that `predict` uses, for export."""
        return network

    def finished(self, exported: Exported) -> nn.Module:
        """The exported network with what `predict` does beside it."""
        return exported

    def followers(self) -> dict[str, nn.Module]:
        """Networks beside the student that move, by name."""
        return {}

    def memory(self) -> dict[str, Any]:
        """What the method remembers beside networks: tensors, numbers, lists, dicts."""
        return {}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""

    def forget(self) -> None:
        """Start anew, as if no image had been seen."""

    def report(self) -> dict[str, Any]:
        """What the method has to say of itself, for the adapter's report."""
        return {}


def updated_mean(old: Tensor | None, new: Tensor, decay: float = 0.9) -> Tensor:
    """An exponential moving average that starts with its first value."""
    return new if old is None else decay * old + (1 - decay) * new
