"""Rounds of self-training: label the whole target, train on the labels, and again."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from uda.data.joined import only_target
from uda.data.pseudo_labels import SUFFIX, Manifest
from uda.engine.checkpoint_files import checkpoints, damage
from uda.engine.evaluate import load_network
from uda.engine.label_generation import generate_labels
from uda.engine.label_settings import label_settings
from uda.engine.round_facts import claim_round, round_facts
from uda.engine.round_settings import Origin, RoundSettings
from uda.engine.run_record import recorded
from uda.engine.train import Precision, build_runner, load_config

# Told with the number of the round and what happens: "labels", "training", or "done" before.
Teller = Callable[[int, str, Manifest | None], None]
LABELS = "labels"


def run_rounds(
    file: str | Path,
    settings: RoundSettings,
    *,
    work_dir: str | Path,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    amp: Precision = "off",
    deterministic: bool = False,
    workers: int = 1,
    tell: Teller | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Label and train, `settings.count` times; started again after a stop, go on.

    Round r lies in `round_r` below `work_dir`: its pseudo-labels in `labels`, and a run like any
    other. A round whose last checkpoint is there is not touched; labelling and training each go on
    where they stopped, so that the end is the same.

    Args:
        file: The config.
        settings: From `round_settings`.
        work_dir: Folder of all rounds.
        options: Options for the config of every round; they win over those of `settings.changes`.
        seed: Replaces the config's, for training and for the order in which images are labelled.
        amp: Precision of training.
        deterministic: See `build_runner`.
        workers: Processes that read images for labelling.
        tell: Told of every round what happens; the manifest is there once it is trained on.
        progress: Told how many images of how many are labelled.

    Raises:
        FileNotFoundError: A checkpoint is not there.
        ValueError: The config has no target, a checkpoint does not fit, or the folder holds rounds
            made from something else (`claim_round`).
    """
    start, labeller = settings.first()
    tell = tell or (lambda *_: None)
    for number in range(1, settings.count + 1):
        folder = Path(work_dir) / f"round_{number}"
        config = load_config(file, {**settings.change(number), **(options or {})})
        iterations = int(config.train_cfg.max_iters)
        facts = round_facts(
            config,
            start=start,
            labeller=labeller,
            seed=seed,
            amp=amp,
            deterministic=deterministic,
        )
        claim_round(folder, facts)
        if is_trained(folder, iterations):
            tell(number, "done", None)
        else:
            tell(number, "labels", None)
            network = load_network(config, labeller.checkpoint, labeller.network)
            manifest = generate_labels(
                network,
                config,
                checkpoint=labeller.checkpoint,
                out=folder / LABELS,
                settings=label_settings(config, seed=seed),
                workers=workers,
                progress=progress,
            )
            del network
            tell(number, "training", manifest)
            prepare(config, start, folder)
            runner = build_runner(
                config,
                work_dir=folder,
                seed=seed,
                amp=amp,
                resume=bool(checkpoints(folder)),
                deterministic=deterministic,
            )
            with recorded(runner):
                runner.train()
            # Its networks and loader processes are to be gone before the next round has its own.
            del runner
            gc.collect()
        start, labeller = settings.next(folder, iterations)


def prepare(config: Config, start: Origin, folder: Path) -> None:
    """Have a config train on the labels in a round's folder, from a network of another run.

    Args:
        config: Changed in place.
        start: What the student starts from.
        folder: Of the round.

    Raises:
        ValueError: The config's training set has no target.
    """
    target = only_target(config, "Rounds train on the pseudo-labels of one target data set")
    if target is None:
        raise ValueError("Rounds train on pseudo-labelled target images, but target is None.")
    # As the data set reads it, below data_root: so records name no folder of this machine. Both
    # are resolved, since ".." leads elsewhere behind a link.
    root = Path(target.get("data_root") or ".").resolve()
    target.label_dir = os.path.relpath((folder / LABELS).resolve(), root)
    target.label_suffix = SUFFIX
    config.model.start = {k: v for k, v in start._asdict().items() if v is not None}
    # mmengine keeps state by this name; rounds that begin in one second must not share it.
    config.experiment_name = f"{Path(config.filename or 'rounds').stem}_{folder.name}"


def is_trained(folder: Path, iterations: int) -> bool:
    """Whether the last checkpoint of a round is there and whole."""
    last = folder / f"iter_{iterations}.pth"
    return last.is_file() and damage(last) is None
