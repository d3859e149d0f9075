"""Training, scoring and predicting from Python: `train`, `evaluate`, `load`, `predict` of `uda`.

They do what the commands do, with values in place of options. Nothing is printed but the log of a
training, and errors are exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.config import Config
from numpy.typing import NDArray
from torch import nn

import uda.engine  # noqa: F401 - registers everything
from uda.data.images import read_image
from uda.engine import evaluate as scoring
from uda.engine.class_names import Classes, classes_of
from uda.engine.evaluate import Evaluation, LoadedNetwork
from uda.engine.image_prediction import Prediction, Predictor
from uda.engine.inference import slide as slide_windows
from uda.engine.run_record import recorded
from uda.engine.train import build_runner, check_unused, load_config
from uda.evaluation import SegmentationMetric

__all__ = ["Evaluation", "Model", "Prediction", "Run", "evaluate", "load", "predict", "train"]

Network = Literal["student", "teacher"]


@dataclass(frozen=True)
class Run:
    """What a training left.

    Attributes:
        folder: Of the run, with `run.json`, logs and full checkpoints.
        checkpoints: Deploy checkpoint of each network by name ("student", "teacher").
        metrics: Percentages of the last validation by name, such as "student/mIoU"; empty without
            one.
    """

    folder: Path
    checkpoints: dict[str, Path]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Model:
    """A network with all that its predictions need.

    Attributes:
        network: mmseg's segmentor with weights, in evaluation mode, and its name.
        config: Of its run.
        classes: Names and palette.
    """

    network: LoadedNetwork
    config: Config
    classes: Classes

    @property
    def segmentor(self) -> nn.Module:
        """Mmseg's segmentor, a plain torch module."""
        return self.network.segmentor


def train(
    config: str | Path,
    *,
    work_dir: str | Path | None = None,
    seed: int | None = None,
    resume: bool = False,
    amp: Literal["off", "bf16", "fp16"] = "off",
    deterministic: bool = False,
    **overrides: Any,
) -> Run:
    """Train by a config, as `tools/train.py` does; what the run left.

    Args:
        config: A file. It is code and is executed.
        work_dir: Folder of the run; None: `work_dirs/` and the config's name.
        seed: Replaces the config's seed.
        resume: Go on from the newest checkpoint in `work_dir`.
        amp: Precision of forward passes.
        deterministic: The same seed gives the same bits.
        overrides: Changes of the config by its top-level names; a dict changes what it names and
            leaves the rest: `train_cfg=dict(max_iters=100)`. A place in full also does, and is the
            way into lists: `**{"model.method.teacher.decay": 0.99}`.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: The config, or a change of it, is wrong; or `work_dir` holds an earlier run.

    Example:
        A drawn city, two steps, and all that follows:

        >>> import tempfile, uda
        >>> from uda.data.toycity import write_toycity
        >>> from uda.data.images import read_image
        >>> folder = Path(tempfile.mkdtemp())
        >>> city = write_toycity(folder / "city", num_source=2, num_target=2, num_val=1,
        ...                      size=(96, 128), workers=1)
        >>> places = {
        ...     "train_dataloader.dataset.source.data_root": str(city / "gta5"),
        ...     "train_dataloader.dataset.target.data_root": str(city / "cityscapes"),
        ...     "val_dataloader.dataset.data_root": str(city / "cityscapes"),
        ...     "train_dataloader.dataset.sampling": None,
        ... }
        >>> config = "configs/daformer/toycity_daformer.py"
        >>> run = uda.train(
        ...     config, work_dir=folder / "run", log_level="ERROR", train_cfg=dict(max_iters=2),
        ...     train_dataloader=dict(batch_size=1, num_workers=0, persistent_workers=False),
        ...     **places,
        ... )
        >>> sorted(run.checkpoints)
        ['student', 'teacher']
        >>> scores = uda.evaluate(config, run.checkpoints["student"], workers=0, **places)
        >>> scores.images, 0 <= scores.metrics["mIoU"] <= 100
        (1, True)
        >>> model = uda.load(config, run.checkpoints["student"], **places)
        >>> image = next((city / "cityscapes").rglob("*_leftImg8bit.png"))
        >>> uda.predict(model, image).label.shape
        (96, 128)
    """
    loaded = load_config(config, overrides)
    folder = Path(work_dir) if work_dir is not None else Path("work_dirs") / Path(config).stem
    if not resume:
        check_unused(folder)
    runner = build_runner(
        loaded,
        work_dir=folder,
        seed=seed,
        amp=amp,
        resume=resume,
        deterministic=deterministic,
    )
    with recorded(runner):
        runner.train()
    deployed = {file.stem: file for file in sorted((folder / "deploy").glob("*.pth"))}
    return Run(folder, deployed, _last_metrics(runner))


