"""Reading a config file, with every fault of it in one sentence."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

# How mmengine says that a config changes keys of a dict which is none in the base.
_NO_DICT = re.compile(
    r"(\w+)=.* in child config cannot inherit from base because .* of type <class '(\w+)'> in",
    re.DOTALL,
)
_LONGEST = 120  # characters of what mmengine says, which may hold half a config


def read_config(path: str | Path) -> Config:
    """The config of a file, as mmengine reads it.

    Args:
        path: A Python, YAML or JSON file. Python is executed, so anything may go wrong in it.

    Raises:
        FileNotFoundError: The file, or one that its `_base_` names, is not there.
        ValueError: It cannot be read; the message names file, line and reason.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise FileNotFoundError(f"There is no config {file}.")
    try:
        return Config.fromfile(str(file))
    except FileNotFoundError as error:
        if not error.filename:
            raise ValueError(_unreadable(file, error)) from error
        missing = Path(error.filename).absolute()
        raise FileNotFoundError(
            f"config {file} asks for {missing}, which is not there; mend its `_base_`"
        ) from error
    except Exception as error:  # the config's own code
        raise ValueError(_unreadable(file, error)) from error


def merge_options(config: Config, options: Mapping[str, Any]) -> None:
    """Change a config by options such as `{"model.method.teacher.decay": 0.99}`.

    Raises:
        ValueError: An option does not fit what is there.
    """
    for option, value in options.items():
        try:
            config.merge_from_dict({option: value})
        except Exception as error:  # mmengine raises several kinds
            told = str(error.args[0] if error.args else error).splitlines()[0]
            told = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
            raise ValueError(
                f"{config.filename}: the option {option}={value!r} does not fit there: {told}"
            ) from error


def _unreadable(file: Path, error: Exception) -> str:
    cause = error.__cause__ or error
    told = (str(cause).splitlines() or [""])[0].partition(" (<unknown>")[0].strip()
    place, line = _place(file, error)
    where = f"config {place}" + (f", line {line}" if line else "")
    no_dict = _NO_DICT.match(str(cause))
    if no_dict:
        key, kind = no_dict.groups()
        was = "None" if kind == "NoneType" else f"no dict but of type {kind}"
        return (
            f"{where} gives {key} as a dict, which in its base is {was}, so that there is nothing "
            f"to change: write {key}=dict(_delete_=True, ...) to put it in place of that."
        )
    return f"{where} cannot be read: {type(cause).__name__}: {told}"


def _place(file: Path, error: Exception) -> tuple[Path, int | None]:
    """File and line of the fault; the file is that of a base where the fault lies there."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # mmengine reads a config and its bases by one function, and names no file in its errors.
    readers = [f for f in frames if f.f_code.co_name == "_file2dict" and "filename" in f.f_locals]
    place = Path(readers[-1].f_locals["filename"]) if readers else file
    if isinstance(error, SyntaxError):
        return place, error.lineno
    summaries = traceback.extract_tb(error.__traceback__)
    lines = [summary.lineno for summary in summaries if summary.filename == str(place)]
    return place, lines[-1] if lines else None
