"""The live view in whole runs: it changes nothing, waits for nothing, and counts real steps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import Tensor

from tests.engine.comparing import PARTS, differences, load
from tests.engine.test_resume import config_of, run
from tests.engine.tiny_run import write_config
from tests.methods.tiny import CLASSES, make_batch, make_self_training, make_student, optimisers
from uda.engine.live.step_watch import StepWatch
from uda.engine.live.view import LiveView
from uda.engine.train import build_runner, load_config
from uda.selftraining import LookAhead
from uda.watching import watched_by

# Ways in which the host asks the device for a value.
READS = ("item", "cpu", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__")


def lines_of(work_dir: Path) -> list[dict[str, float]]:
    """Lines of the scalar log that training wrote."""
    (file,) = work_dir.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def settings_of(folder: Path, method: str, *, live: bool) -> Config:
    """A run of `config_of`, watched closely or not at all."""
    config = config_of(folder, method)
    config.default_hooks.live.enabled = live
    if live:
        config.custom_hooks.append({"type": "PictureLog", "interval": 1})
    return config


def fast(methods: Iterable[str], *quick: str) -> list[Any]:
    """Parameters of a test; all but a few only run with the slow ones."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in methods
    ]


@pytest.mark.parametrize(
    "method", fast(["source_only", "daformer", "hard_aware", "masked", "dual"], "daformer", "dual")
)
def test_view_changes_nothing_properties(tmp_path: Path, method: str) -> None:
    """With curves and a picture in every iteration, networks, draws and losses are what they are.

    To the bit, after six iterations and two validations.
    """
    for live in (False, True):
        run(settings_of(tmp_path, method, live=live), tmp_path / str(live), "off")
    plain, watched = (load(tmp_path / str(live) / "iter_6.pth") for live in (False, True))
    for part in PARTS:
        assert differences(plain[part], watched[part], part) == []
    without, found = (lines_of(tmp_path / str(live)) for live in (False, True))
    for one, other in zip(without, found, strict=True):
        same = {name: other[name] for name in one}
        timed = ("time", "data_time")
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in same.items() if k not in timed
        }
        assert any(name.startswith("time/") for name in set(other) - set(one))


WANTED = {
    "source_only": ({"classes/source/ground", "lr/backbone", "lr/decode_head"}, {"pseudo/kept"}),
    "daformer": (
        {"pseudo/kept", "pseudo/kept/ground", "pseudo/agreement", "classes/pseudo/ground"}
        | {f"time/{n}" for n in ("data", "batch", "source", "teacher", "mixing", "mixed")}
        | {f"time/{n}" for n in ("feature_distance", "ema", "optimiser", "other", "live")},
        set(),
    ),
    "hard_aware": ({"pseudo/kept", "pseudo/confidence", "time/target"}, {"classes/source/ground"}),
    "dual": (
        {"primary/pseudo/kept", "secondary/pseudo/kept", "secondary/pseudo/agreement/ground"}
        | {"primary/classes/distance", "time/look_ahead", "time/target_mix"},
        {"pseudo/kept"},
    ),
    "masked_source_only": ({"masked/pseudo/kept", "time/masked"}, {"pseudo/kept"}),
    "adversarial": ({"lr/discriminator", "time/discriminator", "time/target"}, {"pseudo/kept"}),
    "fst_wide": ({"pseudo/kept", "time/look_ahead"}, set()),
}


@pytest.mark.parametrize("method", fast(WANTED, "daformer", "source_only", "dual"))
def test_view_names_values(tmp_path: Path, method: str) -> None:
    """Each method has its curves; what is told of phases adds up to an iteration."""
    run(config_of(tmp_path, method), tmp_path / "run", "off")
    (line,) = lines_of(tmp_path / "run")
    wanted, absent = WANTED[method]
    assert wanted <= set(line)
    assert not absent & set(line)
    phases = {k: v for k, v in line.items() if k.startswith("time/") and k != "time/iteration"}
    assert sum(phases.values()) == pytest.approx(line["time/iteration"])
    assert all(0 <= v <= 1 + 1e-6 for k, v in line.items() if "pseudo/kept" in k)


