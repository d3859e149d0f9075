"""The metric as mmengine drives it: process, evaluate, several ranks."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import cv2
import mmengine
import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample
from torch import Tensor

from uda.evaluation.confusion import confusion_matrix
from uda.evaluation.metric import SegmentationMetric
from uda.evaluation.subsets import CITYSCAPES_CLASSES

CLASSES = ("road", "sky", "car")


def data_sample(
    index: int, *, teacher: bool = True, num_classes: int = 3, label: Tensor | None = None
) -> SegDataSample:
    """Return what mmseg's predict mode returns for image `index`, with random maps."""
    generator = torch.Generator().manual_seed(index)
    shape = (1, 6, 8)
    if label is None:
        label = torch.randint(0, num_classes, shape, generator=generator)
        label[torch.rand(shape, generator=generator) < 0.1] = 255
    sample = SegDataSample(metainfo={"img_path": f"val/bonn/{index}.png"})
    sample.gt_sem_seg = PixelData(data=label)
    maps = torch.randint(0, num_classes, (2, *shape), generator=generator)
    sample.pred_sem_seg = PixelData(data=maps[0])
    if teacher:
        sample.set_data({"teacher_pred_sem_seg": PixelData(data=maps[1])})
    return sample


def evaluator(classes: tuple[str, ...] = CLASSES, **settings: Any) -> Evaluator:
    """Return mmengine's evaluator around one metric built from its config."""
    metric = METRICS.build({"type": "SegmentationMetric", **settings})
    built = Evaluator([metric])
    built.dataset_meta = {"classes": classes, "palette": [(k, 0, 0) for k in range(len(classes))]}
    return built


def expected_matrix(samples: list[SegDataSample], key: str, num_classes: int = 3) -> Tensor:
    """Return the matrix of all samples at once."""
    prediction = torch.cat([sample.get(key).data for sample in samples])
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    return confusion_matrix(prediction, label, num_classes)


def test_metric_values() -> None:
    """One image by hand, through mmengine.

    Truth road road sky 255, student road sky sky car: IoU road 1/2, sky 1/2, car absent (its only
    pixel is ignored), so mIoU 50 and aAcc 2/3. The teacher is right everywhere.
    """
    sample = data_sample(0, label=torch.tensor([[[0, 0, 1, 255]]]))
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[0, 1, 1, 2]]]))
    sample.set_data({"teacher_pred_sem_seg": PixelData(data=torch.tensor([[[0, 0, 1, 0]]]))})
    built = evaluator(subsets={"sky": ["sky"]})
    built.process([sample])
    assert built.evaluate(1) == {
        "student/mIoU": 50.0,
        "student/mIoUsky": 50.0,
        "student/aAcc": 66.67,
        "student/mAcc": 75.0,
        "student/IoU.road": 50.0,
        "student/IoU.sky": 50.0,
        "teacher/mIoU": 100.0,
        "teacher/mIoUsky": 100.0,
        "teacher/aAcc": 100.0,
        "teacher/mAcc": 100.0,
        "teacher/IoU.road": 100.0,
        "teacher/IoU.sky": 100.0,
    }


def test_metric_accumulates_flat_and_starts_afresh() -> None:
    """Batches of any size make one matrix dict; a second evaluation knows nothing of the first."""
    samples = [data_sample(index) for index in range(7)]
    built = evaluator()
    metric = built.metrics[0]
    for batch in (samples[:3], samples[3:4], samples[4:]):
        built.process(batch)
        assert len(metric.results) == 1
    first = built.evaluate(7)
    for network, key in (("student", "pred_sem_seg"), ("teacher", "teacher_pred_sem_seg")):
        assert torch.equal(metric.last_matrices[network], expected_matrix(samples, key))
    assert metric.last_num_images == 7
    assert metric.results == []
    assert first == built.offline_evaluate(samples)


def test_metric_without_teacher() -> None:
    """A plain segmentor is evaluated as the student."""
    built = evaluator(prefix="day")
    built.process([data_sample(0, teacher=False)])
    metrics = built.evaluate(1)
    assert metrics.keys() >= {"day/student/mIoU"}
    assert all(name.startswith("day/student/") for name in metrics)
    assert built.metrics[0].last_matrices.keys() == {"student"}


def test_metric_of_teacher_alone(tmp_path: Path) -> None:
    """`pred_network` gives the prediction its name, in scores, matrices and folders."""
    samples = [data_sample(index, teacher=False) for index in range(2)]
    for sample in samples:
        sample.set_metainfo({"pred_network": "teacher"})
    built = evaluator(save_predictions=tmp_path)
    built.process(samples)
    assert all(name.startswith("teacher/") for name in built.evaluate(2))
    metric = built.metrics[0]
    assert metric.last_matrices.keys() == {"teacher"}
    assert metric.last_num_images == 2
    assert torch.equal(metric.last_matrices["teacher"], expected_matrix(samples, "pred_sem_seg"))
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_metric_with_teacher_first() -> None:
    """Either order of the networks gives the same scores."""
    plain = data_sample(0)
    turned = data_sample(0)
    turned.set_metainfo({"pred_network": "teacher"})
    turned.set_data({"student_pred_sem_seg": plain.pred_sem_seg})
    turned.set_data({"pred_sem_seg": plain.get("teacher_pred_sem_seg")})
    scores = []
    for sample in (plain, turned):
        built = evaluator()
        built.process([sample])
        scores.append(built.evaluate(1))
    assert scores[0] == scores[1]


