"""Checking configs before anything is built: what is wrong is an error, not a surprise."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from uda.engine.config_contradictions import contradictions, missing
from uda.engine.config_keys import (
    BUILDER_KEYS,
    IMPLIED_TYPES,
    LOADER_KEYS,
    NO_FURTHER_ARGUMENTS,
    OWN_TRANSFORMS,
    PLACES,
    PLAIN_KEYS,
    TOP_LEVEL,
    UNREGISTERED,
)
from uda.engine.config_types import annotations_of, fits, in_words
from uda.engine.config_values import (
    sentence,
    wrong_places,
    wrong_structure,
    wrong_values,
)
from uda.text import did_you_mean, nearest

_TOO_LIKE = 0.85


def check_structure(config: Config) -> None:
    """Raise if a place of `config` does not hold what everything else looks into.

    Raises:
        ValueError: Names the place and what was wanted there.
    """
    _refuse(config, wrong_structure(config))


def check_complete(config: Config) -> None:
    """Raise if something is missing without which nothing can be built.

    Raises:
        ValueError: Names what is missing.
    """
    _refuse(config, missing(config))


def check_config(config: Config) -> None:
    """Raise if something in `config` would be ignored, is unknown where it stands, or out of range.

    Of every dict with a `type`, the type is looked up and the keys are compared with the
    arguments of that class and of the classes its `**kwargs` reach. At the top level a variable
    may have any name, since configs are put together from variables, unless it looks like a
    mistyped name of those that the Runner and our tools read; one that begins with an underscore
    is never taken for that.

    Values are compared with the annotations of our constructors, and at places where another
    library would fail late or in silence, with a range.

    Args:
        config: One that has passed `check_structure`.

    Raises:
        ValueError: Names the place and the key, and proposes the nearest known one; or names the
            value and what was wanted.
    """
    for key in config:
        _check_variable(config, key)
    _refuse(config, _plain_dicts(config))
    for place, registries in PLACES.items():
        if place.endswith("_dataloader"):
            _check_loader(config, place)
        for path, node in _typed_dicts(config.get(place), place):
            last = path.rsplit(".", 1)[-1]
            builder_keys = BUILDER_KEYS.get(place, set()) | BUILDER_KEYS.get(last, set())
            _check_node(config, path, node, registries, builder_keys)
    _refuse(config, wrong_places(config))
    _refuse(config, contradictions(config))


def check_options(options: Mapping[str, Any]) -> None:
    """Raise if an option changes a name that nobody reads once the file has been read.

    Args:
        options: Places and values, such as `{"model.method.teacher.decay": 0.99}`.

    Raises:
        ValueError: Names the option; the nearest known name is proposed.
    """
    for option in options:
        key = option.partition(".")[0]
        if key not in TOP_LEVEL:
            raise ValueError(
                f"unknown key {key!r} in the option {option!r}.{did_you_mean(key, TOP_LEVEL)} A "
                "variable of a config file is used up when the file is read: set the places "
                "where it is used."
            )


def _check_variable(config: Config, key: str) -> None:
    if key in TOP_LEVEL or key.startswith("_"):
        return
    for known in TOP_LEVEL:
        alike = difflib.SequenceMatcher(None, key, known).ratio() >= _TOO_LIKE
        if alike or sorted(key) == sorted(known):
            raise ValueError(
                f"{_file(config)}: unknown key {key!r}.{did_you_mean(key, TOP_LEVEL)} If it is a "
                f"variable of your own, give it another name, such as '_{key}'."
            )


def _plain_dicts(config: Config) -> Iterator[str]:
    """Sentences about dicts without a type: keys that nobody reads, hooks that nobody can build."""
    for place, known in PLAIN_KEYS.items():
        node: Any = config
        for step in place.split("."):
            node = node.get(step) if isinstance(node, (Config, Mapping)) else None
        for key in node if isinstance(node, Mapping) else ():
            if key not in known:
                yield f"{place} has no key {key!r}.{nearest(key, known)}"
    hooks = config.get("default_hooks") or {}
    named = [name for name, hook in hooks.items() if isinstance(hook, Mapping) and "type" in hook]
    for name, hook in hooks.items():
        if isinstance(hook, Mapping) and "type" not in hook:
            yield (
                f"default_hooks has no hook {name!r} to change.{did_you_mean(name, named)} A "
                "further hook needs a type."
            )
    for place in ("custom_hooks", "param_scheduler"):
        for number, node in enumerate(config.get(place) or ()):
            if isinstance(node, Mapping) and "type" not in node:
                yield f"{place}[{number}] has no type."


def _check_loader(config: Config, place: str) -> None:
    for key in config.get(place) or ():
        if key not in LOADER_KEYS:
            raise ValueError(
                f"{_file(config)}: {place}: a loader has no argument {key!r}."
                f"{nearest(key, LOADER_KEYS)}"
            )


def _check_node(
    config: Config,
    path: str,
    node: Mapping[str, Any],
    registries: tuple[Registry, ...],
    builder_keys: set[str],
) -> None:
    cls = _lookup(config, path, node["type"], registries)
    known = None if cls is None else _arguments(cls)
    if known is None:
        return
    for key in node:
        if key != "type" and key not in known and key not in builder_keys:
            raise ValueError(
                f"{_file(config)}: {path}: {cls.__name__} has no argument {key!r}."
                f"{nearest(key, {*known, *builder_keys})}"
            )
    _refuse(config, wrong_values(path, cls.__name__, node))
    _refuse(config, _wrong_types(path, cls, node))


def _wrong_types(path: str, cls: Any, node: Mapping[str, Any]) -> Iterator[str]:
    annotations = annotations_of(cls)
    for key, value in node.items():
        if key in annotations and not fits(value, annotations[key]):
            yield sentence(f"{path}.{key}", value, in_words(annotations[key]))


def _refuse(config: Config, complaints: Iterator[str]) -> None:
    for complaint in complaints:
        raise ValueError(f"{_file(config)}: {complaint}")


def _lookup(config: Config, path: str, name: Any, registries: tuple[Registry, ...]) -> Any:
    """The class of a `type`; None for one of another package ("mmdet.HungarianAssigner")."""
    if callable(name):
        return name
    if not isinstance(name, str) or not name:
        told = sentence(f"{path}.type", name, "the name of a class, or a class")
        raise ValueError(f"{_file(config)}: {told}")
    if "." in name and name.partition(".")[0] not in ("mmseg", "mmengine"):
        return None
    for registry in registries:
        found = registry.get(name)
        if found is not None:
            return found
    if name in UNREGISTERED:
        return UNREGISTERED[name]
    names = {name for registry in registries for name in _names(registry)}
    raise ValueError(
        f"{_file(config)}: {path}: there is no type {name!r} here.{did_you_mean(name, names)} A "
        "class of your own has to be registered by a module that custom_imports names."
    )


def _names(registry: Registry) -> set[str]:
    own = set(registry.module_dict)
    return own if registry.parent is None else own | _names(registry.parent)


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
        closed = all(p.kind != p.VAR_KEYWORD for p in parameters)
        if closed or base.__name__ in NO_FURTHER_ARGUMENTS:
            return names
    # The last constructor found takes any keyword (RandomResize hands them to another class).
    return None if names else {}


def _typed_dicts(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "type" in node:
            yield path, node
        elsewhere = getattr(node.get("type"), "__name__", node.get("type")) in OWN_TRANSFORMS
        for key, value in node.items():
            if key in IMPLIED_TYPES and isinstance(value, Mapping):
                value = {"type": IMPLIED_TYPES[key], **value}
            if not (elsewhere and key == "transforms"):
                yield from _typed_dicts(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from _typed_dicts(value, f"{path}[{number}]")


def _file(config: Config) -> str:
    return str(config.filename or "config")
