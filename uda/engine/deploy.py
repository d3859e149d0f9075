"""Deploy checkpoints: one network, loadable by mmseg alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from uda.files import write_atomically
from uda.models import SegmentationNetwork


def write_deploy_checkpoints(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    config: Config,
    metainfo: Mapping[str, Any],
) -> None:
    """Write `<name>.pth` for each network, and `config.py` that fits them all.

    `mmseg.apis.init_model(folder / "config.py", folder / "student.pth")` loads them; of this
    project it needs only the registered networks, which the config imports.

    Args:
        folder: Where to; made if missing.
        networks: From `Method.networks`.
        config: The run's config.
        metainfo: Classes and palette of the data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta = {
        "classes": list(metainfo["classes"]),
        "palette": [list(colour) for colour in metainfo["palette"]],
    }
    for name, network in networks.items():
        if not isinstance(network, SegmentationNetwork):
            raise TypeError(f"{name} is a {type(network).__name__}, not a SegmentationNetwork.")
        state = {key: value.cpu() for key, value in network.segmentor.state_dict().items()}
        content = io.BytesIO()
        torch.save({"state_dict": state, "meta": {"dataset_meta": meta, "network": name}}, content)
        write_atomically(folder / f"{name}.pth", content.getvalue())
    deploy_config(config).dump(str(folder / "config.py"))


def deploy_config(config: Config) -> Config:
    """A plain mmseg config: network, normalisation, test pipeline."""
    model = dict(config.model.network)
    preprocessor = dict(config.model.data_preprocessor)
    preprocessor.pop("size", None)  # the training crop; test images keep their size
    model["data_preprocessor"] = preprocessor
    backbone = dict(model["backbone"])
    if "weights" in backbone:
        backbone["weights"] = None  # the checkpoint has them
    backbone.pop("init_cfg", None)
    model["backbone"] = backbone
    pipeline = [
        step if step.get("type") != "LoadImage" else {"type": "LoadImageFromFile"}
        for step in config.val_dataloader.dataset.pipeline
    ]
    return Config(
        {
            "custom_imports": {"imports": ["uda.models"], "allow_failed_imports": False},
            "default_scope": "mmseg",
            "model": model,
            "test_pipeline": pipeline,
            "test_dataloader": {"dataset": {"pipeline": pipeline}},
        }
    )
