"""Checking configs before anything is built: an unknown key is an error, not a surprise."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import (
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
    Registry,
)
from mmseg.registry import DATA_SAMPLERS, DATASETS, METRICS, MODELS, TRANSFORMS

from uda.registry import METHODS, MIXERS, SELECTORS, TEACHERS, TERMS, VIEWS, nearest

TOP_LEVEL = {
    "auto_scale_lr",
    "custom_hooks",
    "custom_imports",
    "default_hooks",
    "default_scope",
    "env_cfg",
    "evaluation_sets",
    "experiment_name",
    "find_unused_parameters",
    "launcher",
    "load_from",
    "log_level",
    "log_processor",
    "model",
    "model_wrapper_cfg",
    "optim_wrapper",
    "param_scheduler",
    "randomness",
    "resume",
    "sync_bn",
    "test_cfg",
    "test_dataloader",
    "test_evaluator",
    "train_cfg",
    "train_dataloader",
    "val_cfg",
    "val_dataloader",
    "val_evaluator",
    "visualizer",
    "work_dir",
}
# Blocks that our data configs are put together from.
BLOCKS = {
    "cityscapes_to_camvid",
    "classes",
    "data_root",
    "flip",
    "folder",
    "palette",
    "photometric",
    "resize",
}
# The places of a config whose dicts are built by a registry.
PLACES: dict[str, tuple[Registry, ...]] = {
    "model": (MODELS, METHODS, TEACHERS, SELECTORS, MIXERS, VIEWS, TERMS),
    "train_dataloader": (DATASETS, TRANSFORMS, DATA_SAMPLERS),
    "val_dataloader": (DATASETS, TRANSFORMS, DATA_SAMPLERS),
    "test_dataloader": (DATASETS, TRANSFORMS, DATA_SAMPLERS),
    "val_evaluator": (METRICS,),
    "test_evaluator": (METRICS,),
    "optim_wrapper": (OPTIM_WRAPPERS, OPTIMIZERS),
    "param_scheduler": (PARAM_SCHEDULERS,),
    "default_hooks": (HOOKS,),
    "custom_hooks": (HOOKS,),
    "train_cfg": (LOOPS,),
    "val_cfg": (LOOPS,),
    "log_processor": (LOG_PROCESSORS,),
    "visualizer": (VISUALIZERS, VISBACKENDS),
}
# Keys that a builder takes out before the constructor sees them, by place or by last key.
BUILDER_KEYS = {
    "optim_wrapper": {"constructor", "paramwise_cfg"},
    "param_scheduler": {"convert_to_iter_based"},
    "norm_cfg": {"requires_grad"},
}


def check_config(config: Config) -> None:
    """Raise if a key of `config` is not known where it stands.

    Top-level names are compared with those the Runner and our tools know; the keys of every dict
    with a `type` with the arguments of that class and of the classes its `**kwargs` reach.

    Raises:
        ValueError: Names the place and the key, and proposes the nearest known one.
    """
    known = dict.fromkeys(sorted(TOP_LEVEL))
    for key in config:
        if key not in TOP_LEVEL | BLOCKS:
            raise ValueError(f"{_file(config)}: unknown key {key!r}.{nearest(key, known)}")
    for place, registries in PLACES.items():
        for path, node in _typed_dicts(config.get(place), place):
            last = path.rsplit(".", 1)[-1]
            builder_keys = BUILDER_KEYS.get(place, set()) | BUILDER_KEYS.get(last, set())
            _check_node(config, path, node, registries, builder_keys)


def _check_node(
    config: Config,
    path: str,
    node: Mapping[str, Any],
    registries: tuple[Registry, ...],
    builder_keys: set[str],
) -> None:
    cls = _lookup(node["type"], registries)
    if cls is None:
        return  # built elsewhere (an albumentations transform, say), where it is checked
    known = _arguments(cls)
    if known is None:
        return
    for key in node:
        if key != "type" and key not in known and key not in builder_keys:
            raise ValueError(
                f"{_file(config)}: {path}: {cls.__name__} has no argument {key!r}."
                f"{nearest(key, known)}"
            )


def _lookup(name: Any, registries: tuple[Registry, ...]) -> Any:
    if not isinstance(name, str):
        return name
    for registry in registries:
        found = registry.get(name)
        if found is not None:
            return found
    return None


def _arguments(cls: Any) -> dict[str, Any] | None:
    """Names a constructor takes, through `**kwargs` of its base classes; None if open-ended."""
    if not inspect.isclass(cls):
        return dict(inspect.signature(cls).parameters)
    names: dict[str, Any] = {}
    for base in cls.__mro__[:-1]:  # without `object`
        init = base.__dict__.get("__init__")
        if init is None:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        names.update({p.name: p for p in parameters if p.kind != p.VAR_KEYWORD})
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            return names
    # The last constructor found takes any keyword (RandomResize hands them to another class).
    return None if names else {}


def _typed_dicts(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "type" in node:
            yield path, node
        for key, value in node.items():
            yield from _typed_dicts(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from _typed_dicts(value, f"{path}[{number}]")


def _file(config: Config) -> str:
    return str(config.filename or "config")
