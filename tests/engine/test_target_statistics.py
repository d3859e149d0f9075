"""Validation, checkpoints and deploy files with the statistics of target images."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from uda.engine import target_statistics
from uda.engine.evaluate import adapt_statistics, evaluate, evaluation_dataset, load_network
from uda.engine.target_statistics import TargetStatistics, image_batches, target_images
from uda.engine.train import load_config
from uda.evaluation import SegmentationMetric

from .tiny_run import SIZE, make_runner, write_config

HOOK = [{"type": "RandomState"}, {"type": "DeployCheckpoint"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run `with` the hook and one `without`, of six iterations each."""
    folder = tmp_path_factory.mktemp("statistics")
    file = write_config(folder)
    for name, hooks in (
        ("with", [*HOOK, {"type": "TargetStatistics", "batch_size": 2}]),
        ("without", HOOK),
    ):
        config = load_config(file)
        config.custom_hooks = hooks
        make_runner(config, folder / name).train()
    return folder


def load(path: Path) -> dict[str, Any]:
    """A checkpoint."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return content


def test_training_is_the_same(folder: Path) -> None:
    """The hook changes no bit of what is trained, though it is applied at iterations 3 and 6."""
    one, two = (load(folder / run / "iter_6.pth") for run in ("with", "without"))
    assert "target_statistics" in one
    assert "target_statistics" not in two
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    first, second = one["random_states"][0], two["random_states"][0]
    assert torch.equal(first["torch"], second["torch"])
    assert first["python"] == second["python"]


def statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means of a state dict."""
    return {name: value for name, value in state.items() if name.endswith("running_mean")}


def test_checkpoints_hold_them(folder: Path) -> None:
    """Deploy files and a full checkpoint give the same network, other than that of training."""
    config = load_config(folder / "config.py")
    for name in ("student", "teacher"):
        deployed = load_network(config, folder / "with" / "deploy" / f"{name}.pth")
        full = load_network(config, folder / "with" / "iter_6.pth", name)
        trained = load_network(config, folder / "without" / "iter_6.pth", name)
        state, own = deployed.segmentor.state_dict(), full.segmentor.state_dict()
        assert all(torch.equal(value, own[key]) for key, value in state.items())
        before = statistics(trained.segmentor.state_dict())
        assert before
        assert all(not torch.equal(value, state[key]) for key, value in before.items())
        place = folder / "data" / "target" / "images" if name == "teacher" else None
        adapt_statistics(trained, config, folder=place, batch_size=2)
        after = trained.segmentor.state_dict()
        for key, value in state.items():
            torch.testing.assert_close(value, after[key], msg=key)


def test_best_checkpoint_has_the_statistics_of_training(folder: Path) -> None:
    """The best score is saved, and the run saved again, while validation is going on."""
    config = load_config(folder / "config.py")
    config.custom_hooks = [*HOOK, {"type": "TargetStatistics", "batch_size": 2}]
    config.default_hooks.checkpoint.save_best = "student/mIoU"
    make_runner(config, folder / "best").train()
    (best,) = (folder / "best").glob("best_*.pth")
    wanted = load(folder / "without" / "iter_6.pth")["state_dict"]
    found = load(folder / "best" / "iter_6.pth")["state_dict"]
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
    state = load(best)
    own = {f"method.student.{k}": v for k, v in state["target_statistics"]["student"].items()}
    assert any(not torch.equal(v, state["state_dict"][k]) for k, v in own.items())


def test_validation_uses_them(folder: Path) -> None:
    """The scores in the log are those of the deployed networks."""
    config = load_config(folder / "config.py")
    (scalars,) = (folder / "with").glob("*/vis_data/scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()][-1]
    network = load_network(config, folder / "with" / "deploy" / "student.pth")
    found = evaluate(network, evaluation_dataset(config), metric=SegmentationMetric(), workers=0)
    assert found.metrics["aAcc"] == pytest.approx(logged["student/aAcc"], abs=0.01)


def test_image_batches_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spread images; a batch ends where the size changes; no last image stands alone."""

    class Sizes:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> dict[str, Any]:
            width = 4 if index < 3 else 6
            return {"inputs": torch.full((3, 2, width), float(index)), "data_samples": index}

    def preprocess(data: dict[str, Any], training: bool) -> dict[str, Any]:
        return {"inputs": torch.stack(data["inputs"])}

    def drawn(images: int) -> list[list[float]]:
        batches = image_batches(Sizes(), preprocess, images, 2)  # type: ignore[arg-type]
        return [batch[:, 0, 0, 0].tolist() for batch in batches]

    assert drawn(9) == [[0, 1], [2], [3, 4]]
    assert drawn(3) == [[0, 2], [4]]
    monkeypatch.setattr(Sizes, "__getitem__", lambda _, i: {
        "inputs": torch.full((3, 2, 4), float(i)), "data_samples": i})  # fmt: skip
    assert drawn(5) == [[0, 1], [2, 3, 4]]
    assert drawn(1) == [[0]]


def test_target_images_values(folder: Path) -> None:
    """Whole target training images, though training cuts them and they have no labels."""
    images = target_images(load_config(folder / "config.py"))
    assert len(images) == 4
    assert images[0]["inputs"].shape == (3, SIZE, SIZE)


def test_without_target_images_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source-only training keeps its own statistics, and is told so."""
    said: list[str] = []
    monkeypatch.setattr(target_statistics, "print_log", lambda text, **_: said.append(text))
    config = load_config(folder / "config.py")
    config.train_dataloader.dataset.target = None
    hook, runner, checkpoint = TargetStatistics(), SimpleNamespace(cfg=config), dict[str, Any]()
    hook.before_run(runner)
    assert said == ["TargetStatistics does nothing: this run has no target images."]
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint == hook.statistics(runner) == {}


def test_target_statistics_errors(folder: Path) -> None:
    """Numbers below 1; a config without a target asked for its target images."""
    with pytest.raises(ValueError, match="TargetStatistics: images has to be at least 1, not 0"):
        TargetStatistics(images=0)
    config = load_config(folder / "config.py")
    config.train_dataloader.dataset.target = None
    with pytest.raises(ValueError, match=r"trains on the source alone \(target=None\); give"):
        target_images(config)
