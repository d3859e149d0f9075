"""Where the images of a stream come from: folders, a video, the domains that a config lists."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.runner import Runner
from mmseg.registry import TRANSFORMS

from uda.data.folder import FolderDataset, default_palette
from uda.engine.deploy import inference_pipeline
from uda.engine.evaluate import evaluation_dataset
from uda.engine.inference import LABEL_LOADERS
from uda.text import nearest

_HOW_LABELS_ARE_READ = ("image_suffix", "label_suffix", "label_map", "unmapped", "palette")
_IMAGE_LOADERS = ("LoadImage", "LoadImageFromFile")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class FolderDomain:
    """Images of a folder, in order of names.

    Attributes:
        name: Of the domain.
        dataset: Config of a data set, as `stream_dataset` gives it, with `classes`.
        limit: Only the first so many images.
    """

    name: str
    dataset: Mapping[str, Any]
    limit: int | None = None

    @property
    def labelled(self) -> bool:
        """Whether there is a truth to compare with."""
        return self.dataset.get("label_dir") is not None

    @property
    def classes(self) -> Sequence[str]:
        """Names."""
        names: Sequence[str] = self.dataset["classes"]
        return names

    @property
    def palette(self) -> Sequence[Sequence[int]]:
        """RGB colour of each class."""
        return self.dataset.get("palette") or default_palette(len(self.dataset["classes"]))

    def batches(self, batch_size: int, workers: int) -> Iterator[dict[str, Any]]:
        """Batches as mmseg packs them; the last one may be smaller."""
        dataset = dict(self.dataset)
        loader = Runner.build_dataloader(
            {
                "batch_size": batch_size,
                "num_workers": workers,
                "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
                "dataset": dataset,
            }
        )
        if self.limit is None:
            yield from loader
            return
        left = self.limit
        for data in loader:
            if len(data["inputs"]) > left:
                data = {name: values[:left] for name, values in data.items()}
            yield data
            left -= len(data["inputs"])
            if left <= 0:
                return


@dataclass(frozen=True)
class VideoDomain:
    """Frames of a video file, which are read as they come.

    Attributes:
        name: Of the domain.
        path: What OpenCV can read.
        pipeline: Steps of inference after loading.
        classes: Names.
        palette: RGB colour of each class.
        limit: Only the first so many frames.
    """

    name: str
    path: Path
    pipeline: Sequence[Mapping[str, Any]]
    classes: Sequence[str]
    palette: Sequence[Sequence[int]] = field(default=())
    limit: int | None = None
    labelled = False

    def batches(self, batch_size: int, workers: int) -> Iterator[dict[str, Any]]:
        """Batches as mmseg packs them; one process reads, whatever `workers` says."""
        steps = Compose([TRANSFORMS.build(dict(step)) for step in self.pipeline])
        frames = islice(self._frames(), self.limit)
        while items := list(islice(frames, batch_size)):
            packed = [steps(item) for item in items]
            yield {
                "inputs": [item["inputs"] for item in packed],
                "data_samples": [item["data_samples"] for item in packed],
            }

    def _frames(self) -> Iterator[dict[str, Any]]:
        capture = cv2.VideoCapture(str(self.path))
        try:
            number = 0
            while True:
                there, image = capture.read()
                if not there:
                    break
                number += 1
                shape = image.shape[:2]
                yield {
                    "img": image,
                    "img_path": f"{self.path}#{number}",
                    "img_shape": shape,
                    "ori_shape": shape,
                }
        finally:
            capture.release()
        if number == 0:
            raise ValueError(
                f"{self.path.absolute()} gives no frame: OpenCV cannot read it as a video; convert "
                "it, for example to MP4, or give a folder of images."
            )


Domain = FolderDomain | VideoDomain


def stream_dataset(
    config: Config,
    folder: str | Path,
    labels: str | Path | None = None,
    *,
    image_suffix: str | None = None,
    label_suffix: str | None = None,
) -> dict[str, Any]:
    """The config of a data set of a folder's images, as they are at inference, in order of names.

    Args:
        config: The run's config, whose validation (or target) says how images are read.
        folder: Images.
        labels: Labels as the config's validation set has them, or None.
        image_suffix: Ending of image names; None: as `FolderDataset` has it.
        label_suffix: What stands in its place in a label's name.

    Raises:
        ValueError: Labels are given, but the config has no pipeline that reads any.
    """
    if labels is None:
        own: dict[str, Any] = {}
        steps = [step for step in inference_pipeline(config) if step["type"] not in LABEL_LOADERS]
    else:
        own = evaluation_dataset(config)
        steps = own["pipeline"]
        if not any(step["type"] in LABEL_LOADERS for step in steps):
            raise ValueError(
                f"{config.filename} reads no labels at validation, so those of {labels} cannot be "
                "read; give its pipeline a LoadLabel, or leave out the labels."
            )
    given = {"image_suffix": image_suffix, "label_suffix": label_suffix}
    kept = {name: own[name] for name in _HOW_LABELS_ARE_READ if name in own}
    return {
        **kept,
        **{name: suffix for name, suffix in given.items() if suffix is not None},
        "type": "FolderDataset",
        "image_dir": str(Path(folder).absolute()),
        "label_dir": None if labels is None else str(Path(labels).absolute()),
        "pipeline": steps,
        "test_mode": True,
    }


def video_domain(
    config: Config, path: str | Path, classes: Sequence[str], limit: int | None = None
) -> VideoDomain:
    """A video, its frames treated as the config treats images at inference.

    Args:
        config: The run's config.
        path: The video.
        classes: Names.
        limit: Only the first so many frames.

    Raises:
        ValueError: The file is an image, or cannot be read as a video.
    """
    path = Path(path)
    if path.suffix.lower() in IMAGES:
        raise ValueError(f"{path} is an image: a stream is a folder of images, or a video.")
    capture = cv2.VideoCapture(str(path))
    opened = capture.isOpened()
    capture.release()
    if not opened:
        raise ValueError(
            f"{path.absolute()} cannot be read as a video; convert it, for example to MP4, or give "
            "a folder of images."
        )
    skipped = (*LABEL_LOADERS, *_IMAGE_LOADERS)
    steps = [step for step in inference_pipeline(config) if step["type"] not in skipped]
    loader = config.get("val_dataloader")
    own = None if loader is None else loader.dataset.get("palette")
    palette = own or default_palette(len(classes))
    return VideoDomain(path.stem, path, steps, list(classes), palette, limit)


def config_domains(
    config: Config, classes: Sequence[str], limit: int | None = None
) -> tuple[list[FolderDomain], int]:
    """The domains that a config's `stream` lists, and how often the whole row is repeated.

    Each domain is the validation set with what the domain changes, as in `evaluation_sets`:

        stream = dict(rounds=10, domains=[dict(name="fog", include="fog/train/*"), ...])

    Args:
        config: The run's config.
        classes: Names, where the validation set has none.
        limit: Only the first so many images of each.

    Raises:
        ValueError: There is no `stream`, or a domain has no name or an unknown key.
    """
    stream = config.get("stream")
    if not stream or not stream.get("domains"):
        raise ValueError(
            f"{config.filename} lists no stream of domains: give --stream FOLDER or VIDEO, or "
            'write stream = dict(domains=[dict(name="fog", include="fog/*"), ...]).'
        )
    known = set(inspect.signature(FolderDataset).parameters)
    domains = []
    for number, given in enumerate(stream["domains"]):
        changes = copy.deepcopy(dict(given))
        name = changes.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(f"stream.domains[{number}] needs a name, got {dict(given)}.")
        for key in changes:
            if key not in known:
                raise ValueError(
                    f"stream.domains[{number}] has no key {key!r}.{nearest(key, known)}"
                )
        dataset = evaluation_dataset(config)
        dataset.setdefault("classes", list(classes))
        dataset.update(changes)
        if dataset.get("label_dir") is None:
            steps = dataset["pipeline"]
            dataset["pipeline"] = [s for s in steps if s["type"] not in LABEL_LOADERS]
        domains.append(FolderDomain(name, dataset, limit))
    return domains, stream.get("rounds", 1)
