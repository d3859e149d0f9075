"""Every method with every selector and every mixer: built from a config, it learns or says why not.

Parts are found in the registries, so that a new one joins by being registered.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import uda.engine  # noqa: F401 - registers
from tests.methods.tiny import CLASSES, make_batch, make_student
from uda.engine.model import PARTS, build_method
from uda.methods import Method
from uda.methods.base import PlainOptimiser
from uda.registry import LOOK_AHEADS, METHODS, MIXERS, SELECTORS, TERMS, build_part

DEEP = {"type": "LookAhead", "steps": 1}
WIDE = {"type": "LookAhead", "mode": "wide", "steps": 2, "preset": "reference"}


Config = dict[str, Any]


def self_training(selector: Config, mixer: Config, **changes: Any) -> Config:
    """A config of `SelfTraining` with two teachers where the selector needs them."""
    teacher = {"type": "EMATeacher"}
    if getattr(SELECTORS.get(selector["type"]), "teachers", 1) == 2:
        teacher = {"type": "TeacherPair"}
    return {
        "type": "SelfTraining",
        "teacher": teacher,
        "selector": selector,
        "mixer": mixer,
        **changes,
    }


def dual(selector: dict[str, Any], mixer: dict[str, Any], **secondary: Any) -> dict[str, Any]:
    """A config of two groups, the second with further keys."""
    return {
        "type": "DualTeacherStudent",
        "primary": self_training(selector, mixer),
        "secondary": self_training(selector, mixer, **secondary),
        "target_mix": {"type": "TargetMix"},
    }


MASKED: Config = {"type": "MaskedConsistency", "block_size": 4}
# The same with a teacher of its own, for methods that have none or another one.
OWN: Config = {
    **MASKED,
    "view": {"type": "ColorJitterBlur"},
    "teacher": {"type": "EMATeacher", "decay": 0.9},
    "selector": {"type": "ConfidenceShare", "threshold": 0.3},
}


def dual_masked(selector: Config, mixer: Config) -> Config:
    """Two groups that learn from masked images, the second one by an own teacher."""
    config = dual(selector, mixer, terms=[OWN])
    config["primary"]["terms"] = [{**MASKED, "images": "halves"}]
    return config


BUILDERS: dict[str, Any] = {
    "self-training": self_training,
    "deep": lambda s, m: self_training(s, m, look_ahead=DEEP),
    "wide": lambda s, m: self_training(s, m, look_ahead=WIDE),
    "dual": dual,
    "dual-deep": lambda s, m: dual(s, m, look_ahead=DEEP),
    "masked": lambda s, m: self_training(s, m, terms=[MASKED]),
    "masked-deep": lambda s, m: self_training(s, m, terms=[MASKED, OWN], look_ahead=DEEP),
    "masked-dual": dual_masked,
}
# Arguments that a part cannot do without in this test.
MAPS = {"channels": [6, 8], "levels": [0, 1]}
EXTRA: dict[str, dict[str, Any]] = {
    "OptimalTransport": {"samples": 64, "iterations": 5},
    "MemoryMix": {"size": (8, 8), "turn": 0.2, "mixer": {"type": "ClassMix"}},
    "FeatureDistance": {"classes": [1, 2]},
    "MaskedConsistency": {"block_size": 8},
    "AdversarialOutput": {"channels": 2},
    "ClassContrast": {**MAPS, "start": 0, "view": {"type": "ColorJitterBlur"}},
    "PixelContrast": {**MAPS, "min_pixels": 3},
    "PatchContrast": {**MAPS, "start": 0, "stride": 4, "samples": 20, "threshold": 0.0},
}


def own(registry: Any) -> list[str]:
    """Names of this project's parts in a registry."""
    return sorted(n for n, c in registry.module_dict.items() if c.__module__.startswith("uda."))


def config_of(name: str) -> dict[str, Any]:
    return {"type": name, **copy.deepcopy(EXTRA.get(name, {}))}


