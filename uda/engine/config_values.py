"""Ranges of the numbers in a config that reach other libraries, which would fail late or oddly.

Our own parts check ranges in their constructors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_WORKERS = 256
HIGHEST_SEED = 2**32 - 1
# No optimiser here learns with more; it is a forgotten "e-5" rather than meant.
HIGHEST_LR = 10.0


@dataclass(frozen=True)
class Rule:
    """What a value has to be.

    Attributes:
        wanted: In words.
        holds: Whether a value is that.
    """

    wanted: str
    holds: Callable[[Any], bool]


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number of at least `low`, and at most `high` if that is given."""
    wanted = (
        f"a whole number of at least {low}"
        if high is None
        else (f"a whole number from {low} to {high}")
    )
    return Rule(wanted, lambda v: _is_whole(v) and v >= low and (high is None or v <= high))


def number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    """A finite number of at least `low` (with `above`: more than that) and at most `high`."""
    wanted = f"a number {'above' if above else 'of at least'} {low:g}"
    if low == -math.inf:
        wanted = "a number"
    if high < math.inf:
        wanted += f" and at most {high:g}"

    def holds(value: Any) -> bool:
        if not _is_number(value) or not math.isfinite(value):
            return False
        return (value > low if above else value >= low) and value <= high

    return Rule(wanted, holds)


def several(rule: Rule, count: int, meaning: str, *, kinds: Any = (list, tuple)) -> Rule:
    """`count` values in a list or tuple (or what `kinds` says), each as `rule` says."""
    return Rule(
        f"{meaning}, each {rule.wanted}",
        lambda v: isinstance(v, kinds) and len(v) == count and all(map(rule.holds, v)),
    )


