"""Settings for dense predictions, where single images come and small classes matter."""

from __future__ import annotations

from typing import Any

from uda.tta.statistics import Statistics

# Methods that move normalisation weights by a loss over pixels; and statistics alone.
_LEARNING = ("ent", "hard_pl", "rpl", "soft_pl", "tent")
_STATISTICS = ("bn",)


def dense_settings(method: str) -> dict[str, Any]:
    """Settings of `adapt` for segmentors with batch normalisation on streams of single images.

    The published settings are of classifiers and batches of 50 to 200 images. For maps of logits:
    statistics of the whole stream with a quarter of the image's own (`Statistics("stream", prior=4,
    share=0.75)`), Adam at 3e-4, and each predicted class weighs the same in the loss. They were
    chosen on streams of corrupted images by day (docs/test_time_adaptation.md) and not by a paper.

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
    if method in _LEARNING:
        return {**statistics, "optimiser": "adam", "lr": 3e-4, "class_balance": 1.0}
    return {}
