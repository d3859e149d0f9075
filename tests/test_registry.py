"""Registries: building parts from configs, and what is said about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.registry import Registry

from uda import methods, selftraining
from uda.registry import (
    LOOK_AHEADS,
    METHODS,
    MIXERS,
    SELECTORS,
    TEACHERS,
    TERMS,
    VIEWS,
    build_part,
)

KINDS = [
    (TEACHERS, selftraining.EMATeacher),
    (SELECTORS, selftraining.ConfidenceShare),
    (SELECTORS, selftraining.ConfidenceThreshold),
    (SELECTORS, selftraining.ClassBalancedThreshold),
    (TEACHERS, selftraining.PrototypeTeacher),
    (TEACHERS, selftraining.TeacherPair),
    (SELECTORS, selftraining.AdaptiveThreshold),
    (SELECTORS, selftraining.EntropyPercentile),
    (SELECTORS, selftraining.EntropyWeight),
    (SELECTORS, selftraining.OptimalTransport),
    (SELECTORS, selftraining.TeacherDivergence),
    (MIXERS, selftraining.TargetMix),
    (VIEWS, selftraining.FourierStyle),
    (TERMS, selftraining.ProgressiveSelfDistillation),
    (TERMS, selftraining.ClassContrast),
    (TERMS, selftraining.PixelContrast),
    (TERMS, selftraining.PatchContrast),
    (MIXERS, selftraining.MemoryMix),
    (TERMS, selftraining.MaskedConsistency),
    (LOOK_AHEADS, selftraining.LookAhead),
    (METHODS, methods.DualTeacherStudent),
    (MIXERS, selftraining.ClassMix),
    (MIXERS, selftraining.CutMix),
    (VIEWS, selftraining.ColorJitterBlur),
    (VIEWS, selftraining.TorchvisionView),
    (VIEWS, selftraining.NoView),
    (TERMS, selftraining.FeatureDistance),
    (TERMS, selftraining.EntropyMinimisation),
    (METHODS, methods.SelfTraining),
    (METHODS, methods.SourceOnly),
]


@pytest.mark.parametrize(("registry", "part"), KINDS)
def test_registry_values(registry: Registry, part: type) -> None:
    """Every part is found by its class name."""
    assert registry.get(part.__name__) is part


def test_build_part_values() -> None:
    """Shared values reach parts that take them and whose config is silent; a class works too."""
    shared: dict[str, Any] = {"num_classes": 7, "mean": (0, 0, 0), "std": (1, 1, 1)}
    config = {"type": "ClassMix", "candidates": "batch"}
    mixer = build_part(MIXERS, config, **shared)
    assert (mixer.num_classes, mixer.candidates) == (7, "batch")
    assert config == {"type": "ClassMix", "candidates": "batch"}  # untouched
    assert build_part(MIXERS, {"type": "ClassMix", "num_classes": 3}, **shared).num_classes == 3
    view = build_part(VIEWS, {"type": "ColorJitterBlur"}, **shared)
    assert view.std.flatten().tolist() == pytest.approx([1 / 255] * 3)
    own = build_part(SELECTORS, {"type": selftraining.ConfidenceShare, "threshold": 0.5}, **shared)
    assert own.threshold == 0.5


def test_build_part_errors() -> None:
    """Unknown types and arguments propose the nearest; missing and absent ones are named."""
    with pytest.raises(ValueError, match="no mixer 'ClasMix'. Did you mean 'ClassMix'.*CutMix"):
        build_part(MIXERS, {"type": "ClasMix"})
    with pytest.raises(ValueError, match="no mixer None"):
        build_part(MIXERS, {"candidates": "batch"})
    wrong = {"type": "ClassMix", "candidate": "batch"}
    with pytest.raises(ValueError, match="ClassMix has no argument 'candidate'. Did you mean 'can"):
        build_part(MIXERS, wrong, num_classes=3)
    with pytest.raises(ValueError, match=r"ClassMix needs the argument\(s\) \['num_classes'\]"):
        build_part(MIXERS, {"type": "ClassMix"})
