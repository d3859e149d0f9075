"""Label conventions: how each data set writes its classes, and the way from there to train ids."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uda.data.class_tables import (
    CAMVID_COLOURS,
    CAMVID_IDS,
    CARLA_COLOURS,
    CITYSCAPES_IDS,
    GTA5_IDS,
    IGNORE_INDEX,
    ROBOTCAR_IDS,
    SYNTHIA_IDS,
)
from uda.data.images import check_png, read_bytes
from uda.data.labels import read_label, told_by_pillow
from uda.data.look_up import look_up_table

Kind = Literal["ids", "colours", "synthia16"]


@dataclass(frozen=True)
class LabelConvention:
    """How label files of one data set are read, and the table from raw values to train ids.

    Attributes:
        name: Shown in messages.
        kind: ``"ids"``: one channel of class ids, of a palette image the index (GTA5);
            ``"colours"``: RGB or RGBA, the colour is the class; ``"synthia16"``: 16-bit PNG of
            three channels, the class in the last one as cv2 reads it unchanged.
        ids: Raw id to train id, for the kinds with ids. 255 is known to every convention.
        colours: (red, green, blue) to train id, for ``"colours"``.

    Example:
        >>> LabelConvention(name="mine", kind="ids", ids={7: 0, 26: 1}).num_classes
        2
    """

    name: str
    kind: Kind
    ids: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a table of the wrong kind, or one that uint8 cannot hold."""
        if self.kind not in ("ids", "colours", "synthia16"):
            raise ValueError(
                f"label convention {self.name!r}: kind must be ids, colours or synthia16, "
                f"got {self.kind!r}"
            )
        values = list(self._table().values())
        if not values:
            raise ValueError(f"label convention {self.name!r}: its table of {self.kind} is empty")
        wrong = [value for value in values if not 0 <= value <= IGNORE_INDEX]
        if wrong:
            raise ValueError(
                f"label convention {self.name!r}: train id {wrong[0]} is not in 0..255"
            )

    @property
    def num_classes(self) -> int:
        """Largest train id of the table plus one (255 does not count)."""
        used = [value for value in self._table().values() if value != IGNORE_INDEX]
        return 1 + max(used, default=-1)

    def _table(self) -> Mapping[int, int] | Mapping[tuple[int, int, int], int]:
        return self.colours if self.kind == "colours" else self.ids


GTA5 = LabelConvention(name="GTA5", kind="ids", ids=GTA5_IDS)
SYNTHIA = LabelConvention(name="SYNTHIA-RAND-CITYSCAPES", kind="synthia16", ids=SYNTHIA_IDS)
CITYSCAPES = LabelConvention(name="Cityscapes labelIds", kind="ids", ids=CITYSCAPES_IDS)
CARLA = LabelConvention(name="CARLA 0.9.5 colours", kind="colours", colours=CARLA_COLOURS)
CAMVID = LabelConvention(name="CamVid ids", kind="ids", ids=CAMVID_IDS)
ROBOTCAR = LabelConvention(name="Oxford RobotCar ids", kind="ids", ids=ROBOTCAR_IDS)
CAMVID_COLOUR = LabelConvention(name="CamVid colours", kind="colours", colours=CAMVID_COLOURS)


def to_train_ids(
    path: str | Path, convention: LabelConvention, *, unknown: Literal["error", "ignore"] = "error"
) -> NDArray[np.uint8]:
    """Train ids (H, W) uint8 of one label file, 255 where nothing is to be learnt.

    The tables are those of the reference conversion (Hoyer et al., CVPR 2022; released code:
    tools/convert_datasets). It sends every other value to 255 in silence; here a value that the
    data set does not define is an error, because it means that the file follows another convention.

    Args:
        path: Label file.
        convention: How to read it.
        unknown: ``"error"``, or ``"ignore"`` for the reference's behaviour (the rest becomes 255).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, of another kind, or holds an unknown id or colour; the
            message names file, value and number of pixels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "label.png"
        ...     Image.fromarray(np.array([[7, 26, 0]], dtype=np.uint8)).save(file)
        ...     to_train_ids(file, GTA5).tolist()
        [[0, 13, 255]]
    """
    if unknown not in ("error", "ignore"):
        raise ValueError(f"unknown must be 'error' or 'ignore', got {unknown!r}")
    path = Path(path).absolute()
    raw: NDArray[np.integer]
    if convention.kind == "colours":
        raw, table, size = _pack(_read_colours(path)), _packed_table(convention), 1 << 24
    else:
        raw = _read_synthia(path) if convention.kind == "synthia16" else read_label(path)
        if raw.size and not 0 <= raw.min() <= raw.max() <= 65535:
            raise ValueError(f"label file {path}: ids {raw.min()}..{raw.max()} exceed 0..65535")
        table, size = {IGNORE_INDEX: IGNORE_INDEX, **convention.ids}, 65536
    train_ids, known = look_up_table(table, size)
    if unknown == "error" and not known[raw].all():
        raise ValueError(_unknown_message(raw[~known[raw]], convention, path))
    return train_ids[raw]


def _unknown_message(unknown: NDArray[np.integer], convention: LabelConvention, path: Path) -> str:
    values, pixels = np.unique(unknown, return_counts=True)
    most = int(values[pixels.argmax()])
    value = f"colour {_unpack(most)}" if convention.kind == "colours" else f"id {most}"
    return (
        f"label file {path}: {value} ({pixels.max()} pixels"
        + (f"; {len(values) - 1} more unknown values" if len(values) > 1 else "")
        + f") is not defined by the convention {convention.name}; check the data set, or map "
        "the rest to 255 (unknown='ignore')"
    )


def _read_colours(path: Path) -> NDArray[np.uint8]:
    """RGB (H, W, 3); an alpha channel carries no class and is dropped, a palette is looked up."""
    content = read_bytes(path, "label file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode = image.mode
            array = np.asarray(image.convert("RGB"))
        check_png(content)
    except Exception as error:  # damaged bytes lead decoders into errors of many kinds
        raise ValueError(
            f"cannot read label file {path}: {told_by_pillow(error)}; fetch it again"
        ) from error
    if mode not in ("RGB", "RGBA", "P"):
        raise ValueError(f"label file {path} is of mode {mode}; wanted colours (RGB or RGBA)")
    return array


def _read_synthia(path: Path) -> NDArray[np.uint16]:
    # PIL halves 16-bit RGB to 8 bits, so these files need OpenCV, whose BGR order puts red last.
    encoded = np.frombuffer(read_bytes(path, "label file"), dtype=np.uint8)
    try:
        array = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except cv2.error:  # a size beyond OpenCV's limit
        array = None
    if array is None:
        raise ValueError(f"cannot read label file {path}: damaged or no image; fetch it again")
    if array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"label file {path} is {array.dtype} of shape {array.shape}; SYNTHIA-RAND-CITYSCAPES "
            "labels are 16 bit with three channels (folder GT/LABELS, not GT/COLOR)"
        )
    return np.asarray(array[:, :, -1], dtype=np.uint16)


def _pack(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    wide = rgb.astype(np.int64)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _unpack(value: int) -> tuple[int, int, int]:
    return value >> 16, value >> 8 & 255, value & 255


def _packed_table(convention: LabelConvention) -> dict[int, int]:
    return {r << 16 | g << 8 | b: v for (r, g, b), v in convention.colours.items()}
