"""Losses on regions and output-space alignment against arrays of the released HIAST code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tests.parity.rows import Arrays, Row, compare, differing
from uda.losses import (
    region_consistency,
    region_entropy,
    self_information,
    uniform_divergence,
    weighted_cross_entropy,
)
from uda.selftraining import AdversarialOutput, RegionConsistency, RegionRegularisation
from uda.structures import Batch, Labelled, Mixed, NetworkOutput, PseudoLabel, Unlabelled

VALUE = {"relative": 1e-5, "absolute": 1e-9}
GRADIENT = {"relative": 1e-4, "absolute": 1e-8}
ROUNDING = 1e-4
LAYERS = ("conv1", "conv2", "conv3", "conv4", "classifier")


def check_losses(path: Path) -> list[Row]:
    """Every loss with its gradient, and the weighted sum by our terms, of one `losses_*.npz`."""
    arrays = Arrays.read(path)
    logits = arrays.tensor("student_logits").requires_grad_()
    target, label = arrays.tensor("teacher_prob"), arrays.label("pseudo_label")
    regions = {
        "confident": label != 255,
        "ignored": label == 255,
        "all": torch.ones_like(label, dtype=torch.bool),
    }

    def consistency(region: str, kind: Any = "cross_entropy") -> Callable[[], Tensor]:
        return lambda: region_consistency(logits, target, regions[region], kind=kind)

    losses: dict[str, Callable[[], Tensor]] = {
        "kld_confident": lambda: uniform_divergence(logits, regions["confident"]),
        "entropy_ignored": lambda: region_entropy(logits, regions["ignored"]),
        "seg_ce": lambda: weighted_cross_entropy(logits, label, average="valid"),
        **{f"cst_soft_ce_{region}": consistency(region) for region in regions},
        "cst_soft_ce_noref": lambda: region_consistency(
            logits, target, regions["all"], normalisation="pixels_and_classes"
        ),
        "cst_mse_ignored": consistency("ignored", "squared"),
        "cst_kldiv_ignored": consistency("ignored", "divergence"),
    }
    rows = []
    for name, loss in losses.items():
        if name in arrays:
            rows += _with_gradient(name, loss(), logits, arrays)
    nonzero = (target * regions["ignored"].unsqueeze(1) * logits.log_softmax(1)).count_nonzero()
    return [
        *rows,
        differing("nonzero elements", nonzero, arrays["cst_ignored_nonzero_elements"]),
        *_total_rows(arrays, logits, target, label),
    ]


def _total_rows(arrays: Arrays, logits: Tensor, target: Tensor, label: Tensor) -> list[Row]:
    """The weighted parts and their sum, from the terms of a method."""
    weights = {name: arrays.number(f"w_{name}") for name in ("seg", "kld", "ent", "cst")}
    image, kept = torch.zeros(len(label), 3, *label.shape[1:]), (label != 255).float()
    mixed = Mixed(image, label, kept, kept.bool().unsqueeze(1), teacher_probs=target)
    output = NetworkOutput(logits)

    def regions(confident: float, ignored: float) -> Tensor:
        term = RegionRegularisation(confident_weight=confident, ignored_weight=ignored)
        return term.mixed_loss(output, mixed)

    parts = {
        "part_target_seg": weights["seg"] * weighted_cross_entropy(logits, label, average="valid"),
        "part_kld": regions(weights["kld"], 0.0),
        "part_ent": regions(0.0, weights["ent"]),
        "part_cst": RegionConsistency(weight=weights["cst"]).mixed_loss(output, mixed),
    }
    both = regions(weights["kld"], weights["ent"])
    total = parts["part_target_seg"] + both + parts["part_cst"]
    rows = [compare(name, value, _or_zero(arrays[name]), **VALUE) for name, value in parts.items()]
    if np.isnan(arrays["total"]):
        finite = sum(float(_or_zero(arrays[name])) for name in parts)
        return [*rows, compare("total", total, finite, **VALUE)]
    return [*rows, *_with_gradient("total", total, logits, arrays)]


def _or_zero(recorded: Any) -> Any:
    """What ours has to be: the released code gives NaN for an empty region, which is to be 0."""
    return np.where(np.isnan(recorded), 0.0, recorded)


def _with_gradient(name: str, loss: Tensor, logits: Tensor, arrays: Arrays) -> list[Row]:
    rows = [compare(name, loss, _or_zero(arrays[name]), **VALUE)]
    if f"{name}_grad" in arrays:
        (gradient,) = torch.autograd.grad(loss, logits)
        rows.append(compare(f"{name}_grad", gradient, _or_zero(arrays[f"{name}_grad"]), **GRADIENT))
    return rows


def check_adversarial(path: Path) -> list[Row]:
    """Scores, both losses and their gradients, and the entropy of one `adversarial_*.npz`."""
    arrays = Arrays.read(path)
    source, target = (arrays.tensor(f"{d}_logits").requires_grad_() for d in ("source", "target"))
    term = _term(arrays, classes=source.shape[1])
    image, label = torch.zeros(len(source), 3, 1, 1), torch.zeros(len(source), 1, 1)
    batch = Batch(Labelled(image, label.long()), Unlabelled(image))
    term.source_loss(NetworkOutput(source), batch.source)
    pseudo = PseudoLabel(label.long(), label, label)
    passes = list(term.passes(lambda _: NetworkOutput(target), batch, pseudo))
    student, discriminator = (sum(p.losses.values(), torch.zeros(())) for p in passes)
    student.backward()
    leaked = sum(p.grad is not None for p in term.parameters())
    rows = [
        compare("adv_loss", student, arrays["adv_loss"], **VALUE),
        _rounded("adv_grad_target_logits", target.grad, arrays["adv_grad_target_logits"]),
        ("weights of D with a gradient", float(leaked), 0.0),
    ]
    discriminator.backward()
    rows.append(compare("D_loss", discriminator, arrays["D_loss"], **VALUE))
    gradients = {name: p.grad for name, p in _named(term).items()}
    for name, wanted in arrays.below("Dgrad_").items():
        rows.append(_rounded(f"Dgrad_{name}", gradients[name], wanted))
    for domain, logits in (("source", source), ("target", target)):
        scores = term.discriminator(term.shown(logits))
        rows.append(compare(f"D_out_{domain}", scores, arrays[f"D_out_{domain}"], absolute=1e-6))
    information = self_information(target)
    crop = arrays["weighted_self_info_crop"]
    return [
        *rows,
        compare("minent_loss", information.sum(1).mean(), arrays["minent_loss"], **VALUE),
        compare("weighted_self_info_crop", information[:1, :, :8, :8], crop, absolute=1e-6),
    ]


def _rounded(name: str, ours: Any, theirs: Any) -> Row:
    """A gradient that went through five convolutions in float32, against its largest entry."""
    return compare(name, ours, theirs, absolute=ROUNDING * float(np.abs(theirs).max()))


def _term(arrays: Arrays, classes: int) -> AdversarialOutput:
    """Our term with the recorded discriminator."""
    loss: Literal["squares", "cross_entropy"] = (
        "squares" if str(arrays["loss"]) == "MSE" else "cross_entropy"
    )
    term = AdversarialOutput(
        num_classes=classes,
        weight=arrays.number("adv_weight"),
        loss=loss,
        inputs="self_information" if bool(arrays["entropy_input"]) else "probabilities",
        channels=int(arrays.number("ndf")),
    )
    with torch.no_grad():
        for name, parameter in _named(term).items():
            parameter.copy_(arrays.tensor(f"D_{name}"))
    return term


def _named(term: AdversarialOutput) -> dict[str, Tensor]:
    """The discriminator's weights by the names of the recordings: `conv1_weight` ..."""
    names = [f"{layer}_{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    return dict(zip(names, term.discriminator.parameters(), strict=True))
