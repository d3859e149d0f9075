"""Rounds: which networks label and start, stops anywhere, settings."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook

from uda.commands.train_rounds import run as main
from uda.data.pseudo_labels import Manifest
from uda.engine import rounds
from uda.engine.round_settings import (
    Origin,
    RoundSettings,
    chosen_checkpoint,
    round_settings,
)
from uda.engine.rounds import run_rounds
from uda.engine.train import load_config
from uda.runs.digests import file_digest

from .comparing import assert_same_run, load
from .tiny_run import data_config, make_runner, model_config, pseudo_labelled, write_config

METHOD = {
    "type": "HardAwareSelfTraining",
    "teacher": {"type": "EMATeacher", "decay": 0.5, "warmup": False, "buffers": "copy"},
    "terms": [{"type": "RegionRegularisation"}, {"type": "RegionConsistency"}],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source-only checkpoint, and a config of two rounds that starts there."""
    root = tmp_path_factory.mktemp("rounds")
    model = model_config(method={"type": "SourceOnly"})
    write_config(root, iterations=2, val_interval=100, model=model)
    torch.manual_seed(0)
    make_runner(root / "config.py", root / "warm_up").train()
    write_config(root, iterations=3, val_interval=100, model=model_config(method=METHOD))
    target = data_config(root / "data", 0)["train_dataloader"]["dataset"]["target"]
    settings = {
        "train_dataloader": {"dataset": {"_delete_": True, **pseudo_labelled(target, None)}},
        "label_generation": {"selector": {"type": "InstanceAdaptive", "initial": 0.3}},
        "rounds": {
            "count": 2,
            "start": {"checkpoint": str(root / "warm_up/iter_2.pth"), "network": "student"},
            "changes": [{}, {"optim_wrapper.optimizer.lr": 5e-4}],
        },
    }
    (root / "config.py").rename(root / "base.py")
    lines = [f"_base_ = [{str(root / 'base.py')!r}]"]
    lines += [f"{key} = {pprint.pformat(value)}" for key, value in settings.items()]
    (root / "rounds.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def run(project: Path, work_dir: Path, **changes: Any) -> None:
    """All rounds of the config."""
    settings = round_settings(load_config(project / "rounds.py"))
    run_rounds(project / "rounds.py", settings, work_dir=work_dir, seed=0, workers=0, **changes)


@pytest.fixture(scope="module")
def straight(project: Path) -> Path:
    """Two rounds that were not stopped."""
    run(project, project / "straight")
    return project / "straight"


def weights(path: Path, network: str) -> dict[str, torch.Tensor]:
    """The weights of one network of a checkpoint."""
    prefix = {"student": "method.student.", "teacher": "method.teacher.network."}[network]
    state = load(path)["state_dict"]
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def test_networks_values(project: Path, straight: Path) -> None:
    """Round 1 is labelled by the warm-up's student, round 2 by round 1's teacher."""
    warm_up, first = project / "warm_up/iter_2.pth", straight / "round_1/iter_3.pth"
    for number, path, network in ((1, warm_up, "student"), (2, first, "teacher")):
        manifest = Manifest.read(straight / f"round_{number}/labels")
        assert manifest.checkpoint == {
            "file": path.name,
            "sha256": file_digest(path),
            "network": network,
        }
        assert len(manifest.images) == 4
        assert manifest.settings["seed"] == 0
    config = load_config(straight / "round_2" / "rounds.py")
    assert config.model.start == {"checkpoint": str(first), "network": "student"}
    assert config.optim_wrapper.optimizer.lr == 5e-4
    assert not Path(config.train_dataloader.dataset.target.label_dir).is_absolute()


def test_start_values(project: Path, straight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Student and teacher of a round begin with the student's weights; the optimiser is new."""
    seen: dict[str, dict[str, torch.Tensor]] = {}

    class Look(Hook):
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.iter == 0:
                for name, network in runner.model.method.networks().items():
                    seen[name] = {k: v.clone() for k, v in network.state_dict().items()}
                assert not runner.optim_wrapper.optimizer.state

    build = rounds.build_runner

    def watched(*given: Any, **named: Any) -> Any:
        runner = build(*given, **named)
        runner.register_hook(Look())
        return runner

    monkeypatch.setattr(rounds, "build_runner", watched)
    monkeypatch.setattr(rounds, "is_trained", lambda folder, _: folder.name == "round_1")
    settings = round_settings(load_config(project / "rounds.py"))
    work_dir = project / "second"
    work_dir.mkdir()
    (work_dir / "round_1").symlink_to(straight / "round_1")
    run_rounds(project / "rounds.py", settings, work_dir=work_dir, seed=0, workers=0)
    wanted = weights(straight / "round_1/iter_3.pth", "student")
    for network in ("student", "teacher"):
        assert all(torch.equal(seen[network][name], wanted[name]) for name in wanted)
    assert_same_run(straight / "round_2/iter_3.pth", work_dir / "round_2/iter_3.pth")


class Stop(Exception):  # noqa: N818 - it stands for a kill
    """A kill."""


@pytest.mark.parametrize(
    "moment",
    [
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("labels 1", "training 1", "labels 2")),
        "training 2",
    ],
)
def test_resume(
    project: Path, straight: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while labelling or training in either round, and started again: the same end."""
    place, number = moment.split()
    at = {"round": 0}

    class Kill(Hook):
        def after_train_iter(self, runner: Any, batch_idx: int, *_: Any, **__: Any) -> None:
            if place == "training" and at["round"] == int(number) and runner.iter == 1:
                raise Stop

    def tell(current: int, *_: Any) -> None:
        at["round"] = current

    def progress(done: int, total: int) -> None:
        if place == "labels" and at["round"] == int(number) and done == 2:
            raise Stop

    build = rounds.build_runner
    with monkeypatch.context() as patch:

        def killed(*given: Any, **named: Any) -> Any:
            runner = build(*given, **named)
            runner.register_hook(Kill())
            return runner

        patch.setattr(rounds, "build_runner", killed)
        with pytest.raises(Stop):
            run(project, tmp_path, tell=tell, progress=progress)
    assert not (tmp_path / f"round_{number}/iter_3.pth").exists()
    run(project, tmp_path)
    for number in (1, 2):
        folders = [base / f"round_{number}" for base in (straight, tmp_path)]
        assert_same_run(*(folder / "iter_3.pth" for folder in folders))
        labels = [sorted((f / "labels").glob("*.png")) for f in folders]
        assert [p.read_bytes() for p in labels[0]] == [p.read_bytes() for p in labels[1]]


def test_trained_rounds_are_left_values(project: Path, straight: Path) -> None:
    """A third call finds both rounds done and writes nothing."""
    before = {p: p.stat().st_mtime_ns for p in straight.rglob("*")}
    seen: list[tuple[int, str]] = []
    run(project, straight, tell=lambda number, what, _: seen.append((number, what)))
    assert seen == [(1, "done"), (2, "done")]
    assert {p: p.stat().st_mtime_ns for p in straight.rglob("*")} == before


def test_other_rounds_are_refused_errors(project: Path, straight: Path, tmp_path: Path) -> None:
    """Rounds of another seed, setting, start or unknown origin; another log may be."""
    file = project / "rounds.py"
    settings = round_settings(load_config(file))
    run(project, straight, options={"log_level": "ERROR", "val_dataloader.num_workers": 1})
    with pytest.raises(ValueError, match=r"round_1 was made with seed = 0, now it is 1"):
        run_rounds(file, settings, work_dir=straight, seed=1)
    with pytest.raises(ValueError, match=r"made with label_generation.selector.initial = 0.3"):
        run(project, straight, options={"label_generation.selector.initial": 0.4})
    other = round_settings(
        load_config(file), start={"checkpoint": str(straight / "round_1/iter_3.pth")}
    )
    with pytest.raises(ValueError, match=r"made with start.sha256 = .* Give another --work-dir"):
        run_rounds(file, other, work_dir=straight, seed=0)
    (tmp_path / "round_1").mkdir()
    (tmp_path / "round_1/iter_3.pth").touch()
    with pytest.raises(ValueError, match=r"round_1 holds a run, but no round.json"):
        run(project, tmp_path)


def test_options_win_values(project: Path, straight: Path) -> None:
    """The command line is later than what the config changes in a round."""
    change = {"optim_wrapper.optimizer.lr": 1e-3}
    settings = round_settings(load_config(project / "rounds.py"), changes=[{}, change])
    # The rate that round 1 had; in round 2 it is in the place of the change.
    rate = load_config(project / "rounds.py").optim_wrapper.optimizer.lr
    options = {"optim_wrapper.optimizer.lr": rate}
    told = f"round_2 was made with optim_wrapper.optimizer.lr = 0.0005, now it is {rate}"
    with pytest.raises(ValueError, match=told):
        run_rounds(
            project / "rounds.py", settings, work_dir=straight, seed=0, workers=0, options=options
        )


def test_command_line(
    project: Path, straight: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The tool runs, with its own start; a network without a file is refused."""
    command = [str(project / "rounds.py"), "--work-dir", str(straight), "--seed", "0"]
    main([*command, "--start", str(project / "warm_up/iter_2.pth"), "--start-network", "student"])
    assert "round 2: trained before" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*command, "--start-network", "student"])
    assert "give --start FILE" in capsys.readouterr().err


