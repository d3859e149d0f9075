"""Pseudo-labels and copy-paste against arrays of the released HIAST code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.rows import Arrays, Row, compare, differing
from uda.data.copy_paste import (
    PasteChoice,
    hard_classes,
    image_banks,
    paste_classes,
    sampling_weights,
)
from uda.selftraining import InstanceAdaptive, KeptPixels

# The released code rounds quantiles to float32.
QUANTILE = 1e-6
# It adds up confidences in float32.
MEAN = 5e-6


def check_ias(path: Path) -> list[Row]:
    """Thresholds, labels and statistics of kept pixels after each step of one `ias_*.npz`."""
    arrays = Arrays.read(path)
    classes = arrays["threshold"].shape[1]
    selector = InstanceAdaptive(
        num_classes=classes,
        alpha=arrays.number("alpha"),
        beta=arrays.number("beta"),
        gamma=arrays.number("gamma"),
        initial=arrays.number("theta0", 0.9),
        half_precision=True,
    )
    kept = KeptPixels(num_classes=classes, momentum=arrays.number("class_mean_gamma", 0.99))
    confidences, labels = arrays.tensor("prob_max"), arrays.tensor("label_argmax").long()
    found: dict[str, list[Tensor]] = {}
    counts = []
    for confidence, label in zip(confidences, labels, strict=True):
        pseudo = selector(_probs(confidence, label, classes))
        counts.append(kept.update(pseudo))
        for name, value in (
            ("threshold_instance", selector.instance_threshold),
            ("threshold", selector.threshold),
            ("pseudo_label", pseudo.label),
            ("class_mean_prob", kept.class_mean),
        ):
            found.setdefault(name, []).append(value.clone())
    ours = {name: torch.stack(values) for name, values in found.items()}
    limits = {"threshold_instance": QUANTILE, "threshold": QUANTILE, "class_mean_prob": MEAN}
    return [
        *(compare(name, ours[name], arrays[name], relative=r) for name, r in limits.items()),
        differing("pseudo_label", ours["pseudo_label"], arrays["pseudo_label"]),
        differing("class_pixel_count", kept.class_pixels, arrays["class_pixel_count"]),
        differing("image_class_count", torch.cat(counts).T, arrays["image_class_count"]),
        *_prediction_rows(arrays),
    ]


def _probs(confidence: Tensor, label: Tensor, classes: int) -> Tensor:
    """Probabilities whose maxima are the recorded ones, to the bit; the others are left at 0."""
    probs = torch.zeros(len(label), classes, *label.shape[1:], dtype=confidence.dtype)
    return probs.scatter_(1, label.unsqueeze(1), confidence.unsqueeze(1))


def _prediction_rows(arrays: Arrays) -> list[Row]:
    """The recorded maxima are those of the recorded logits."""
    confidence, label = arrays.tensor("logits").softmax(2).max(2)
    return [
        compare("prob_max", confidence, arrays["prob_max"], absolute=1e-6),
        differing("label_argmax", label, arrays["label_argmax"]),
    ]


def check_copy_paste(path: Path) -> list[Row]:
    """Hard classes, weights, banks, draws and pasted pixels of one `copy_paste_*.npz`."""
    arrays = Arrays.read(path)
    means = arrays["class_mean_prob"]
    hard = hard_classes(means, int(arrays.number("num_hard")))
    banks = image_banks(arrays["image_class_count"])
    choice = PasteChoice(means, hard, banks, "one_image")
    in_bank = np.zeros(arrays["image_class_count"].shape, bool)
    for class_id, bank in enumerate(banks):
        in_bank[class_id, bank] = True
    wanted = np.where(np.isin(np.arange(len(means)), choice.usable()), sampling_weights(means), 0)
    return [
        differing("hard_classes", hard, arrays["hard_classes"]),
        compare("sampling_prob", sampling_weights(means), arrays["sampling_prob"], absolute=1e-12),
        compare(
            "weights over the hard classes",
            sampling_weights(means, choice.usable()),
            wanted / wanted.sum(),
            absolute=1e-12,
        ),
        differing("kept_after_10pct_filter", in_bank, arrays["kept_after_10pct_filter"]),
        *_paste_rows(arrays, hard),
        *_draw_rows(arrays, choice),
    ]


def _paste_rows(arrays: Arrays, hard: Any) -> list[Row]:
    ours: dict[str, list[Any]] = {"out_image": [], "out_label": [], "copy_mask": []}
    for number, chosen in enumerate(arrays["chosen_bank_index"].tolist()):
        pasted = paste_classes(
            arrays["in_image"][number],
            arrays["in_label"][number],
            arrays["bank_images"][chosen],
            arrays["bank_labels"][chosen],
            hard,
        )
        for name, value in zip(ours, pasted, strict=True):
            ours[name].append(value)
    return [differing(name, np.stack(values), arrays[name]) for name, values in ours.items()]


def _draw_rows(arrays: Arrays, choice: PasteChoice) -> list[Row]:
    """The released way of drawing, on our weights and banks, makes the recorded choices.

    Ours draws from the hard classes alone, where the released code draws again until it has one.
    """
    if not arrays.filled("numpy_global_seed"):
        return []
    weights, hard = sampling_weights(choice.class_mean), set(choice.hard.tolist())
    classes, images, draws, ours_drawn = [], [], [], 0
    for seed in arrays["numpy_global_seed"].tolist():
        random = np.random.RandomState(seed)
        tried: list[int] = []
        while not tried or tried[-1] not in hard:
            tried.append(int(random.choice(len(weights), size=1, replace=False, p=weights)[0]))
        classes.append(tried[-1])
        images.append(int(random.choice(choice.banks[tried[-1]])))
        draws.append(tried + [-1] * (arrays["class_draws"].shape[1] - len(tried)))
        drawn = choice.draw(random, set())
        ours_drawn += drawn is not None and drawn[1] in choice.banks[drawn[0]]
    return [
        differing("chosen_class", classes, arrays["chosen_class"]),
        differing("chosen_bank_index", images, arrays["chosen_bank_index"]),
        differing("class_draws", draws, arrays["class_draws"]),
        differing("our own draws", [ours_drawn], [len(images)]),
    ]
