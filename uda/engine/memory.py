"""What a training step of a config holds in memory, counted on tensors without storage."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import uda.engine  # noqa: F401 - registers everything
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms import Term
from uda.structures import NetworkOutput

MIB = 2**20
# Numbers an optimiser keeps of each weight.
_MOMENTS = {"Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "SGD": 1, "RMSprop": 1, "Adagrad": 1}


@dataclass(frozen=True)
class MemoryCount:
    """Memory of a training step in MiB, as computed from the sizes of all tensors.

    Attributes:
        weights: Of all networks, frozen ones included, with their buffers.
        gradients: Of what is trained.
        optimiser: The optimiser's moments.
        activations: Held for the backward pass at the end of a forward pass of the student.
        student: Most that a forward and backward pass of the student holds at once.
        teacher: Most that the teacher's forward pass holds at once; 0 without a teacher.
        total: Weights, gradients, moments, and the larger of the two passes. Libraries'
            work space, the allocator's gaps and the device's own context come on top.
    """

    weights: float
    gradients: float
    optimiser: float
    activations: float
    student: float
    teacher: float
    total: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations inside the context make and still hold.

    Attributes:
        now: Bytes held at the moment.
        peak: The most there were at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and note storages that were not there before."""
        before = tree_leaves((args, kwargs))
        inputs = {id(one.untyped_storage()) for one in before if isinstance(one, Tensor)}
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor):
                self._note(one, inputs)
        return result

    def _note(self, tensor: Tensor, inputs: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known or key in inputs:
            return
        size = storage.nbytes()

        def gone(_: Any) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def count_memory(
    config: Config,
    *,
    batch_size: int | None = None,
    crop: tuple[int, int] | None = None,
    bfloat16: bool = False,
) -> MemoryCount:
    """Count what a training step holds, on any machine, in seconds: no number is computed.

    Each pass of a method runs its forward and its backward before the next one
    (`backward="each"`), so the largest pass counts once; a supervised pass with pixel weights is
    taken for it. Operations are those of torch's CPU kernels in 32 bits, of which attention keeps
    what fused kernels on CUDA do.

    Args:
        config: From `load_config`.
        batch_size: Images of each domain; None takes the config's.
        crop: Height and width in pixels; None takes the size of the config's preprocessor.
        bfloat16: Count with mixed precision.

    Raises:
        ValueError: The method adds up its passes before the backward pass.
    """
    count = batch_size or config.train_dataloader.batch_size
    size = crop or tuple(config.model.data_preprocessor["size"])
    with torch.device("meta"):
        model: Any = MODELS.build(dict(config.model))
        for module in model.modules():
            if isinstance(module, Term):  # keeps a copy of the encoder
                module.bind(model.method.student)
    mode = FakeTensorMode()
    with mode:
        _without_storage(model)
        model.train()
    method = model.method
    _check_backward(method)
    fixed = _fixed(model, config)
    # A box is drawn here, outside of the mode, which has no values to draw from.
    student = _prepared(method.student, size)
    teacher = next((one for one in model.modules() if isinstance(one, EMATeacher)), None)

    def autocast() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)

    with mode:
        image = torch.empty(count, 3, *size)
        label = torch.empty(count, *size, dtype=torch.int64)
        weight = torch.empty(count, *size)
        held, peak = _student(method, student, (image, label, weight), autocast)
        with LiveBytes() as live, torch.no_grad(), autocast():
            if teacher is not None:
                teacher.predict(image)
    return MemoryCount(
        **{name: value / MIB for name, value in fixed.items()},
        activations=held / MIB,
        student=peak / MIB,
        teacher=live.peak / MIB,
        total=(sum(fixed.values()) + max(peak, live.peak)) / MIB,
    )


def _without_storage(model: nn.Module) -> None:
    """Put tensors of the mode that is on in place of all weights and buffers, shared ones once."""
    made: dict[int, Tensor] = {}

    def replaced(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            is_weight = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
        return made[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            held.update({name: replaced(value) for name, value in held.items()})  # type: ignore[misc]


def _student(
    method: Any,
    student: Callable[[Tensor], NetworkOutput],
    data: tuple[Tensor, Tensor, Tensor],
    autocast: Callable[[], Any],
) -> tuple[int, int]:
    """Bytes held before the backward pass, and the most in either pass."""
    for parameter in method.trained().parameters():  # as after the first pass of an iteration
        parameter.grad = torch.empty_like(parameter)
    with LiveBytes() as live:
        with autocast():
            losses = method.supervised(student(data[0]), *data[1:])
        loss = torch.stack(list(losses.values())).sum()
        del losses
        held = live.now
        loss.backward()
    return held, live.peak


def _fixed(model: nn.Module, config: Config) -> dict[str, int]:
    """Bytes that are there in every moment of the training."""
    method: Any = model
    trained = [p for p in method.method.trained().parameters() if p.requires_grad]
    optimiser = (config.get("optim_wrapper") or {}).get("optimizer") or {}
    moments = _MOMENTS.get(str(optimiser.get("type")), 2)
    if optimiser.get("type") == "SGD" and not optimiser.get("momentum"):
        moments = 0
    gradients = _bytes(trained)
    return {
        "weights": _bytes([*model.parameters(), *model.buffers()]),
        "gradients": gradients,
        "optimiser": moments * gradients,
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _prepared(student: Any, size: tuple[int, ...]) -> Callable[[Tensor], NetworkOutput]:
    prepare = getattr(student, "prepared", None)
    found: Callable[[Tensor], NetworkOutput] = student if prepare is None else prepare(size)
    return found


def _check_backward(method: Any) -> None:
    if method.backward != "each":
        raise ValueError(
            f"Memory is counted for backward='each', where one pass is held at a time; the method "
            f"has backward={method.backward!r}, which holds all of them. Count it with "
            "--cfg-options model.method.backward=each and multiply the activations by the passes."
        )
