"""Reading weight files of any origin, with tensors only and with errors that help.

Files from elsewhere are never unpickled freely: `torch.load(weights_only=True)` refuses code.
Training checkpoints of mmengine carry log histories beside the tensors; those few harmless
classes are allowed by name.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_CONTAINERS = ("state_dict", "model", "state_dict_ema")
_STATISTICS = ("min", "max", "current", "mean")
_SHOWN = 5


def _harmless_globals() -> list[Any]:
    """Classes in mmengine's training checkpoints that cannot run code when they are loaded."""
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    scalars = ("float64", "float32", "int64", "int32", "bool")
    dtypes = [type(np.dtype(name)) for name in scalars]
    # The pair is (object, name in the file): NumPy moved the module, files hold either name.
    rebuild = np.empty(0).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    renamed = [
        (function, f"{module}.{name}")
        for function, name in ((rebuild, "_reconstruct"), (rebuild_scalar, "scalar"))
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    ]
    getter = (_history_method, "builtins.getattr")
    return [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *renamed, getter]


def _history_method(owner: Any, name: str) -> Any:
    """Stand-in for `getattr`, which log histories are stored with: their statistics, no more.

    The real `getattr` would open every attribute of every allowed class to the file.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"attribute {name!r} of {owner!r} is not a log statistic")
    return getattr(owner, name)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name, on the CPU.

    Accepts a plain state dict, or a checkpoint that holds one under `state_dict`, `model` or
    `state_dict_ema` (mmengine, mmseg, timm), or a `.safetensors` file.

    Args:
        path: The file.

    Returns:
        Names and tensors; a leading `module.` (left by data-parallel wrappers) is removed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds more than tensors, or no tensors at all.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise FileNotFoundError(
            f"Weights not found: {file}. Put the file there, give another path in `weights`, "
            "or set `weights=None` to start from random values."
        )
    found = read_file(file)
    for key in _CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    tensors = (
        {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        if isinstance(found, Mapping)
        else {}
    )
    if not tensors:
        raise ValueError(
            f"Wanted a state dict (names and tensors) in {file}, found {type(found).__name__} "
            "without tensors. Save `network.state_dict()` with `torch.save`."
        )
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def read_entry(path: str | Path, key: str) -> dict[str, Any]:
    """What a checkpoint holds beside its weights under `key`; empty if it has no such entry.

    Args:
        path: A file that `read_state_dict` accepts.
        key: Such as "meta", what the checkpoint says about itself.

    Raises:
        ValueError: The file holds more than tensors and plain values.
    """
    found = read_file(path)
    entry = found.get(key) if isinstance(found, Mapping) else None
    return dict(entry) if isinstance(entry, Mapping) else {}


def read_file(path: str | Path, *, map_location: Any = "cpu") -> Any:
    """What a file of tensors and plain values holds; code in it is not executed.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote.
        map_location: Where tensors go, as in `torch.load`.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: The file is damaged or holds more than tensors and plain values.
    """
    file = Path(path).expanduser().resolve()
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(file))
        with torch.serialization.safe_globals(_harmless_globals()):
            return torch.load(file, map_location=map_location, weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError, ImportError):
        raise
    except Exception as error:  # damaged bytes lead torch's reader into errors of many kinds
        raise ValueError(
            f"Wanted a file of tensors, but {file} cannot be read as one "
            f"({_reason(error)}). If you trust its origin, load it yourself and save "
            "its state dict alone with `torch.save`; if it is cut off, fetch it again."
        ) from error


def _reason(error: Exception) -> str:
    """What torch says is wrong, without its advice to switch the protection off."""
    told = str(error)
    reason = told.partition("WeightsUnpickler error:")[2] or told or type(error).__name__
    return reason.strip().partition("\n")[0].partition("Please use")[0].strip().rstrip(".")


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Load a state dict whose names and shapes must all agree with the module's.

    One name may be missing: `num_batches_tracked` of batch normalisation, which files from before
    PyTorch 0.4.1 (torchvision's older ones) do not hold and no forward pass needs; it stays 0.

    Args:
        module: Receives the tensors.
        state: Names and tensors.
        origin: Where they come from, for the error message (usually the file's path).

    Raises:
        ValueError: Names or shapes differ; the first differing ones are listed.
    """
    own = module.state_dict()
    counters = {name: own[name] for name in own if name.endswith("num_batches_tracked")}
    state = {**counters, **state}
    differences = first_differences(own, state)
    if differences:
        shown = "; ".join(differences[:_SHOWN])
        more = len(differences) - _SHOWN
        raise ValueError(
            f"The weights of {origin} do not fit {type(module).__name__}: {shown}"
            + (f"; and {more} more" if more > 0 else "")
            + class_counts(own, state)
            + ". Choose the variant (or the settings) the file was made with, or another file."
        )
    module.load_state_dict(state)


def class_counts(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Part of a sentence about heads with another number of classes; empty where they agree.

    >>> own, other = ({"head.conv_seg.bias": torch.zeros(n)} for n in (3, 19))
    >>> class_counts(own, other)
    ' (a network of 19 classes in the file, of 3 here)'
    """
    for name, tensor in own.items():
        # What every head of mmseg calls its last layer.
        if name.endswith("conv_seg.bias") and name in other and len(other[name]) != len(tensor):
            return f" (a network of {len(other[name])} classes in the file, of {len(tensor)} here)"
    return ""


def first_differences(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Sentences about each name or shape in which two state dicts differ, wrong shapes first.

    >>> first_differences({"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)})
    ['a is (2,) here and (3,) in the file', 'b is only in the file']
    """
    shapes = [
        f"{name} is {tuple(own[name].shape)} here and {tuple(other[name].shape)} in the file"
        for name in own
        if name in other and own[name].shape != other[name].shape
    ]
    missing = [f"{name} is not in the file" for name in own if name not in other]
    unknown = [f"{name} is only in the file" for name in other if name not in own]
    return shapes + missing + unknown
