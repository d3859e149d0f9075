"""The config of a run on two folders, written for its owner to read and to change."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uda
from uda.data.images import read_image
from uda.data.layouts import IMAGE_ENDINGS
from uda.engine.prediction_inputs import find_inputs

BASES = ("models/efficientnet_lite0.py", "schedules/cpu_600.py", "runtime/default.py")


_ADAPT = """# python tools/train.py {file}
# Expected: depends on the data; compare with source_only.py beside this file.
# Cost: depends on the data; a line of the log gives the remaining time. Runs on a CPU.
_base_ = [
{bases}]
# Their position is their train id.
classes = {classes}  # fmt: skip
endings = {endings}
folder = dict(type="FolderDataset", classes=classes, image_suffix=endings)
# The box (width, height) that images are brought to fit, here with a random factor.
resize = dict(type="RandomResize", scale={box}, ratio_range=(1.0, 1.6), keep_ratio=True)
flip = dict(type="RandomFlip", prob=0.5)
train_dataloader = dict(
    batch_size=4,  # pairs of images an iteration; lower it if memory runs out
    num_workers=1,  # processes that read images, about the number of spare cores
    persistent_workers=True,
    sampler=dict(type="DrawSampler"),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="SourceTargetPairs",
        # Rare classes are drawn more often; a larger temperature makes the effect weaker.
        sampling=dict(type="RareClassSampling", temperature=0.1),
        source=dict(
            **folder,
{source}            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                resize,
                dict(type="RandomCrop", crop_size={crop}, cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            **folder,
{target}            pipeline=[
                dict(type="LoadImage"),
                resize,
                dict(type="RandomCrop", crop_size={crop}),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
{validation}model = dict(
    data_preprocessor=dict(size={crop}),
    network=dict(decode_head=dict(num_classes={number})),
    method=dict(
        type="SelfTraining",
        teacher=dict(type="EMATeacher", decay=0.99, mode="eval", buffers="ema"),
        selector=dict(
            type="ClassBalancedThreshold", share=0.5, maximum=0.9, momentum=0.95, ramp=200
        ),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms={terms},
    ),
)
train_cfg = dict(max_iters={iterations}, val_interval=500)
default_hooks = dict(
    checkpoint=dict(interval=300, max_keep_ckpts=1),
    # Scored and deployed with batch normalisation of whole target images.
    statistics=dict(type="TargetStatistics"),
)
"""


@dataclass(frozen=True, kw_only=True)
class TwoFolders:
    """What there is to learn from.

    Attributes:
        source_images: Folder of labelled images, with subfolders.
        source_labels: Folder of their labels, single-channel images with the same relative names.
        target_images: Folder of images without labels.
        classes: Names; the position of each is its train id.
        numbers: For each class the numbers it has in the label files; None: they hold train ids.
        label_suffix: What a label's name has in place of the ending of its image.
        val_images: Folder of labelled target images to measure on; None: nothing is measured.
        val_labels: Of these.
        things: Classes of objects with a shape of their own, which keep their features near those
            of ImageNet (DAFormer's feature distance); none: that term is left out.
        short_side: Shorter side of an image as the network sees it, in pixels; of the crop as well.
        iterations: Of the training.
    """

    source_images: Path
    source_labels: Path
    target_images: Path
    classes: Sequence[str]
    numbers: Sequence[Sequence[int]] | None = None
    label_suffix: str = ".png"
    val_images: Path | None = None
    val_labels: Path | None = None
    things: Sequence[str] = ()
    short_side: int = 240
    iterations: int = 2000

    def __post_init__(self) -> None:
        """Refuse what no config could be written for.

        Raises:
            ValueError: Classes twice, things that are none, sizes out of range, or half of a
                validation set.
        """
        twice = sorted({name for name in self.classes if list(self.classes).count(name) > 1})
        if twice or len(self.classes) < 2:
            told = f"{twice[0]!r} twice" if twice else f"{len(self.classes)}"
            raise ValueError(f"At least two different classes are wanted, got {told}.")
        unknown = [name for name in self.things if name not in self.classes]
        if unknown:
            raise ValueError(
                f"things are among the classes ({', '.join(self.classes)}); {unknown[0]!r} is not."
            )
        numbers = [number for group in self.numbers or () for number in group]
        again = sorted({number for number in numbers if numbers.count(number) > 1})
        if again:
            raise ValueError(
                f"A number in label files is of one class; {again[0]} was given twice."
            )
        if self.short_side < 64 or self.iterations < 1:
            raise ValueError(
                "short_side has to be at least 64 pixels and iterations at least 1, got "
                f"{self.short_side} and {self.iterations}."
            )
        if (self.val_images is None) != (self.val_labels is None):
            raise ValueError("A validation set needs images and labels; only one was given.")


def write_configs(folders: TwoFolders, out: str | Path) -> tuple[Path, Path]:
    """Write `adapt.py` and `source_only.py`, which sees the same data; their paths.

    Args:
        folders: See there; the first image of each folder is opened.
        out: Folder for the two files.

    Raises:
        FileNotFoundError: A folder, or the project's `configs` beside the package, is not there.
        FileExistsError: One of the files is there; it may have been changed by hand.
        ValueError: A folder has no image.
    """
    for folder in (folders.source_images, folders.target_images, folders.val_images):
        if folder is not None:
            _check_folder(folder)
    labels = [one for one in (folders.source_labels, folders.val_labels) if one is not None]
    for folder in labels:
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder of labels {folder.absolute()}.")
    place = Path(out)
    files = (place / "adapt.py", place / "source_only.py")
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} is there already; give another --out, or remove it.")
    base = os.path.relpath(configs_folder() / "_base_", place)
    place.mkdir(parents=True, exist_ok=True)
    files[0].write_text(adapt_text(folders, files[0], base), encoding="utf-8")
    files[1].write_text(source_only_text(files[1]), encoding="utf-8")
    return files


def configs_folder() -> Path:
    """The project's folder of configs.

    Raises:
        FileNotFoundError: The package lies elsewhere than in a copy of the project.
    """
    folder = Path(uda.__file__).parents[1] / "configs"
    if not (folder / "_base_").is_dir():
        raise FileNotFoundError(
            f"There is no {folder}: configs are part of the project's folder, not of the package; "
            "install it there by `pip install -e .`."
        )
    return folder


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder of images {folder.absolute()}.")
    read_image(next(iter(find_inputs(folder).images.values())))


def adapt_text(folders: TwoFolders, file: Path, base: str) -> str:
    """The config that adapts.

    Args:
        folders: What there is.
        file: Where it will stand, for its first comment.
        base: From its folder to `configs/_base_`.
    """
    height, width = folders.short_side, folders.short_side * 4 // 3
    crop, box = (height, width), (2 * height, height)
    bases = "".join(f'    "{Path(base, name).as_posix()}",\n' for name in BASES)
    target = _folder_lines(folders.target_images, None, folders)
    source = _folder_lines(folders.source_images, folders.source_labels, folders)
    return _ADAPT.format(
        file=file.as_posix(),
        bases=bases,
        classes=json.dumps(list(folders.classes)),
        endings=json.dumps(IMAGE_ENDINGS),
        box=box,
        source=source,
        target=target,
        crop=crop,
        validation=_validation(folders, box),
        number=len(folders.classes),
        terms=_terms(folders),
        iterations=folders.iterations,
    )


def source_only_text(file: Path) -> str:
    """The config that learns from the source alone, on the data of `adapt.py` beside it."""
    return f"""# python tools/train.py {file.as_posix()}
# The line that adaptation has to beat. All about the data stands in adapt.py beside this file.
# Expected: depends on the data.
# Cost: about a third of the run of adapt.py.
_base_ = ["adapt.py"]
train_dataloader = dict(dataset=dict(target=None, sampling=None))
model = dict(method=dict(_delete_=True, type="SourceOnly"))
"""


def _folder_lines(images: Path, labels: Path | None, folders: TwoFolders, indent: int = 12) -> str:
    """The keys of a data set that say where its files are, and what labels mean."""
    lines = [f"image_dir={json.dumps(images.as_posix())},"]
    if labels is not None:
        lines.append(f"label_dir={json.dumps(labels.as_posix())},")
        lines.append(f"label_suffix={json.dumps(folders.label_suffix)},")
        if folders.numbers is not None:
            table = {n: k for k, group in enumerate(folders.numbers) for n in group}
            lines.append("# Number in label files: train id; all others are ignored.")
            lines.append(f"label_map={table!r},  # fmt: skip")
            lines.append('unmapped="ignore",')
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _terms(folders: TwoFolders) -> str:
    if not folders.things:
        return "[]"
    ids = sorted(list(folders.classes).index(name) for name in folders.things)
    return f'[dict(type="FeatureDistance", classes={ids!r}, weight=0.005)]'


def _validation(folders: TwoFolders, box: tuple[int, int]) -> str:
    if folders.val_images is None:
        return (
            "# Without labelled target images nothing is measured.\n"
            "val_dataloader = None\nval_evaluator = None\nval_cfg = None\n"
        )
    lines = _folder_lines(folders.val_images, folders.val_labels, folders, 8)
    return f"""val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **folder,
{lines}        test_mode=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale={box}, keep_ratio=True),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_evaluator = dict(type="SegmentationMetric")
"""
