"""Model files of foundation encoders: right normalisation, widths, licences in the comment."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmengine.config import Config

from uda.models import SegmentationNetwork
from uda.models.weight_licences import normalisation_of

FOLDER = Path(__file__).parents[2] / "configs" / "_base_" / "models"
KINDS = ("dinov2", "dinov3", "eva02", "convnext", "swin")
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem.startswith(KINDS))
# Words that the first comment has to say, by the licence that timm states.
WORDS = {"apache-2.0": "Apache-2.0", "mit": "MIT", "dinov3-license": "DINOv3\n# licence"}


def network_of(name: str) -> dict[str, Any]:
    """The network's config."""
    return Config.fromfile(FOLDER / f"{name}.py").model.to_dict()


def encoder_of(name: str) -> dict[str, Any]:
    """The encoder's config, inside an adapter or not."""
    backbone: dict[str, Any] = network_of(name)["network"]["backbone"]
    return backbone.get("encoder", backbone)


def test_files() -> None:
    """Three sizes of each family, DINOv2 with and without an adapter."""
    assert len(FILES) == 18


@pytest.mark.parametrize("name", FILES)
def test_normalisation(name: str) -> None:
    """Images are normalised as for pretraining: a wrong mean would be silent."""
    preprocessor = network_of(name)["data_preprocessor"]
    mean, std = normalisation_of(encoder_of(name)["name"])
    assert (tuple(preprocessor["mean"]), tuple(preprocessor["std"])) == (mean, std)
    assert preprocessor["bgr_to_rgb"]


@pytest.mark.parametrize("name", FILES)
def test_comment(name: str) -> None:
    """The first comment names the licence; the name is one that timm has weights for."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    comment = text[: text.index("model = ")]
    full = encoder_of(name)["name"]
    licence = timm.get_pretrained_cfg(full).license
    assert full in timm.list_pretrained()
    assert WORDS[licence] in comment or WORDS[licence].replace("\n# ", " ") in comment
    ast.parse(text)


@pytest.mark.parametrize("name", FILES)
def test_network_fits(name: str) -> None:
    """The head fits the encoder; built without memory, since the large ones have 300 million."""
    config = network_of(name)["network"]
    with torch.device("meta"):
        network = SegmentationNetwork.from_config(config, num_classes=19).eval()
        maps = network.encoder()(torch.empty(1, 3, 224, 448))
        logits = network.segmentor.decode_head(maps)
    assert logits.shape[1] == 19