def either(*rules: Rule) -> Rule:
    """A value as any of the rules says."""
    return Rule(
        ", or ".join(rule.wanted for rule in rules), lambda v: any(r.holds(v) for r in rules)
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_NONE = Rule("None", lambda v: v is None)
_TRUTH = Rule("True or False", lambda v: isinstance(v, bool))
_TEXT = Rule("a text", lambda v: isinstance(v, str) and v != "")
_EVERY = either(whole(1), Rule("-1 for never", lambda v: v == -1))
_BOX = several(whole(1), 2, "(height, width) in pixels")
# mmcv and mmseg tell tuples from lists.
_TUPLE = several(whole(1), 2, "a tuple (height, width) in pixels", kinds=tuple)
_SCALE = several(whole(1), 2, "a tuple (width, height) in pixels", kinds=tuple)
_COLOUR = several(number(-math.inf), 3, "three values, one a channel")
_DICT = Rule("a dict", lambda v: isinstance(v, Mapping))
_DICTS = Rule(
    "a list of dicts",
    lambda v: isinstance(v, (list, tuple)) and all(isinstance(i, Mapping) for i in v),
)

# What stands at the top of a config; checked before anything looks inside.
STRUCTURE: dict[str, Rule] = {
    "model": _DICT,
    "train_dataloader": either(_DICT, _NONE),
    "val_dataloader": either(_DICT, _NONE),
    "test_dataloader": either(_DICT, _NONE),
    "optim_wrapper": either(_DICT, _NONE),
    "param_scheduler": either(_DICTS, _DICT, _NONE),
    "train_cfg": either(_DICT, _NONE),
    "val_cfg": either(_DICT, _NONE),
    "test_cfg": either(_DICT, _NONE),
    "default_hooks": either(_DICT, _NONE),
    "custom_hooks": either(_DICTS, _NONE),
    "evaluation_sets": either(_DICT, _NONE),
    "stream": either(_DICT, _NONE),
    "randomness": _DICT,
    "default_scope": _TEXT,
    "load_from": either(_TEXT, _NONE),
}
# By place; below these, what holds for the loader of training holds for the others as well.
_LOADER: dict[str, Rule] = {
    "batch_size": whole(1),
    "num_workers": whole(0, MOST_WORKERS),
    "persistent_workers": _TRUTH,
    "pin_memory": _TRUTH,
    "dataset": _DICT,
}
AT_PLACE: dict[str, Rule] = {
    **{
        f"{loader}.{key}": rule
        for loader in ("train_dataloader", "val_dataloader", "test_dataloader")
        for key, rule in _LOADER.items()
    },
    "train_dataloader.dataset.source": either(_DICT, _DICTS),
    "train_dataloader.dataset.target": either(_DICT, _DICTS, _NONE),
    "train_cfg.max_iters": whole(1),
    "train_cfg.val_interval": whole(1),
    "train_cfg.val_begin": whole(0),
    "stream.rounds": whole(1),
    "stream.domains": _DICTS,
    "optim_wrapper.optimizer": _DICT,
    "optim_wrapper.optimizer.lr": number(0, HIGHEST_LR, above=True),
    "optim_wrapper.optimizer.weight_decay": number(0),
    "optim_wrapper.optimizer.momentum": number(0),
    "optim_wrapper.optimizer.betas": several(number(0, 1), 2, "two shares"),
    "optim_wrapper.clip_grad": either(_DICT, _NONE),
    "optim_wrapper.clip_grad.max_norm": number(0, above=True),
    "randomness.seed": either(whole(0, HIGHEST_SEED), _NONE),
    "default_hooks.logger.interval": whole(1),
    "default_hooks.checkpoint.interval": _EVERY,
    "default_hooks.checkpoint.max_keep_ckpts": _EVERY,
    "model.network": _DICT,
    "model.network.backbone": either(_DICT, _NONE),
    "model.network.decode_head": either(_DICT, _DICTS),
    "model.network.auxiliary_head": either(_DICT, _DICTS, _NONE),
    "model.method": _DICT,
    "model.data_preprocessor": _DICT,
    "model.data_preprocessor.mean": _COLOUR,
    "model.data_preprocessor.std": several(number(0, above=True), 3, "three values, one a channel"),
    "model.data_preprocessor.size": either(_BOX, _NONE),
    "model.data_preprocessor.size_divisor": either(whole(1), _NONE),
}
# By type and key, wherever the type stands.
OF_TYPE: dict[tuple[str, str], Rule] = {
    ("RandomCrop", "crop_size"): either(_TUPLE, whole(1)),
    ("RandomCrop", "cat_max_ratio"): number(0, 1, above=True),
    ("RandomFlip", "prob"): either(
        number(0, 1), Rule("a list of them", lambda v: isinstance(v, (list, tuple))), _NONE
    ),
    ("Resize", "scale"): either(_SCALE, whole(1), _NONE),
    ("RandomResize", "scale"): either(_SCALE, several(_SCALE, 2, "two of them")),
    ("RandomResize", "ratio_range"): either(
        several(number(0, above=True), 2, "(lowest, highest) factor"), _NONE
    ),
    ("WarmUpPolyLR", "warmup"): whole(0),
    ("WarmUpPolyLR", "power"): number(0),
    ("WarmUpPolyLR", "warmup_ratio"): number(0, 1),
    ("CosineLR", "floor"): number(0),
    ("CosineLR", "period"): either(whole(1), _NONE),
    ("WarmUpDecayLR", "warmup"): whole(0),
    ("WarmUpDecayLR", "start"): number(0, 1),
    ("WarmUpDecayLR", "final"): number(0, 1),
    ("PictureLog", "interval"): whole(1),
    ("PictureLog", "images"): whole(1),
    ("PictureLog", "width"): whole(16),
    ("LiveView", "interval"): either(whole(1), _NONE),
    ("LiveView", "stride"): whole(1),
}


def wrong_structure(config: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about top-level values that are not what is read there."""
    for key, rule in STRUCTURE.items():
        if key in config and not rule.holds(config[key]):
            yield sentence(key, config[key], rule.wanted)


def wrong_places(config: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about values at known places that are of the wrong type or out of range."""
    for place, rule in AT_PLACE.items():
        first, *keys = place.split(".")
        node: Any = config.get(first, _ABSENT)
        for key in keys:
            node = node.get(key, _ABSENT) if isinstance(node, Mapping) else _ABSENT
        if node is not _ABSENT and not rule.holds(node):
            yield sentence(place, node, rule.wanted)


def wrong_values(path: str, name: str, node: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about the arguments of one typed dict.

    Args:
        path: Where it stands.
        name: Its type.
        node: The dict.
    """
    for key, value in node.items():
        rule = OF_TYPE.get((name, key))
        if rule is not None and not rule.holds(value):
            yield sentence(f"{path}.{key}", value, rule.wanted)


def sentence(place: str, value: Any, wanted: str) -> str:
    """What is wrong at a place, in words."""
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{place}={shown}: wanted {wanted}."


_ABSENT = object()