def test_metric_values_of_published_subsets() -> None:
    """mIoU16 and mIoU13 are means of the 19-class IoUs over the subset."""
    built = evaluator(CITYSCAPES_CLASSES, subsets=(16, 13))
    built.process([data_sample(index, num_classes=19) for index in range(4)])
    metrics = built.evaluate(4)
    left_out = {"terrain", "truck", "train"}
    kept = [metrics[f"student/IoU.{name}"] for name in CITYSCAPES_CLASSES if name not in left_out]
    assert len(kept) == 16
    assert metrics["student/mIoU16"] == pytest.approx(sum(kept) / 16, abs=0.01)
    assert "teacher/mIoU13" in metrics


def test_metric_logs_table_and_repetitions(caplog: pytest.LogCaptureFixture) -> None:
    """The table goes through mmengine's logger; repeated images are reported."""
    logger = mmengine.MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            built = evaluator()
            built.process([data_sample(0), data_sample(1), data_sample(1)])
            built.evaluate(2)
    finally:
        logger.removeHandler(caplog.handler)
    assert "student | teacher" in caplog.text
    assert "1 of 3 evaluated images are repetitions" in caplog.text


def test_metric_says_nothing_at_construction(capfd: pytest.CaptureFixture[str]) -> None:
    """No warning about a missing prefix."""
    SegmentationMetric()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format_only", [False, True])
def test_metric_save_predictions(tmp_path: Path, format_only: bool) -> None:
    """Both networks' id maps come back from disk; without labels only they are produced."""
    sample = data_sample(3)
    student, teacher = sample.pred_sem_seg.data[0], sample.get("teacher_pred_sem_seg").data[0]
    if format_only:
        del sample.gt_sem_seg
    built = evaluator(save_predictions=tmp_path, palette="dataset", format_only=format_only)
    built.process([sample])
    assert bool(built.evaluate(1)) is not format_only
    for network, written in (("student", student), ("teacher", teacher)):
        read = cv2.imread(str(tmp_path / network / "bonn" / "3.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read, written.numpy())
        colours = cv2.imread(str(tmp_path / f"{network}_colour" / "bonn" / "3.png"))
        assert np.array_equal(colours[..., 2], written.numpy())


def test_metric_errors_of_settings() -> None:
    """Options that need a folder say so."""
    with pytest.raises(ValueError, match="format_only=True only .* save_predictions=FOLDER"):
        SegmentationMetric(format_only=True)
    with pytest.raises(ValueError, match="palette only makes sense"):
        SegmentationMetric(palette="dataset")


def test_metric_errors_of_samples(tmp_path: Path) -> None:
    """What a sample lacks is named, with its image."""
    built = evaluator()
    with pytest.raises(ValueError, match=r"no 'gt_sem_seg' \(a.png; it has img_path, pred_sem_seg"):
        built.process([{"img_path": "a.png", "pred_sem_seg": {"data": torch.zeros(1, 2, 2)}}])
    with pytest.raises(ValueError, match="no 'pred_sem_seg'"):
        built.process([{"gt_sem_seg": {"data": torch.zeros(1, 2, 2)}}])
    with pytest.raises(ValueError, match=r"one of student, teacher, got 'both' \(no path given"):
        built.process([{"pred_network": "both"}])
    label = torch.full((1, 6, 8), 255)
    label[0, 2, 3] = 5
    with pytest.raises(ValueError, match=r"bonn/0.png \(student\): label must .* 5 \(1 pixels"):
        built.process([data_sample(0, label=label)])
    nameless = data_sample(0).to_dict()
    del nameless["img_path"]
    with pytest.raises(ValueError, match="no 'img_path'; add it to meta_keys of PackSegInputs"):
        evaluator(save_predictions=tmp_path).process([nameless])


def test_metric_errors_of_datasets(tmp_path: Path) -> None:
    """Missing class names, palette, labels and mixed networks are explained."""
    metric = SegmentationMetric()
    with pytest.raises(ValueError, match="no 'classes'; set METAINFO"):
        metric.process(None, [data_sample(0).to_dict()])
    coloured = SegmentationMetric(save_predictions=tmp_path, palette="dataset")
    coloured.dataset_meta = {"classes": CLASSES}
    with pytest.raises(ValueError, match="no 'palette'; give the colours"):
        coloured.process(None, [data_sample(0).to_dict()])
    built = evaluator()
    built.process([data_sample(0, label=torch.full((1, 6, 8), 255))])
    with pytest.raises(ValueError, match=r"no labelled pixel was evaluated \(1 images"):
        built.evaluate(1)
    built.process([data_sample(0), data_sample(1, teacher=False)])
    with pytest.raises(ValueError, match="got 2 images of the student and 1 of the teacher"):
        built.evaluate(2)
    built.process([data_sample(0)])
    assert built.evaluate(1)  # the failed evaluations left nothing behind


def _evaluate_on_rank(rank: int, world_size: int, folder: str) -> None:
    """Evaluate this rank's share of seven images and store what came out."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    built = evaluator()
    built.process([data_sample(index) for index in range(rank, 7, world_size)])
    metrics = built.evaluate(7)
    torch.save((metrics, built.metrics[0].last_matrices), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.ddp
def test_metric_ddp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gloo processes with 4 and 3 images equal one process with 7, to the last count."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_evaluate_on_rank, args=(2, str(tmp_path)), nprocs=2)
    built = evaluator()
    built.process([data_sample(index) for index in range(7)])
    alone = built.evaluate(7)
    for rank in range(2):
        metrics, matrices = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert metrics == alone
        for network, matrix in built.metrics[0].last_matrices.items():
            assert torch.equal(matrices[network], matrix)
