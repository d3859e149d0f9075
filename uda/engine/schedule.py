"""Learning-rate schedules in closed form: those of DAFormer, and of IAST and HIAST."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmUpPolyLR(_ParamScheduler):
    """Polynomial decay times a linear warm-up, for each iteration.

    At iteration i, counted from 0: `lr = base (1 - i/n)^power`, and while `i < warmup` this times
    `1 - (1 - i/warmup)(1 - warmup_ratio)`: the warm-up multiplies the decaying value (mmcv 1.x
    `LrUpdaterHook`; DAFormer with power 1, warm-up 1500, ratio 1e-6).

    Args:
        optimizer: Given by the Runner.
        end: n, iterations of the whole run; the Runner fills it in.
        power: Exponent of the decay; 1 is linear.
        warmup: Iterations of warm-up.
        warmup_ratio: Share of the learning rate at iteration 0.
        by_epoch: Has to be False.
        last_step: Given by the Runner.

    Raises:
        ValueError: `by_epoch` is True or a number is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        end: int,
        power: float = 1.0,
        warmup: int = 1500,
        warmup_ratio: float = 1e-6,
        by_epoch: bool = False,
        last_step: int = -1,
    ) -> None:
        if by_epoch:
            raise ValueError("WarmUpPolyLR counts iterations: set by_epoch=False.")
        if end <= 0 or warmup < 0:
            raise ValueError(f"end has to be > 0 and warmup >= 0, not {end} and {warmup}.")
        self.iterations, self.power = end, power
        self.warmup, self.warmup_ratio = warmup, warmup_ratio
        super().__init__(optimizer, "lr", begin=0, last_step=last_step, by_epoch=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved iteration; the curve is the config's, also if it was another."""
        curve = ("iterations", "power", "warmup", "warmup_ratio")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in curve})

    def factor(self, iteration: int) -> float:
        """Share of the base learning rate at `iteration`."""
        factor = (1 - min(iteration, self.iterations) / self.iterations) ** self.power
        if iteration < self.warmup:
            factor *= 1 - (1 - iteration / self.warmup) * (1 - self.warmup_ratio)
        return float(factor)

    def _get_value(self) -> list[float]:
        return [base * self.factor(self.last_step) for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class CosineLR(_ParamScheduler):
    """Cosine decay from the base rate to a floor, for each iteration, optionally with restarts.

    At iteration i, counted from 0: `lr = floor + (base - floor) (1 + cos(pi (i mod T) / T)) / 2`
    (Loshchilov and Hutter, SGDR, ICLR 2017), T being `period`. The released HIAST has one period a
    round and 0.001 of the encoder's rate as floor of all groups; IAST a period of 3 epochs, of
    which 2 are run, so that a round ends at a quarter of the rate, and 0.001 of the head's rate.

    Args:
        optimizer: Given by the Runner.
        end: Iterations of the whole run; the Runner fills it in. Afterwards the rate stays.
        floor: Learning rate at the end of a period, the same for all groups.
        period: T in iterations; None: the whole run.
        by_epoch: Has to be False.
        last_step: Given by the Runner.

    Raises:
        ValueError: `by_epoch` is True or a number is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        end: int,
        floor: float = 0.0,
        period: int | None = None,
        by_epoch: bool = False,
        last_step: int = -1,
    ) -> None:
        if by_epoch:
            raise ValueError("CosineLR counts iterations: set by_epoch=False.")
        if end <= 0 or floor < 0 or (period is not None and period <= 0):
            raise ValueError(
                f"end and period have to be > 0 and floor >= 0, not {end}, {period} and {floor}."
            )
        self.iterations, self.floor = end, floor
        self.period = end if period is None else period
        super().__init__(optimizer, "lr", begin=0, last_step=last_step, by_epoch=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved iteration; the curve is the config's, also if it was another."""
        curve = ("iterations", "floor", "period")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in curve})

    def rate(self, base: float, iteration: int) -> float:
        """The learning rate at `iteration` of a group that starts at `base`."""
        place = min(iteration, self.iterations)
        # A period that ends with the run ends at the floor, and does not begin again.
        place = self.period if place == self.iterations == self.period else place % self.period
        share = (1 + math.cos(math.pi * place / self.period)) / 2
        return self.floor + (base - self.floor) * share

    def _get_value(self) -> list[float]:
        return [self.rate(base, self.last_step) for base in self.base_values]
