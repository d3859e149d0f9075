"""Registries of our kinds of parts, and the building of parts from configs.

The parts are plain torch classes that know nothing of registries; they are registered here, by
their class names. A part of your own is registered by the decorator:

    from uda.registry import SELECTORS

    @SELECTORS.register_module()
    class MySelector(Selector): ...

Networks, data sets, transforms, hooks and metrics register in mmseg's registries.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry
from torch import nn

from uda import selftraining
from uda.text import nearest

METHODS = Registry("method")
TEACHERS = Registry("teacher")
SELECTORS = Registry("selector")
MIXERS = Registry("mixer")
VIEWS = Registry("view")
TERMS = Registry("term")
LOOK_AHEADS = Registry("look-ahead")
ADAPTERS = Registry("adapter")  # test-time adaptation

_PARTS: dict[Registry, tuple[type[nn.Module], ...]] = {
    TEACHERS: (
        selftraining.EMATeacher,
        selftraining.PrototypeTeacher,
        selftraining.TeacherPair,
    ),
    SELECTORS: (
        selftraining.ConfidenceShare,
        selftraining.ConfidenceThreshold,
        selftraining.ClassBalancedThreshold,
        selftraining.EntropyPercentile,
        selftraining.InstanceAdaptive,
        selftraining.AdaptiveThreshold,
        selftraining.EntropyWeight,
        selftraining.OptimalTransport,
        selftraining.TeacherDivergence,
    ),
    MIXERS: (
        selftraining.ClassMix,
        selftraining.CutMix,
        selftraining.TargetMix,
        selftraining.MemoryMix,
    ),
    VIEWS: (
        selftraining.ColorJitterBlur,
        selftraining.TorchvisionView,
        selftraining.NoView,
        selftraining.FourierStyle,
    ),
    TERMS: (
        selftraining.FeatureDistance,
        selftraining.EntropyMinimisation,
        selftraining.RegionRegularisation,
        selftraining.RegionConsistency,
        selftraining.AdversarialOutput,
        selftraining.ProgressiveSelfDistillation,
        selftraining.MaskedConsistency,
        selftraining.ClassContrast,
        selftraining.PixelContrast,
        selftraining.PatchContrast,
    ),
    LOOK_AHEADS: (selftraining.LookAhead,),
}
for _registry, _parts in _PARTS.items():
    for _part in _parts:
        _registry.register_module(module=_part)


def build_part(registry: Registry, config: Mapping[str, Any], **shared: Any) -> Any:
    """The part that `config` describes.

    Args:
        registry: Where its `type` is looked up.
        config: `dict(type="ClassMix", candidates="image")`.
        **shared: Values such as the number of classes that are known elsewhere. Each is given to
            the constructor if that takes it and the config does not set it.

    Raises:
        ValueError: The type or an argument is unknown; the nearest known one is proposed.

    >>> build_part(MIXERS, dict(type="ClassMix"), num_classes=19).num_classes
    19
    """
    arguments = dict(config)
    name = arguments.pop("type", None)
    cls = registry.get(name) if isinstance(name, str) else name
    if cls is None:
        raise ValueError(
            f"There is no {registry.name} {name!r}.{nearest(str(name), registry.module_dict)}"
        )
    known = inspect.signature(cls).parameters
    for key in arguments:
        if key not in known:
            raise ValueError(f"{cls.__name__} has no argument {key!r}.{nearest(key, known)}")
    for key, value in shared.items():
        if key in known:
            arguments.setdefault(key, value)
    missing = [k for k, p in known.items() if p.default is p.empty and k not in arguments]
    if missing:
        raise ValueError(f"{cls.__name__} needs the argument(s) {missing}; add them to its config.")
    return cls(**arguments)
