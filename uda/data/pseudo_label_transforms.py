"""Pseudo-labels in an mmseg pipeline: reading them, and copy-paste of hard classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from uda.data.copy_paste import PasteChoice, Until, hard_classes, image_banks, paste_classes
from uda.data.images import read_image
from uda.data.pseudo_labels import Manifest, read_pseudo_label


@TRANSFORMS.register_module()
class LoadPseudoLabel(BaseTransform):
    """The pseudo-label of ``seg_map_path`` as ``gt_seg_map``, enlarged to the size of the image.

    To be put behind ``LoadImage``. Other than ``LoadLabel`` it takes labels that are smaller than
    their image; ids other than 0..K-1 and 255 are an error.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the label; see `read_pseudo_label` for the errors.

        Raises:
            ValueError: The data set has no labels.
        """
        if results.get("seg_map_path") is None:
            raise ValueError(
                f"LoadPseudoLabel: image {results.get('img_path')} belongs to a data set without "
                "labels; make them with tools/generate_labels.py and give their folder as label_dir"
            )
        results["gt_seg_map"] = read_pseudo_label(
            results["seg_map_path"], results["ori_shape"], results["num_classes"]
        )
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def __repr__(self) -> str:
        """Name as in a config."""
        return "LoadPseudoLabel()"


@TRANSFORMS.register_module()
class HardClassCopyPaste(BaseTransform):
    """Pastes the hard classes of other target images onto an image and its pseudo-label.

    The hard classes are the `num_hard` of lowest mean confidence in the manifest of the
    pseudo-labels. A class c of them is drawn with weight `(1 - s_c)^2`, then an image of its bank,
    all alike; every pixel of that image that is labelled as any hard class replaces the pixel at
    the same position, with its label (HIAST, TPAMI 2025, released code). Excluded classes and
    those of which nothing was kept are never drawn, where the released code stops with an error.
    Random numbers come from NumPy's global generator, which `PseudoLabelledTarget` seeds for each
    draw.

    To be put behind ``LoadPseudoLabel`` and before any change of geometry, in the pipeline of a
    `FolderDataset` whose ``label_dir`` is a folder that ``tools/generate_labels.py`` wrote.

    Args:
        num_hard: Number of hard classes; HIAST takes 14 of 19.
        excluded: Class ids that are never hard: those the source lacks ([9, 14, 16] of SYNTHIA).
        until: `"one_image"` (reference): exactly one image is pasted. `"half_of_classes"` (clean):
            further images, at most `max_images`, until half of the hard classes were pasted.
        max_images: See `until`.
        drop: Share of each class's images that is left out, those with the fewest pixels of it.
        probability: How often an image is pasted onto at all; 1 in the released code. Every paste
            makes hard classes more frequent than they are, and the next round's labels too. With 1
            no random number is drawn for it.

    Raises:
        ValueError: A number is out of range, or `until` is unknown.
    """

    def __init__(
        self,
        *,
        num_hard: int = 14,
        excluded: Sequence[int] = (),
        until: Until = "half_of_classes",
        max_images: int = 3,
        drop: float = 0.1,
        probability: float = 1.0,
    ) -> None:
        if until not in get_args(Until):
            raise ValueError(f"until has to be one of {list(get_args(Until))}, not {until!r}.")
        if num_hard < 1 or max_images < 1:
            raise ValueError(
                f"num_hard and max_images have to be at least 1, not {num_hard} and {max_images}."
            )
        if not 0 <= drop < 1:
            raise ValueError(f"drop is a share of images in [0, 1), not {drop}.")
        if not 0 <= probability <= 1:
            raise ValueError(
                f"probability is how often pasting is done, from 0 to 1, not {probability}."
            )
        self.num_hard, self.excluded = num_hard, tuple(excluded)
        self.until: Until = until
        self.max_images, self.drop, self.probability = max_images, drop, probability
        self._bank: tuple[str, Manifest, PasteChoice] | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img`` and ``gt_seg_map``."""
        manifest, choice = self.bank(results)
        if self.probability < 1 and np.random.random() >= self.probability:
            return results
        image, label = results["img"], results["gt_seg_map"]
        pasted: set[int] = set()
        images = 0
        while not choice.is_enough(pasted, images):
            drawn = choice.draw(np.random, pasted)
            if drawn is None:
                break
            entry = manifest.images[drawn[1]]
            other = read_image(Path(results["image_dir"]) / entry.image)
            other_label = read_pseudo_label(
                Path(results["label_dir"]) / entry.label, other.shape[:2], len(manifest.classes)
            )
            image, label, copied = paste_classes(image, label, other, other_label, choice.hard)
            # A class whose few pixels vanish in resizing counts as pasted, or it would be drawn on.
            pasted |= {drawn[0], *np.unique(copied).tolist()} & set(choice.usable())
            images += 1
        results["img"], results["gt_seg_map"] = image, label
        return results

    def bank(self, results: dict[str, Any]) -> tuple[Manifest, PasteChoice]:
        """The manifest of the data set's pseudo-labels, and what is drawn from it.

        Args:
            results: Of the pipeline, from a `FolderDataset`.

        Raises:
            FileNotFoundError: The label folder has no manifest.
            ValueError: There are no labels, or other classes than the data set's.
        """
        folder = results.get("label_dir")
        if folder is None or "gt_seg_map" not in results:
            raise ValueError(
                "HardClassCopyPaste needs pseudo-labels: put it behind LoadPseudoLabel in a "
                "FolderDataset whose label_dir is a folder of tools/generate_labels.py"
            )
        if self._bank is None or self._bank[0] != folder:
            manifest = Manifest.read(folder)
            if len(manifest.classes) != results["num_classes"]:
                raise ValueError(
                    f"the pseudo-labels in {folder} are of {len(manifest.classes)} classes, the "
                    f"data set has {results['num_classes']}; make them again for this data set"
                )
            means = np.array(manifest.class_mean, np.float64)
            choice = PasteChoice(
                means,
                hard_classes(means, self.num_hard, self.excluded),
                image_banks(manifest.pixels(), self.drop),
                self.until,
                self.max_images,
            )
            self._bank = folder, manifest, choice
        return self._bank[1:]

    def __repr__(self) -> str:
        """Name and settings as in a config."""
        return (
            f"HardClassCopyPaste(num_hard={self.num_hard}, excluded={self.excluded}, "
            f"until={self.until!r}, max_images={self.max_images}, drop={self.drop}, "
            f"probability={self.probability})"
        )
