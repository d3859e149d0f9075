"""Albumentations in an mmseg pipeline: image and label together, reproducible, sizes kept right."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from uda.structures import IGNORE_INDEX
from uda.text import did_you_mean

# Its import asks the package index for a newer version otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations  # noqa: E402


@TRANSFORMS.register_module()
class Albumentations(BaseTransform):
    """Image and label after a list of albumentations transforms written as config dicts.

    The transforms see the image in RGB order and the label by nearest neighbour; where they pad,
    the label becomes 255 unless ``fill_mask`` is given. ``img_shape`` and ``pad_shape`` follow the
    new size (mmseg's own ``Albu`` leaves them stale). Random numbers come from one generator per
    call, seeded from NumPy's global one, so an item depends on the draw alone.
    (`Compose.set_random_seed` would give every transform the same seed, so all with p = 0.5 would
    fire together.)

    Args:
        transforms: Dicts with ``type`` (class name in albumentations) and its arguments; containers
            such as ``OneOf`` take a list ``transforms`` of the same form.

    Raises:
        ValueError: Unknown transform or argument; the nearest known name is proposed.

    Example:
        >>> from uda.data.seeding import seeded
        >>> photometric = Albumentations([dict(type="RandomGamma", gamma_limit=(60, 160), p=1.0)])
        >>> with seeded(0, 0):
        ...     out = photometric({"img": np.full((4, 6, 3), 100, np.uint8)})
        >>> out["img"].shape, out["img_shape"]
        ((4, 6, 3), (4, 6))
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transforms = [dict(transform) for transform in transforms]
        built = [_build(transform) for transform in self.transforms]
        self.compose = albumentations.Compose(built, mask_interpolation=cv2.INTER_NEAREST)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img`` and, when there is one, ``gt_seg_map``."""
        seed = int(np.random.randint(0, 2**31 - 1))
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        inputs = {"image": cv2.cvtColor(results["img"], cv2.COLOR_BGR2RGB)}
        if "gt_seg_map" in results:
            inputs["mask"] = np.ascontiguousarray(results["gt_seg_map"])
        outputs = self.compose(**inputs)
        results["img"] = cv2.cvtColor(outputs["image"], cv2.COLOR_RGB2BGR)
        if "mask" in outputs:
            results["gt_seg_map"] = outputs["mask"]
        results["img_shape"] = results["pad_shape"] = results["img"].shape[:2]
        return results

    def __repr__(self) -> str:
        """Name and transforms as in a config."""
        return f"Albumentations({self.transforms})"


def _build(config: Mapping[str, Any]) -> Any:
    """One albumentations object of a config dict, containers included."""
    arguments = dict(config)
    name = arguments.pop("type", None)
    known = _known_transforms()
    if name not in known:
        raise ValueError(
            f"Albumentations: no transform is called {name!r} in albumentations "
            f"{albumentations.__version__}.{did_you_mean(str(name), known)}"
        )
    parameters = inspect.signature(known[name].__init__).parameters
    for key in arguments:
        if key not in parameters:
            raise ValueError(
                f"Albumentations: {name} has no argument {key!r}.{did_you_mean(key, parameters)}"
            )
    if "transforms" in arguments:
        arguments["transforms"] = [_build(inner) for inner in arguments["transforms"]]
    # A default of None leaves the label alone (CoarseDropout), any other default pads it.
    if "fill_mask" in parameters and parameters["fill_mask"].default is not None:
        arguments.setdefault("fill_mask", IGNORE_INDEX)
    return known[name](**arguments)


def _known_transforms() -> dict[str, Any]:
    kinds = (albumentations.BasicTransform, albumentations.BaseCompose)
    found = vars(albumentations).items()
    return {
        name: kind for name, kind in found if isinstance(kind, type) and issubclass(kind, kinds)
    }
