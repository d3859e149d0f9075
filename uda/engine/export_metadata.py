"""What a file of an exported network says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

import uda
from uda.engine.class_names import Classes
from uda.engine.deploy import inference_pipeline
from uda.engine.export import ExportSettings
from uda.engine.export_network import MULTIPLE, SMALLEST
from uda.models.weight_licences import backbone_licence


def normalisation(config: Config) -> tuple[list[float], list[float]]:
    """Mean and deviation of RGB in 0..255 that a config's images are normalised with.

    Raises:
        ValueError: The config states none, or keeps the order BGR.
    """
    stated = config.model.get("data_preprocessor") or {}
    mean, std = stated.get("mean"), stated.get("std")
    if mean is None or std is None or not stated.get("bgr_to_rgb", False):
        raise ValueError(
            f"{config.filename}: model.data_preprocessor needs mean, std and bgr_to_rgb=True, so "
            "that the exported file can say how images come in."
        )
    return [float(value) for value in mean], [float(value) for value in std]


def export_metadata(
    config: Config,
    classes: Classes,
    *,
    checkpoint: str | Path,
    network: str,
    settings: ExportSettings,
) -> dict[str, Any]:
    """Classes, colours, normalisation, resizing, origin and licence, by name.

    Args:
        config: The run's config.
        classes: Of the network.
        checkpoint: The weights' file; its name alone is noted.
        network: "student" or "teacher".
        settings: Of the export.
    """
    mean, std = normalisation(config)
    first = settings.size
    sides = f"multiples of {MULTIPLE} pixels from {SMALLEST} on"
    sizes = {
        "none": f"{settings.batch} images of {first[0]}x{first[1]} pixels (height x width)",
        "batch": f"any number of images of {first[0]}x{first[1]} pixels (height x width)",
        "size": f"any number of images whose height and width are {sides}",
    }
    given = "RGB, float32, 0 to 255" if settings.raw_input else "RGB, float32, (0..255 - mean)/std"
    resize = [dict(s) for s in inference_pipeline(config) if "Resize" in s["type"]]
    return {
        "classes": list(classes.names),
        "palette": [list(colour) for colour in classes.palette],
        "mean": mean,
        "std": std,
        "input": f"image (N, 3, H, W): {given}; {sizes[settings.dynamic]}",
        "output": "logits (N, K, H, W), float32; the class is their argmax over K, a train id",
        "resize_before": resize,
        "network": network,
        "checkpoint": Path(checkpoint).name,
        "config": Path(config.filename or "").name,
        "licence": backbone_licence(config.model.network.backbone),
        "made_by": f"uda {uda.__version__}",
    }
