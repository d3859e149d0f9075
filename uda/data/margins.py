"""Borders of target images where no pseudo-label may be taken, marked before any crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

VALID = "valid_map"


@TRANSFORMS.register_module()
class PseudoLabelMargins(BaseTransform):
    """Marks the inner part of an image as ``valid_map`` (H, W) uint8: 1 there, 0 in the margins.

    The map is resized, cropped and flipped with the image from then on, like a label, so it is
    right for any crop. It stands between loading and the first transform that moves pixels;
    ``PackTarget`` hands it on. For Cityscapes HRDA and MIC leave out 30 pixels at the top, 240 at
    the bottom (the own car) and 30 at either side of the image of 2048x1024 (released code; there
    the size is fixed).

    Args:
        top: Pixels without pseudo-labels at the upper border, at least 0.
        bottom: At the lower border.
        left: At the left border.
        right: At the right border.
        size: (height, width) of the images that the margins were measured on; they are scaled to
            each image, rounded up. None: pixels of the image as it is here.

    Raises:
        ValueError: A margin is negative, or nothing is left between them.

    >>> marked = PseudoLabelMargins(top=1, right=2)({"img": np.zeros((2, 4, 3))})
    >>> marked["valid_map"].tolist()
    [[0, 0, 0, 0], [1, 1, 0, 0]]
    """

    def __init__(
        self,
        *,
        top: int = 0,
        bottom: int = 0,
        left: int = 0,
        right: int = 0,
        size: Sequence[int] | None = None,
    ) -> None:
        margins = {"top": top, "bottom": bottom, "left": left, "right": right}
        negative = [f"{name}={value}" for name, value in margins.items() if value < 0]
        if negative:
            raise ValueError(
                f"PseudoLabelMargins: {', '.join(negative)}; margins are numbers of pixels of at "
                "least 0."
            )
        self.margins = margins
        self.size = None if size is None else (int(size[0]), int(size[1]))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the map.

        Raises:
            ValueError: The margins leave nothing of the image.
        """
        height, width = results["img"].shape[:2]
        top, bottom = (self._scaled(name, height, 0) for name in ("top", "bottom"))
        left, right = (self._scaled(name, width, 1) for name in ("left", "right"))
        if top + bottom >= height or left + right >= width:
            raise ValueError(
                f"PseudoLabelMargins: margins {self.margins} leave nothing of an image of "
                f"{height}x{width} pixels (height x width)"
                + (f" ({results['img_path']})" if "img_path" in results else "")
                + "; give smaller ones, or the size they were measured on as size=(height, width)."
            )
        valid = np.zeros((height, width), np.uint8)
        valid[top : height - bottom, left : width - right] = 1
        results[VALID] = valid
        results.setdefault("seg_fields", []).append(VALID)
        return results

    def _scaled(self, name: str, length: int, axis: int) -> int:
        measured = length if self.size is None else self.size[axis]
        return -(-self.margins[name] * length // measured)

    def __repr__(self) -> str:
        """Settings as in a config."""
        told = ", ".join(f"{name}={value}" for name, value in self.margins.items())
        return f"PseudoLabelMargins({told}, size={self.size})"


@TRANSFORMS.register_module()
class PackTarget(PackSegInputs):
    """mmseg's ``PackSegInputs``, and the ``valid_map`` beside it in the data sample.

    Args:
        meta_keys: What of the image is noted; None: as ``PackSegInputs`` does.
    """

    def __init__(self, *, meta_keys: Sequence[str] | None = None) -> None:
        if meta_keys is None:
            super().__init__()
        else:
            super().__init__(meta_keys=tuple(meta_keys))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack the image.

        Raises:
            ValueError: There is no map, or it has another size than the image.
        """
        if VALID not in results:
            raise ValueError(
                "PackTarget hands on the map of PseudoLabelMargins, and there is none: put "
                "dict(type='PseudoLabelMargins', ...) after LoadImage, or pack with PackSegInputs."
            )
        if results[VALID].shape != results["img"].shape[:2]:
            raise ValueError(
                f"PackTarget: the image is {results['img'].shape[:2]} (height, width) and its map "
                f"{results[VALID].shape}: a step changed the image alone (mmcv's Pad does). Leave "
                "it out; data_preprocessor.size pads batches."
            )
        packed: dict[str, Any] = super().transform(results)
        # Steps that fill a map of labels at its borders do it with 255.
        valid = torch.from_numpy(results[VALID] == 1).unsqueeze(0)
        packed["data_samples"].set_data({VALID: PixelData(data=valid)})
        return packed
