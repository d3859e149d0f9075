"""Every registered method and part stands in the tables of the tests, or here with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from mmengine.registry import Registry
from torch import nn

from uda import registry
from uda.registry import build_part

from . import replicas
from .test_determinism import MODELS_TO_STEP
from .test_resume import METHODS
from .tiny_run import model_config

REGISTRIES = {
    kind.name: kind
    for kind in (
        registry.METHODS,
        registry.TEACHERS,
        registry.SELECTORS,
        registry.MIXERS,
        registry.VIEWS,
        registry.TERMS,
        registry.LOOK_AHEADS,
    )
}
# Test-time adaptation (`registry.ADAPTERS`) has no training step; tests/tta resumes its methods.

# Parts that keep nothing and draw nothing, so that a restart cannot lose anything of them.
NOTHING_TO_RESUME = {
    "ConfidenceThreshold": "each pixel's weight follows from its confidence alone",
    "EntropyPercentile": "the percentile is that of the batch at hand",
    "EntropyWeight": "each pixel's weight follows from its probabilities alone",
    "TeacherDivergence": "the divergence is that of the batch at hand",
    "NoView": "the image stays",
    "TorchvisionView": "draws from torch's generator alone, as ColorJitterBlur in the table does",
}
NOT_OVER_A_BATCH = {
    "ConfidenceThreshold": "each pixel's weight follows from its confidence alone",
    "HardAwareSelfTraining": "its passes are those of `regions`; test_several_processes trains it",
    "TorchvisionView": "changes each image by itself",
    "FourierStyle": "changes each image by itself",
}


def registered(kind: Registry) -> list[str]:
    """Names of our parts of a kind; a test may have registered some of its own."""
    return [n for n, cls in kind.module_dict.items() if cls.__module__.startswith("uda.")]


def types_in(node: Any) -> Iterator[str]:
    """Every `type` in a nested config."""
    if isinstance(node, Mapping):
        if "type" in node:
            yield str(node["type"])
        for value in node.values():
            yield from types_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from types_in(value)


def replicated() -> set[str]:
    """Classes of all modules that the test of two processes steps."""
    models: list[nn.Module] = [make() for make in replicas.METHODS.values()]
    models += [replicas.Adapting(0), replicas.adversarial(0)]
    return {type(module).__name__ for model in models for module in model.modules()}


TABLES = {
    "tests/engine/test_resume.py METHODS": (
        lambda: set(types_in(METHODS)),
        NOTHING_TO_RESUME,
    ),
    "tests/engine/replicas.py METHODS": (replicated, NOT_OVER_A_BATCH),
    "tests/engine/test_determinism.py MODELS_TO_STEP": (
        lambda: set(types_in([make() for make in MODELS_TO_STEP.values()])),
        {},
    ),
}


def missing(there: set[str], reasons: Mapping[str, str]) -> list[str]:
    """Registered names that a table lacks without a reason."""
    names = [name for kind in REGISTRIES.values() for name in registered(kind)]
    return [name for name in names if name not in there and name not in reasons]


@pytest.mark.parametrize("table", TABLES)
def test_every_registered_part_is_in_the_table(table: str) -> None:
    """A new method or part that nobody added is named; a reason for what is there is stale."""
    names_of, reasons = TABLES[table]
    there = names_of()
    lacking = missing(there, reasons)
    assert not lacking, f"add {lacking} to {table}, or say in test_tables.py why not"
    assert not there & reasons.keys(), f"{there & reasons.keys()} are in {table} by now"
    known = {name for kind in REGISTRIES.values() for name in registered(kind)}
    assert reasons.keys() <= known


def test_a_new_part_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself."""
    new = type("NewSelector", (nn.Module,), {"__module__": "uda.selftraining.selectors.new"})
    monkeypatch.setitem(registry.SELECTORS.module_dict, "NewSelector", new)
    there = set(types_in(METHODS))
    assert missing(there, NOTHING_TO_RESUME) == ["NewSelector"]


@pytest.mark.parametrize("name", NOTHING_TO_RESUME)
def test_parts_said_to_keep_nothing_keep_nothing(name: str) -> None:
    """No buffer and no parameter; the normalisation of views is a setting."""
    kind = next(kind for kind in REGISTRIES.values() if name in kind.module_dict)
    config: dict[str, Any] = {"type": name}
    if name == "TorchvisionView":
        config["transforms"] = [{"type": "RandomInvert"}]
    mean = model_config()["data_preprocessor"]["mean"]
    part = build_part(kind, config, num_classes=3, mean=mean, std=mean)
    assert set(part.state_dict()) <= {"mean", "std"}
