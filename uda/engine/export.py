"""A trained network as an ONNX file or a graph of torch.export, compared with itself before it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from uda.engine.export_network import MULTIPLE, SMALLEST, ExportNetwork
from uda.engine.segmentor_stream import SegmentorForward
from uda.files import write_atomically

Format = Literal["onnx", "torch"]
Dynamic = Literal["none", "batch", "size"]
FORMATS: tuple[Format, ...] = ("onnx", "torch")
DYNAMIC: tuple[Dynamic, ...] = ("none", "batch", "size")
OPSET = 20
METADATA_FILE = "metadata.json"
"""What a file of torch.export calls its metadata, among its `extra_files`."""
_SMALLEST_OPSET = 18  # what torch's exporter writes without converting
_LARGEST_ONNX = 2**31 - 1  # bytes of one protobuf message
# Two different sizes near the asked one, so that a graph with a size in it cannot pass.
_OTHER_SIZES = ((MULTIPLE, 0), (0, 2 * MULTIPLE))

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What kind of file is written.

    Attributes:
        format: "onnx", or "torch" for torch.export (`.pt2`).
        size: (H, W) in pixels of images as the network sees them, after the config's resizing.
        batch: Images in a call.
        dynamic: What may differ from call to call: "none"; "batch": the number of images; "size":
            that and height and width, in multiples of 32 from 64 on.
        raw_input: Take RGB in 0..255 and normalise inside; else images come normalised.
        opset: Of ONNX.
        tolerance: Largest absolute difference of logits from the PyTorch model.

    Raises:
        ValueError: A value that cannot be; says which.
    """

    size: tuple[int, int]
    format: Format = "onnx"
    batch: int = 1
    dynamic: Dynamic = "batch"
    raw_input: bool = False
    opset: int = OPSET
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what cannot be exported."""
        if self.format not in FORMATS:
            raise ValueError(f"format has to be one of {', '.join(FORMATS)}, not {self.format!r}.")
        if self.dynamic not in DYNAMIC:
            raise ValueError(
                f"dynamic has to be one of {', '.join(DYNAMIC)}, not {self.dynamic!r}."
            )
        if min(self.size) < 1 or self.batch < 1:
            raise ValueError(
                f"size and batch have to be at least 1, got {self.size[0]}x{self.size[1]} (height "
                f"x width) and {self.batch}."
            )
        if self.dynamic == "size" and any(s % MULTIPLE or s < SMALLEST for s in self.size):
            raise ValueError(
                f"A graph of any size takes heights and widths that are multiples of {MULTIPLE}, "
                f"from {SMALLEST} on; {self.size[0]}x{self.size[1]} is none, give such a size as "
                "the example."
            )
        if self.opset < _SMALLEST_OPSET:
            raise ValueError(
                f"opset has to be at least {_SMALLEST_OPSET}, which torch's exporter writes, not "
                f"{self.opset}."
            )


class Exported(NamedTuple):
    """What came of an export.

    Attributes:
        file: The file.
        difference: Largest absolute difference of logits from the PyTorch model.
        changed: Share of pixels whose class differs, in [0, 1].
        shapes: Shapes (N, 3, H, W) of the images it was compared on.
        size: Bytes of the file.
    """

    file: Path
    difference: float
    changed: float
    shapes: tuple[tuple[int, ...], ...]
    size: int


def export_network(
    segmentor: nn.Module,
    out: str | Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    settings: ExportSettings,
    metadata: Mapping[str, Any],
) -> Exported:
    """Write a network as a file that needs nothing of this project, once it gives the same logits.

    The graph is run by onnxruntime, or read back by torch.export, on random images of each kind of
    shape it takes, and compared with mmseg's own inference. Only then the file is written.

    Args:
        segmentor: mmseg's, in evaluation mode.
        out: The file.
        mean: Of RGB in 0..255, which the network's images are normalised with.
        std: As `mean`.
        settings: See there.
        metadata: Written into the file by name; values that are no strings as JSON.

    Raises:
        ValueError: The network cannot be exported so, or its logits differ by more than
            `settings.tolerance`; nothing is written.
        ModuleNotFoundError: A package that the format needs is not installed.
    """
    norm = {"mean": torch.tensor(mean).float(), "std": torch.tensor(std).float()}
    network = ExportNetwork(
        segmentor,
        **(norm if settings.raw_input else {}),
        any_size=settings.dynamic == "size",
        any_number=settings.dynamic != "none",
    )
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    images = example_images(settings)
    content, run = (_onnx if settings.format == "onnx" else _torch)(
        network, images[0], settings, texts
    )
    reference = SegmentorForward(segmentor.cpu().eval())
    difference, changed = _difference(reference, run, images, norm, settings)
    if not difference <= settings.tolerance:
        raise ValueError(
            f"The exported graph differs from the PyTorch model by {difference:.2e} (largest "
            f"absolute difference of logits; the class of {changed:.2%} of the pixels), more than "
            f"the tolerance of {settings.tolerance:.0e}: nothing is written to {out}. Logits of "
            "large size may need a larger --tolerance; look at the share of pixels."
        )
    file = Path(out)
    write_atomically(file, content)
    shapes = tuple(tuple(image.shape) for image in images)
    return Exported(file, difference, changed, shapes, len(content))


def example_images(settings: ExportSettings) -> list[Tensor]:
    """Random images of each kind of shape that the graph takes, the example's shape first."""
    height, width = settings.size
    shapes = [(settings.batch, height, width)]
    if settings.dynamic != "none":
        shapes.append((settings.batch + 1, height, width))
    if settings.dynamic == "size":
        shapes += [(1, height + rows, width + columns) for rows, columns in _OTHER_SIZES]
    generator = torch.Generator().manual_seed(0)
    draw = [torch.rand(n, 3, h, w, generator=generator) for n, h, w in shapes]
    return [255 * image if settings.raw_input else 4 * image - 2 for image in draw]


