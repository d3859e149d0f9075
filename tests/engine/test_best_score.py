"""Which direction of a score is better, and which names are refused."""

from __future__ import annotations

import pytest

from uda.engine.best_score import direction, label_free_names, needs_labels
from uda.engine.checkpoints import Checkpoint
from uda.evaluation.label_free import SCORES


@pytest.mark.parametrize(
    "name",
    ["student/mIoU", "teacher/mIoU16", "student/aAcc", "student/mAcc", "student/IoU.traffic light",
     "day/student/mIoU", "student/IoU.a/teacher/b"],
)  # fmt: skip
def test_scores_of_labels_values(name: str) -> None:
    """More is better for all that labels tell."""
    assert needs_labels(name)
    assert direction(name) == "greater"
    assert Checkpoint(save_best=name).rules == ["greater"]


def test_label_free_scores_values() -> None:
    """As the table says; entropy alone is better when lower."""
    found = {name: direction(name) for name in label_free_names()}
    assert [name for name, better in found.items() if better == "less"] == [
        "student/entropy",
        "teacher/entropy",
    ]
    assert len(found) == 2 * len(SCORES) - 2
    assert not any(needs_labels(name) for name in found)
    assert Checkpoint(save_best="night/teacher/entropy").rules == ["less"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("student/informaton", r"Did you mean 'student/information'\?"),
        ("teacher/agreement", "Did you mean 'student/agreement'"),
        ("mIoU", "With labels there are student/mIoU, aAcc"),
        ("student/", "without labels student/entropy, student/information"),
        ("auto", "without labels"),
    ],
)
def test_direction_errors(name: str, hint: str) -> None:
    """The name is quoted, the nearest is proposed, and all are listed."""
    with pytest.raises(ValueError, match=rf"save_best='{name}' is no score of which .*{hint}"):
        Checkpoint(save_best=name)
