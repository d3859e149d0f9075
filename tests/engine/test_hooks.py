"""Hooks: logging without waiting, pictures when asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor

from uda.engine.hooks import DeviceLogger, PictureLog, bound_histories, unwrapped
from uda.engine.log import DeviceScalars
from uda.engine.pictures import colour_label, overview

PALETTE = [[128, 64, 128], [70, 70, 70]]


class Hub:
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}
        self.log_scalars: dict[str, HistoryBuffer] = {}

    def update_scalar(self, name: str, value: float) -> None:
        """Remember."""
        self.scalars[name] = value


def logging_runner() -> Any:
    """As much of a Runner as the logger uses before it writes."""
    model = SimpleNamespace(log=DeviceScalars())
    processor = LogProcessor(window_size=1, by_epoch=False)
    return SimpleNamespace(model=model, message_hub=Hub(), iter=0, log_processor=processor)


def test_device_logger_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scalars are fetched at every second iteration, as the mean of both."""
    monkeypatch.setattr("mmengine.hooks.LoggerHook.after_train_iter", lambda *_: None)
    hook, runner = DeviceLogger(interval=2), logging_runner()
    found = []
    for iteration, value in enumerate([1.0, 3.0, 5.0, 7.0]):
        runner.iter = iteration
        runner.model.log.add({"loss": torch.tensor(value)})
        hook.after_train_iter(runner, iteration)
        found.append(runner.message_hub.scalars.get("train/loss"))
    assert found == [None, 2.0, 2.0, 6.0]


@pytest.mark.parametrize(("window", "kept"), [(10, 1000), (1500, 1500), ("global", 1_000_000)])
def test_bound_histories_values(window: int | str, kept: int) -> None:
    """As many values as the longest window asks for, 1000 at least, all where it is named so."""
    runner = logging_runner()
    setting = {"data_src": "time", "method_name": "mean", "window_size": window}
    runner.log_processor = LogProcessor(window_size=1, by_epoch=False, custom_cfg=[setting])
    history = HistoryBuffer(list(range(2000)), [1] * 2000)
    runner.message_hub.log_scalars["train/time"] = history
    bound_histories(runner)
    history.update(2000)
    assert history.data[0].tolist() == list(range(2001))[-kept:]
    assert len(history.data[1]) == min(kept, 2001)


def test_unwrapped_values() -> None:
    """The model itself, with or without a wrapper around it."""
    model = SimpleNamespace()
    assert unwrapped(SimpleNamespace(model=model)) is model
    assert unwrapped(SimpleNamespace(model=SimpleNamespace(module=model))) is model


def test_picture_log_values() -> None:
    """Tensors are asked for at iterations 0 and 2, drawn once, and not kept."""
    pictures: dict[int, Any] = {}
    visualizer = SimpleNamespace(add_image=lambda _, image, step: pictures.update({step: image}))
    method = SimpleNamespace(visuals=None)
    dataset = SimpleNamespace(metainfo={"palette": PALETTE})
    runner = SimpleNamespace(
        model=SimpleNamespace(
            method=method,
            data_preprocessor=SimpleNamespace(mean=torch.zeros(3, 1, 1), std=torch.ones(3, 1, 1)),
        ),
        train_dataloader=SimpleNamespace(dataset=dataset),
        visualizer=visualizer,
        iter=0,
    )
    hook = PictureLog(interval=2, images=2)
    for iteration in range(4):
        runner.iter = iteration
        hook.before_train_iter(runner, iteration)
        if method.visuals is not None:
            method.visuals["source_image"] = torch.zeros(3, 3, 4, 5)
        hook.after_train_iter(runner, iteration)
        assert method.visuals is None
    assert sorted(pictures) == [0, 2]
    assert pictures[0].shape == (8, 5, 3)


def test_overview_values() -> None:
    """Image, label and weight side by side: 0.5 * 60 + 100 = 130; palette and black; 255 w."""
    tensors = {
        "source_image": torch.full((1, 3, 1, 1), 0.5),
        "source_label": torch.tensor([[[1]]]),
        "pseudo_label": torch.tensor([[[255]]]),
        "pseudo_weight": torch.tensor([[[0.2]]]),
    }
    mean, std = torch.full((3,), 100.0), torch.full((3,), 60.0)
    picture = overview(tensors, palette=PALETTE, mean=mean, std=std)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[130] * 3, [70] * 3, [0] * 3, [51] * 3]]


def test_colour_label_values() -> None:
    """Each class has its colour; ids without one are black."""
    colours = colour_label(torch.tensor([[0, 1, 7, 255]]), PALETTE)
    assert colours.tolist() == [[[128, 64, 128], [70, 70, 70], [0, 0, 0], [0, 0, 0]]]
