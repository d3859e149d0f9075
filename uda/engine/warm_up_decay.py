"""The schedules of VFM-UDA: a warm-up, then a linear or a cosine decay, in closed form."""

from __future__ import annotations

import math
from typing import Any, Literal

from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

Decay = Literal["linear", "cosine"]
DecayFrom = Literal["start", "warmup"]


@PARAM_SCHEDULERS.register_module()
class WarmUpDecayLR(_ParamScheduler):
    """A linear warm-up to the base rate, then a decay to a share of it, for each iteration.

    At iteration i, counted from 0, with w = `warmup`, s = `start` and f = `final`:

    - warm-up, i < w: `lr = base (s + (1 - s) i / (w - 1))`, so that iteration w - 1 has the base
      rate (for w = 1: iteration 0 has `base s`);
    - then `lr = base (f + (1 - f) d(x))`, `d(x) = 1 - x` or `(1 + cos(pi x)) / 2`, of the progress
      `x = i / end`, or `x = (i - w) / (end - w)` with `decay_from="warmup"`.

    VFM-UDA (Englert et al., CVPR workshops 2024) and VFM-UDA++ train with w = 1500, s = 0.001,
    f = 0 and 40,000 iterations. Their released linear schedule counts the decay from the start, so
    that it jumps from 1 at iteration 1499 to 0.9625 at 1500; their cosine one counts from the end
    of the warm-up. Unlike `WarmUpPolyLR`, the warm-up does not multiply the decay.

    Args:
        optimizer: Given by the Runner.
        end: Iterations of the whole run; the Runner fills it in. Afterwards the rate stays.
        decay: `"linear"` or `"cosine"`.
        warmup: Iterations of warm-up.
        start: Share of the base rate at iteration 0.
        final: Share of the base rate at `end`.
        decay_from: Where the decay begins to count: `"start"` of the run (reference for the
            linear one, with its jump) or end of the `"warmup"` (reference for the cosine one).
        by_epoch: Has to be False.
        last_step: Given by the Runner.

    Raises:
        ValueError: `by_epoch` is True, a choice is unknown or a number is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        end: int,
        decay: Decay = "linear",
        warmup: int = 1500,
        start: float = 1e-3,
        final: float = 0.0,
        decay_from: DecayFrom = "start",
        by_epoch: bool = False,
        last_step: int = -1,
    ) -> None:
        if by_epoch:
            raise ValueError("WarmUpDecayLR counts iterations: set by_epoch=False.")
        if decay not in ("linear", "cosine"):
            raise ValueError(f'decay has to be "linear" or "cosine", not {decay!r}.')
        if decay_from not in ("start", "warmup"):
            raise ValueError(f'decay_from has to be "start" or "warmup", not {decay_from!r}.')
        if end <= 0 or warmup < 0 or not 0 <= start <= 1 or not 0 <= final <= 1:
            raise ValueError(
                "end has to be > 0, warmup >= 0, start and final shares in [0, 1], not "
                f"{end}, {warmup}, {start} and {final}."
            )
        self.iterations, self.decay, self.warmup = end, decay, warmup
        self.start, self.final, self.decay_from = start, final, decay_from
        super().__init__(optimizer, "lr", begin=0, last_step=last_step, by_epoch=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved iteration; the curve is the config's, also if it was another."""
        curve = ("iterations", "decay", "warmup", "start", "final", "decay_from")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in curve})

    def factor(self, iteration: int) -> float:
        """Share of the base learning rate at `iteration`."""
        if iteration < self.warmup:
            return self.start + (1 - self.start) * iteration / max(self.warmup - 1, 1)
        first = self.warmup if self.decay_from == "warmup" else 0
        whole = max(self.iterations - first, 1)
        progress = min(max((iteration - first) / whole, 0.0), 1.0)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        share = 1 - progress if self.decay == "linear" else cosine
        return self.final + (1 - self.final) * share

    def _get_value(self) -> list[float]:
        return [base * self.factor(self.last_step) for base in self.base_values]