def build(config: dict[str, Any]) -> Method:
    """The method around the tiny network, its second student drawn from another seed."""
    method = build_method(
        copy.deepcopy(config),
        make_student(0),
        another=lambda: make_student(1),
        num_classes=CLASSES,
        mean=(127.5,) * 3,
        std=(60.0,) * 3,
    )
    method.initialise()
    return method.train()


WITHOUT = {"SourceOnly", "AdversarialWarmUp", "HardAwareSelfTraining"}


@pytest.mark.parametrize("mixer", own(MIXERS))
@pytest.mark.parametrize("selector", own(SELECTORS))
@pytest.mark.parametrize("builder", BUILDERS)
def test_combination_learns(builder: str, selector: str, mixer: str) -> None:
    """Two iterations run, all that is logged is finite, and every student moves."""
    method = build(BUILDERS[builder](config_of(selector), config_of(mixer)))
    before = {name: p.detach().clone() for name, p in method.trained().named_parameters()}
    optimiser = PlainOptimiser(torch.optim.SGD(method.trained().parameters(), lr=0.05))
    for seed in range(2):
        torch.manual_seed(seed)
        further = [make_batch(10 + j) for j in range(method.further_batches)]
        log = method.training_step(make_batch(seed), optimiser, further)
        assert all(bool(value.isfinite()) for value in log.values())
    assert ("virtual/loss" in log) == (builder in ("deep", "wide", "masked-deep"))
    assert any("masked/ce" in name for name in log) == builder.startswith("masked")
    for name, weight in method.trained().named_parameters():
        assert weight.isfinite().all(), name
        # A bias in front of BatchNorm has no gradient.
        if name.endswith("head.weight"):
            assert not torch.equal(weight, before[name]), name


@pytest.mark.parametrize("term", own(TERMS))
@pytest.mark.parametrize("builder", [b for b in BUILDERS if not b.startswith("masked")])
def test_term_learns(builder: str, term: str) -> None:
    """Every term in every method: what it logs is finite, and its heads move with the student."""
    selector, mixer = config_of("ConfidenceThreshold"), config_of("MemoryMix")
    selector["threshold"] = 0.3
    config = BUILDERS[builder](selector, mixer)
    for group in ("primary", "secondary"):
        config.get(group, config)["terms"] = [config_of(term)]
    if term == "AdversarialOutput":
        if builder != "self-training":  # its opponent would learn from virtual steps, or has none
            with pytest.raises(ValueError, match="discriminator"):
                build(config)
            return
        method = build(config)
        discriminator = torch.optim.SGD(method.opponents()["discriminator"].parameters(), lr=0.05)
        opponents = {"discriminator": PlainOptimiser(discriminator)}
    else:
        method, opponents = build(config), {}
    before = {name: p.detach().clone() for name, p in method.trained().named_parameters()}
    sgd = torch.optim.SGD(method.trained().parameters(), lr=0.05)
    for seed in range(2):
        torch.manual_seed(seed)
        further = [make_batch(10 + j, size=32) for j in range(method.further_batches)]
        batch = make_batch(seed, size=32)
        log = method.training_step(batch, PlainOptimiser(sgd, opponents=opponents), further)
        assert all(bool(value.isfinite()) for value in log.values())
    for name, weight in method.trained().named_parameters():
        assert weight.isfinite().all(), name
        if "head" in name and name.endswith("weight"):
            assert not torch.equal(weight, before[name]), name