def test_settings_values() -> None:
    """Who labels round 1, and changes by round."""
    start = {"checkpoint": "a.pth", "network": "student"}
    # --cfg-options rounds.count=1 must do with a config that has changes for three
    assert RoundSettings(start=start, count=1, changes=[{"x": 1}, {"x": 2}]).change(1) == {"x": 1}
    settings = RoundSettings(start=start, changes=[{"x": 1}])
    assert settings.first() == (Origin("a.pth", "student"),) * 2
    assert (settings.change(1), settings.change(3)) == ({"x": 1}, {})
    other = RoundSettings(start=start, labels={"checkpoint": "b.pth"})
    assert other.first()[1] == Origin("b.pth", None)


def test_chosen_checkpoint_values(tmp_path: Path) -> None:
    """The last, the best, or that of an iteration."""
    for name in ("iter_2.pth", "iter_4.pth", "best_teacher_mIoU_iter_2.pth"):
        (tmp_path / name).touch()
    names = [chosen_checkpoint(tmp_path, which, 4).name for which in ("last", "best", 2)]
    assert names == ["iter_4.pth", "best_teacher_mIoU_iter_2.pth", "iter_2.pth"]
    settings = RoundSettings(start={}, label_checkpoint=2, labelled_by="student")
    start, labeller = settings.next(tmp_path, 4)
    assert (Path(start.checkpoint).name, start.network) == ("iter_4.pth", "student")
    assert (Path(labeller.checkpoint).name, labeller.network) == ("iter_2.pth", "student")


