"""Learning rates by what learns at them."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from uda.engine.optim import STUDENT

# Names of modules that only hold others.
_WRAPPERS = frozenset({"student", "segmentor", "network", "module", "primary", "secondary"})
_MOST_PARTS = 3


class LearningRates:
    """The learning rates of a run, by name.

    Groups of parameters that start at the same rate have one curve. It is called after the parts of
    the network in it, "backbone" or "decode_head"; where several rates have the same parts, as with
    a decay over layers, their share of the highest rate follows, "backbone/x0.43". The optimiser of
    an opponent is called by its name.

    Args:
        wrapper: The Runner's optimiser wrapper.
        trained: Module whose parameters the student's optimiser moves.
    """

    def __init__(self, wrapper: OptimWrapper, trained: nn.Module) -> None:
        wrappers = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {}
        self._student: OptimWrapper = wrappers.pop(STUDENT, wrapper)
        self._opponents: Mapping[str, OptimWrapper] = wrappers
        self._names = group_names(self._student.optimizer.param_groups, trained)

    def now(self) -> dict[str, float]:
        """The current rate of each name."""
        groups = self._student.optimizer.param_groups
        rates = {name: float(groups[place]["lr"]) for name, place in self._names.items()}
        for name, wrapper in self._opponents.items():
            rates[name] = float(wrapper.optimizer.param_groups[0]["lr"])
        return rates


def group_names(groups: list[dict[str, object]], trained: nn.Module) -> dict[str, int]:
    """A name for each rate among the groups of an optimiser, and the first group that has it.

    Args:
        groups: With "params", and "lr" or, once a schedule has begun, "initial_lr".
        trained: Holds the parameters.

    >>> network = nn.ModuleDict({"backbone": nn.Linear(1, 1), "decode_head": nn.Linear(1, 1)})
    >>> rates = (1.0, 10.0)
    >>> groups = [{"params": [*part.parameters()], "lr": rate}
    ...           for part, rate in zip(network.values(), rates)]
    >>> group_names(groups, network)
    {'backbone': 0, 'decode_head': 1}
    """
    part_of = {id(p): _part(name) for name, p in trained.named_parameters()}
    parts: dict[float, set[str]] = {}
    first: dict[float, int] = {}
    for place, group in enumerate(groups):
        rate = float(group.get("initial_lr", group["lr"]))  # type: ignore[arg-type]
        first.setdefault(rate, place)
        members: list[nn.Parameter] = group["params"]  # type: ignore[assignment]
        parts.setdefault(rate, set()).update(part_of.get(id(p), "other") for p in members)
    names = {rate: _joined(sorted(found)) for rate, found in parts.items()}
    highest = max(names, default=0.0)
    return {
        name if list(names.values()).count(name) == 1 else f"{name}/x{rate / highest:.3g}": first[
            rate
        ]
        for rate, name in names.items()
    }


def _part(name: str) -> str:
    """The part of the network that a parameter belongs to, such as "backbone"."""
    pieces = [piece for piece in name.split(".")[:-1] if piece not in _WRAPPERS]
    return pieces[0] if pieces else "other"


def _joined(parts: list[str]) -> str:
    shown = parts[:_MOST_PARTS]
    return "+".join(shown + ["more"] * (len(parts) > _MOST_PARTS))
