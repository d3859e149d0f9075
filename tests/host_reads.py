"""Counts what a training step reads from the device, on a machine that has none.

On a GPU the host waits whenever it reads a tensor's value, or a shape that depends on values. On a
CPU such reads cost nothing and are not seen. `HostReads` follows what is computed from the tensors
it is given, which stand for those of the device, and notes each such read. Tensors that the host
draws for itself may be read: they never leave it.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from uda.structures import Batch

# Operations whose result, or its shape, the host has to know before it goes on.
_OPERATIONS = (
    "_local_scalar_dense",  # item, bool, int, float, index
    "nonzero",
    "masked_select",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
    "bincount",
)
# Reads that are no operations.
_METHODS = ("tolist", "numpy", "cpu", "__array__")


class HostReads(TorchDispatchMode):
    """Notes what the host reads of device tensors while the context is open.

    Args:
        tensors: What stands on the device: weights, buffers, images, labels.

    Attributes:
        found: For each read the operation and the line of the project that asked for it.

    >>> device, host = torch.ones(2), torch.ones(2)
    >>> with HostReads([device]) as reads:
    ...     _ = (device * 2).sum().item(), host.sum().item()
    >>> len(reads.found)
    1
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.found: list[str] = []
        self._known: dict[int, weakref.ref[Any]] = {}
        self._originals: dict[str, Callable[..., Any]] = {}
        for tensor in tensors:
            self.follow(tensor)

    def follow(self, tensor: Tensor) -> None:
        """Take a tensor, and whatever shares its memory, for one of the device."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._known.pop(key, None))

    def follows(self, value: Any) -> bool:
        """Whether a value is a tensor that is taken for one of the device."""
        return isinstance(value, Tensor) and id(value.untyped_storage()) in self._known

    def __enter__(self) -> HostReads:
        for name in _METHODS:
            self._originals[name] = getattr(Tensor, name)
            setattr(Tensor, name, self._noting(name))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for name, original in self._originals.items():
            setattr(Tensor, name, original)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note reads; what is computed from followed tensors is followed too."""
        followed = any(self.follows(one) for one in tree_leaves((args, kwargs)))
        name = func.overloadpacket.__name__
        if followed and (name in _OPERATIONS or _indexes_by_mask(name, args)):
            self._note(name)
        result = func(*args, **(kwargs or {}))
        if name.startswith("_foreach"):
            self._follow_rows(args, result)
        elif followed:
            written = _written(func, args, kwargs or {})
            for one in (*tree_leaves(result), *written):
                if isinstance(one, Tensor):
                    self.follow(one)
        return result

    def _follow_rows(self, args: Any, result: Any) -> None:
        """An operation on lists does something of its own with each entry."""
        lists = [one for one in args if isinstance(one, list | tuple)]
        lists += [] if result is None else [result]
        for row in zip(*lists, strict=False):
            if any(self.follows(one) for one in row):
                for one in row:
                    if isinstance(one, Tensor):
                        self.follow(one)

    def _noting(self, name: str) -> Callable[..., Any]:
        original = self._originals[name]

        def noting(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.follows(tensor):
                self._note(name)
            return original(tensor, *args, **kwargs)

        return noting

    def _note(self, name: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if "/uda/" in frame.filename]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "outside of uda"
        self.found.append(f"{name} at {place}")


def device_tensors(module: nn.Module, batches: Iterable[Batch]) -> list[Tensor]:
    """All tensors of a method and of its batches: what stands on the device while it trains."""
    found = [*module.parameters(), *module.buffers()]
    for batch in batches:
        for images in (batch.source, batch.target, batch.second_target):
            held = vars(images).values() if images is not None else ()
            found += [one for one in held if isinstance(one, Tensor)]
    return found


def _indexes_by_mask(name: str, args: Any) -> bool:
    """Whether an operation has to count the True entries of a mask."""
    if name not in ("index", "index_put", "index_put_") or not _has_mask(args[1]):
        return False
    # One value for all places needs no count.
    return name == "index" or args[2].numel() > 1


def _has_mask(indices: Any) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _written(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The arguments that an operation changes."""
    places = enumerate(func._schema.arguments)
    changed = [
        kwargs.get(argument.name, args[place] if place < len(args) else None)
        for place, argument in places
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [one for one in tree_leaves(changed) if isinstance(one, Tensor)]
