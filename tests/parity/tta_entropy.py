"""TENT, (E)ETA, SAR and DeYO against recorded steps of released code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.parity.rows import Arrays, Row, compare, differing
from tests.parity.tta_networks import (
    LIMIT,
    adapter,
    meta_of,
    recorded_network,
    share_of_log_classes,
    stream_rows,
)
from uda.tta.methods import EATA, ETA, SAR, DeYO


def check_tent(path: Path) -> list[Row]:
    """Logits and parameters of one `tent_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    protocol = "episodic" if meta["episodic"] else "continual"
    model = adapter(arrays, "tent", statistics="batch", steps=meta["steps"], protocol=protocol)
    return stream_rows(model, arrays)


def check_eata(path: Path) -> list[Row]:
    """Logits, parameters, counts, running mean and Fisher information of `eta_*` and `eata_*`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    network = recorded_network(arrays)
    settings = {
        "statistics": "batch",
        "network": network,
        "margin": share_of_log_classes(meta["e_margin"], network),
        "redundancy": meta["d_margin"],
    }
    if meta["method"] == "eata":
        settings["weight"] = meta["fisher_alpha"]
        settings["source_batches"] = list(arrays.tensor("fisher_x"))
    model = adapter(arrays, meta["method"], **settings)
    method = model.method
    if not isinstance(method, EATA | ETA):
        raise TypeError(f"{meta['method']} is neither eta nor eata")
    counts, means = [], []

    def after(_: int) -> None:
        counts.append([method.selection.reliable, method.selection.chosen])
        means.append(method.selection.mean_probs)

    rows = stream_rows(model, arrays, after=after)
    for name, value in arrays.below("fisher/").items():
        fisher = method.fisher[name]
        rows.append(compare(f"fisher/{name}", fisher, value, absolute=LIMIT))
    return [
        *rows,
        differing("cum_counts", counts, arrays["cum_counts_reliable_and_final"]),
        compare("moving_probs", torch.stack(means), arrays["moving_probs"], absolute=LIMIT),
    ]


def check_sar(path: Path) -> list[Row]:
    """Logits, parameters, moving average and recoveries of one `sar_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    network = recorded_network(arrays)
    model = adapter(
        arrays,
        "sar",
        network=network,
        statistics="batch",
        margin=share_of_log_classes(meta["margin_e0"], network),
        rho=meta["rho"],
        skip="reference",
        reset_below=meta["reset_threshold"],
        recovery="reference",
    )
    method = model.method
    if not isinstance(method, SAR):
        raise TypeError("sar is of another class")
    averages: list[float] = []
    resets: list[int] = []

    def after(number: int) -> None:
        averages.append(float("nan") if method.average is None else method.average)
        resets.append(method.resets)

    rows = stream_rows(model, arrays, after=after)
    fired = [i for i, (a, b) in enumerate(zip([0, *resets], resets, strict=False)) if b > a]
    recorded = arrays["ema_after_step"]
    known = recorded == recorded
    empty = [float(value == value) for value in averages]
    rows.append(differing("steps with a moving average", empty, known.astype(float)))
    if known.any():
        ours = [a for a, there in zip(averages, known, strict=True) if there]
        rows.append(compare("ema_after_step", ours, recorded[known], absolute=LIMIT))
    rows.append(differing("reset_at_step", fired, arrays["reset_at_step"].tolist()))
    return rows


class RecordedShuffle(DeYO):
    """DeYO that takes its permutations from a file."""

    orders: list[Tensor]

    def permutation(self, images: int, generator: torch.Generator) -> Tensor:
        return self.orders.pop(0)


def check_deyo(path: Path) -> list[Row]:
    """Logits, parameters and counts of one `deyo_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    network = recorded_network(arrays)
    method = RecordedShuffle(
        threshold=share_of_log_classes(meta["ent_threshold"], network),
        margin=share_of_log_classes(meta["ent_margin"], network),
        plpd=meta["plpd_threshold"],
        destroy="occlusion" if meta["aug"] == "occ" else meta["aug"],
        patches=meta["patch_len"],
        occlusion=(meta["row_start"], meta["column_start"], meta["occlusion_size"]),
        skip="reference",
    )
    orders = arrays.below("patch_perm")
    method.orders = [orders[number] for number in sorted(orders, key=int)]
    model = adapter(arrays, method, network=network, statistics="batch")
    counts: list[list[int]] = []
    rows = stream_rows(model, arrays, after=lambda _: counts.append(list(method.counts)))
    return [*rows, differing("counts", counts, arrays["counts_entropy_then_plpd"])]
