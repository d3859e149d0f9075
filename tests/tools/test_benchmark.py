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
from uda.engine.label_benchmark import LabelTimes


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