def test_settings_errors(project: Path, tmp_path: Path) -> None:
    """Each setting that cannot be meant, and checkpoints that are not there."""
    for arguments, message in (
        ({"count": 0}, "count has to be at least 1, not 0"),
        ({"starts_from": "best"}, 'starts_from has to be "student" or "teacher", not \'best\''),
        ({"labelled_by": None}, "labelled_by has to be .* not None"),
        ({"label_checkpoint": "first"}, 'has to be "last", "best" .which looks at target labels'),
        ({"start_checkpoint": 0}, "start_checkpoint has to be .* not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            RoundSettings(start={}, **arguments)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no best checkpoint in .* set default_hooks"):
        chosen_checkpoint(tmp_path, "best", 4)
    with pytest.raises(FileNotFoundError, match=r"no .*iter_3.pth: have the Checkpoint hook save"):
        chosen_checkpoint(tmp_path, 3, 4)
    config = load_config(project / "rounds.py")
    with pytest.raises(ValueError, match="rounds has no setting 'number'"):
        round_settings(config, number=3)
    with pytest.raises(ValueError, match=r"rounds.start takes a checkpoint and a network"):
        round_settings(config, start={"file": "a.pth"})
    config.rounds.pop("start")
    with pytest.raises(ValueError, match="rounds has no start: give the checkpoint"):
        round_settings(config)
    config.pop("rounds")
    with pytest.raises(ValueError, match="has no rounds: it is trained by tools/train.py"):
        round_settings(config)


def test_linked_data_values(project: Path, tmp_path: Path) -> None:
    """Labels are found also where the data set is a link to another disk."""
    (tmp_path / "disk" / "set").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set").symlink_to(tmp_path / "disk" / "set")
    labels = tmp_path / "runs" / "round_1" / "labels"
    labels.mkdir(parents=True)
    config = load_config(project / "rounds.py")
    target = config.train_dataloader.dataset.target
    target.data_root = str(tmp_path / "data" / "set")
    rounds.prepare(config, Origin("a.pth"), labels.parent)
    assert (Path(target.data_root) / target.label_dir).samefile(labels)
    assert config.model.start == {"checkpoint": "a.pth"}


def test_prepare_errors(project: Path) -> None:
    """A training set without target."""
    config = load_config(project / "rounds.py")
    config.train_dataloader.dataset.target = None
    with pytest.raises(ValueError, match="but target is None"):
        rounds.prepare(config, Origin("a.pth"), project)