def evaluate(
    config: str | Path,
    checkpoint: str | Path,
    *,
    network: Network | None = None,
    on: str | None = None,
    classes: str | None = None,
    scales: Sequence[float] = (),
    flip: bool = False,
    slide: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    target_statistics: str | Path | bool = False,
    workers: int = 1,
    **overrides: Any,
) -> Evaluation:
    """Score a checkpoint on labelled images, as `tools/test.py` does.

    Args:
        config: The run's config.
        checkpoint: Full or deploy checkpoint.
        network: None takes the student of a full checkpoint, the only one of a deploy checkpoint.
        on: One of the config's `evaluation_sets`; None: the validation set.
        classes: "19", "16" or "13", a mean over a subset of Cityscapes' classes.
        scales: Test-time augmentation: mean probabilities over these scales of the image.
        flip: Test-time augmentation: and over its mirror image.
        slide: Height and width of sliding windows; None: as the config's `test_cfg` says.
        stride: Their steps; None: two thirds of the window.
        target_statistics: First estimate batch normalisation on the images of this folder; True:
            on the config's target training images.
        workers: Processes that read images.
        overrides: As in `train`.

    Returns:
        `metrics` in percent by name ("mIoU", "aAcc", ...), the confusion `matrix` (rows truth,
        columns prediction), `classes` and the number of `images`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: There are no labels, no such set or network, or the weights do not fit.

    Example::

        scores = uda.evaluate("my/adapt.py", "work_dirs/adapt/deploy/student.pth")
        print(scores.metrics["mIoU"], scores.matrix)
    """
    # The set is looked up first: a wrong name must not cost the building of the network.
    dataset = scoring.evaluation_dataset(load_config(config, overrides), on)
    model = load(
        config,
        checkpoint,
        network=network,
        slide=slide,
        stride=stride,
        target_statistics=target_statistics,
        **overrides,
    )
    metric = SegmentationMetric(subsets=(classes,) if classes else ())
    return scoring.evaluate(
        model.network, dataset, metric=metric, workers=workers, scales=scales, flip=flip
    )


def load(
    config: str | Path,
    checkpoint: str | Path,
    *,
    network: Network | None = None,
    slide: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    target_statistics: str | Path | bool = False,
    **overrides: Any,
) -> Model:
    """A network of a checkpoint, ready to predict.

    Args:
        config: The run's config.
        checkpoint: Full or deploy checkpoint.
        network: None takes the student of a full checkpoint, the only one of a deploy checkpoint.
        slide: Height and width of sliding windows; None: as the config's `test_cfg` says.
        stride: Their steps; None: two thirds of the window.
        target_statistics: First estimate batch normalisation on the images of this folder; True:
            on the config's target training images.
        overrides: As in `train`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: There is no such network, the weights do not fit, the number of classes is not
            the network's, or a stride came without windows.

    Example::

        model = uda.load("my/adapt.py", "work_dirs/adapt/deploy/student.pth")
        model.classes.names, model.segmentor
    """
    if stride is not None and slide is None:
        raise ValueError("stride is the step of sliding windows: give their size as slide=(H, W).")
    loaded = load_config(config, overrides)
    found = scoring.load_network(loaded, checkpoint, network)
    segmentor: Any = found.segmentor
    named = classes_of(loaded, int(segmentor.num_classes))
    if target_statistics is not False:
        folder = None if target_statistics is True else target_statistics
        scoring.adapt_statistics(found, loaded, folder=folder)
    if slide is not None:
        slide_windows(segmentor, slide, stride)
    return Model(found, loaded, named)


def predict(
    model: Model,
    image: str | Path | NDArray[np.uint8],
    *,
    scales: Sequence[float] = (),
    flip: bool = False,
) -> Prediction:
    """The classes of one image, at its own size.

    Args:
        model: From `load`.
        image: A file, or (H, W, 3) uint8, RGB.
        scales: Test-time augmentation: mean probabilities over these scales of the image.
        flip: Test-time augmentation: and over its mirror image.

    Returns:
        `label` (H, W) uint8, train ids, and `confidence` (H, W) float32, their probability.

    Raises:
        OSError: The file is not there or no image.
        ValueError: The array is no image.

    Example::

        model = uda.load("my/adapt.py", "work_dirs/adapt/deploy/student.pth")
        found = uda.predict(model, "street.png", flip=True)
        road = found.label == model.classes.names.index("road")
    """
    pixels = np.asarray(image)[..., ::-1] if isinstance(image, np.ndarray) else read_image(image)
    predictor = Predictor(model.network, model.config, scales=scales, flip=flip)
    return predictor(np.ascontiguousarray(pixels))


def _last_metrics(runner: Any) -> dict[str, float]:
    """What the last validation of a run logged, by name."""
    scalars: Mapping[str, Any] = runner.message_hub.log_scalars
    return {
        name.removeprefix("val/"): float(history.current())
        for name, history in scalars.items()
        if name.startswith("val/")
    }
