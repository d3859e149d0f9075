"""Pseudo-labels of a whole target set in one pass, which may be stopped and goes on the same."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from torch import Tensor
from torch.utils.data import DataLoader

from uda.data.joined import only_target
from uda.data.listing.images import image_stems
from uda.data.pseudo_labels import SUFFIX, LabelledImage, Manifest
from uda.engine.deploy import inference_pipeline
from uda.engine.evaluate import LoadedNetwork, adapt_statistics
from uda.engine.inference import LABEL_LOADERS, mean_probs
from uda.engine.label_settings import LabelSettings
from uda.files import write_atomically
from uda.models.state_dicts import read_file
from uda.registry import SELECTORS, build_part
from uda.runs.digests import file_digest
from uda.selftraining import KeptPixels
from uda.selftraining.selectors import Selector
from uda.structures import IGNORE_INDEX

PROGRESS = "progress.pth"
# Batches between two notes of the progress: at most so many are predicted twice after a stop.
_NOTED = 16


@dataclass
class _Pass:
    """A pass over the set: what was done, and the state with which it goes on."""

    selector: Selector
    kept: KeptPixels
    images: list[LabelledImage] = field(default_factory=list)
    thresholds: list[list[float]] = field(default_factory=list)

    def content(self, key: str) -> bytes:
        """All of it as the bytes of a file; plain data and tensors."""
        images = [
            [i.image, i.label, list(i.size), list(i.pixels), list(i.predicted)] for i in self.images
        ]
        stored = io.BytesIO()
        torch.save(
            {
                "key": key,
                "selector": self.selector.state_dict(),
                "kept": self.kept.state_dict(),
                "images": images,
                "thresholds": self.thresholds,
            },
            stored,
        )
        return stored.getvalue()

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go on from what `content` stored."""
        self.selector.load_state_dict(content["selector"])
        self.kept.load_state_dict(content["kept"])
        self.images = [
            LabelledImage(image, label, (size[0], size[1]), tuple(pixels), tuple(predicted))
            for image, label, size, pixels, predicted in content["images"]
        ]
        self.thresholds = content["thresholds"]


