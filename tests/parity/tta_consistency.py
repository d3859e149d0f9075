"""CoTTA and ViDA against recorded steps of released code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tests.parity.rows import Arrays, Row, compare, differing
from tests.parity.tta_networks import LIMIT, Weights, adapter, build, meta_of, stream_rows
from uda.tta import Adapter
from uda.tta.low_rank import AdaptedLinear, inject
from uda.tta.methods import ViDA
from uda.tta.methods.vida import branch_shares, uncertainty
from uda.tta.restore import StochasticRestore

# Names of released ViDA code, and ours.
RENAMED = {
    "linear_vida": "linear",
    "vida_down.weight": "adapter_down_low",
    "vida_up.weight": "adapter_up_low",
    "vida_down2.weight": "adapter_down_high",
    "vida_up2.weight": "adapter_up_high",
}


class RecordedRestore(StochasticRestore):
    """Takes its masks from a file; `step` says of which call."""

    def __init__(self, arrays: Arrays, rate: float) -> None:
        super().__init__(rate)
        self.arrays, self.step = arrays, 0

    def mask(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        return self.arrays.tensor(f"restore_mask{self.step}/{theirs(name)}")


class FlipView:
    """Call i of a step mirrors where i is even."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        self.calls += 1
        return image.flip(3) if self.calls % 2 else image


class RollView:
    """Call i of a step rolls the width by i pixels."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        self.calls += 1
        return image.roll(self.calls - 1, 3)


def check_cotta(path: Path) -> list[Row]:
    """Targets, student and teacher of one `cotta_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    dense = "segmentation" in meta["method"]
    restore = RecordedRestore(arrays, meta["rst"])
    view = FlipView()
    symmetric = meta.get("variant") == "cotta_imagenet"
    model = adapter(
        arrays,
        "cotta",
        statistics="source" if dense else "batch",
        confidence=meta["anchor_threshold"] if dense else meta["ap"],
        view=view,
        scales=(1.0,),
        decay=meta["mt"],
        restore=restore,
        loss="symmetric" if symmetric else "cross_entropy",
    )
    labels: list[Tensor] = []
    forward = model.forward

    def labelled(image: Tensor) -> Tensor:
        target = forward(image)
        labels.append(target.argmax(1)[0])
        return target

    model.forward = labelled  # type: ignore[method-assign]

    def after(number: int) -> None:
        restore.step, view.calls = number + 1, 0

    rows = stream_rows(model, arrays, after=after)
    if dense:
        rows.append(differing("pseudo_label", torch.stack(labels), arrays["pseudo_label"]))
    return rows + teacher_rows(model, arrays)


def teacher_rows(model: Adapter, arrays: Arrays) -> list[Row]:
    """The teacher's parameters at the end."""
    teacher = dict(model.method.followers()["teacher"].named_parameters())
    return [
        compare(f"teacher_final/{name}", teacher[ours(name)], value, absolute=LIMIT)
        for name, value in arrays.below("teacher_final/").items()
    ]


def check_vida(path: Path) -> list[Row]:
    """Targets, student, teacher and shares of one `vida_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    restores = meta["variant"] == "vida_cifar"
    restore = RecordedRestore(arrays, meta["rst"] if restores else 0.0)
    view = RollView()
    method = ViDA(
        threshold=meta["unc_thr"],
        view=view,
        decay=meta["mt"],
        decay_adapters=meta["mt_vida"],
        restore=restore,
        lr_adapters=meta["lr_vida"],
        loss="cross_entropy" if restores else "symmetric",
        scales="low_only",
    )
    model = adapter(arrays, method, network=network_with_adapters(arrays))
    applied: list[tuple[float, float]] = []

    def after(number: int) -> None:
        restore.step, view.calls = number + 1, 0
        applied.append(method.shares)

    rows = stream_rows(model, arrays, after=after)
    student = model.learner.parameters
    for name, value in arrays.below("final/").items():
        rows.append(compare(f"final/{name}", student[ours(name)], value, absolute=LIMIT))
    low, high = zip(*applied, strict=True)
    formula = [branch_shares(abs(share - 1), meta["unc_thr"]) for share in low]
    return [
        *rows,
        *teacher_rows(model, arrays),
        compare("applied_scale1_low", low, arrays["applied_scale1_low"], absolute=LIMIT),
        compare("applied_scale2_high", high, arrays["applied_scale2_high"], absolute=LIMIT),
        compare("lambda_low", [f[0] for f in formula], arrays["lambda_low"], absolute=LIMIT),
        compare("lambda_high", [f[1] for f in formula], arrays["lambda_high"], absolute=LIMIT),
    ]


def network_with_adapters(arrays: Arrays) -> nn.Module:
    """The recorded transformer, adapters included."""
    weights = {ours(name): value for name, value in arrays.below("init/").items()}
    plain: Weights = {
        name.replace(".linear.", "."): value
        for name, value in weights.items()
        if "adapter_" not in name
    }
    network = build(plain)
    ranks = {
        rank: next(v.shape[0] for n, v in weights.items() if n.endswith(f"adapter_down_{rank}"))
        for rank in ("low", "high")
    }
    inject(network, **ranks)
    network.double().load_state_dict(weights, strict=False)
    return network


def check_vida_adapter(path: Path) -> list[Row]:
    """A single adapted layer at several scales, and the uncertainty of recorded logits."""
    arrays = Arrays.read(path)
    weights = {ours(name): value for name, value in arrays.below("init/").items()}
    outputs, inputs = weights["linear.weight"].shape
    low, high = (weights[f"adapter_down_{rank}"].shape[0] for rank in ("low", "high"))
    linear = nn.Linear(inputs, outputs, bias="linear.bias" in weights)
    layer = AdaptedLinear(linear, low=low, high=high).double()
    layer.load_state_dict(weights, strict=False)
    rows = []
    for name, value in arrays.below("out/").items():
        shares = dict(zip(("low", "high"), name.removeprefix("low").split("_high"), strict=True))
        layer.scale_low.fill_(float(shares["low"]))
        layer.scale_high.fill_(float(shares["high"]))
        rows.append(compare(name, layer(arrays.tensor("x")), value, absolute=LIMIT))
    unsure = uncertainty(arrays.tensor("hka_logits"))
    rows.append(compare("hka_uncertainty", unsure, arrays["hka_uncertainty"], absolute=LIMIT))
    # The start is random; its deviation is 1/r^2.
    for key, rank in (("init_std_down_low", low), ("init_std_down_high", high)):
        if key in arrays:
            rows.append(compare(key, 1 / rank**2, arrays[key], absolute=LIMIT))
    return rows


def ours(name: str) -> str:
    """Our name of a recorded parameter."""
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def theirs(name: str) -> str:
    """The recorded name of one of our parameters."""
    for old, new in RENAMED.items():
        # "linear" alone is our name only as a whole part
        name = ".".join(old if part == new else part for part in name.split("."))
    return name
