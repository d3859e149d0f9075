"""Runs whose numbers go wrong: what is told, what is kept, what is skipped."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import Tensor

from uda.engine.hooks import unwrapped
from uda.engine.non_finite import NonFinite
from uda.engine.replay import replay
from uda.engine.train import load_config
from uda.files import write_atomically

from .comparing import differences, load
from .test_resume import METHODS, StopAt, config_of
from .tiny_run import make_runner, write_config


class Poison(Hook):
    """Makes the second pass's cross-entropy of some iterations NaN, its gradient too."""

    def __init__(self, *iterations: int, spoil: Callable[[Any], None] | None = None) -> None:
        self.iterations, self.spoil = iterations, spoil

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Replace the method's loss, or change its weights."""
        method = unwrapped(runner).method
        if runner.iter + 1 not in self.iterations:
            vars(method).pop("supervised", None)
        elif self.spoil is not None:
            self.spoil(method)
        else:
            former, calls = type(method).supervised, []

            def supervised(*arguments: Tensor) -> dict[str, Tensor]:
                calls.append(1)
                losses = former(method, *arguments)
                return {k: v * (float("nan") if len(calls) == 2 else 1) for k, v in losses.items()}

            method.supervised = supervised


def run(
    folder: Path,
    poison: Poison | None,
    name: str = "run",
    config: Config | None = None,
    **numbers: Any,
) -> Any:
    """Six iterations, a log line every second, a checkpoint every third."""
    if not (folder / "config.py").exists():
        write_config(folder)
    config = copy.deepcopy(config) if config else load_config(folder / "config.py")
    config.default_hooks.numbers = {"type": "NonFinite", "interval": 2, **numbers}
    runner = make_runner(config, folder / name, resume=(folder / name).is_dir())
    if poison is not None:
        runner.register_hook(poison)
    runner.train()
    return runner


def test_stop_values(tmp_path: Path) -> None:
    """The term, the iteration, the files; batch and networks are those before the step."""
    with pytest.raises(FloatingPointError) as error:
        run(tmp_path, Poison(4))
    told = str(error.value)
    assert told.startswith(
        "mixed/ce, loss, the gradient became NaN or infinite in iteration 4. Source images: "
    )
    data, dump = tmp_path / "data", tmp_path / "run/non_finite/iter_4"
    image = re.escape(str(data)) + r"/{}/images/\d\.png"
    names = rf"{image}, {image}"
    wanted = rf"\. Source images: {names.format('source', 'source')}\. "
    wanted += rf"Target images: {names.format('target', 'target')}\. Batch and networks as they "
    assert re.search(wanted, told), told
    assert f"as they were before the step: {dump}. Lower the learning rate" in told
    assert told.endswith(
        "default_hooks.numbers.policy=skip goes on over single cases. The last checkpoint is "
        "untouched."
    )

    report = json.loads((dump / "report.json").read_text())
    assert report["not_finite"] == ["mixed/ce", "loss", "the gradient"]
    assert (report["iteration"], report["seed"], report["process"]) == (4, 0, 0)
    assert all(Path(file).is_file() for files in report["files"].values() for file in files)
    state = torch.load(dump / "state.pth")  # plain data
    assert state["batch"]["source"]["image"].shape == (2, 3, 32, 64)
    weights = {k: v for k, v in state["model"].items() if k.startswith("method.student.")}
    # Nothing moved since the checkpoint but the statistics that the pass itself moves.
    saved = load(tmp_path / "run/iter_3.pth")["state_dict"]
    moved = [n for n, v in weights.items() if not torch.equal(v, saved[n])]
    assert all("running" in name or "tracked" in name for name in moved)
    assert not (tmp_path / "run/iter_6.pth").exists()


def overflow(method: Any) -> None:
    """A weight of the head that no product survives."""
    method.student.segmentor.decode_head.conv_seg.weight.data.fill_(float("inf"))


