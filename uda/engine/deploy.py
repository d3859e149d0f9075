"""Deploy checkpoints: one network, loadable by mmseg alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from uda.data.joined import settings_of
from uda.files import write_atomically
from uda.models import SegmentationNetwork
from uda.models.peft.tuned_encoder import merged_backbone, merged_segmentor_state

# Training steps that change an image by chance; the names of their classes start so.
_BY_CHANCE = ("Random", "Albu", "PhotoMetric", "HardClass")
# mmseg knows its own steps by name: it drops the loader of labels when there are none.
_MMSEG_STEPS = {
    # It would turn an image by its EXIF orientation, which no image of training was.
    "LoadImage": {"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"},
    "LoadLabel": {"type": "LoadAnnotations"},
    "LoadPseudoLabel": {"type": "LoadAnnotations"},
    "PackTarget": {"type": "PackSegInputs"},
}
# What only training needs.
_TRAINING_STEPS = ("PseudoLabelMargins",)


def write_deploy_checkpoints(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    config: Config,
    metainfo: Mapping[str, Any],
) -> None:
    """Write `<name>.pth` for each network, and `config.py` that fits them all.

    `mmseg.apis.init_model(folder / "config.py", folder / "student.pth")` loads them; of this
    project it needs only the registered networks, which the config imports. A tuned encoder is
    written as the plain one, with merged weights, where its tuning allows that.

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
        whole = merged_segmentor_state(network.segmentor)
        state = {key: value.cpu() for key, value in whole.items()}
        content = io.BytesIO()
        torch.save({"state_dict": state, "meta": {"dataset_meta": meta, "network": name}}, content)
        write_atomically(folder / f"{name}.pth", content.getvalue())
    write_atomically(folder / "config.py", deploy_config(config).pretty_text.encode())


def deploy_config(config: Config, *, merged: bool = True) -> Config:
    """A plain mmseg config: network, normalisation, test pipeline.

    Args:
        config: The run's config.
        merged: The network of a deploy checkpoint, with a tuning merged where that is possible;
            False: the network as it was trained, of a full checkpoint.
    """
    model = dict(config.model.network)
    preprocessor = dict(config.model.data_preprocessor)
    preprocessor.pop("size", None)  # the training crop; test images keep their size
    model["data_preprocessor"] = preprocessor
    trained = model["backbone"]
    backbone = without_weights(merged_backbone(trained) if merged else trained)
    backbone.pop("init_cfg", None)
    model["backbone"] = backbone
    pipeline = inference_pipeline(config)
    return Config(
        {
            "custom_imports": {"imports": ["uda.models"], "allow_failed_imports": False},
            "default_scope": "mmseg",
            "model": model,
            "test_pipeline": pipeline,
            "test_dataloader": {"dataset": {"pipeline": pipeline}},
        }
    )


def without_weights(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's config, and that of an encoder inside, with no file to start from.

    The checkpoint has all weights.

    >>> without_weights({"type": "ViTAdapter", "encoder": {"weights": "a.pth"}})
    {'type': 'ViTAdapter', 'encoder': {'weights': None}}
    """
    kept = {
        key: without_weights(value) if isinstance(value, Mapping) else value
        for key, value in backbone.items()
    }
    if "weights" in kept:
        kept["weights"] = None
    return kept


def inference_pipeline(config: Config) -> list[dict[str, Any]]:
    """What is done to a test image, by mmseg's own loaders.

    These are the steps of validation. A run without labelled target images has none: then it is
    the training steps of the target (of the source, where there is no target) without those that
    draw by chance, and with a random size replaced by the size it varies. Of several data sets the
    first one counts.

    Args:
        config: The run's config.
    """
    if config.get("val_dataloader") is not None:
        steps = config.val_dataloader.dataset.pipeline
    else:
        pairs = config.train_dataloader.dataset
        domain = pairs.source if pairs.get("target") is None else pairs.target
        steps = [_nominal_size(step) for step in settings_of(domain)[0].pipeline]
        steps = [step for step in steps if not step["type"].startswith(_BY_CHANCE)]
        steps = [step for step in steps if step["type"] not in _TRAINING_STEPS]
    return [dict(_MMSEG_STEPS.get(step["type"], step)) for step in steps]


def _nominal_size(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """`Resize` to the size that a `RandomResize` with a `ratio_range` varies; else the step."""
    if step["type"] != "RandomResize" or step.get("ratio_range") is None:
        return step
    return {
        "type": "Resize",
        "scale": step["scale"],
        "keep_ratio": step.get("keep_ratio", False),
    }
