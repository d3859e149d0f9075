"""Hooks: logging without waiting, pictures when asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor

from uda.engine.hooks import DeviceLogger, PictureLog, bound_histories, unwrapped
from uda.engine.log import DeviceScalars

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
    hub, lines = Hub(), []
    processor = SimpleNamespace(
        window_size=1,
        custom_cfg=[],
        get_log_after_iter=lambda *_: (dict(hub.scalars), "a line"),
    )
    visualizer = SimpleNamespace(
        add_scalars=lambda figures, step, file_path: lines.append((step, figures))
    )
    return SimpleNamespace(
        model=model,
        message_hub=hub,
        iter=0,
        log_processor=processor,
        logger=SimpleNamespace(info=lambda line: None),
        visualizer=visualizer,
        lines=lines,
    )


def test_device_logger_values() -> None:
    """Scalars are fetched at every second iteration, as the mean of both.

    What others add is written with them, and stays out of the message hub.
    """
    hook, runner = DeviceLogger(interval=2), logging_runner()
    hook.json_log_path = "log.json"
    hook.further.append(lambda of: {"memory/host": 10.0 * of.iter})
    found = []
    for iteration, value in enumerate([1.0, 3.0, 5.0, 7.0]):
        runner.iter = iteration
        runner.model.log.add({"loss": torch.tensor(value)})
        hook.after_train_iter(runner, iteration)
        found.append(runner.message_hub.scalars.get("train/loss"))
    assert found == [None, 2.0, 2.0, 6.0]
    assert runner.lines == [
        (2, {"train/loss": 2.0, "memory/host": 10.0}),
        (4, {"train/loss": 6.0, "memory/host": 30.0}),
    ]
    assert hook.last == runner.lines[-1][1]


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
    method = SimpleNamespace(visuals=None, networks=dict)
    dataset = SimpleNamespace(metainfo={"palette": PALETTE, "classes": ["a", "b"]})
    runner = SimpleNamespace(
        model=SimpleNamespace(
            method=method,
            data_preprocessor=SimpleNamespace(mean=torch.zeros(3, 1, 1), std=torch.ones(3, 1, 1)),
        ),
        train_dataloader=SimpleNamespace(dataset=dataset),
        visualizer=visualizer,
        iter=0,
    )
    hook = PictureLog(interval=2, images=2, width=200)
    for iteration in range(4):
        runner.iter = iteration
        hook.before_train_iter(runner, iteration)
        if method.visuals is not None:
            method.visuals["source_image"] = torch.zeros(3, 3, 4, 5)
        hook.after_train_iter(runner, iteration)
        assert method.visuals is None
    assert sorted(pictures) == [0, 2]
    # Two of the three images: tiles of 160 x 200 pixels with captions of 20, and the legend.
    assert pictures[0].shape[1] == 200 + 12
    assert 2 * 186 < pictures[0].shape[0] < 3 * 186