@pytest.mark.parametrize("method", METHODS)
def test_replay_values(tmp_path: Path, method: str) -> None:
    """A saved iteration of any method breaks again, in the module in which it began."""
    config = config_of(tmp_path, method)
    with pytest.raises(FloatingPointError, match="iteration 5"):
        run(tmp_path, Poison(5, spoil=overflow), config=config)
    found = replay(config, tmp_path / "run/non_finite/iter_5")
    assert found.module is not None
    # In most methods the teacher has followed the student by then.
    assert found.module.endswith(".segmentor.decode_head.conv_seg")
    assert any(name.endswith("decode_head.conv_seg.weight") for name in found.parameters)
    assert any(not math.isfinite(value) for value in found.log.values())


def test_replay_of_further_batches_values(tmp_path: Path) -> None:
    """What a look-ahead saw beside the batch is saved, named and seen again."""
    config = config_of(tmp_path, "fst_wide")
    with pytest.raises(FloatingPointError, match="iteration 5") as error:
        run(tmp_path, Poison(5, spoil=overflow), config=config)
    sources = re.search(r"Source images: (.*?)\. Target", str(error.value))
    assert sources
    assert len(sources[1].split(", ")) == 6  # a batch of two, and two further ones
    state = torch.load(tmp_path / "run/non_finite/iter_5/state.pth")
    assert [pair["source"]["image"].shape for pair in state["further"]] == [(2, 3, 32, 64)] * 2


def test_replay_errors(tmp_path: Path) -> None:
    """A folder of several processes is told from an empty one."""
    config = load_config(write_config(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"state\.pth"):
        replay(config, tmp_path)
    for rank in range(2):
        (tmp_path / f"process_{rank}").mkdir()
        (tmp_path / f"process_{rank}/state.pth").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="one folder a process: process_0, process_1"):
        replay(config, tmp_path)


def test_sentence_where_the_step_was_made(tmp_path: Path) -> None:
    """A loss that is NaN while its gradient is finite: the networks are those after the step."""

    def spoil(method: Any) -> None:
        former = type(method).supervised

        def supervised(*arguments: Tensor) -> dict[str, Tensor]:
            losses = former(method, *arguments)
            return {**losses, "constant": torch.tensor(float("nan"))}

        method.supervised = supervised

    with pytest.raises(FloatingPointError, match="networks as they were after the step") as error:
        run(tmp_path, Poison(4, spoil=spoil))
    assert "the gradient" not in str(error.value).partition(" became")[0]


def test_look_before_a_stop(tmp_path: Path) -> None:
    """A signal between two looks: what was found so far is told, and nothing is saved."""

    def spoil(method: Any) -> None:
        former = type(method).supervised
        method.supervised = lambda *a: {**former(method, *a), "constant": torch.tensor(torch.nan)}

    config = config_of(tmp_path, "daformer")
    config.default_hooks.checkpoint.interval = 50
    stop, poison = StopAt(5), Poison(4, spoil=spoil)

    class Both(Poison):
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            stop.before_train_iter(runner, batch_idx)
            poison.before_train_iter(runner, batch_idx)

    with pytest.raises(FloatingPointError, match=r"iteration 4 \(noticed after 5\)"):
        run(tmp_path, Both(), config=config, look="interval", interval=50)
    assert not list((tmp_path / "run").glob("iter_*.pth"))


def test_interval_values(tmp_path: Path) -> None:
    """Looking every second iteration: told late, by the first iteration, without a dump."""
    with pytest.raises(FloatingPointError) as error:
        run(tmp_path, Poison(3), look="interval")
    told = str(error.value)
    assert "became NaN or infinite in iteration 3. Source images: " in told
    # The checkpoint of iteration 3 is a reason to look at once.
    assert "--resume --cfg-options default_hooks.numbers.look=step. Lower" in told
    assert not (tmp_path / "run/non_finite").exists()
    with pytest.raises(FloatingPointError, match=r"iteration 1 \(noticed after 2\)\. Source"):
        run(tmp_path, Poison(1), name="other", look="interval")
    assert not list(tmp_path.glob("*/iter_*.pth"))


