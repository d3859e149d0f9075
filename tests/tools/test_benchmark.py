"""The timing tool on a tiny network."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from tests.engine.tiny_run import make_runner, write_config
from uda.commands.benchmark import run as main
from uda.engine.benchmark import StepTimes
from uda.engine.data_benchmark import DataTimes, time_data
from uda.engine.evaluation_benchmark import ScoringTimes, time_scoring
from uda.engine.label_benchmark import LabelTimes
from uda.engine.train import load_config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of a tiny run."""
    return write_config(tmp_path_factory.mktemp("run"))


def measured(config: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What the tool prints about two steps."""
    capsys.readouterr()
    main(["step", str(config), "--iterations", "2", "--warm-up", "1", *options])
    return capsys.readouterr().out


def test_json_has_every_field(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object with the figures, the config and the precision; they fit each other."""
    found = json.loads(measured(config, capsys, "--json", "--batch-size", "1", "--amp", "bf16"))
    assert found.keys() == {"config", "amp", *(field.name for field in fields(StepTimes))}
    assert (found["config"], found["amp"]) == (str(config), "bf16")
    assert 0 < found["wall_min_s"] <= found["wall_s"] <= found["wall_max_s"]
    assert found["images_per_s"] == pytest.approx(2 / found["wall_s"])  # a source, a target image
    assert found["iterations_per_s"] == pytest.approx(1 / found["wall_s"])
    assert 0 < found["cpu_min_s"] <= found["cpu_s"] <= found["cpu_max_s"]
    assert found["peak_memory_mb"] > 10
    assert (found["batch_size"], found["crop"], found["iterations"]) == (1, [32, 64], 2)
    assert 0 < found["peak_share"] < 2
    assert found["operations"] > 1e6
    assert found["threads"] == torch.get_num_threads()


def test_text_without_memory_on_windows(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the module `resource` is missing, the memory is unknown and the rest is measured."""
    if torch.cuda.is_available():
        pytest.skip("on CUDA the memory is that of the device")
    monkeypatch.setitem(sys.modules, "resource", None)
    output = measured(config, capsys, "--crop", "32", "32")
    lines = dict(line.split(maxsplit=1) for line in output.splitlines())
    phases = {name: share for name, share in lines.items() if share.endswith("%")}
    assert lines.keys() - phases.keys() == {field.name for field in fields(StepTimes)} - {"phases"}
    assert (lines["peak_memory_mb"], lines["crop"]) == ("None", "(32, 32)")
    assert {"batch", "source", "teacher", "mixing", "mixed", "ema", "optimiser"} <= phases.keys()


def test_phases_are_shares_of_the_whole(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They add up to 1; the student's passes take most."""
    phases = json.loads(measured(config, capsys, "--json"))["phases"]
    assert sum(phases.values()) == pytest.approx(1)
    assert phases["source"] + phases["mixed"] > 0.3


def test_labels_have_every_field(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both speeds, their ratio of the same images, and the threads it was measured with."""
    capsys.readouterr()
    main(["labels", str(config), "--images", "3", "--repeats", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"config", *(field.name for field in fields(LabelTimes))}
    assert found["ratio"] == pytest.approx(
        found["labels_images_per_s"] / found["plain_images_per_s"]
    )
    assert 0 < found["ratio_min"] <= found["ratio_max"]
    assert found["cpu_ratio"] > 0
    assert (found["images"], found["size"]) == (3, [64, 64])
    assert found["threads"] == torch.get_num_threads()


def test_labels_of_a_checkpoint(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network of a run, as text; images are at most those of the set."""
    make_runner(config, tmp_path).train()
    capsys.readouterr()
    command = ["labels", str(config), "--checkpoint", str(tmp_path / "iter_6.pth")]
    main([*command, "--network", "teacher", "--images", "9", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.split()[0] == "images"] == ["4"]


def test_data_has_every_way(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """All ways of reading, made-up images and the config's own, as JSON and as a table."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    command = ["data", str(config), "--images", "2", "--repeats", "1", "--size", "128", "192"]
    main([*command, "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["way"] for row in found] == ["mmseg", "files", "cache", "cold"]
    assert all(row.keys() == {field.name for field in fields(DataTimes)} for row in found)
    assert all(row["images_per_s"] == pytest.approx(2 * row["pairs_per_s"]) for row in found)
    assert found[0]["ratio"] == 1
    main([*command, "--own", "--sampling"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["mmseg", "files", "cache", "cold"]
    assert list(tmp_path.iterdir()) == []


def test_data_errors(config: Path) -> None:
    """Pipelines of another library cannot be cached; other data sets have no pairs."""
    loaded = load_config(str(config))
    loaded.train_dataloader.dataset.target.pipeline = [
        {"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}
    ]  # fmt: skip
    with pytest.raises(ValueError, match="begin with steps that cannot be cached"):
        time_data(loaded, images=1, size=(64, 64))
    loaded.train_dataloader.dataset = {"type": "PseudoLabelledTarget"}
    with pytest.raises(ValueError, match="only SourceTargetPairs can be timed"):
        time_data(loaded)


def test_evaluate_has_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    """Equal numbers, then four rows."""
    capsys.readouterr()
    command = ["evaluate", "--size", "64", "96", "--logits", "8", "12", "--repeats", "2"]
    main([*command, "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["part"] for row in found] == ["classes", "counts", "counts, 8 bits", "metric"]
    assert all(row.keys() == {field.name for field in fields(ScoringTimes)} for row in found)
    main([*command, "--threads", str(torch.get_num_threads())])
    assert "metric" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("_plain", lambda scores, size: torch.zeros(1, *size, dtype=torch.int64), "in stripes"),
        ("confusion_matrix", lambda *_: torch.ones(2, 2, dtype=torch.int64), "pixels of a class"),
        ("_ours", lambda _: FixedMetric(), "mIoU differs from mmseg's"),
    ],
)
def test_evaluate_refuses_other_numbers(
    name: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ways that give something else are not timed."""
    monkeypatch.setattr(f"uda.engine.evaluation_benchmark.{name}", value)
    with pytest.raises(ArithmeticError, match=message):
        time_scoring(size=(16, 16), logits=(4, 4), num_classes=2, repeats=1)


class FixedMetric:
    """A metric that found out nothing."""

    def process(self, batch: object, samples: object) -> None:
        """Count nothing."""

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of nothing."""
        return {"student/mIoU": 0.0, "student/mAcc": 0.0, "student/aAcc": 0.0}
