"""Which scores a best checkpoint can be chosen by, and which direction of each is better."""

from __future__ import annotations

import re
from typing import Literal

from uda.evaluation.label_free import SCORES
from uda.evaluation.metric import NETWORKS
from uda.text import did_you_mean

# What `SegmentationMetric` reports: means over all classes and over subsets of any name, accuracies
# and the IoU of each class.
_OF_LABELS = re.compile(r"mIoU.*|aAcc|mAcc|IoU\..+")
# An evaluator may have a prefix; the names of classes may have any characters.
_NAME = re.compile(rf"(?:.+?/)??({'|'.join(NETWORKS)})/(.+)")


def direction(name: str) -> Literal["greater", "less"]:
    """Which values of a score are better, in mmengine's words.

    Args:
        name: Such as "student/mIoU", "teacher/IoU.road" or "student/entropy"; an evaluator's prefix
            may stand before it.

    Raises:
        ValueError: There is no such score.

    >>> direction("student/mIoU16"), direction("teacher/entropy")
    ('greater', 'less')
    """
    if needs_labels(name):
        return "greater"
    network, score = _parts(name)
    if score not in SCORES or (SCORES[score].of_pair and network != "student"):
        raise ValueError(_unknown(name))
    return "greater" if SCORES[score].better == "higher" else "less"


def needs_labels(name: str) -> bool:
    """Whether a score compares with labels; no for a name that is none.

    >>> needs_labels("student/mIoU"), needs_labels("student/agreement_mIoU")
    (True, False)
    """
    return _OF_LABELS.fullmatch(_parts(name)[1]) is not None


def label_free_names() -> list[str]:
    """The scores that need no labels, by network.

    >>> label_free_names()[:2]
    ['student/entropy', 'student/information']
    """
    return [
        f"{network}/{name}"
        for network in NETWORKS
        for name, score in SCORES.items()
        if network == "student" or not score.of_pair
    ]


def _parts(name: str) -> tuple[str, str]:
    found = _NAME.fullmatch(name)
    return (found[1], found[2]) if found else ("", "")


def _unknown(name: str) -> str:
    known = [f"{network}/mIoU" for network in NETWORKS] + label_free_names()
    return (
        f"Checkpoint: save_best={name!r} is no score of which the better direction is known."
        f"{did_you_mean(name, known)} With labels there are student/mIoU, aAcc, mAcc and "
        f"IoU.CLASS, and the teacher's; without labels {', '.join(label_free_names())}."
    )
