"""Copy-paste of hard classes between target images: which class, which image, which pixels.

Hard-aware pseudo-label augmentation of HIAST (TPAMI 2025). It works on whole images in the loader's
processes, before any crop, so it stands with the data and not with the mixers of batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from uda.structures import IGNORE_INDEX

Until = Literal["one_image", "half_of_classes"]


def hard_classes(
    class_mean: NDArray[np.float64], count: int, excluded: Sequence[int] = ()
) -> NDArray[np.int64]:
    """The `count` classes of lowest mean confidence, the hardest first.

    Args:
        class_mean: (K,) mean confidence of the kept pixels of each class, in [0, 1].
        count: How many.
        excluded: Class ids that are never hard, such as those a source lacks.

    Raises:
        ValueError: There are not as many classes.

    >>> hard_classes(np.array([0.9, 0.5, 0.7]), 2).tolist()
    [1, 2]
    """
    order = [k for k in np.argsort(class_mean, kind="stable").tolist() if k not in set(excluded)]
    if not 1 <= count <= len(order):
        raise ValueError(
            f"num_hard={count}, but there are {len(class_mean)} classes, {len(excluded)} of them "
            f"excluded; give a number from 1 to {len(order)} (HIAST: 14 of 19)."
        )
    return np.array(order[:count], np.int64)


def sampling_weights(
    class_mean: NDArray[np.float64], allowed: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """The probability of each class, `(1 - s_c)^2` over the sum of the allowed ones.

    The released code has no allowed ones: a class without an image, whose s_c is 0, gets the
    highest weight, and an excluded one, marked by infinity, makes all weights NaN.

    Args:
        class_mean: (K,) s_c in [0, 1].
        allowed: Class ids that may be drawn; None: all.

    Returns:
        (K,) float64. All 0 if nothing is allowed; alike if every allowed class has s_c = 1.

    >>> sampling_weights(np.array([0.5, 0.5, 0.0]), [0, 1]).tolist()
    [0.5, 0.5, 0.0]
    """
    may = np.zeros(len(class_mean))
    may[list(range(len(class_mean)) if allowed is None else allowed)] = 1
    weights = np.where(may > 0, (1 - class_mean) ** 2, 0.0)
    if weights.sum() == 0:
        weights = may
    total = weights.sum()
    found: NDArray[np.float64] = weights / total if total > 0 else weights
    return found


def image_banks(pixels: NDArray[np.int64], drop: float = 0.1) -> list[NDArray[np.int64]]:
    """For each class the images that show enough of it, by ascending number of kept pixels.

    Of the n images with at least one kept pixel, the `round(drop n)` with fewest are left out
    (Python's rounding: a half goes to the even number).

    Args:
        pixels: (K, M) kept pixels of each class and image.
        drop: Share of images left out, in [0, 1).

    Returns:
        K arrays of image numbers.

    >>> [bank.tolist() for bank in image_banks(np.array([[5, 0, 3], [0, 0, 0]]))]
    [[2, 0], []]
    """
    banks = []
    for counts in pixels:
        order = np.argsort(counts, kind="stable")
        shown = order[counts[order] > 0]
        banks.append(shown[round(drop * len(shown)) :])
    return banks


def paste_classes(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    other_image: NDArray[np.uint8],
    other_label: NDArray[np.uint8],
    classes: Sequence[int] | NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Image and label with all pixels of `classes` of another image, at the same position.

    Pixels that the other label ignores are not pasted. An image of another size is resized,
    bilinear, and its label by nearest neighbour.

    Args:
        image: (H, W, 3).
        label: (H, W) train ids, 255 = none.
        other_image: (h, w, 3).
        other_label: (h, w).
        classes: Class ids to paste.

    Returns:
        New image, new label, and the pasted class of each pixel (255 where nothing was pasted).
    """
    size = label.shape[1], label.shape[0]
    if other_label.shape != label.shape:
        other_image = np.asarray(cv2.resize(other_image, size), np.uint8)
        other_label = enlarged(other_label, label.shape)
    wanted = np.zeros(256, bool)
    wanted[np.asarray(classes, np.int64)] = True
    wanted[IGNORE_INDEX] = False
    mask = wanted[other_label]
    pasted = np.where(mask, other_label, np.uint8(IGNORE_INDEX))
    return (
        np.where(mask[..., None], other_image, image),
        np.where(mask, other_label, label),
        pasted,
    )


def enlarged(label: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """A label (H, W) at another size (height, width), each pixel from the nearest one."""
    if tuple(label.shape) == tuple(shape):
        return label
    resized = cv2.resize(label, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.uint8)


@dataclass(frozen=True)
class PasteChoice:
    """Which class and bank image are drawn next.

    Attributes:
        class_mean: (K,) mean confidence of each class.
        hard: Class ids that are pasted, see `hard_classes`.
        banks: Image numbers of each class, see `image_banks`.
        until: `"one_image"` (reference): one image is pasted, always; the released loop means to
            go on, but counts every hard class as pasted after the first image. `"half_of_classes"`
            (clean): until at least half of the hard classes that have images were pasted.
        max_images: How many images at most, with `"half_of_classes"`; 3 in the released code.
    """

    class_mean: NDArray[np.float64]
    hard: NDArray[np.int64]
    banks: Sequence[NDArray[np.int64]]
    until: Until = "half_of_classes"
    max_images: int = 3

    def usable(self) -> list[int]:
        """The hard classes that have an image."""
        return [k for k in self.hard.tolist() if len(self.banks[k])]

    def draw(self, random: Any, pasted: set[int]) -> tuple[int, int] | None:
        """A class, hard and not pasted yet, by its weight; one image of its bank, all alike.

        Args:
            random: NumPy's random state or module.
            pasted: Class ids that were pasted already; empty for the first image.

        Returns:
            Class id and image number; None if no hard class is left.
        """
        left = [k for k in self.usable() if k not in pasted]
        if not left:
            return None
        weights = sampling_weights(self.class_mean, left)
        class_id = int(random.choice(len(weights), p=weights))
        return class_id, int(random.choice(self.banks[class_id]))

    def is_enough(self, pasted: set[int], images: int) -> bool:
        """Whether no further image is to be pasted.

        Args:
            pasted: Class ids that were pasted.
            images: How many images they came from.
        """
        if self.until == "one_image":
            return images >= 1
        return images >= self.max_images or len(pasted) >= math.ceil(len(self.usable()) / 2)
