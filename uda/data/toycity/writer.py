"""ToyCity on disk: the source as GTA5, the target as Cityscapes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from uda.data.parallel import parallel_map
from uda.data.statistics import ClassStatistics, count_label
from uda.data.toycity.png import encode_palette, encode_rgb
from uda.data.toycity.render import SMALLEST, render
from uda.data.toycity.style import Style

RECORD = "toycity.json"
FOLDERS = {
    "source": ("gta5/images", "gta5/labels"),
    "target": ("cityscapes/leftImg8bit/train/toycity",),
    "val": ("cityscapes/leftImg8bit/val/toycity", "cityscapes/gtFine/val/toycity"),
}
VERSION = 1  # raise it when a drawing changes, so that an old folder is not taken for a new one
NUM_CLASSES = 19
# Cityscapes labelId of each trainId.
LABEL_IDS = np.array(
    [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33], np.uint8
)


@dataclass(frozen=True)
class Settings:
    """Everything the content of the folder depends on."""

    seed: int
    num_source: int
    num_target: int
    num_val: int
    size: tuple[int, int]
    version: int
    styles: str

    def check(self) -> None:
        """Raise ValueError if a number is impossible."""
        for name in ("num_source", "num_target", "num_val"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"ToyCity: {name} must be an integer >= 0, got {value!r}")
        if not self.num_source + self.num_target + self.num_val:
            raise ValueError("ToyCity: num_source, num_target and num_val are all 0; nothing to do")
        if self.seed < 0:
            raise ValueError(f"ToyCity: seed must be >= 0, got {self.seed!r}")
        if self.size[0] < SMALLEST[0] or self.size[1] < SMALLEST[1]:
            raise ValueError(
                f"ToyCity: size must be at least {SMALLEST} (height, width), got {self.size}"
            )

    def record(self) -> dict[str, object]:
        """The settings as JSON gives them back."""
        return {**asdict(self), "size": list(self.size)}


_VAL_OFFSET = 1_000_000  # target images with and without labels never share a scene


def write_toycity(
    root: str | Path,
    *,
    seed: int = 0,
    num_source: int = 400,
    num_target: int = 200,
    num_val: int = 60,
    size: tuple[int, int] = (240, 320),
    workers: int | None = None,
) -> Path:
    """The folder with both domains, written once and reused afterwards.

    Layout::

        root/toycity.json
        root/gta5/images/00001.png  labels/00001.png  labels/00001_labelTrainIds.png
        root/gta5/class_statistics.json
        root/cityscapes/leftImg8bit/{train,val}/toycity/toycity_000000_000019_leftImg8bit.png
        root/cityscapes/gtFine/val/toycity/toycity_000000_000019_gtFine_{labelIds,labelTrainIds}.png

    The target's training images have no label files. A number of 0 leaves that part out: no gta5
    folder without source images, no cityscapes folder without target images. Files are the same to
    the byte whatever the number of workers; the folder appears complete or not at all.

    Args:
        root: Folder to make.
        seed: Seed of all scenes.
        num_source: Labelled source images, may be 0.
        num_target: Unlabelled target images, may be 0.
        num_val: Labelled target images, may be 0.
        size: Height and width in pixels.
        workers: Processes; None takes one for each core, 0 or 1 works in this process.

    Returns:
        The folder.

    Raises:
        ValueError: A count is below 0 or all are 0, the size too small or the seed negative.
        FileExistsError: The folder exists with other settings or other content.
    """
    root = Path(root)
    settings = Settings(
        seed=seed,
        num_source=num_source,
        num_target=num_target,
        num_val=num_val,
        size=(int(size[0]), int(size[1])),
        version=VERSION,
        styles=_style_digest(),
    )
    settings.check()
    if _reusable(root, settings):
        return root
    _make(root, settings, workers)
    return root


def _make(root: Path, settings: Settings, workers: int | None) -> None:
    """Write everything beside the folder, then give it the folder's name in one step."""
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        record = _write_all(partial, settings, workers)
        text = json.dumps(record, indent=2) + "\n"
        (partial / RECORD).write_text(text, encoding="utf-8")
        if root.is_dir():  # empty, or _reusable would have refused
            root.rmdir()
        os.replace(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _style_digest() -> str:
    """Digest of both styles: a changed style makes a different data set."""
    text = json.dumps([asdict(Style.source()), asdict(Style.target())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reusable(root: Path, settings: Settings) -> bool:
    """Whether the folder holds exactly this data set; an absent or empty one may be made."""
    root = root.absolute()
    if root.is_file():
        raise FileExistsError(f"ToyCity: {root} is a file; give the folder to make")
    if not root.is_dir() or not any(root.iterdir()):
        return False
    record_file = root / RECORD
    advice = "delete the folder or choose another one"
    if not record_file.is_file():
        raise FileExistsError(f"ToyCity: {root} holds other files (no {RECORD} in it); {advice}")
    try:
        found = json.loads(record_file.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"ToyCity: {record_file} cannot be read ({error}); {advice}"
        raise FileExistsError(reason) from error
    wanted = settings.record()
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        pairs = ", ".join(f"{n} {found.get(n)} there, {wanted[n]} wanted" for n in different)
        raise FileExistsError(f"ToyCity: {root} was made with other settings ({pairs}); {advice}")
    return True


def _write_all(folder: Path, settings: Settings, workers: int | None) -> dict[str, object]:
    """Render and write every image; the record with a digest over all files in order."""
    seed, size = settings.seed, settings.size
    numbers = {
        "source": settings.num_source, "target": settings.num_target, "val": settings.num_val
    }  # fmt: skip
    for name in (name for part, count in numbers.items() if count for name in FOLDERS[part]):
        (folder / name).mkdir(parents=True)
    tasks = [
        (str(folder), part, number, seed, size)
        for part, count in numbers.items()
        for number in range(count)
    ]
    workers = (os.cpu_count() or 1) if workers is None else workers
    results = list(parallel_map(_write_one, tasks, workers=max(1, workers)))
    digest = hashlib.sha256("".join(item[0] for item in results).encode()).hexdigest()
    if numbers["source"]:
        counts = np.stack([item[1] for item in results[: numbers["source"]]])
        files = [f"{number + 1:05d}_labelTrainIds.png" for number in range(numbers["source"])]
        ClassStatistics(files, counts).save(folder / "gta5" / "class_statistics.json")
    return {"settings": settings.record(), "digest": digest}


def _write_one(
    task: tuple[str, str, int, int, tuple[int, int]],
) -> tuple[str, npt.NDArray[np.int64]]:
    """Render one image and write its files: their digest and the pixels of each class."""
    folder, part, number, seed, size = task
    style = Style.source() if part == "source" else Style.target()
    index = number + (_VAL_OFFSET if part == "val" else 0)
    image, label = render(seed, index, style, size)
    label_ids = np.full(256, 0, np.uint8)
    label_ids[:NUM_CLASSES] = LABEL_IDS
    files = {}
    root = Path(folder)
    if part == "source":
        stem = f"{number + 1:05d}"
        files[root / "gta5/images" / f"{stem}.png"] = encode_rgb(image)
        files[root / "gta5/labels" / f"{stem}.png"] = encode_palette(label_ids[label], LABEL_IDS)
        train_ids = root / "gta5/labels" / f"{stem}_labelTrainIds.png"
        files[train_ids] = encode_palette(label)
    else:
        stem = f"toycity_{number:06d}_000019"
        split = "train" if part == "target" else "val"
        image_folder = root / "cityscapes/leftImg8bit" / split / "toycity"
        files[image_folder / f"{stem}_leftImg8bit.png"] = encode_rgb(image)
        if part == "val":
            labels = root / "cityscapes/gtFine/val/toycity"
            ids_file = labels / f"{stem}_gtFine_labelIds.png"
            files[ids_file] = encode_palette(label_ids[label], LABEL_IDS)
            files[labels / f"{stem}_gtFine_labelTrainIds.png"] = encode_palette(label)
    digest = hashlib.sha256()
    for path, content in files.items():
        path.write_bytes(content)
        digest.update(content)
    return digest.hexdigest(), count_label(label, NUM_CLASSES)