def generate_labels(
    network: LoadedNetwork,
    config: Config,
    *,
    checkpoint: str | Path,
    out: str | Path,
    settings: LabelSettings,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Label the target training images of a config, and write labels and manifest to a folder.

    The labels are 8-bit PNGs of train ids, 255 where rejected, at the size the network saw; their
    names are those of the images with `SUFFIX`. Order and batches follow from the seed alone, so
    the number of workers changes nothing. Every few batches the thresholds are noted together
    with what was done; the same call goes on from there after a stop, to the same labels. A
    finished folder is returned as it is.

    Args:
        network: From `load_network`; changed in place with `settings.target_statistics`.
        config: The run's config.
        checkpoint: The file that `network` was loaded from, for the manifest.
        out: Folder; made if missing.
        settings: See `LabelSettings`.
        workers: Processes that read images.
        progress: Called with the number of images done and of all images.

    Raises:
        ValueError: `out` holds pseudo-labels of another network or other settings, or there is no
            target image.
    """
    out = Path(out)
    dataset = target_set(config, settings.scale)
    names = label_names(dataset)
    origin = {
        "file": Path(checkpoint).name,
        "sha256": file_digest(Path(checkpoint)),
        "network": network.name,
    }
    key = _key(settings.told(), origin, names)
    segmentor: Any = network.segmentor
    classes = list(dataset.metainfo["classes"])
    done = _Pass(
        build_part(SELECTORS, settings.selector, num_classes=len(classes)),
        KeptPixels(num_classes=len(classes)),
    )
    device = next(segmentor.parameters()).device
    done.selector.to(device)
    done.kept.to(device)
    finished = _restored(out, key, done)
    if finished is not None:
        return finished
    if settings.target_statistics:
        adapt_statistics(network, config)
    total, first = len(dataset), len(done.images)
    order = np.random.default_rng(settings.seed).permutation(total).tolist()
    loader = DataLoader(
        dataset, sampler=order[first:], num_workers=workers, collate_fn=pseudo_collate
    )
    for number, items in enumerate(_batches(loader, settings.batch_size), start=1):
        _label_batch(segmentor, items, settings, done, names, out)
        if number % _NOTED == 0:
            write_atomically(out / PROGRESS, done.content(key))
        if progress is not None:
            progress(len(done.images), total)
    manifest = Manifest(
        classes=classes,
        images=done.images,
        class_mean=done.kept.class_mean.tolist(),
        thresholds=done.thresholds,
        settings={**settings.told(), "key": key},
        checkpoint=origin,
    )
    manifest.write(out)
    (out / PROGRESS).unlink(missing_ok=True)
    return manifest


def target_set(config: Config, scale: tuple[int, int] | None = None) -> Any:
    """The target training images of a config as they are labelled; no label is looked for.

    Args:
        config: The run's config.
        scale: See `LabelSettings`.

    Raises:
        ValueError: The config has no target images, or there is no image.
    """
    settings = only_target(config, "Pseudo-labels lie in one folder, for one target data set")
    if settings is None:
        raise ValueError(
            "Pseudo-labels are made for the target images, but this config has none (target=None)."
        )
    steps = [dict(s) for s in inference_pipeline(config) if s["type"] not in LABEL_LOADERS]
    if steps and steps[0]["type"] == "LoadImageFromFile":
        steps[0] = {"type": "LoadImage"}  # as in training
    if scale is not None:
        resize = {"type": "Resize", "scale": tuple(scale), "keep_ratio": True}
        steps = [{"type": "LoadImage"}, resize, {"type": "PackSegInputs"}]
    changes = {"pipeline": steps, "label_dir": None, "test_mode": True}
    dataset = DATASETS.build({**copy.deepcopy(dict(settings)), **changes})
    dataset.full_init()
    if len(dataset) == 0:
        raise ValueError(f"There is no target image to label: {dataset!r}")
    return dataset


def label_names(dataset: Any) -> dict[str, tuple[str, str]]:
    """Image and label, relative to their folders, of each image by its full path.

    Args:
        dataset: A `FolderDataset`.
    """
    paths = [info["img_path"] for info in dataset.data_list]
    images = [Path(path).relative_to(dataset.image_dir).as_posix() for path in paths]
    stems = image_stems(images, dataset.settings)
    return {p: (image, stems[image] + SUFFIX) for p, image in zip(paths, images, strict=True)}


def _batches(loader: Any, batch_size: int) -> Iterator[list[dict[str, Any]]]:
    """Items in groups that are predicted together; a group ends early where sizes change."""
    waiting: list[dict[str, Any]] = []
    for data in loader:
        item = {key: values[0] for key, values in data.items()}
        changes = waiting and item["inputs"].shape != waiting[0]["inputs"].shape
        if changes or len(waiting) == batch_size:
            yield waiting
            waiting = []
        waiting.append(item)
    if waiting:
        yield waiting


def _label_batch(
    segmentor: Any,
    items: list[dict[str, Any]],
    settings: LabelSettings,
    done: _Pass,
    names: Mapping[str, tuple[str, str]],
    out: Path,
) -> None:
    """Predict, select, write the labels, and note what was kept."""
    data = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
    height, width = items[0]["inputs"].shape[1:]
    image = segmentor.data_preprocessor(data, False)["inputs"]
    probs = mean_probs(segmentor, image, settings.scales, flip=settings.flip)
    probs = probs[:, :, :height, :width]  # without padding
    pseudo = done.selector(probs)
    counts = done.kept.update(pseudo).tolist()
    predicted = class_counts(probs).tolist()
    if isinstance(thresholds := getattr(done.selector, "threshold", None), Tensor):
        done.thresholds.append(thresholds.tolist())
    labels = pseudo.label.masked_fill(pseudo.weight == 0, IGNORE_INDEX)
    arrays = labels.to(torch.uint8).cpu().numpy()
    for item, label, kept, seen in zip(items, arrays, counts, predicted, strict=True):
        image_name, label_name = names[item["data_samples"].img_path]
        write_atomically(out / label_name, bytes(cv2.imencode(".png", label)[1]))
        size = (height, width)
        done.images.append(LabelledImage(image_name, label_name, size, tuple(kept), tuple(seen)))


def class_counts(probs: Tensor) -> Tensor:
    """Pixels predicted as each class, of probabilities (N, K, H, W): (N, K) int64."""
    classes, number = probs.shape[1], len(probs)
    image = torch.arange(number, device=probs.device).view(-1, 1, 1)
    codes = (probs.argmax(1) + classes * image).flatten()
    return torch.bincount(codes, minlength=number * classes).view(number, classes)


def _key(told: Mapping[str, Any], origin: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    """A digest of everything that the labels depend on; the name of the file is not."""
    network = {key: value for key, value in origin.items() if key != "file"}
    content = json.dumps([told, network, sorted(names.values())], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _restored(out: Path, key: str, done: _Pass) -> Manifest | None:
    """The manifest of a finished folder; else None, with `done` where an earlier call stopped."""
    if (out / "manifest.json").is_file():
        manifest = Manifest.read(out)
        if manifest.settings.get("key") == key:
            return manifest
        raise ValueError(_of_others(out))
    if (out / PROGRESS).is_file():
        content = read_file(out / PROGRESS)
        if content["key"] != key:
            raise ValueError(_of_others(out))
        done.restore(content)
    return None


def _of_others(out: Path) -> str:
    return (
        f"{out.absolute()} holds pseudo-labels of another network, other settings or other images; "
        "give another folder, or remove this one."
    )
