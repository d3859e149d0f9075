"""The tool that adapts a segmentor: equal to the scoring tool unadapted, whole and by windows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.engine.scoring import Checkpoints, write_checkpoints
from tools.adapt import main
from tools.test import main as score
from uda.engine.evaluate import load_network
from uda.engine.segmentor_stream import SegmentorForward, run_stream, stream_dataset
from uda.engine.train import load_config
from uda.tta import adapt


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run, with images and labels beside them."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def folders(files: Checkpoints) -> tuple[Path, Path]:
    """Images and labels of the validation set."""
    dataset = load_config(files.config).val_dataloader.dataset
    root = Path(dataset.get("data_root", ""))
    return root / dataset.image_dir, root / dataset.label_dir


@pytest.mark.parametrize("window", [(), ("--slide", "32", "32")], ids=["whole", "slide"])
def test_unadapted_equals_scoring(
    files: Checkpoints, tmp_path: Path, window: tuple[str, ...]
) -> None:
    """Without adaptation the mIoU is that of tools/test.py, which reads the same images."""
    images, labels = folders(files)
    common = [str(files.config), str(files.full), "--workers", "0", *window]
    score([*common, "--out", str(tmp_path / "scored.json")])
    main(
        [*common, "--stream", str(images), "--labels", str(labels), "--method", "tent",
         "--lr", "0.01", "--no-guard", "--out", str(tmp_path / "adapted.json")]
    )  # fmt: skip
    scored = json.loads((tmp_path / "scored.json").read_text(encoding="utf-8"))
    adapted = json.loads((tmp_path / "adapted.json").read_text(encoding="utf-8"))
    results = adapted["results"]
    assert list(results) == ["unadapted", "tent", "with resets"]
    assert results["unadapted"]["mIoU"] == scored["metrics"]["student/mIoU"]
    assert results["unadapted"]["images"] == scored["context"]["images"]
    assert results["tent"]["report"]["updates"] == results["tent"]["images"]
    assert results["tent"]["latency_p50_ms"] <= results["tent"]["latency_p95_ms"]


def test_without_labels(
    files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No score, but times; episodic runs need no baseline with resets."""
    images, _ = folders(files)
    out = tmp_path / "out.json"
    main(
        [str(files.config), str(files.deploy / "student.pth"), "--workers", "0", "--stream",
         str(images), "--protocol", "episodic", "--out", str(out)]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "mIoU" not in printed
    assert "rpl" in printed
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert list(results) == ["unadapted", "rpl"]


def test_resets_start_again(files: Checkpoints) -> None:
    """Reset before each image, a continual run scores as an episodic one."""
    config = load_config(files.config)
    segmentor = load_network(config, files.full).segmentor
    images, labels = folders(files)
    dataset = stream_dataset(config, images, labels)
    dataset["classes"] = config.val_dataloader.dataset.classes
    settings = {"guard": False, "lr": 0.1}
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    reset = run_stream(segmentor, dataset, "tent", reset_every=1, settings=settings)
    single = run_stream(segmentor, dataset, "tent", settings={**settings, "protocol": "episodic"})
    assert reset["IoU"] == single["IoU"]
    assert all(torch.equal(value, before[name]) for name, value in segmentor.state_dict().items())


def test_segmentor_forward_grad(files: Checkpoints) -> None:
    """Gradients reach the norm layers, also through sliding windows."""
    segmentor = load_network(load_config(files.config), files.full).segmentor
    model = adapt(SegmentorForward(segmentor), "tent", guard=False, lr=0.1)
    image = torch.rand(1, 3, 32, 64)
    before = model.predict(image)
    torch.testing.assert_close(model(image), before)
    assert not torch.equal(model.predict(image), before)


def test_labels_without_pipeline(files: Checkpoints) -> None:
    """A config that reads no labels cannot score."""
    config = load_config(files.config)
    config.val_dataloader.dataset.pipeline = [dict(type="LoadImage"), dict(type="PackSegInputs")]
    with pytest.raises(ValueError, match="reads no labels at validation"):
        stream_dataset(config, "images", "labels")
