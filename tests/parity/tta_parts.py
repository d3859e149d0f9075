"""Statistics of batch normalisation, LAME, and the parts of RoTTA against recorded arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.parity.rows import Arrays, Row, compare, differing
from tests.parity.tta_networks import LIMIT, meta_of, recorded_network
from uda.selftraining.norm_statistics import norm_layers
from uda.tta import Adapter, Statistics, adapt
from uda.tta.memory import BalancedMemory
from uda.tta.methods import LAME
from uda.tta.methods.rotta import timeliness


def check_bn(path: Path) -> list[Row]:
    """Logits and statistics of all kinds of one `bn_adapt_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    rows = []
    for name in sorted(n for n in arrays if n.startswith("out/")):
        statistics = statistics_of(name.removeprefix("out/"), meta["priors"])
        network = recorded_network(arrays)
        for layer in norm_layers(network).values():
            layer.momentum = meta["momentum"]
        model = adapt(network, "bn", statistics=statistics, guard=False)
        logits = torch.stack([model(image) for image in arrays.tensor("x")])
        rows.append(compare(name, logits, arrays[name], absolute=LIMIT))
        prefix = {"running": "batch_final/", "cumulative": "cumulative_final/"}
        if statistics.kind in prefix:
            rows += statistics_rows(model, arrays, prefix[statistics.kind])
    return rows


def statistics_of(name: str, priors: list[float]) -> Statistics:
    """What an array's name says: `prior_0.666667`, `parts_mean1_var0`, ..."""
    if name.startswith("prior_"):
        written = float(name.removeprefix("prior_"))
        return Statistics("blend", share=min(priors, key=lambda p: abs(p - written)))
    if name.startswith("parts_"):
        return Statistics("blend", share=0.0, mean="mean1" in name, variance="var1" in name)
    return Statistics("running" if name == "batch" else name)  # type: ignore[arg-type]


def statistics_rows(model: Adapter, arrays: Arrays, prefix: str) -> list[Row]:
    """The statistics stored at the end."""
    buffers = dict(model.network.named_buffers())
    return [
        compare(prefix + name, buffers[name], value, absolute=LIMIT)
        for name, value in arrays.below(prefix).items()
    ]


def check_lame(path: Path) -> list[Row]:
    """Assignments of one `lame*.npz`."""
    arrays = Arrays.read(path)
    neighbours = meta_of(arrays)["knn"]
    rows = []
    for name in sorted(n for n in arrays if n.startswith("out/")):
        affinity, _, symmetric = name.removeprefix("out/").lower().partition("_")
        method = LAME(affinity=affinity, neighbours=neighbours, symmetric=symmetric == "sym")
        assigned = [
            method.corrected(logits.softmax(1), features)
            for logits, features in zip(
                arrays.tensor("logits"), arrays.tensor("features"), strict=True
            )
        ]
        rows.append(compare(name, torch.stack(assigned), arrays[name], absolute=LIMIT))
    return rows


def check_rotta(path: Path) -> list[Row]:
    """Robust statistics, memory and weights of one `rotta_parts*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    network, images = recorded_network(arrays), arrays.tensor("x")
    statistics = Statistics("robust", momentum=meta["alpha"])
    outputs = []
    for image in images:
        with statistics.applied(network, update=True):
            outputs.append(network(image))
    with statistics.applied(network, update=False):
        last = network(images[-1])
    rows = [
        compare("robustbn_out_train", torch.stack(outputs), arrays["robustbn_out_train"],
                absolute=LIMIT),
        compare("robustbn_out_eval_last", last, arrays["robustbn_out_eval_last"], absolute=LIMIT),
    ]  # fmt: skip
    buffers = dict(network.named_buffers())
    for name, value in arrays.below("robustbn_final/").items():
        layer, _, kind = name.rpartition(".")
        found = buffers[f"{layer}.running_{kind}"]
        rows.append(compare(f"robustbn_final/{name}", found, value, absolute=LIMIT))
    weights = timeliness(arrays.tensor("ages"))
    rows.append(compare("timeliness", weights, arrays["timeliness_weight"], absolute=LIMIT))
    return rows + memory_rows(arrays)


def memory_rows(arrays: Arrays) -> list[Row]:
    """What the memory holds after each insertion; an image here is its number."""
    meta = meta_of(arrays)
    memory = BalancedMemory(
        meta["capacity"],
        meta["num_class"],
        age_weight=meta["lambda_t"],
        entropy_weight=meta["lambda_u"],
    )
    ids = np.full(arrays["mem_ids_after"].shape, -1.0)
    ages = np.full(arrays["mem_age_over_capacity_after"].shape, -1.0)
    insertions = zip(arrays["mem_class"], arrays["mem_uncertainty"], strict=True)
    for number, (label, entropy) in enumerate(insertions):
        memory.add(Tensor([number]), int(label), float(entropy))
        held, age = memory.batch()
        ids[number, : len(held)] = held[:, 0]
        ages[number, : len(age)] = age
    wanted = np.nan_to_num(arrays["mem_age_over_capacity_after"], nan=-1.0)
    return [
        differing("mem_ids_after", ids, arrays["mem_ids_after"]),
        compare("mem_age_over_capacity_after", ages, wanted, absolute=LIMIT),
    ]
