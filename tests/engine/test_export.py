"""Exported networks: the logits of PyTorch in onnxruntime and torch.export, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from timm.layers import Conv2dSame
from torch import Tensor, nn

from tests.engine.scoring import Checkpoints, write_checkpoints
from tests.engine.tiny_run import CLASSES, PALETTE
from uda.commands.export import main, run
from uda.engine import export as module
from uda.engine.evaluate import load_network
from uda.engine.export import ExportSettings, export_network
from uda.engine.export_network import ExportNetwork, fix_same_padding
from uda.engine.segmentor_stream import SegmentorForward
from uda.engine.train import load_config
from uda.models.weight_licences import backbone_licence

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 57.0, 50.0]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@cache
def segmentor(kind: str) -> nn.Module:
    """A network with drawn weights, its batch normalisation and classifier as if trained."""
    torch.manual_seed(0)
    made = MODELS.build(ConfigDict(CONFIGS[kind]))
    with torch.no_grad():
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(std=0.1)
                part.running_var.uniform_(0.5, 1.5)
        for name, value in made.named_parameters():
            if name.endswith("conv_seg.weight"):
                value.normal_(std=0.3)
    return made.eval()


LITE0: dict[str, Any] = {
    "type": "mmseg.EncoderDecoder",
    "backbone": {"type": "TimmEncoder", "name": "tf_efficientnet_lite0", "weights": None},
    "decode_head": {
        "type": "LightHead",
        "in_channels": [24, 40, 112, 320],
        "channels": 96,
        "num_classes": 19,
    },
    "test_cfg": {"mode": "whole"},
}
MIT_B0: dict[str, Any] = {
    **LITE0,
    "backbone": {"type": "MixTransformer", "variant": "b0", "weights": None},
    "decode_head": {
        "type": "DAFormerHead",
        "in_channels": [32, 64, 160, 256],
        "channels": 64,
        "num_classes": 19,
    },
}
TINY_ENCODER = {
    "type": "MixTransformer",
    "widths": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "heads": [1, 1, 2, 2],
    "sr_ratios": [8, 4, 2, 1],
}
TINY_HEAD = {
    "type": "DAFormerHead", "in_channels": [8, 8, 16, 16], "channels": 8, "num_classes": 3,
}  # fmt: skip
TINY = {**LITE0, "backbone": TINY_ENCODER, "decode_head": TINY_HEAD}
SLIDE = {"mode": "slide", "crop_size": (64, 64), "stride": (48, 48)}
CONFIGS: dict[str, dict[str, Any]] = {
    "lite0": LITE0,
    "mit_b0": MIT_B0,
    "tiny": TINY,
    "slide": {**TINY, "test_cfg": SLIDE},
    "mean_of_probs": {**TINY, "type": "SlidingSegmentor", "test_cfg": {**SLIDE, "short_side": 80}},
    "hrda": {
        **TINY,
        "type": "HRDASegmentor",
        "attention_head": {**TINY_HEAD, "fusion": "conv1x1"},
        "detail_size": (64, 64),
        "test_cfg": {"mode": "slide", "crop_size": (128, 128), "stride": (64, 64)},
    },
}


SLOW_SIZE = pytest.param("size", marks=pytest.mark.slow)


def export(kind: str, out: Path, **settings: Any) -> Any:
    """Export with the tests' normalisation and a word of metadata."""
    return export_network(
        segmentor(kind),
        out,
        mean=MEAN,
        std=STD,
        settings=ExportSettings(**{"size": (64, 96), **settings}),
        metadata={"classes": ["a", "b"], "note": "plain"},
    )


def by_onnx(file: Path, image: Tensor) -> Tensor:
    """The file's logits, read back by onnxruntime."""
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export: onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def by_torch(file: Path, image: Tensor) -> Tensor:
    """The file's logits, read back by torch.export."""
    return torch.export.load(file).module()(image)


def assert_same(kind: str, found: Tensor, image: Tensor) -> None:
    """Within the tolerance of the model's own inference."""
    with torch.no_grad():
        wanted = SegmentorForward(segmentor(kind))(image)
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= TOLERANCE
    assert float(wanted.std()) > 0.01  # logits that say something


@pytest.mark.parametrize("kind", ["tiny", "slide", "mean_of_probs", "hrda"])
def test_network_equals_inference(kind: str) -> None:
    """Before any exporter: whole, by windows of mmseg's, ours, and HRDA's."""
    image = torch.randn(2, 3, 100, 130, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = SegmentorForward(segmentor(kind))(image)
        found = ExportNetwork(segmentor(kind))(image)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_normalisation_inside() -> None:
    """RGB in 0..255 gives what the normalised image gives."""
    raw = 255 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    inside = ExportNetwork(segmentor("tiny"), mean=mean, std=std)
    seen = (raw - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(inside(raw), ExportNetwork(segmentor("tiny"))(seen))


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (160, 64)])
def test_same_padding_does_not_depend_on_the_size(size: tuple[int, int]) -> None:
    """Kernels of 3 and 5, strides of 1 and 2, dilated: timm's own result for sides of 32 n."""
    torch.manual_seed(0)
    layers = [
        Conv2dSame(3, 3, kernel, stride=stride, dilation=dilation)
        for kernel in (3, 5)
        for stride, dilation in ((2, 1), (1, 1), (1, 2), (2, 1))
    ]
    image = torch.randn(1, 3, *size)
    network = nn.Sequential(*layers)
    wanted = network(image)
    assert fix_same_padding(network) == len(layers)
    torch.testing.assert_close(network(image), wanted)


