"""Test-time adaptation of classifiers on folders of images, measured as they are predicted."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from torch import Tensor, nn

from uda.data.corruptions import corrupt
from uda.data.images import read_image
from uda.models.efficientnet_keys import to_timm_names
from uda.models.state_dicts import load_exactly, read_state_dict
from uda.models.timm_encoder import check_timm_name, packaged_weights_file
from uda.tta import adapt

PACKAGED = "efficientnet-lite0"
IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
Labelled = tuple[Path, int]


def load_classifier(name: str, weights: str) -> nn.Module:
    """A timm classifier with weights of a file, in evaluation mode.

    Args:
        name: timm's, such as `tf_efficientnet_lite0`.
        weights: A file, or `"efficientnet-lite0"` for those of the installed package.

    Raises:
        ValueError: timm has no such network, or the weights are another's.
        FileNotFoundError: The file is not there.
    """
    check_timm_name(name)
    file = packaged_weights_file() if weights == PACKAGED else Path(weights)
    state = to_timm_names(read_state_dict(file))
    heads = [value for key, value in state.items() if value.ndim == 1]
    classes = {"num_classes": len(heads[-1])} if heads else {}
    model: nn.Module = timm.create_model(name, pretrained=False, **classes)
    load_exactly(model, state, origin=str(file))
    return model.eval()


def labelled_images(folder: str | Path, labels: str | Path | None = None) -> list[Labelled]:
    """Images with their class numbers, in order of the file or of names.

    Args:
        folder: Holds the images, or without `labels` a folder a class, whose numbers are those of
            the sorted folder names.
        labels: CSV with the columns `file` and `index`.

    Raises:
        FileNotFoundError: Folder, file or an image is not there.
        ValueError: There is no image, or a column is missing.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder of images {root.resolve()}.")
    if labels is None:
        classes = sorted(path for path in root.iterdir() if path.is_dir())
        found = [
            (path, number)
            for number, members in enumerate(classes)
            for path in sorted(members.rglob("*"))
            if path.suffix.lower() in IMAGES
        ]
        if not found:
            raise ValueError(
                f"{root.resolve()} has no folder a class with images in it; give the classes of "
                "images that lie together by a CSV with the columns file and index."
            )
        return found
    with Path(labels).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "index"} <= set(rows[0]):
        raise ValueError(f"{labels} has no rows with the columns file and index.")
    return [(root / row["file"], int(row["index"])) for row in rows]


def stream(
    images: Sequence[Labelled],
    *,
    corruption: str | None,
    severity: int,
    batch_size: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised batches of RGB images with labels, in a random order.

    Args:
        images: From `labelled_images`.
        corruption: Name, or None for the images as they are.
        severity: 1 to 5.
        batch_size: Images in a batch; the last one may be smaller.
        size: Height and width; other images are resized on the short side and cut.
        mean: Of the normalisation of images in [0, 1].
        std: Its deviation.
        seed: Of order and corruption.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        pixels = []
        for number in numbers:
            image = _fitted(read_image(images[number][0])[..., ::-1], size)  # BGR to RGB
            if corruption is not None:
                # By number, so that an image is corrupted alike in every order and batch.
                generator = np.random.default_rng([seed, int(number)])
                image = corrupt(image, corruption, severity, generator)
            pixels.append(torch.from_numpy(np.ascontiguousarray(image)))
        batch = torch.stack(pixels).permute(0, 3, 1, 2).float() / 255
        shape = (1, 3, 1, 1)
        batch = (batch - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
        yield batch, torch.tensor([images[number][1] for number in numbers])


def _fitted(image: np.ndarray, size: int) -> np.ndarray:
    """Short side resized to `size`, middle cut out."""
    height, width = image.shape[:2]
    scale = size / min(height, width)
    if scale != 1:
        wanted = (max(size, round(width * scale)), max(size, round(height * scale)))
        image = cv2.resize(image, wanted, interpolation=cv2.INTER_AREA)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def prequential_accuracy(
    model: nn.Module,
    runs: Mapping[str, Mapping[str, Any]],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Percent right over a stream, each batch scored by the prediction made when it came.

    All methods predict the same batch before the next is read, so that it is made once.

    Args:
        model: The source model, on the device to work on.
        runs: By names of `uda.tta.METHODS`, or `"source"` for no adaptation: settings of
            `uda.tta.adapt`.
        batches: Images and labels.
        progress: Called with the number of images after each batch.

    Returns:
        By method: accuracy, number of images and, unless the method is `"source"`, the adapter's
        report.
    """
    adapters = {
        method: None if method == "source" else adapt(model, method, **settings)
        for method, settings in runs.items()
    }
    device = next(model.parameters()).device
    right = dict.fromkeys(runs, 0)
    total = 0
    for batch, label in batches:
        image = batch.to(device)
        for method, adapter in adapters.items():
            with torch.no_grad():
                logits = model(image) if adapter is None else adapter(image)
            right[method] += int((logits.argmax(1).cpu() == label).sum())
        total += len(label)
        if progress is not None:
            progress(total)
    return {
        method: {
            "accuracy": 100 * right[method] / max(total, 1),
            "images": total,
            "report": None if adapter is None else adapter.report(),
        }
        for method, adapter in adapters.items()
    }


def normalisation_of(model: nn.Module) -> dict[str, Any]:
    """Mean, deviation and size of images that a timm model was trained with."""
    config: dict[str, Any] = getattr(model, "default_cfg", {})
    return {
        "mean": config.get("mean", (0.485, 0.456, 0.406)),
        "std": config.get("std", (0.229, 0.224, 0.225)),
        "size": config.get("input_size", (3, 224, 224))[1],
    }
