"""Random states: through a checkpoint, across a validation, of other runs and other machines."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook

from uda.engine.random_state import RandomState, current_states, saves_now


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


def test_random_state_of_another_machine_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a GPU that is not here is left out; the host's are restored all the same."""
    checkpoint: dict[str, Any] = {}
    RandomState().before_save_checkpoint(None, checkpoint)
    wanted = draws()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    checkpoint["random_states"][0]["cuda"] = torch.zeros(16, dtype=torch.uint8)
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


def test_random_state_of_another_run_values() -> None:
    """Weights loaded into a new run (iteration 0) bring no states, not even one iteration later."""
    checkpoint: dict[str, Any] = {}
    RandomState().before_save_checkpoint(None, checkpoint)
    for content in (checkpoint, {}):
        hook = RandomState()
        hook.after_load_checkpoint(None, content)
        random.seed(5)
        before = random.getstate()
        for iteration in range(2):
            hook.before_train_iter(SimpleNamespace(iter=iteration), iteration)
        assert random.getstate() == before


def test_random_state_of_validation_values() -> None:
    """What validation draws is undone; a checkpoint of the best score holds the states before."""
    hook, checkpoint = RandomState(), dict[str, Any]()
    before = current_states()
    wanted = draws()
    hook_states(before)
    hook.before_val(None)
    draws()
    hook.before_save_checkpoint(None, checkpoint)
    hook.after_val(None)
    assert draws() == wanted
    (saved,) = checkpoint["random_states"]
    assert saved["python"] == before["python"]
    assert torch.equal(saved["torch"], before["torch"])
    hook.after_val(None)  # of nothing


def hook_states(states: dict[str, Any]) -> None:
    """Set the generators by the hook's own way."""
    hook = RandomState()
    hook.after_load_checkpoint(None, {"random_states": [states]})
    hook.before_train_iter(SimpleNamespace(iter=1), 1)


def test_other_number_of_processes_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two saved states in a run of one: the first is taken, and a warning says it."""
    said: list[str] = []
    monkeypatch.setattr("uda.engine.random_state.print_log", lambda text, **_: said.append(text))
    states = current_states()
    wanted = draws()
    hook = RandomState()
    hook.after_load_checkpoint(None, {"random_states": [states, {}]})
    hook.before_train_iter(SimpleNamespace(iter=3), 3)
    assert draws() == wanted
    assert "random states of 2 processes, this run has 1" in said[0]
    monkeypatch.setattr("uda.engine.random_state.get_rank", lambda: 1)
    hook.after_load_checkpoint(None, {"random_states": [states]})
    before = current_states()["python"]
    hook.before_train_iter(SimpleNamespace(iter=3), 3)  # a further process keeps its own
    assert current_states()["python"] == before


def test_saves_now_values() -> None:
    """Of eight iterations with an interval of three, the third, sixth and last are saved."""
    hooks = [CheckpointHook(interval=3, by_epoch=False), CheckpointHook(interval=1)]
    runner = SimpleNamespace(hooks=hooks, max_iters=8, iter=0)
    found = []
    for iteration in range(8):
        runner.iter = iteration
        found.append(saves_now(runner))
    assert [i + 1 for i, saved in enumerate(found) if saved] == [3, 6, 8]
