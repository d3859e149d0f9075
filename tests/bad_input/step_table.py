"""What goes wrong at a step on the way: preparing, writing, a batch, a checkpoint."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmseg.registry import DATASETS, MODELS

from tests.bad_input.cases import StepCase, forbid
from tests.bad_input.files import broken_link, change, cut, save
from tests.engine.tiny_run import model_config, write_config
from uda.data.layouts import folder_layout
from uda.data.prepare import prepare
from uda.engine.checkpoints import FittingCheckpoint
from uda.engine.evaluate import load_network
from uda.engine.train import load_config

COUNT = 3
MAP = folder_layout({7: 0, 8: 1})


def unprepared(root: Path) -> Path:
    """Three images with labels of raw ids 7 and 8."""
    for number in range(COUNT):
        for kind, pixels in (("images", np.zeros((4, 6, 3))), ("labels", np.full((4, 6), 7))):
            (root / kind).mkdir(exist_ok=True)
            save(root / kind / f"{number}.png", pixels.astype(np.uint8))
    return root


def spoilt(name: str, spoil: Any, error: str) -> StepCase:
    """A fault that stops `tools/prepare_data.py`."""

    def run(root: Path, _: pytest.MonkeyPatch) -> None:
        spoil(unprepared(root))
        prepare(MAP, root)

    return StepCase(name, run, error)


def failing_write(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the second file fail when its bytes are to reach the disk."""
    flush, calls = os.fsync, []

    def fails(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise error
        flush(file)

    monkeypatch.setattr(os, "fsync", fails)


def interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the second file, started again: whole, and nothing is left over."""
    unprepared(root)
    failing_write(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        prepare(MAP, root)
    done = prepare(MAP, root)
    assert (done.converted, done.kept) == (COUNT - 1, 1)
    names = [f"{n}{end}" for n in range(COUNT) for end in (".png", "_labelTrainIds.png")]
    assert sorted(path.name for path in (root / "labels").iterdir()) == names


def disk_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for the second file; how large it is depends on the version of the PNG writer."""
    unprepared(root)
    failing_write(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    try:
        prepare(MAP, root)
    except OSError as error:
        raise OSError(re.sub(r"[\d,]+ bytes", "N bytes", str(error))) from error
    finally:
        names = sorted(path.name for path in (root / "labels").iterdir())
        assert names == ["0.png", "0_labelTrainIds.png", "1.png", "2.png"]


def long_name(root: Path, _: pytest.MonkeyPatch) -> None:
    """A converted label with the longest name there is."""
    unprepared(root)
    name = "x" * (255 - len("_labelTrainIds.png"))
    for kind in ("images", "labels"):
        (root / kind / "1.png").rename(root / kind / f"{name}.png")
    assert prepare(MAP, root).converted == COUNT


def forbidden_label(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that must not be read."""
    unprepared(root)
    forbid(monkeypatch, root / "labels/1.png")
    prepare(MAP, root)


def single_image_batch(root: Path, _: pytest.MonkeyPatch) -> None:
    """A batch of one image, pooled to one pixel in front of a BatchNorm layer."""
    network = model_config()["network"]
    network["decode_head"] = {
        "type": "ASPPHead",
        "in_channels": 16,
        "in_index": 3,
        "channels": 8,
        "num_classes": 3,
        "norm_cfg": {"type": "BN"},
    }
    model = model_config(network=network, method={"type": "SourceOnly"}, evaluate=["student"])
    config = load_config(write_config(root, model=model))
    adaptation = MODELS.build(config.model)
    pairs = DATASETS.build(config.train_dataloader.dataset)
    optimiser = OptimWrapper(torch.optim.SGD(adaptation.parameters(), lr=0.1))
    adaptation.train().train_step(pseudo_collate([pairs[(0, 0)]]), optimiser)


def five_classes(root: Path) -> tuple[Config, Path]:
    """The config of a run with three classes, and a checkpoint with five."""
    five = model_config()
    five["network"]["decode_head"]["num_classes"] = 5
    config = load_config(write_config(root))
    model = MODELS.build(five)
    model.init_weights()
    checkpoint = root / "iter_9.pth"
    torch.save({"state_dict": model.state_dict(), "meta": {}}, checkpoint)
    return config, checkpoint


def continued(root: Path, _: pytest.MonkeyPatch) -> None:
    """`load_from` a run with other classes."""
    config, checkpoint = five_classes(root)
    model = MODELS.build(config.model)
    model.init_weights()
    run = SimpleNamespace(model=model, cfg={"load_from": str(checkpoint)}, work_dir=str(root))
    FittingCheckpoint().after_load_checkpoint(run, torch.load(checkpoint, weights_only=True))


def scored(root: Path, _: pytest.MonkeyPatch) -> None:
    """`tools/test.py` with the checkpoint of a run with other classes."""
    load_network(*five_classes(root))


STEPS = [
    StepCase("preparation interrupted and started again", interrupted),
    StepCase(
        "disk full while preparing",
        disk_full,
        "The disk is full: {root}/labels/1_labelTrainIds.png needs N bytes, N bytes are free there "
        "(or the quota is used up); make room, then start the same command again: what was written "
        "is kept.",
    ),
    StepCase("preparing the longest name", long_name),
    StepCase(
        "preparing a label that must not be read",
        forbidden_label,
        "cannot read label file {root}/labels/1.png: permission denied; give yourself the right to "
        "read it",
    ),
    spoilt(
        "preparing a label that is cut off",
        lambda root: cut(root / "labels/1.png", 50),
        "cannot read label file {root}/labels/1.png: image file is truncated; fetch or convert it "
        "again",
    ),
    spoilt(
        "preparing an image of zero bytes",
        lambda root: cut(root / "images/1.png", 0),
        "cannot read image file {root}/images/1.png: not an image; fetch it again",
    ),
    spoilt(
        "preparing a label of another size",
        lambda root: save(root / "labels/1.png", np.full((5, 6), 7, np.uint8)),
        "label {root}/labels/1.png is 6x5, image {root}/images/1.png is 6x4; the other labels are "
        "converted. Replace or remove these pairs, or leave them out with --skip-mismatched",
    ),
    spoilt(
        "preparing an id outside the map",
        lambda root: change(root / "labels/1.png", 9),
        "label file {root}/labels/1.png: id 9 (6 pixels) is not defined by the convention label "
        "map; check the data set, or map the rest to 255 (unknown='ignore')",
    ),
    spoilt(
        "preparing a broken link",
        lambda root: broken_link(root / "labels/1.png"),
        "label file not found: {root}/labels/1.png; it is a link to gone.png, which is not there",
    ),
    spoilt(
        "preparing two labels of one image",
        lambda root: save(root / "labels/1.bmp", np.full((4, 6), 7, np.uint8)),
        "{root}/labels/1.bmp and 1.png are labels of one image; remove the one that does not count",
    ),
    StepCase(
        "batch of one image with BatchNorm",
        single_image_batch,
        "A BatchNorm layer got a single value of each channel, which has no variance: the batch "
        "has 1 image of 64x32 pixels. Set train_dataloader.batch_size to at least 2, or use a head "
        "without BatchNorm behind global pooling (norm_cfg of another type).",
    ),
    StepCase(
        "going on from a run with other classes",
        continued,
        "{root}/iter_9.pth does not fit the networks of this run: "
        "method.student.segmentor.decode_head.conv_seg.weight is (3, 8, 1, 1) here and (5, 8, 1, "
        "1) in the file; method.student.segmentor.decode_head.conv_seg.bias is (3,) here and (5,) "
        "in the file; method.teacher.network.segmentor.decode_head.conv_seg.weight is (3, 8, 1, 1) "
        "here and (5, 8, 1, 1) in the file; and 1 more (a network of 5 classes in the file, of 3 "
        "here). --resume and load_from need a full checkpoint (iter_*.pth) of a run with the same "
        "network and method; use that run's config, or another work_dir to start afresh.",
    ),
    StepCase(
        "scoring a run with other classes",
        scored,
        "The weights of {root}/iter_9.pth do not fit EncoderDecoder: decode_head.conv_seg.weight "
        "is (3, 8, 1, 1) here and (5, 8, 1, 1) in the file; decode_head.conv_seg.bias is (3,) here "
        "and (5,) in the file (a network of 5 classes in the file, of 3 here). Choose the variant "
        "(or the settings) the file was made with, or another file.",
    ),
]
