"""Moving average, schedules and scores against arrays of the released HIAST and IAST code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.parity.daformer_optimisation import module_of
from tests.parity.rows import Arrays, Row, compare, differing
from uda.engine.schedule import CosineLR, WarmUpPolyLR
from uda.evaluation import ConfusionMatrix
from uda.selftraining import EMATeacher

EXACT = {"relative": 1e-9}
# Cityscapes' wall, fence and pole, which the mean over 13 classes leaves out.
THIN = (3, 4, 5)


def check_ema_lr_metric(path: Path) -> list[Row]:
    """One `ema_lr_metric*.npz`."""
    arrays = Arrays.read(path)
    return [*_ema_rows(arrays), *_schedule_rows(arrays), *_score_rows(arrays)]


def _ema_rows(arrays: Arrays) -> list[Row]:
    """The teacher starts as a copy and follows at once with the full decay; buffers are copies."""
    norms = arrays.tensor("student_bn_mean")
    names = {"conv.weight": arrays.tensor("ema0_w"), "bn.running_mean": torch.zeros_like(norms[0])}
    student = module_of(names)
    decay = arrays.number("ema_gamma")
    teacher = EMATeacher(student, decay=decay, warmup=False, buffers="copy", mode="eval")
    teacher.update(student)  # update 0 copies
    weights, means = [], []
    for weight, mean in zip(arrays.tensor("student_w"), norms, strict=True):
        student.load_state_dict({"conv.weight": weight, "bn.running_mean": mean})
        teacher.update(student)
        state = teacher.network.state_dict()
        weights.append(state["conv.weight"].clone())
        means.append(state["bn.running_mean"].clone())
    return [
        compare("ema_w", torch.stack(weights), arrays["ema_w"], absolute=1e-6),
        differing("ema_bn_mean", torch.stack(means), arrays["ema_bn_mean"]),
    ]


def _schedule_rows(arrays: Arrays) -> list[Row]:
    """The curves, from the rates of the first iteration and the number of iterations.

    HIAST's cosine ends at 0.001 of the encoder's rate for both groups; IAST's, of the head's, has
    a period of 3 epochs, of which 2 are run.
    """
    rows = []
    for name in ("cosine_lr", "poly_lr", "iast_cosine_lr"):
        wanted = arrays[name]
        iterations, (encoder, head) = len(wanted), wanted[0].tolist()
        groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (encoder, head)]
        optimiser = torch.optim.Adam(groups)
        schedule: CosineLR | WarmUpPolyLR
        if name == "poly_lr":
            schedule = WarmUpPolyLR(optimiser, end=iterations, power=0.9, warmup=0)
        elif name == "cosine_lr":
            schedule = CosineLR(optimiser, end=iterations, floor=1e-3 * encoder)
        else:
            period = round(1.5 * iterations)
            schedule = CosineLR(optimiser, end=iterations, floor=1e-3 * head, period=period)
        ours = []
        for _ in range(iterations):
            ours.append([group["lr"] for group in optimiser.param_groups])
            optimiser.step()
            schedule.step()
        rows.append(compare(name, ours, wanted, **EXACT))
    return rows


def _score_rows(arrays: Arrays) -> list[Row]:
    """Counts are ours; the means are those of the released code, which counts empty classes as 0
    and rescales a mean over all classes instead of leaving classes out.
    """
    classes = len(arrays["union"])
    matrix = ConfusionMatrix(classes)
    matrix.update(arrays.tensor("pred").long(), arrays.label("label"))
    counts = matrix.matrix.double().numpy()
    intersection = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - intersection
    iou = intersection / (union + 1e-10)
    without_thin = np.where(np.isin(np.arange(classes), THIN), 0, iou)
    single = {"relative": 1e-6}
    return [
        differing("intersection", intersection, arrays["intersection"]),
        differing("union", union, arrays["union"]),
        compare("iou", iou, arrays["iou"], absolute=1e-7),
        compare("miou", iou.mean(), arrays["miou"], **single),
        compare("miou16", iou.mean() * classes / 16, arrays["miou16"], **single),
        compare("miou13", without_thin.mean() * classes / 13, arrays["miou13"], **single),
    ]
