"""`--cfg-options` of the tools, with every fault of it in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class ConfigOptions(argparse.Action):
    """Reads KEY=VALUE into a dict, values as mmengine's `DictAction` reads them.

    A value without brackets and commas keeps its spaces, which a path may have.

    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--cfg-options", nargs="+", action=ConfigOptions)
    >>> parser.parse_args(["--cfg-options", "a.b=1.5", "c=[d,2]", "load_from=my run/a.pth"])
    Namespace(cfg_options={'a.b': 1.5, 'c': ['d', 2], 'load_from': 'my run/a.pth'})
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the options to those given before."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values or ():
            key, equals, value = str(text).partition("=")
            if not equals or not all(key.split(".")):
                raise argparse.ArgumentError(
                    self, f"wanted KEY=VALUE, such as train_cfg.max_iters=100, got {text!r}"
                )
            try:
                options[key] = _value(value)
            except (AssertionError, RecursionError):
                raise argparse.ArgumentError(
                    self,
                    f"cannot read the brackets of {text!r}; write a list as 'KEY=[1,2]', lists "
                    "in a list as 'KEY=[(1,2),(3,4)]'",
                ) from None
        setattr(namespace, self.dest, options)


def _value(text: str) -> Any:
    from mmengine.config import DictAction

    plain = text.strip("'\"")
    if plain.startswith(("(", "[")) or "," in plain:
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(plain)
