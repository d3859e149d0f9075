"""Settings for dense predictions, where single images come and small classes matter."""

from __future__ import annotations

from typing import Any

from uda.tta.statistics import Statistics

# Methods that move normalisation weights by a loss over pixels; and statistics alone.
_LEARNING = ("ent", "hard_pl", "rpl", "soft_pl", "tent", "sar", "deyo")
# Those that also leave out samples like the mean so far, by a cosine: 0.05 is for 1000 classes that
# come alike, and would leave out nearly every pixel of a street. 0.75 is what FastCoTTA's port of
# ETA to Cityscapes and ACDC has.
_SELECTIVE: dict[str, dict[str, float]] = {"eta": {}, "rdumb": {}, "eata": {"weight": 1.0}}
_STATISTICS = ("bn",)


def dense_settings(method: str) -> dict[str, Any]:
    """Settings of `adapt` for segmentors with batch normalisation on streams of single images.

    The published settings are of classifiers and batches of 50 to 200 images. For maps of logits:
    statistics of the whole stream with a quarter of the image's own (`Statistics("stream", prior=4,
    share=0.75)`), Adam at 3e-4, and each predicted class weighs the same in the loss. They were
    chosen on streams of corrupted images by day (docs/test_time_adaptation.md) and not by a paper;
    for `bn`, `ent`, `hard_pl`, `rpl`, `soft_pl` and `tent`. The others have them unmeasured; `eta`,
    `eata` and `rdumb` with a redundancy of 0.75, `eata` with the weight 1 of small data sets.

    Args:
        method: A name of `METHODS`.

    Returns:
        Arguments of `adapt`; none for methods whose own settings are for dense predictions already
        (`cotta`) or that bring their own statistics.

    >>> sorted(dense_settings("rpl"))
    ['class_balance', 'lr', 'optimiser', 'statistics']
    >>> dense_settings("cotta")
    {}
    """
    statistics = {"statistics": Statistics("stream", prior=4.0, share=0.75)}
    if method in _STATISTICS:
        return statistics
    learning = {**statistics, "optimiser": "adam", "lr": 3e-4, "class_balance": 1.0}
    if method in _LEARNING:
        return learning
    if method in _SELECTIVE:
        return {**learning, "redundancy": 0.75, **_SELECTIVE[method]}
    return {}
