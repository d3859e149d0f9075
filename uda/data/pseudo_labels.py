"""A folder of pseudo-labels: its label files, and the manifest that says how they were made."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uda.data.copy_paste import enlarged
from uda.data.images import read_bytes
from uda.data.labels import read_label, train_ids
from uda.files import write_atomically

MANIFEST = "manifest.json"
# What stands in place of an image's suffix in the name of its pseudo-label.
SUFFIX = "_pseudo_label.png"
_VERSION = 2


@dataclass(frozen=True)
class LabelledImage:
    """One image of the set.

    Attributes:
        image: Path relative to the image folder.
        label: Path relative to the folder of the manifest.
        size: Height and width of the label in pixels; it may be smaller than the image.
        pixels: Kept pixels of each class.
        predicted: Pixels of each class before any was rejected.
    """

    image: str
    label: str
    size: tuple[int, int]
    pixels: tuple[int, ...]
    predicted: tuple[int, ...]


@dataclass
class Manifest:
    """What a folder of pseudo-labels holds and how it was made; plain JSON on disk.

    Attributes:
        classes: Class names in the order of their train ids.
        images: In the order in which they were labelled.
        class_mean: Mean confidence of the kept pixels of each class; 0 for none.
        thresholds: Thresholds of each class after each batch; empty for a selector without.
        settings: How the labels were made.
        checkpoint: The network that made them: name of its file, SHA-256, network.
    """

    classes: list[str]
    images: list[LabelledImage]
    class_mean: list[float]
    thresholds: list[list[float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)

    def pixels(self) -> NDArray[np.int64]:
        """Kept pixels, (K, images)."""
        rows = [image.pixels for image in self.images]
        return np.array(rows, np.int64).reshape(len(rows), len(self.classes)).T

    def predicted(self) -> NDArray[np.int64]:
        """Predicted pixels before any was rejected, (K, images)."""
        rows = [image.predicted for image in self.images]
        return np.array(rows, np.int64).reshape(len(rows), len(self.classes)).T

    def kept_shares(self) -> NDArray[np.float64]:
        """Share of the pixels predicted as a class that were kept, (K,); 0 where there are none."""
        kept, predicted = self.pixels().sum(1), self.predicted().sum(1)
        shares: NDArray[np.float64] = kept / np.maximum(predicted, 1)
        return shares

    def kept_share(self) -> float:
        """Share of all pixels that have a label, in [0, 1]."""
        total = sum(image.size[0] * image.size[1] for image in self.images)
        return float(self.pixels().sum() / total) if total else 0.0

    def write(self, folder: str | Path, name: str = MANIFEST) -> None:
        """Write the manifest of a folder, whole or not at all.

        Args:
            folder: Made if missing.
            name: Of the file; another one for a part of the labels (`uda.data.label_shards`).
        """
        kept = self.pixels().sum(1)
        content = {
            "version": _VERSION,
            "kept_share": self.kept_share(),
            "kept_shares": self.kept_shares().tolist(),
            # Of the kept pixels, those of each class; and how many images show it.
            "class_share": (kept / max(int(kept.sum()), 1)).tolist(),
            "class_images": (self.pixels() > 0).sum(1).tolist(),
            **dataclasses.asdict(self),
        }
        text = json.dumps(content, indent=1, allow_nan=False)
        write_atomically(Path(folder) / name, f"{text}\n".encode())

    @classmethod
    def read(cls, folder: str | Path, name: str = MANIFEST) -> Manifest:
        """The manifest of a folder.

        Args:
            folder: Of pseudo-labels.
            name: See `write`.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is damaged, or of another version.
        """
        path = Path(folder).absolute() / name
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {name} in {path.parent}: it is no finished folder of "
                "pseudo-labels; make one with tools/generate_labels.py, or let it finish"
            )
        try:
            content = json.loads(read_bytes(path, "manifest"))
            if content.pop("version") != _VERSION:
                raise ValueError("version")
            known = {f.name for f in dataclasses.fields(cls)}
            found = cls(**{key: value for key, value in content.items() if key in known})
            found.images = [
                LabelledImage(
                    i["image"],
                    i["label"],
                    tuple(i["size"]),
                    tuple(i["pixels"]),
                    tuple(i["predicted"]),
                )
                for i in content["images"]
            ]
            if len(found.class_mean) != len(found.pixels()):
                raise ValueError("class_mean")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a manifest that this version reads ({error}); make the "
                "pseudo-labels again with tools/generate_labels.py"
            ) from error
        return found


def read_pseudo_label(
    path: str | Path, shape: tuple[int, int], num_classes: int
) -> NDArray[np.uint8]:
    """A pseudo-label at the size of its image: (H, W) uint8 train ids, 255 = none.

    Pseudo-labels are stored at the size the network saw; each pixel takes the nearest one.

    Args:
        path: The file.
        shape: Height and width of the image.
        num_classes: K.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no label, or holds another id.
    """
    label = train_ids(read_label(path), path=path, items=None, num_classes=num_classes)
    return enlarged(label, shape)
