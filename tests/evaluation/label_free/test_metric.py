"""The metric as mmengine drives it: process, evaluate, several ranks, no labels."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import mmengine
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample

from uda.evaluation.label_free import LabelFreeScores, agreement_scores, label_free_scores

CLASSES = ("road", "sky", "car")


def data_sample(number: int, metric: LabelFreeScores, *, teacher: bool = True) -> SegDataSample:
    """Return what the model's predict mode returns for an image, without a label."""
    generator = torch.Generator().manual_seed(number)
    logits = 2 * torch.randn(2, 3, 6, 8, generator=generator)
    sample = SegDataSample(metainfo={"img_path": f"val/{number}.png", "image_number": number})
    sample.pred_sem_seg = PixelData(data=logits[0].argmax(0, keepdim=True))
    sample.set_data({"student_sums": metric.describe(logits[0], number)})
    if teacher:
        sample.set_data({"teacher_pred_sem_seg": PixelData(data=logits[1].argmax(0, keepdim=True))})
        sample.set_data({"teacher_sums": metric.describe(logits[1], number)})
    return sample


def evaluator(**settings: Any) -> tuple[Evaluator, LabelFreeScores]:
    """Return mmengine's evaluator around one metric built from its config."""
    metric = METRICS.build({"type": "LabelFreeScores", **settings})
    built = Evaluator([metric])
    built.dataset_meta = {"classes": CLASSES}
    return built, metric


def test_metric_accumulates_flat_and_starts_afresh() -> None:
    """Batches of any size and order give the scores of all images; then nothing is left."""
    built, metric = evaluator()
    samples = [data_sample(number, metric) for number in range(5)]
    for batch in (samples[3:], samples[:3]):
        built.process(batch)
        assert len(metric.results) == 1
    found = built.evaluate(5)
    assert metric.results == []
    built.process(samples)
    assert built.evaluate(5) == found
    sums = samples[0].get("student_sums")
    for sample in samples[1:]:
        sums = sums.plus(sample.get("student_sums"))
    for name, value in label_free_scores(sums).items():
        assert found[f"student/{name}"] == pytest.approx(value, abs=1e-6)
    assert metric.last_sums.keys() == {"student", "teacher"}
    assert "teacher/agreement" not in found


def test_metric_agreement_values() -> None:
    """Counted by hand over the maps of all images."""
    built, metric = evaluator()
    samples = [data_sample(number, metric) for number in range(3)]
    built.process(samples)
    found = built.evaluate(3)
    matrix = torch.zeros(3, 3, dtype=torch.int64)
    for sample in samples:
        pairs = zip(
            sample.pred_sem_seg.data.flatten().tolist(),
            sample.get("teacher_pred_sem_seg").data.flatten().tolist(),
            strict=True,
        )
        for student, teacher in pairs:
            matrix[student, teacher] += 1
    for name, value in agreement_scores(matrix).items():
        assert found[f"student/{name}"] == pytest.approx(value, abs=1e-6)


def test_metric_of_one_network() -> None:
    """A student alone has no agreement; a prefix stands before every name."""
    built, metric = evaluator(prefix="day")
    built.process([data_sample(0, metric, teacher=False)])
    found = built.evaluate(1)
    assert list(found) == [
        "day/student/entropy",
        "day/student/information",
        "day/student/neighbourhood_density",
        "day/student/nuclear_norm",
    ]


def test_metric_logs_a_table(caplog: pytest.LogCaptureFixture) -> None:
    """Which direction is better stands beside the scores."""
    logger = mmengine.MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            built, metric = evaluator()
            built.process([data_sample(0, metric)])
            built.evaluate(1)
    finally:
        logger.removeHandler(caplog.handler)
    assert "Scores without labels over 1 images" in caplog.text
    assert "| student | teacher | better" in caplog.text
    lines = [line.split("|") for line in caplog.text.splitlines() if "agreement_mIoU" in line]
    assert [cell.strip() for cell in lines[0][2:]] == ["-", "higher"]


def test_metric_errors() -> None:
    """Settings out of range, samples without sums, no image at all."""
    with pytest.raises(ValueError, match="pixels has to be at least 2, not 1"):
        LabelFreeScores(pixels=1)
    with pytest.raises(ValueError, match="temperature has to be above 0, not 0"):
        LabelFreeScores(temperature=0)
    built, _ = evaluator()
    with pytest.raises(ValueError, match=r"neither student_sums nor teacher_sums \(a.png; it has"):
        built.process([{"img_path": "a.png"}])
    with pytest.raises(ValueError, match="no image was evaluated; check the validation data"):
        built.evaluate(0)


def _evaluate_on_rank(rank: int, world_size: int, folder: str) -> None:
    """Evaluate this rank's share of five images and store what came out."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    built, metric = evaluator()
    built.process([data_sample(number, metric) for number in range(rank, 5, world_size)])
    torch.save(built.evaluate(5), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.ddp
def test_metric_ddp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gloo processes with 3 and 2 images give the scores of one with 5, to the bit."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_evaluate_on_rank, args=(2, str(tmp_path)), nprocs=2)
    built, metric = evaluator()
    built.process([data_sample(number, metric) for number in range(5)])
    alone = built.evaluate(5)
    for rank in range(2):
        assert torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) == alone