class Counter(Hook):
    """Counts reads in each iteration, from when its batch is there until all hooks are done."""

    priority = "VERY_HIGH"

    def __init__(self, reads: list[str]) -> None:
        self.reads = reads
        self.by_iteration: list[int] = []
        self._before = 0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Begin to count."""
        if runner.iter:
            self.by_iteration.append(len(self.reads) - self._before)
        self._before = len(self.reads)


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every read of a tensor's value inside the block, by the name of its method."""
    reads: list[str] = []

    def counting(name: str, former: Callable[..., Any]) -> Callable[..., Any]:
        def read(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
            reads.append(name)
            return former(tensor, *arguments, **options)

        return read

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(Tensor, name, counting(name, getattr(Tensor, name)))
        yield reads


@pytest.mark.parametrize(
    "method", fast(["source_only", "daformer", "hard_aware", "dual"], "daformer")
)
def test_view_waits_once_an_interval_properties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Between two lines of the log an iteration reads as many values as without the live view."""
    found = {}
    for live in (False, True):
        config = config_of(tmp_path, method)
        config.default_hooks.live.enabled = live
        config.train_cfg.val_interval = 100
        config.default_hooks.checkpoint.interval = 100
        with counted(monkeypatch) as reads:
            counter = Counter(reads)
            run(config, tmp_path / f"counted{live}", "off", counter)
        found[live] = counter.by_iteration
    lines = 4  # the interval of the log
    between = [n for n in range(len(found[True])) if (n + 1) % lines]
    assert [found[True][n] for n in between] == [found[False][n] for n in between]
    # At a line the sums are fetched at once; what follows reads the copy on the host.
    assert 0 < found[True][lines - 1] - found[False][lines - 1] < 20


def test_view_counts_real_steps_values() -> None:
    """Virtual steps of a look-ahead see the same images: they are not counted again."""
    pixels = []
    for steps in (0, 2):
        method = make_self_training(make_student())
        method.use_look_ahead(LookAhead(steps=steps))
        watch = StepWatch.on(torch.device("cpu"), num_classes=CLASSES, stride=1)
        watch.clock.start("data")
        for seed in range(2):
            with watched_by(watch):
                watch.clock.begin()
                method.training_step(make_batch(seed), optimisers(method))
                watch.clock.finish("data")
        pixels.append(watch.sums.state_dict()[""].sum(0)[[0, 7]].tolist())
        names = set(watch.clock.pop())
        assert ("look_ahead" in names) == (steps > 0)
        assert {"teacher", "mixing", "mixed", "source", "ema", "optimiser"} <= names
    # Two iterations of two images of 16x16; the first row of each source label is unknown.
    assert pixels == [[1024, 960], [1024, 960]]


def test_view_interval_values(tmp_path: Path) -> None:
    """Every second line of the log, when so set."""
    config = load_config(write_config(tmp_path, iterations=8, val_interval=100))
    config.default_hooks.live.interval = 4
    run(config, tmp_path / "run", "off")
    lines = lines_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert ["pseudo/kept" in line for line in lines] == [False, True, False, True]


def test_view_errors(tmp_path: Path) -> None:
    """Numbers out of range, and an interval between two lines of the log."""
    with pytest.raises(ValueError, match="LiveView: interval and stride have to be at least 1"):
        LiveView(interval=0)
    with pytest.raises(ValueError, match="not None and 0"):
        LiveView(stride=0)
    config = load_config(write_config(tmp_path))
    config.default_hooks.live.interval = 3
    config.experiment_name = tmp_path.as_posix().replace("/", "-")
    runner = build_runner(config, work_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="interval=3 has to be a multiple of the logger's, 2"):
        runner.train()
