"""Labelled and unlabelled image folders as an mmseg data set, described in the config alone."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS, TRANSFORMS

from uda.data.labels import UNMAPPED_CHOICES
from uda.data.listing import FolderSettings, list_folders
from uda.structures import IGNORE_INDEX

# What mmcv calls reading an image upright, as a viewer shows it.
_TURNING = ("color", "grayscale")


@DATASETS.register_module()
class FolderDataset(BaseDataset):
    """Images of a folder, with the labels of a second folder or with none.

    Both folders are searched with their subfolders; a label belongs to the image whose relative
    path it has, suffixes apart (``ulm/a_leftImg8bit.png`` and ``ulm/a_gtFine_labelTrainIds.png``).
    The order is that of the paths. With ``label_dir=None`` no label file is opened, nor is any
    folder but `image_dir` listed.

    Args:
        data_root: Folder that the other paths are relative to.
        image_dir: Folder of images.
        label_dir: Folder of single-channel labels, or None for unlabelled images.
        image_suffix: Ending of image names, or several; upper and lower case are alike.
        label_suffix: What stands in place of the image suffix in a label's name.
        classes: Class names in the order of their train ids.
        palette: RGB colour (0-255) of each class; None makes distinct ones.
        label_map: ``{raw id: train id}``, 255 = ignore; None when labels hold train ids.
        unmapped: Ids that `label_map` (or, without one, 0..K-1) does not name: ``"error"``, or
            ``"ignore"`` to make them 255.
        include: Patterns such as ``"*/train/*"``; only images whose relative path matches one of
            them are used (``*`` crosses folders). None takes all.
        split_file: Text file with one relative image path a line, image suffix optional; only these
            images are used.
        indices: Use the first n images, or those of the given positions.
        pipeline: Transforms, as config dicts.
        test_mode: Set for evaluation (mmengine's meaning).
        lazy_init: Read the folders at first use, not now (mmengine's meaning).

    Raises:
        FileNotFoundError: A folder, the split file, an image it names or a label is missing.
        ValueError: No image was found, or classes, palette, label map and pipeline do not fit.

    Example:
        >>> import tempfile, cv2, numpy as np
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = cv2.imwrite(f"{root}/b.png", np.zeros((4, 6, 3), np.uint8))
        ...     data = FolderDataset(image_dir=root, classes=["road", "sky"],
        ...                          pipeline=[dict(type="LoadImage")])
        ...     len(data), data[0]["img"].shape
        (1, (4, 6, 3))
    """

    def __init__(
        self,
        *,
        data_root: str = "",
        image_dir: str,
        label_dir: str | None = None,
        image_suffix: str | Sequence[str] = (".png", ".jpg", ".jpeg"),
        label_suffix: str = ".png",
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        label_map: Mapping[int, int] | None = None,
        unmapped: Literal["error", "ignore"] = "error",
        include: str | Sequence[str] | None = None,
        split_file: str | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict[str, Any] | Callable[..., Any]] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        _check_classes(classes, palette)
        root = Path(data_root).absolute()
        self.image_dir = root / image_dir
        self.label_dir = None if label_dir is None else root / label_dir
        self.settings = FolderSettings(
            image_dir=self.image_dir,
            label_dir=self.label_dir,
            image_suffixes=_as_tuple(image_suffix),
            label_suffix=label_suffix,
            include=None if include is None else _as_tuple(include),
            split_file=None if split_file is None else root / split_file,
        )
        self.num_classes = len(classes)
        self.label_map = _checked_label_map(label_map, self.num_classes)
        if unmapped not in UNMAPPED_CHOICES:
            raise ValueError(f"unmapped must be one of {UNMAPPED_CHOICES}, got {unmapped!r}")
        self.unmapped = unmapped
        colours = default_palette(self.num_classes) if palette is None else palette
        super().__init__(
            metainfo={
                "classes": tuple(classes),
                "palette": [[int(value) for value in colour] for colour in colours],
                "ignore_index": IGNORE_INDEX,
            },
            data_prefix={},
            indices=indices,
            # Two short strings an image need no packing, which costs a garbage collection.
            serialize_data=False,
            # Built here so that the class works without a default scope as well.
            pipeline=[TRANSFORMS.build(t) if isinstance(t, Mapping) else t for t in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
        )
        if self.label_dir is None:
            _refuse_label_transforms(self.pipeline.transforms, self.image_dir)
        else:
            _refuse_turning_loader(self.pipeline.transforms, self.image_dir)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Paths of every image and, when there is a label folder, of its label."""
        listing = list_folders(self.settings)
        for misfit in listing.misfits:
            if misfit.error is not None:
                misfit.stop()
        entries: list[dict[str, Any]] = [
            {"img_path": str(self.image_dir / name)} for name in listing.images
        ]
        if self.label_dir is not None:
            for entry, label in zip(entries, listing.labels, strict=True):
                entry["seg_map_path"] = str(self.label_dir / str(label))
        return entries

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Paths of one image and what the transforms need to know about its label."""
        info: dict[str, Any] = super().get_data_info(idx)
        info.update(
            label_map=self.label_map,
            unmapped=self.unmapped,
            num_classes=self.num_classes,
            image_dir=str(self.image_dir),
            label_dir=None if self.label_dir is None else str(self.label_dir),
            reduce_zero_label=False,
            seg_fields=[],
        )
        return info


def default_palette(num_classes: int) -> list[list[int]]:
    """RGB colours (0-255) that are far apart: hue by the golden ratio, three brightness levels.

    Example:
        >>> default_palette(2)
        [[242, 60, 60], [61, 99, 191]]
    """
    colours = []
    for index in range(num_classes):
        hue = (index * 0.6180339887498949) % 1.0
        value = (0.95, 0.75, 0.55)[index % 3]
        saturation = (0.75, 0.68)[index % 2]
        colour = colorsys.hsv_to_rgb(hue, saturation, value)
        colours.append([int(channel * 255) for channel in colour])
    return colours


def _as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _check_classes(classes: Sequence[str], palette: Sequence[Sequence[int]] | None) -> None:
    if isinstance(classes, str) or not classes:
        raise ValueError(f"classes must be a list of at least one name, got {classes!r}")
    if len(classes) > IGNORE_INDEX:
        raise ValueError(f"at most {IGNORE_INDEX} classes fit 8-bit labels, got {len(classes)}")
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        raise ValueError(f"classes names {repeated[0]!r} more than once")
    if palette is not None and len(palette) != len(classes):
        raise ValueError(
            f"palette has {len(palette)} colours but there are {len(classes)} classes; "
            "give one colour a class, or leave palette out"
        )


def _checked_label_map(
    label_map: Mapping[int, int] | None, num_classes: int
) -> dict[int, int] | None:
    if label_map is None:
        return None
    # Keys that went through JSON or --cfg-options are strings.
    checked = {int(raw): int(train) for raw, train in label_map.items()}
    for raw, train in checked.items():
        if raw < 0 or not (0 <= train < num_classes or train == IGNORE_INDEX):
            raise ValueError(
                f"label_map sends raw id {raw} to train id {train}, but there are {num_classes} "
                f"classes: wanted raw ids from 0 and train ids 0..{num_classes - 1} or 255 (ignore)"
            )
    return checked


def _refuse_turning_loader(transforms: Sequence[Any], folder: Path) -> None:
    """Image and label must not be turned differently, which shows only where sizes differ."""
    for transform in transforms:
        if type(transform).__name__ == "LoadImageFromFile" and transform.color_type in _TURNING:
            raise ValueError(
                f"the pipeline of the labelled folder {folder} has LoadImageFromFile, which turns "
                "an image by its EXIF orientation and so parts it from its label; use LoadImage"
            )


def _refuse_label_transforms(transforms: Sequence[Any], folder: Path) -> None:
    """Say at construction what would otherwise fail in the first batch."""
    for transform in transforms:
        name = type(transform).__name__
        if name in ("LoadLabel", "LoadAnnotations", "LoadPseudoLabel"):
            raise ValueError(
                f"the pipeline of the unlabelled folder {folder} has {name}; remove it, "
                "or give label_dir"
            )
        if getattr(transform, "cat_max_ratio", 1.0) < 1.0:
            raise ValueError(
                f"{name}(cat_max_ratio={transform.cat_max_ratio}) looks at labels, but folder "
                f"{folder} has none (label_dir=None); leave cat_max_ratio out"
            )