@pytest.mark.parametrize("dynamic", ["none", "batch", SLOW_SIZE])
def test_torch_export(dynamic: str, tmp_path: Path) -> None:
    """One shape, any number of images, any size; metadata beside the graph."""
    done = export("tiny", tmp_path / "a.pt2", format="torch", dynamic=dynamic)
    shapes = {"none": [(1, 64, 96)], "batch": [(1, 64, 96), (3, 64, 96)],
              "size": [(1, 64, 96), (2, 128, 64)]}  # fmt: skip
    for number, height, width in shapes[dynamic]:
        image = torch.randn(number, 3, height, width)
        assert_same("tiny", by_torch(done.file, image), image)
    extra = {module.METADATA_FILE: ""}
    torch.export.load(done.file, extra_files=extra)
    assert json.loads(extra[module.METADATA_FILE]) == {"classes": '["a", "b"]', "note": "plain"}
    assert done.difference <= TOLERANCE
    assert (done.changed, done.size) == (0, (tmp_path / "a.pt2").stat().st_size)


@pytest.mark.parametrize("dynamic", ["batch", SLOW_SIZE])
def test_onnx_tiny(dynamic: str, tmp_path: Path) -> None:
    """Normalisation inside, opset and metadata in the file."""
    onnx = pytest.importorskip("onnx", reason="needs the extra export: onnx")
    pytest.importorskip("onnxscript", reason="needs the extra export: onnxscript")
    done = export("tiny", tmp_path / "a.onnx", dynamic=dynamic, raw_input=True)
    assert done.difference <= TOLERANCE
    assert len(done.shapes) == {"batch": 2, "size": 4}[dynamic]
    raw = 255 * torch.rand(3, 3, *((64, 96) if dynamic == "batch" else (64, 160)))
    seen = (raw - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        wanted = SegmentorForward(segmentor("tiny"))(seen)
    assert float((by_onnx(done.file, raw) - wanted).abs().max()) <= TOLERANCE
    model = onnx.load(done.file)
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found == {"classes": '["a", "b"]', "note": "plain"}
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [20]


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", ["none", "size"])
@pytest.mark.parametrize("kind", ["lite0", "mit_b0"])
def test_onnx(kind: str, dynamic: str, tmp_path: Path) -> None:
    """EfficientNet-Lite0 and MiT-B0: ONNX equals PyTorch within 1e-4."""
    pytest.importorskip("onnxruntime", reason="needs the extra export: onnxruntime")
    done = export(kind, tmp_path / "a.onnx", dynamic=dynamic, size=(96, 128))
    assert done.difference <= TOLERANCE
    image = torch.randn(*((1, 3, 96, 128) if dynamic == "none" else (2, 3, 64, 160)))
    assert_same(kind, by_onnx(done.file, image), image)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slide", "mean_of_probs", "hrda"])
@pytest.mark.parametrize(("format_", "read"), [("torch", by_torch), ("onnx", by_onnx)])
def test_windows(format_: str, read: Any, kind: str, tmp_path: Path) -> None:
    """Sliding windows and HRDA at one size, in both formats."""
    image = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(2))
    dynamic = {"dynamic": "none", "batch": 2} if kind == "hrda" else {}
    done = export(kind, tmp_path / "file", format=format_, size=(96, 128), **dynamic)
    assert_same(kind, read(done.file, image), image)


