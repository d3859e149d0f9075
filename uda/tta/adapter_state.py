"""Everything that an adapter is at a moment: in copies, in files, on another device."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from uda.tta.learner import load_values, snapshot
from uda.tta.trees import map_optimiser, mapped

if TYPE_CHECKING:
    from uda.tta.adapter import Adapter


def capture(adapter: Adapter) -> dict[str, Any]:
    """A copy of all that moves."""
    learner, followers = adapter.learner, adapter.method.followers()
    names, optimiser = learner.parameters, learner.optimiser
    return {
        "student": snapshot(adapter.network, names),
        "followers": {n: snapshot(network, names) for n, network in followers.items()},
        "optimiser": None if optimiser is None else copy.deepcopy(optimiser.state_dict()),
        "memory": adapter.method.memory(),
        "held": learner.held.state(),
    }


def restore(adapter: Adapter, state: Mapping[str, Any]) -> None:
    """Take over what `capture` gave, from whatever device it is on."""
    learner, method = adapter.learner, adapter.method
    here = learner.device
    load_values(adapter.network, state["student"])
    for name, network in method.followers().items():
        load_values(network, state["followers"][name])
    if learner.optimiser is not None and state["optimiser"] is not None:
        learner.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
    memory, held = mapped([state["memory"], state.get("held", {})], lambda value: value.to(here))
    method.remember(memory)
    learner.held.load(held)


def extra(adapter: Adapter) -> dict[str, Any]:
    """What is saved beside networks: optimiser, memory, guard, counters, random state."""
    learner, guard = adapter.learner, adapter.guard
    return {
        "current": adapter.capture() if adapter.dense is not None else None,
        "source": adapter.source,
        "dense": adapter.dense,
        "lr": adapter.lr,
        "calls": adapter.calls,
        "counts": dataclasses.asdict(learner.counts),
        "skipped": [adapter.skipped, adapter.not_finite],
        "trusted": adapter.trusted,
        "random": learner.generator.get_state(),
        "scaler": learner.scaler.state_dict(),
        "guard": None if guard is None else guard.state(),
    }


def load_extra(adapter: Adapter, state: Mapping[str, Any]) -> None:
    """Take over what `extra` gave."""
    learner = adapter.learner
    adapter.lr, adapter.calls = state["lr"], state["calls"]
    adapter.skipped, adapter.not_finite = state["skipped"]
    adapter.trusted = state.get("trusted", False)
    for name, value in state["counts"].items():
        setattr(learner.counts, name, value)
    # A file may have been read to another device than the model is on.
    here = learner.device
    source, guard = mapped([state["source"], state["guard"]], lambda tensor: tensor.to(here))
    if state["dense"] is not None:
        adapter.configure(state["dense"], batch=1)
        adapter.restore(state["current"])
    adapter.source = source
    learner.source = source["student"]
    learner.generator.set_state(state["random"])
    learner.renew_scaler(state["scaler"])
    if adapter.guard is not None and guard is not None:
        adapter.guard.load(guard)


def moved(adapter: Adapter, change: Callable[[Tensor], Tensor]) -> None:
    """Take what is kept beside the networks to the device or type that these went to."""
    learner = adapter.learner
    adapter.source = mapped(adapter.source, change)
    learner.source = adapter.source["student"]
    adapter.method.remember(mapped(adapter.method.memory(), change))
    learner.held.load(mapped(learner.held.state(), change))
    if learner.optimiser is not None:
        map_optimiser(learner.optimiser, change)
    learner.renew_scaler(learner.scaler.state_dict())
    if adapter.guard is not None:
        adapter.guard.load(mapped(adapter.guard.state(), change))
