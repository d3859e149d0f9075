"""Streams of padded images, images of the source, and progress."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.scoring import Checkpoints, write_checkpoints
from uda.engine.evaluate import load_network
from uda.engine.segmentor_stream import SourceImages, run_stream, valid_pixels
from uda.engine.stream_participant import Participant, Run
from uda.engine.stream_sources import FolderDomain, stream_dataset
from uda.engine.train import load_config

SETTINGS = {"guard": False, "lr": 0.1}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run, with images and labels beside them."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def segmentor_of(files: Checkpoints) -> Any:
    return load_network(load_config(files.config), files.full).segmentor


def domain_of(files: Checkpoints) -> FolderDomain:
    config = load_config(files.config)
    loader = config.val_dataloader.dataset
    root = Path(loader.get("data_root", ""))
    dataset = stream_dataset(config, root / loader.image_dir, root / loader.label_dir)
    dataset["classes"] = loader.classes
    return FolderDomain("val", dataset)


def sample(**metas: Any) -> Any:
    return SimpleNamespace(metainfo=metas)


def test_valid_pixels_values() -> None:
    """Left 1, right 2, top 0, bottom 1 of 4 x 5 pixels; None where nothing is padded."""
    images = torch.zeros(2, 3, 4, 5)
    assert valid_pixels(images, [sample(), sample(img_padding_size=(0, 0, 0, 0))]) is None
    found = valid_pixels(images, [sample(), sample(padding_size=[1, 2, 0, 1])])
    wanted = torch.ones(2, 4, 5, dtype=torch.bool)
    wanted[1] = False
    wanted[1, :3, 1:3] = True
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("method", ["tent", "rotta"])
def test_padding_teaches_nothing(files: Checkpoints, method: str) -> None:
    """What a segmentor's images are padded with counts in no loss, online and offline."""
    segmentor = segmentor_of(files)
    height, width = next(iter(domain_of(files).batches(1, 0)))["inputs"][0].shape[1:]
    segmentor.data_preprocessor.test_cfg = {"size": (height + 16, width + 32)}
    masks: list[Tensor | None] = []
    predict = Participant.predict

    def noted(participant: Participant, image: Tensor, valid: Tensor | None = None) -> Tensor:
        masks.append(valid)
        return predict(participant, image, valid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Participant, "predict", noted)
        settings = {**SETTINGS, **({"interval": 1} if method == "rotta" else {})}
        offline = {**settings, "protocol": "offline"}
        runs = {"a": Run(method, settings=settings), "b": Run(method, settings=offline)}
        found = run_stream(segmentor, [domain_of(files)], runs).runs
    assert all(mask.sum() == height * width for mask in masks)
    assert all(mask[0, :height, :width].all() for mask in masks)
    assert found["a"]["report"]["updates"] == found["b"]["report"]["updates"] == 2


def test_source_images(files: Checkpoints) -> None:
    """The same normalised batches whenever they are gone through."""
    source = SourceImages(segmentor_of(files), domain_of(files), batch_size=2)
    first, second = list(source), list(source)
    assert len(first) == 1
    assert first[0].shape[:2] == (2, 3)
    assert torch.equal(first[0], second[0])
    run = Run("eata", settings={**SETTINGS, "source_batches": source, "margin": 1.0,
                                "redundancy": 1.0})  # fmt: skip
    found = run_stream(segmentor_of(files), [domain_of(files)], {"eata": run}).runs["eata"]
    assert found["report"]["updates"] == 2


def test_progress(files: Checkpoints) -> None:
    """Told after each batch: images so far, and how each participant does."""
    told: list[tuple[int, dict[str, float | None]]] = []
    runs = {"unadapted": Run(None), "tent": Run("tent", settings=SETTINGS)}
    run_stream(segmentor_of(files), [domain_of(files)], runs,
               progress=lambda done, scores: told.append((done, dict(scores))))  # fmt: skip
    assert [done for done, _ in told] == [1, 2]
    assert list(told[0][1]) == list(runs)
    assert all(score is not None for score in told[-1][1].values())
