"""From two folders to a model that runs elsewhere, in Python; docs/python_interface.md explains.

    python docs/tutorial_own_folders.py --iterations 300

draws a small city, takes one style of it with labels as the source and the other one, without any
label file, as the target, and goes the whole way: configs, source-only training, adaptation,
pictures, export. Put your own folders in place of the drawn ones in `own_folders`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np

import uda
from uda.data.toycity import write_toycity
from uda.engine.export import Exported, ExportSettings, export_network
from uda.engine.export_metadata import export_metadata, normalisation
from uda.engine.folder_config import TwoFolders, write_configs
from uda.reports.overlay import Overlay

# Each class with the numbers that it has in the label files; all other numbers are ignored.
CLASSES = {
    "road": (7,),
    "sidewalk": (8,),
    "building": (11, 12, 13),
    "pole": (17, 19, 20),
    "vegetation": (21, 22),
    "sky": (23,),
    "person": (24, 25),
    "vehicle": (26, 27, 28, 31, 32, 33),
}


def own_folders(root: Path, images: int, size: tuple[int, int], iterations: int) -> TwoFolders:
    """Two folders as you may have them: images with labels, and images."""
    city = write_toycity(
        root / "toycity", num_source=images, num_target=images, num_val=0, size=size, workers=1
    )
    target = root / "street"
    if not target.exists():
        target.mkdir()
        for image in sorted((city / "cityscapes").rglob("*_leftImg8bit.png")):
            shutil.copy(image, target)
    return TwoFolders(
        source_images=city / "gta5/images",
        source_labels=city / "gta5/labels",
        target_images=target,
        classes=list(CLASSES),
        numbers=list(CLASSES.values()),
        things=["pole", "person", "vehicle"],
        short_side=size[0],
        iterations=iterations,
    )


def export(model: uda.Model, checkpoint: Path, out: Path, size: tuple[int, int]) -> Exported:
    """The model as a file of torch.export, or of ONNX where its packages are installed."""
    settings = ExportSettings(size=size, format="torch", raw_input=True)
    mean, std = normalisation(model.config)
    metadata = export_metadata(
        model.config, model.classes, checkpoint=checkpoint, network=model.network.name,
        settings=settings,
    )  # fmt: skip
    return export_network(
        model.segmentor, out, mean=mean, std=std, settings=settings, metadata=metadata
    )


def main() -> None:
    """The whole way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--images", type=int, default=60, help="of each kind")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/tutorial"))
    options = parser.parse_args()
    root, size = options.work_dir, tuple(options.size)

    folders = own_folders(root, options.images, size, options.iterations)
    adapt, source_only = write_configs(folders, root / "configs")

    # A first model sees the source alone: adaptation has to beat it.
    uda.train(source_only, work_dir=root / "source_only", seed=0)
    run = uda.train(adapt, work_dir=root / "adapt", seed=0)

    model = uda.load(adapt, run.checkpoints["student"])
    paint = Overlay(model.classes.names, model.classes.palette)
    for image in sorted(folders.target_images.iterdir())[:4]:
        found = uda.predict(model, image, flip=True)
        pixels = np.asarray(cv2.imread(str(image)))[..., ::-1]  # OpenCV reads BGR
        picture = paint(pixels.astype(np.uint8), found.label)
        cv2.imwrite(str(root / f"{image.stem}.png"), picture[..., ::-1])
        print(f"{image.name}: mean confidence {found.confidence.mean():.2f}")

    done = export(model, run.checkpoints["student"], root / "model.pt2", size)
    print(f"{done.file}: largest difference of logits {done.difference:.1e}")


if __name__ == "__main__":
    main()