@torch.no_grad()
def _difference(
    reference: nn.Module,
    run: Run,
    images: Sequence[Tensor],
    norm: Mapping[str, Tensor],
    settings: ExportSettings,
) -> tuple[float, float]:
    """Largest absolute difference of logits, and the share of pixels whose class differs."""
    largest, changed, pixels = 0.0, 0, 0
    for image in images:
        seen = image
        if settings.raw_input:
            mean, std = (norm[name].view(1, 3, 1, 1) for name in ("mean", "std"))
            seen = (image - mean) / std
        wanted, found = reference(seen), run(image)
        difference = float((wanted - found).abs().max())
        largest = max(largest, difference) if difference == difference else float("nan")
        if largest != largest:
            return largest, 1.0
        differing = wanted.argmax(1) != found.argmax(1)
        changed, pixels = changed + int(differing.sum()), pixels + differing.numel()
    return largest, changed / pixels


def _dynamic_shapes(settings: ExportSettings) -> dict[str, Any] | None:
    if settings.dynamic == "none":
        return None
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if settings.dynamic == "size":
        sides = ("height", "width")
        least = SMALLEST // MULTIPLE
        free |= {
            2 + i: MULTIPLE * torch.export.Dim(name, min=least) for i, name in enumerate(sides)
        }
    return {"image": free}


def _program(network: nn.Module, image: Tensor, settings: ExportSettings) -> Any:
    """The graph of torch.export; a batch of one would be taken for a constant, so it has two."""
    if settings.dynamic != "none" and len(image) == 1:
        image = torch.cat([image, image])
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(network, (image,), dynamic_shapes=_dynamic_shapes(settings))
    except Exception as error:  # exporters fail in many ways
        kind = type(error).__name__
        raise ValueError(
            f"torch.export cannot follow this network with dynamic={settings.dynamic!r} ({kind}: "
            f'{(str(error).splitlines() or [""])[0]}). Try dynamic="none", which asks least.'
        ) from error


def _torch(
    network: nn.Module, image: Tensor, settings: ExportSettings, metadata: Mapping[str, str]
) -> tuple[bytes, Run]:
    content = io.BytesIO()
    program = _program(network, image, settings)
    torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(dict(metadata))})
    content.seek(0)
    return content.getvalue(), torch.export.load(content).module()


def _onnx(
    network: nn.Module, image: Tensor, settings: ExportSettings, metadata: Mapping[str, str]
) -> tuple[bytes, Run]:
    onnx, runtime = _packages("onnx", "onnxruntime", "onnxscript")[:2]
    program = _program(network, image, settings)
    with _quiet():
        made: Any = torch.onnx.export(
            program, dynamo=True, verbose=False, opset_version=settings.opset,
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip
    model = made.model_proto
    written = next(entry.version for entry in model.opset_import if entry.domain == "")
    if written != settings.opset:
        raise ValueError(
            f"torch {torch.__version__} wrote opset {written}, not {settings.opset}; ask for "
            f"opset={written}."
        )
    onnx.helper.set_model_props(model, dict(metadata))
    if model.ByteSize() > _LARGEST_ONNX:
        raise ValueError(
            f"The network needs {model.ByteSize():,} bytes, more than the {_LARGEST_ONNX:,} that "
            'fit in one ONNX file; use format="torch".'
        )
    content: bytes = model.SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    return content, run


def _packages(*names: str) -> list[Any]:
    import importlib

    try:
        return [importlib.import_module(name) for name in names]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"ONNX files need the package {error.name}, which is not installed: `pip install -e "
            '".[export]"`, or use format="torch".'
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of what is meant, and log each of their steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
