"""Adapted networks outside of Python: torch.export and onnxruntime give the logits of `predict`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from tests.tta.tiny import network
from uda.engine.deploy import deploy_config
from uda.engine.segmentor_stream import SegmentorForward
from uda.engine.train import load_config
from uda.tta import adapt

PROJECT = Path(__file__).parents[2]
LIGHT = PROJECT / "configs/source_only/camvid_day2dusk_source_only.py"
SHAPES = {"classifier": (4, 3, 64, 64), "segmentor": (1, 3, 64, 96), "tiny": (2, 3, 16, 16)}
STATISTICS = ["auto", "batch", "source", "frozen"]


@cache
def source(kind: str) -> nn.Module:
    """EfficientNet-Lite0 with weights drawn, as a classifier and as a light segmentor."""
    if kind == "tiny":
        return network("segmenter")
    torch.manual_seed(0)
    if kind == "classifier":
        return timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=10).eval()
    return SegmentorForward(MODELS.build(deploy_config(load_config(LIGHT)).model)).eval()


def adapted(kind: str, statistics: str) -> tuple[nn.Module, Tensor, Tensor]:
    """An export after two updates, an image, and the logits that `predict` gives of it."""
    generator = torch.Generator().manual_seed(0)

    def images() -> Tensor:
        return torch.randn(SHAPES[kind], generator=generator)

    settings: dict[str, Any] = {} if statistics == "frozen" else {"statistics": statistics}
    model = adapt(source(kind), "tent", lr=0.05, guard=False, **settings)
    for _ in range(2):
        model(images())
    image = images()
    if statistics == "frozen":
        exported = model.export(freeze_on=[images()])
        return exported, image, exported(image)
    return model.export(), image, model.predict(image)


def by_torch(exported: nn.Module, image: Tensor, folder: Path) -> Tensor:
    """The logits of the graph of torch.export, through its file."""
    program = torch.export.export(exported, (image,))
    torch.export.save(program, folder / "model.pt2")
    return torch.export.load(folder / "model.pt2").module()(image)


def by_onnx(exported: nn.Module, image: Tensor, folder: Path) -> Tensor:
    """The logits of the ONNX file in onnxruntime."""
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra dev: onnxruntime")
    pytest.importorskip("onnxscript", reason="needs the extra dev: onnxscript")
    file = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about training mode: statistics of the batch are meant
        torch.onnx.export(
            exported, (image,), file, dynamo=True, verbose=False,
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def assert_same(
    run: Callable[[nn.Module, Tensor, Path], Tensor], kind: str, statistics: str, folder: Path
) -> None:
    exported, image, wanted = adapted(kind, statistics)
    found = run(exported, image, folder)
    error = (found - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    assert float(error) < 2e-4
    # The updates are in it: the source model says something else.
    if statistics != "frozen":
        other = adapt(source(kind), "tent", guard=False, statistics=statistics).predict(image)
        assert float((found - other).abs().max() / other.abs().max()) > 2e-3


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in STATISTICS[1:]]


@pytest.mark.parametrize("statistics", ["auto", *SLOW])
@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
def test_torch_export(kind: str, statistics: str, tmp_path: Path) -> None:
    assert_same(by_torch, kind, statistics, tmp_path)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_onnx_tiny(statistics: str, tmp_path: Path) -> None:
    """A few layers, so that every run of the tests goes through onnxruntime."""
    assert_same(by_onnx, "tiny", statistics, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
def test_onnx(kind: str, statistics: str, tmp_path: Path) -> None:
    """EfficientNet-Lite0, some ten seconds each."""
    assert_same(by_onnx, kind, statistics, tmp_path)
