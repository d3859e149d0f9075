"""Targets that soften with time: a mixture of the label and the teacher's prediction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from uda.selftraining.terms.base import Term
from uda.structures import IGNORE_INDEX, Labelled, NetworkOutput


class ProgressiveSelfDistillation(Term):
    """Turns the source's hard targets into mixtures with the teacher's prediction, more and more.

    PS-KD (Kim et al., ICCV 2021, arXiv 2006.12000) learns from `(1 - a) onehot(y) + a P`, with
    `a = final (i + 1) / iterations` at iteration i and P the network's own earlier prediction. Here
    P is that of the EMA teacher on the same crop, since crops do not come again (this toolkit's
    choice). The term adds what changes the cross-entropy of the source pass into that of the
    mixture, `a mean((P_y - 1) log p_y + sum_(k != y) -P_k log p_k)` in other words
    `a (CE(P) - CE(y))`; it is negative where the teacher's target is the easier one. Pixels without
    a label count in the mean and add nothing.

    A teacher with `mode="train"` sees the source images too, and updates its running statistics on
    them. The count of iterations is saved with the weights.

    Args:
        final: a at the last iteration, in [0, 1].
        iterations: Number of iterations after which a stays; a look-ahead whose buffers are kept
            counts every pass.

    Raises:
        ValueError: An argument is outside its range.
    """

    name = "self_distillation"
    needs_teacher = True
    iteration: Tensor

    def __init__(self, *, final: float = 0.8, iterations: int = 40000) -> None:
        super().__init__()
        if not 0 <= final <= 1:
            raise ValueError(f"final has to lie in [0, 1], not {final}.")
        if iterations < 1:
            raise ValueError(f"iterations has to be at least 1, not {iterations}.")
        self.final, self.iterations = final, iterations
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        self._predict: Callable[[Tensor], Tensor] | None = None

    def use_teacher(self, predict: Callable[[Tensor], Tensor]) -> None:
        """Take the teacher's prediction."""
        self._predict = predict

    def source_loss(self, output: NetworkOutput, source: Labelled) -> Tensor:
        """What the softer targets change, a scalar; counts an iteration.

        Raises:
            RuntimeError: The method has no teacher.
        """
        if self._predict is None:
            raise RuntimeError(
                "ProgressiveSelfDistillation needs a teacher: use it with SelfTraining, or call "
                "`use_teacher`."
            )
        probs = self._predict(source.image)
        probs = probs.mean(0) if probs.dim() == 5 else probs
        weight = self.final * ((self.iteration + 1) / self.iterations).clamp(max=1)
        self.iteration += 1
        full = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
        log_p = full.log_softmax(1)
        labelled = source.label != IGNORE_INDEX
        label = torch.where(labelled, source.label, 0).unsqueeze(1)
        soft = -(probs.to(log_p.dtype) * log_p).sum(1)
        hard = -log_p.gather(1, label).squeeze(1)
        return weight.to(log_p.dtype) * ((soft - hard) * labelled).mean()