def test_all_methods_take_part() -> None:
    """A method that is registered is combined above, or named here as one without such parts.

    Source-only training and the adversarial warm-up have no pseudo-labels; target-only training
    reads them from disk.
    """
    combined = {BUILDERS[name]({"type": "A"}, {"type": "B"})["type"] for name in BUILDERS}
    assert set(own(METHODS)) == combined | WITHOUT
    assert own(LOOK_AHEADS) == ["LookAhead"]
    assert len(own(SELECTORS)) >= 8
    assert len(own(MIXERS)) >= 3


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_masked_consistency_learns(name: str) -> None:
    """Methods without selector and mixer take the term too, from a config."""
    config: Config = {"type": name, "terms": [OWN]}
    if name == "AdversarialWarmUp":
        config["terms"] = [{"type": "AdversarialOutput", "channels": 4}, OWN]
    if name == "HardAwareSelfTraining":
        config["teacher"] = {"type": "EMATeacher", "decay": 0.9}
    method = build(config)
    opponents = {
        key: PlainOptimiser(torch.optim.SGD(network.parameters(), lr=0.05))
        for key, network in method.opponents().items()
    }
    sgd = torch.optim.SGD(method.trained().parameters(), lr=0.05)
    for seed in range(2):
        torch.manual_seed(seed)
        batch = make_batch(seed, 32)
        log = method.training_step(batch, PlainOptimiser(sgd, opponents=opponents))
        assert all(bool(value.isfinite()) for value in log.values())
    assert log["masked/ce"] > 0


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "one teacher": (
        {
            **self_training({"type": "ConfidenceShare"}, {"type": "CutMix"}),
            "selector": {"type": "TeacherDivergence"},
        },
        "TeacherDivergence compares two teachers, EMATeacher is one: set teacher=",
    ),
    "source-only ahead": (
        {"type": "SourceOnly", "look_ahead": DEEP},
        "SourceOnly has no EMATeacher of its own, so there is nothing that a look-ahead could move",
    ),
    "source-only with a selector": (
        {"type": "SourceOnly", "selector": {"type": "ConfidenceShare"}},
        "SourceOnly has no argument 'selector'",
    ),
    "source-only with a teacher's features": (
        {"type": "SourceOnly", "terms": [{"type": "ClassContrast", "channels": [8]}]},
        "ClassContrast learns from a teacher's predictions, and SourceOnly has no teacher",
    ),
    "two heads of one name": (
        self_training(
            {"type": "ConfidenceShare"},
            {"type": "ClassMix"},
            terms=[{"type": "ClassContrast", "channels": [8]}] * 2,
        ),
        "The teacher already averages a head 'class_contrast'",
    ),
    "memory without source": (
        self_training(
            {"type": "ConfidenceShare"}, {"type": "MemoryMix", "mixer": {"type": "TargetMix"}}
        ),
        "MemoryMix changes source images before they are mixed, which TargetMix does not need",
    ),
    "source-only softened": (
        {"type": "SourceOnly", "terms": [{"type": "ProgressiveSelfDistillation"}]},
        "ProgressiveSelfDistillation learns from a teacher's predictions, and SourceOnly has no",
    ),
    "source-only masked": (
        {"type": "SourceOnly", "terms": [MASKED]},
        "MaskedConsistency learns from a teacher's predictions, and SourceOnly has no teacher",
    ),
    "masked with half a teacher": (
        {"type": "SourceOnly", "terms": [{**MASKED, "teacher": {"type": "EMATeacher"}}]},
        "MaskedConsistency has a teacher of its own and no selector: give both, or neither",
    ),
    "pair ahead": (
        {**dual({"type": "ConfidenceShare"}, {"type": "CutMix"}), "look_ahead": DEEP},
        "DualTeacherStudent has two teachers, each with a student of its own: give look_ahead",
    ),
    "group without teacher": (
        {
            **dual({"type": "ConfidenceShare"}, {"type": "CutMix"}),
            "primary": {"type": "SourceOnly"},
        },
        "primary has to be SelfTraining with any parts",
    ),
    "class mix between targets": (
        {
            **dual({"type": "ConfidenceShare"}, {"type": "CutMix"}),
            "target_mix": {"type": "ClassMix"},
        },
        "target_mix has to be TargetMix, which mixes target into target, not ClassMix",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_combination_errors(name: str) -> None:
    """What cannot work is refused at construction, with the reason."""
    config, message = IMPOSSIBLE[name]
    with pytest.raises((ValueError, TypeError), match=message):
        build(config)


def test_parts_build_alone() -> None:
    """Every selector and mixer is built with the number of classes at most."""
    for registry in (SELECTORS, MIXERS):
        for name in own(registry):
            plain = {k: v for k, v in config_of(name).items() if k == "type" or k not in PARTS}
            build_part(registry, plain, num_classes=CLASSES)