@pytest.mark.parametrize("kind", ["slide", "mean_of_probs", "hrda"])
def test_windows_of_any_size_are_refused(kind: str, tmp_path: Path) -> None:
    """Their number is part of the graph."""
    with pytest.raises(ValueError, match="windows .* takes one size: export with another dynamic"):
        export(kind, tmp_path / "a.onnx", dynamic="size")
    if kind == "hrda":
        with pytest.raises(ValueError, match='HRDASegmentor .* as one batch, .* dynamic="none"'):
            export(kind, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch on a value of the image: one sentence, the kind of error in it."""

    def branching(self: ExportNetwork, image: Tensor) -> Tensor:
        return image if image.sum() > 0 else -image

    monkeypatch.setattr(ExportNetwork, "forward", branching)
    with pytest.raises(ValueError, match=r"cannot follow this network with dynamic='none' \(\w+: "):
        export("tiny", tmp_path / "a.onnx", dynamic="none")


@pytest.mark.parametrize(("fault", "told"), [(0.01, "1.0"), (float("nan"), "nan")])
def test_a_graph_that_differs_is_not_written(
    fault: float, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the logits above the tolerance: no file appears; below it does."""
    correct = ExportNetwork.forward
    settings = {"format": "torch", "dynamic": "none"}
    monkeypatch.setattr(ExportNetwork, "forward", lambda s, image: correct(s, image) + fault)
    with pytest.raises(ValueError, match=f"differs from the PyTorch model by {told}.*nothing is"):
        export("tiny", tmp_path / "a.pt2", **settings)
    assert list(tmp_path.iterdir()) == []
    if fault == fault:
        done = export("tiny", tmp_path / "a.pt2", tolerance=0.1, **settings)
        assert done.difference == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "tflite"}, "format has to be one of onnx, torch, not 'tflite'"),
        ({"dynamic": "all"}, "dynamic has to be one of none, batch, size, not 'all'"),
        ({"size": (0, 8)}, r"at least 1, got 0x8 \(height x width\) and 1"),
        ({"batch": 0}, "at least 1, got 64x96"),
        ({"dynamic": "size", "size": (64, 90)}, "multiples of 32, from 64 on; 64x90 is none"),
        ({"dynamic": "size", "size": (32, 64)}, "from 64 on; 32x64 is none"),
        ({"opset": 11}, "opset has to be at least 18, .* not 11"),
    ],
)
def test_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        ExportSettings(**{"size": (64, 96), **settings})


def test_limits_of_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No package, an opset that torch does not write, a network larger than one file."""
    pytest.importorskip("onnxscript", reason="needs the extra export: onnxscript")
    small = {"dynamic": "none", "size": (32, 32)}
    with pytest.raises(ValueError, match=r"wrote opset \d\d, not 99; ask for opset=\d\d"):
        export("tiny", tmp_path / "a.onnx", opset=99, **small)
    monkeypatch.setattr(module, "_LARGEST_ONNX", 1000)
    with pytest.raises(ValueError, match=r"more than the 1,000 that fit in one ONNX file; use"):
        export("tiny", tmp_path / "a.onnx", **small)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"need the package onnxruntime.*\[export\]"):
        export("tiny", tmp_path / "a.onnx", **small)
    assert list(tmp_path.iterdir()) == []


def test_command(files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The teacher of a full checkpoint: metadata, printed difference, and the network it says."""
    out = tmp_path / "teacher.pt2"
    run([str(files.config), str(files.full), "--network", "teacher", "--format", "torch",
         "--size", "64x64", "--dynamic", "none", "--out", str(out)])  # fmt: skip
    printed = capsys.readouterr().out
    assert "teacher of" in printed
    assert "largest absolute difference of logits from PyTorch" in printed
    assert "(tolerance 1e-04)" in printed
    extra = {module.METADATA_FILE: ""}
    program = torch.export.load(out, extra_files=extra)
    noted = json.loads(extra[module.METADATA_FILE])
    assert json.loads(noted["classes"]) == CLASSES
    assert json.loads(noted["palette"]) == PALETTE
    assert noted["checkpoint"] == files.full.name
    assert noted["input"].endswith("1 images of 64x64 pixels (height x width)")
    config = load_config(files.config)
    assert json.loads(noted["mean"]) == list(config.model.data_preprocessor.mean)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = SegmentorForward(load_network(config, files.full, "teacher").segmentor)(image)
    np.testing.assert_allclose(program.module()(image).numpy(), wanted.numpy(), atol=1e-5)


def test_command_refuses(files: Checkpoints, tmp_path: Path,
                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """A size that is none, a config without normalisation."""
    with pytest.raises(SystemExit, match="2"):
        run(["a.py", "a.pth", "--out", "a.onnx", "--size", "64"])
    assert "size has to be HxW, for example 512x1024: '64'" in capsys.readouterr().err
    told = main([str(files.config), str(files.full), "--size", "64x64", "--out",
                 str(tmp_path / "a.onnx"), "--cfg-options",
                 "model.data_preprocessor.bgr_to_rgb=False"])  # fmt: skip
    assert told == 1
    assert "model.data_preprocessor needs mean, std and bgr_to_rgb=True" in capsys.readouterr().err


def test_licence_line() -> None:
    """What the encoder's weights oblige to, also inside of an adapter."""
    mit = backbone_licence({"type": "MixTransformer", "variant": "b5", "weights": "mit_b5.pth"})
    assert "NVIDIA source code licence, for research and evaluation only" in mit
    assert "NVIDIA" not in backbone_licence({"type": "MixTransformer", "weights": None})
    inner = {"type": "FoundationEncoder", "name": "vit_small_patch14_dinov2", "weights": "a.pth"}
    adapter = backbone_licence({"type": "ViTAdapter", "encoder": inner})
    assert "vit_small_patch14_dinov2.lvd142m: Apache-2.0" in adapter
