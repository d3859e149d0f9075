"""Values of a config against the annotations of the constructors that get them."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}


def annotations_of(cls: Any) -> dict[str, Any]:
    """Annotations of a constructor of this project by argument; empty for those of others.

    Only ours are kept to: annotations of other libraries are often narrower than what they take.

    Args:
        cls: A class.
    """
    if not str(getattr(cls, "__module__", "")).startswith("uda."):
        return {}
    try:
        return get_type_hints(cls.__init__)
    except (AttributeError, NameError, TypeError):
        return {}


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a config is of the annotated type.

    Lists and tuples are one, as configs write either; a whole number is a number, True is none.
    Classes, and dicts with a `type`, are built later and fit whatever is not plain.

    Args:
        value: From a config.
        annotation: A type.

    Example:
        >>> fits([1, 2], tuple[int, int]), fits("3", int), fits(None, int | None), fits(True, float)
        (True, False, True, False)
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is bool or annotation is str:
        return isinstance(value, annotation)
    if annotation in (int, float):
        wanted = int if annotation is int else (int, float)
        return isinstance(value, wanted) and not isinstance(value, bool)
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return _fits_sequence(value, origin, arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    return True


def _fits_sequence(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    if origin is not tuple:
        return all(fits(item, arguments[0]) for item in value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return all(fits(item, arguments[0]) for item in value)
    return len(value) == len(arguments) and all(map(fits, value, arguments))


def in_words(annotation: Any) -> str:
    """A type as people say it.

    >>> in_words(tuple[int, int] | None), in_words(Literal["batch", "image"])
    ('two whole numbers, or None', "'batch' or 'image'")
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return ", or ".join(in_words(one) for one in arguments)
    if origin is Literal:
        return " or ".join(repr(one) for one in arguments)
    if annotation is None or annotation is type(None):
        return "None"
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is tuple and Ellipsis not in arguments and len(set(arguments)) == 1:
        count = {2: "two", 3: "three"}.get(len(arguments), str(len(arguments)))
        return f"{count} {_several(arguments[0])}"
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return f"a list of {_several(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dict"
    return getattr(annotation, "__name__", str(annotation)).removeprefix("typing.")


def _several(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_several(one) for one in typing.get_args(annotation))
    plain = {int: "whole numbers", float: "numbers", str: "texts", Any: "values"}
    return plain.get(annotation) or f"({in_words(annotation)})"