def test_skip_values(tmp_path: Path) -> None:
    """The step is left out, the weights stay, the run goes on and counts."""
    runner = run(tmp_path, Poison(3, 5), policy="skip")
    assert runner.message_hub.get_scalar("train/skipped").current() == 2
    told = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert "mixed/ce, loss, the gradient became NaN or infinite in iteration 3: the step" in told
    assert "iteration 5: the step was skipped (2 so far). Source images: " in told
    optimizer = load(tmp_path / "run/iter_6.pth")["optimizer"]
    assert {int(state["step"]) for state in optimizer["state"].values()} == {4}
    logged = [
        json.loads(line)
        for line in next((tmp_path / "run").glob("*/vis_data/scalars.json")).read_text().split("\n")
        if '"loss"' in line
    ]
    assert all(values["loss"] == values["loss"] for values in logged)


def test_skip_resumes(tmp_path: Path) -> None:
    """A run stopped between two skips ends as the straight one."""
    run(tmp_path, Poison(2, 5), name="straight", policy="skip")
    (tmp_path / "killed").mkdir()
    content = (tmp_path / "straight/iter_3.pth").read_bytes()
    write_atomically(tmp_path / "killed/iter_3.pth", content)
    runner = run(tmp_path, Poison(2, 5), name="killed", policy="skip")
    assert runner.message_hub.get_scalar("train/skipped").current() == 2
    straight, killed = (load(tmp_path / n / "iter_6.pth") for n in ("straight", "killed"))
    assert differences(straight["state_dict"], killed["state_dict"]) == []
    assert straight["skipped_steps"] == killed["skipped_steps"] == {"total": 2, "in_a_row": 0}


def test_skip_gives_up(tmp_path: Path) -> None:
    """Three in a row, or statistics that are spoilt as well."""
    with pytest.raises(FloatingPointError, match=r"iteration 4\..* Stopped: this was number 3 in"):
        run(tmp_path, Poison(2, 3, 4, 5), policy="skip", most=3)

    spoilt = "student.segmentor.decode_head.laterals.0.bn.running_mean"

    def spoil(method: Any) -> None:
        dict(method.named_buffers())[spoilt].fill_(float("nan"))
        next(method.student.parameters()).data.fill_(float("nan"))

    sentence = r"iteration 2\..* Stopped: \S*running_mean is NaN or infinite too, so that sk"
    with pytest.raises(FloatingPointError, match=sentence):
        run(tmp_path, Poison(2, spoil=spoil), name="other", policy="skip")


def test_full_disk_does_not_hide_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong first is told, and that it could not be saved."""

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("uda.engine.non_finite.write_atomically", full)
    with pytest.raises(
        FloatingPointError, match="iteration 4.*could not be saved: no space. Lower"
    ):
        run(tmp_path, Poison(4))


def test_hook_is_added(tmp_path: Path) -> None:
    """A config without the hook has it all the same; its own is kept."""
    config = load_config(write_config(tmp_path))
    config.default_hooks.pop("numbers")
    runner = make_runner(config, tmp_path / "run")
    assert sum(isinstance(hook, NonFinite) for hook in runner.hooks) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "go on"}, 'policy has to be "stop" or "skip", not \'go on\''),
        ({"look": "never"}, 'look has to be "step" or "interval", not \'never\''),
        ({"policy": "skip", "look": "interval"}, 'policy="skip" has to look before each step'),
        ({"interval": 0}, "at least 1, not 0 and 10"),
        ({"most": 0}, "at least 1, not 50 and 0"),
    ],
    ids=["policy", "look", "skip", "interval", "most"],
)
def test_non_finite_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        NonFinite(**settings)
