"""Hooks: random states through a checkpoint, logging without waiting, pictures when asked for."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.hooks import DeviceLogger, PictureLog, RandomState, unwrapped
from uda.engine.log import DeviceScalars
from uda.engine.pictures import colour_label, overview

PALETTE = [[128, 64, 128], [70, 70, 70]]


def draws() -> tuple[float, float, float, float]:
    """The next numbers of all generators; NumPy's normal draw leaves one in its cache."""
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_random_state_resume() -> None:
    """Numbers drawn after a restart are those that would have come, whatever was drawn before.

    The checkpoint is read as mmengine may read it, without executing anything.
    """
    checkpoint: dict[str, Any] = {}
    draws()
    RandomState().before_save_checkpoint(None, checkpoint)
    wanted = [draws(), draws()]
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    hook = RandomState()
    hook.after_load_checkpoint(None, loaded)
    hook.before_train_iter(SimpleNamespace(iter=3), 3)
    assert [draws(), draws()] == wanted
    before = random.getstate()
    hook.before_train_iter(SimpleNamespace(iter=4), 4)  # only once
    assert random.getstate() == before


def test_random_state_of_another_machine_values() -> None:
    """States of GPUs that are not here are left out; the host's are restored all the same."""
    checkpoint: dict[str, Any] = {}
    RandomState().before_save_checkpoint(None, checkpoint)
    wanted = draws()
    gpus = torch.cuda.device_count() + 1
    checkpoint["random_state"]["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * gpus
    hook = RandomState()
    hook.after_load_checkpoint(None, checkpoint)
    hook.before_train_iter(SimpleNamespace(iter=1), 1)
    assert draws() == wanted


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_random_state_on_gpu_resume() -> None:
    """A checkpoint read onto the GPU, as mmengine does, restores host and device."""
    checkpoint: dict[str, Any] = {}
    RandomState().before_save_checkpoint(None, checkpoint)
    wanted = (*draws(), torch.rand(1, device="cuda").item())
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    hook = RandomState()
    hook.after_load_checkpoint(None, torch.load(file, map_location="cuda", weights_only=True))
    hook.before_train_iter(SimpleNamespace(iter=1), 1)
    assert (*draws(), torch.rand(1, device="cuda").item()) == wanted


def test_random_state_fresh_values() -> None:
    """Weights loaded without resuming (iteration 0), or an old checkpoint, change no generator."""
    for content in ({}, None):
        checkpoint: dict[str, Any] = {}
        if content is None:
            RandomState().before_save_checkpoint(None, checkpoint)
        hook = RandomState()
        hook.after_load_checkpoint(None, checkpoint)
        random.seed(5)
        before = random.getstate()
        hook.before_train_iter(SimpleNamespace(iter=0), 0)
        assert random.getstate() == before


class Hub:
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}

    def update_scalar(self, name: str, value: float) -> None:
        """Remember."""
        self.scalars[name] = value


def logging_runner() -> Any:
    """As much of a Runner as the logger uses before it writes."""
    model = SimpleNamespace(log=DeviceScalars())
    return SimpleNamespace(model=model, message_hub=Hub(), iter=0)


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


def test_device_logger_errors() -> None:
    """A loss that is no number stops the run at the end of its interval."""
    hook, runner = DeviceLogger(interval=1), logging_runner()
    runner.iter = 6
    runner.model.log.add({"loss": torch.tensor(float("nan"))})
    with pytest.raises(FloatingPointError, match="loss became NaN .* iterations 7 to 7"):
        hook.after_train_iter(runner, 6)


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


def test_deploy_errors(tmp_path: Any) -> None:
    """A network that mmseg could not load is refused by name."""
    with pytest.raises(TypeError, match="student is a Identity, not a SegmentationNetwork"):
        write_deploy_checkpoints(
            tmp_path / "deploy",
            networks={"student": torch.nn.Identity()},
            config=None,  # type: ignore[arg-type]
            metainfo={"classes": ["road"], "palette": [[0, 0, 0]]},
        )
