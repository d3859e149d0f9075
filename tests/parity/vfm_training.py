"""Parity of the training step around foundation encoders (family `vfm`): the checks of losses,
pseudo-labels, mixing, schedule, parameter groups and parameter-efficient tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tests.parity.daformer_optimisation import group_of, module_of
from tests.parity.daformer_parts import RecordedEncoder
from tests.parity.rows import Arrays, Row, compare, differing
from uda.engine.optim import ParameterGroups
from uda.engine.warm_up_decay import WarmUpDecayLR
from uda.models.peft import Rein
from uda.models.peft.low_rank import LowRankChange
from uda.selftraining import ClassMix, ConfidenceShare, EMATeacher, FeatureDistance
from uda.structures import IGNORE_INDEX, Labelled, NetworkOutput, PseudoLabel, Unlabelled

NUM_CLASSES = 19


def cases(arrays: Arrays) -> list[Arrays]:
    """The parts of a file under `c0/`, `c1/` ..., each as arrays of its own."""
    prefixes = sorted({name.split("/")[0] for name in arrays if "/" in name})
    return [
        Arrays({n.split("/", 1)[1]: arrays[n] for n in arrays if n.startswith(f"{p}/")}, p)
        for p in prefixes
    ]


def check_lr_groups(path: Path) -> list[Row]:
    """Learning rate and weight decay of each parameter of one `lr_groups_*.npz`."""
    rows: list[Row] = []
    for number, case in enumerate(cases(Arrays.read(path))):
        _, lr, multiplier, rate, batch, devices, nodes = (float(v) for v in case["cfg"])
        names = [str(name) for name in case["param_names"]]
        student = module_of({name: torch.zeros(1) for name in names})
        decay = float(case["weight_decay"].max())
        groups = ParameterGroups(
            {
                "type": "OptimWrapper",
                "optimizer": {"type": "AdamW", "lr": lr, "weight_decay": decay},
            },
            {
                "layer_decay": {"rate": rate, "lr_mult": multiplier, "within": "encoder"},
                "batch_size": round(batch * devices * nodes),  # this is one process
            },
        )
        model: Any = SimpleNamespace(method=SimpleNamespace(student=student))
        found = group_of(student, groups(model).optimizer)
        rows += [
            differing(f"c{number} parameters", len(found), len(names)),
            *(
                compare(
                    f"c{number} {key}", [found[n][field] for n in names], case[key], relative=1e-12
                )
                for key, field in (("base_lr", "lr"), ("weight_decay", "weight_decay"))
            ),
        ]
    return rows


def check_scheduler(path: Path) -> list[Row]:
    """The factor at each recorded iteration of one `scheduler_*.npz`, both decays."""
    arrays = Arrays.read(path)
    rows = []
    for decay in ("linear", "cosine"):
        for kind in ("short", "full"):
            name = f"{decay}/{kind}"
            if name not in arrays:
                continue
            factors = arrays[name]
            wanted = arrays["full_iters"] if kind == "full" else np.arange(len(factors))
            ours = _factors(arrays, kind, decay, [int(i) for i in wanted])
            rows.append(compare(name, ours, factors, absolute=1e-12))
    return rows


def _factors(
    arrays: Arrays, kind: str, decay: Literal["linear", "cosine"], wanted: list[int]
) -> list[float]:
    """Rates that a torch optimiser gets, asked for by running the schedule."""
    base = arrays.number(f"{kind}_base_lr")
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    schedule = WarmUpDecayLR(
        optimiser,
        end=int(arrays.number(f"{kind}_total_iters")),
        decay=decay,
        warmup=int(arrays.number(f"{kind}_warmup_iters")),
        start=arrays.number(f"{kind}_start_warmup_lr") / base,
        final=arrays.number(f"{kind}_final_lr") / base,
        # The released linear schedule counts from the start and jumps, the cosine one does not.
        decay_from="start" if decay == "linear" else "warmup",
    )
    rates = {}
    for iteration in range(max(wanted) + 1):
        rates[iteration] = optimiser.param_groups[0]["lr"]
        optimiser.step()
        schedule.step()
    return [rates[iteration] for iteration in wanted]


def check_ema(path: Path) -> list[Row]:
    """The share of the old teacher after each counted step of one `ema_*.npz`."""
    arrays = Arrays.read(path)
    teacher = EMATeacher(nn.Linear(1, 1), decay=arrays.number("alpha_max"))
    ours = [teacher.decay_at(int(step)) for step in arrays["step"]]
    return [compare("alpha", ours, arrays["alpha"], absolute=1e-12)]


class RecordedNetwork(nn.Module):
    """Gives recorded logits: some for an image, others for its mirror image.

    Args:
        logits: (N, K, H, W), for an image whose first column is 0.
        of_mirrored: (N, K, H, W), for any other.
    """

    def __init__(self, logits: Tensor, of_mirrored: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)
        self.register_buffer("of_mirrored", of_mirrored)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Any:
        """Logits by which way round the image is."""
        return self.of_mirrored if bool(image[..., 0].any()) else self.logits


def check_pseudo(path: Path) -> list[Row]:
    """Label, weight and quality of one `pseudo_*.npz`, by a flip-averaged teacher."""
    arrays = Arrays.read(path)
    logits, turned_back = arrays.tensor("logits"), arrays.tensor("logits_from_flipped")
    # The file holds them turned back already; a network gives them as it sees the image.
    network = RecordedNetwork(logits, turned_back.flip(-1))
    teacher = EMATeacher(network, flip_average=True)
    height, width = logits.shape[-2:]
    image = torch.linspace(0, 1, width).expand(len(logits), 3, height, width)
    probs = teacher.predict(image)
    selector = ConfidenceShare(threshold=arrays.number("threshold"), scope="batch")
    pseudo = selector(probs, arrays.label("ignore_mask") != IGNORE_INDEX)
    quality = selector(probs).weight.unique()
    return [
        differing("pseudo_label", pseudo.label, arrays.label("pseudo_label")),
        compare("pseudo_weight", pseudo.weight, arrays["pseudo_weight"], absolute=1e-6),
        compare("quality", quality, arrays["quality"].reshape(1), absolute=1e-6),
    ]


class RecordedDraw(ClassMix):
    """`ClassMix` that draws as the released code did: NumPy's legacy generator, image by image."""

    def __init__(self, *, np_seed: int) -> None:
        super().__init__(num_classes=NUM_CLASSES, candidates="batch", unlabelled_weight=0.0)
        self.generator = np.random.RandomState(np_seed)

    def choose(self, label: Tensor) -> Tensor:
        """Half of the candidates, rounded up, for each image."""
        chosen = torch.zeros(len(label), self.num_classes + 1, dtype=torch.bool)
        for row, present in zip(chosen, self.present(label), strict=True):
            candidates = present.nonzero().flatten()
            count = math.ceil(len(candidates) / 2)
            row[candidates[self.generator.choice(len(candidates), count, replace=False)]] = True
        return chosen


def check_mix(path: Path) -> list[Row]:
    """Mask, image, label and weight of one `mix_*.npz`."""
    arrays = Arrays.read(path)
    weight = arrays.tensor("pseudo_weight")
    pseudo = PseudoLabel(arrays.label("pseudo_label"), weight, weight)
    mixer = RecordedDraw(np_seed=int(arrays.number("np_seed")))
    source = Labelled(arrays.tensor("img_src"), arrays.label("label_src"))
    mixed = mixer(source, Unlabelled(arrays.tensor("img_trg")), pseudo)
    rows = [
        differing("mix_mask", mixed.mask, arrays["mix_mask"]),
        differing("mixed_img", mixed.image, arrays["mixed_img"]),
        differing("mixed_label", mixed.label, arrays.label("mixed_label")),
        compare("mixed_weight", mixed.weight, arrays["mixed_weight"], absolute=1e-7),
    ]
    # Our own draw cannot be the recorded one, but takes as many classes.
    own = ClassMix(num_classes=NUM_CLASSES, candidates="batch")
    wanted = RecordedDraw(np_seed=0).choose(source.label).sum(1)
    return [*rows, differing("drawn classes", own.choose(source.label).sum(1), wanted)]


PROJECTION_NAMES = {"0": "widen", "1": "norm", "3": "narrow"}


def check_feature_distance(path: Path) -> list[Row]:
    """Projection, loss and gradients of one `feature_distance_*.npz`."""
    arrays = Arrays.read(path)
    features, frozen = arrays.tensor("feat_student"), arrays.tensor("feat_frozen")
    term = FeatureDistance(
        num_classes=NUM_CLASSES,
        encoder=RecordedEncoder(frozen),
        classes=None,
        weight=1.0,
        measure="smooth_cosine",
        domains=("target",),
        projection=(features.shape[1], frozen.shape[1]),
    )
    assert term.projection is not None
    values = arrays.below("head/feat_project.")
    term.projection.load_state_dict({_projection_name(n): v for n, v in values.items()})
    features.requires_grad_()
    output = NetworkOutput(torch.zeros(0), (features,))
    projected = term.projection(features, (frozen.shape[2], frozen.shape[3]))
    loss = term.loss(output, torch.zeros(len(features), 3, 8, 8))
    loss.backward()
    rows = [
        compare("head_out", projected, arrays["head_out"], absolute=1e-5, relative=1e-5),
        compare("loss", loss, arrays["loss"], absolute=1e-6),
        compare("grad_feat", features.grad, arrays["grad_feat"], **_relative(arrays["grad_feat"])),
    ]
    own = dict(term.projection.named_parameters())
    for name, wanted in arrays.below("gradhead/feat_project.").items():
        gradient = own[_projection_name(name)].grad
        rows.append(compare(f"grad {name}", gradient, wanted.numpy(), **_relative(wanted.numpy())))
    return rows


def _projection_name(name: str) -> str:
    first, dot, rest = name.partition(".")
    return PROJECTION_NAMES[first] + dot + rest


def _relative(wanted: Any) -> dict[str, float]:
    return {"absolute": 1e-9 + 1e-5 * float(np.abs(wanted).max())}


REIN_NAMES = {
    "scale": "scale",
    "learnable_tokens_a": "tokens_a",
    "learnable_tokens_b": "tokens_b",
    "mlp_token2feat": "token_to_feature",
    "mlp_delta_f": "refine",
    "transform": "to_query",
    "merge": "merge_queries",
}


def check_peft(path: Path) -> list[Row]:
    """Rein's features, queries and gradients, and SoMA's decompositions, of one `peft_*.npz`."""
    arrays = Arrays.read(path)
    rows = []
    for case in cases(arrays):
        if "learnable_tokens_a" in {name.removeprefix("sd/") for name in case}:
            rows += _rein_rows(case)
        elif "frozen_weight" in case:
            rows += _soma_rows(case)
    if "vitl_lora_rein_params" in arrays:
        rein = Rein(query_width=256)
        rein.build(blocks=24, width=1024, prefix=1)
        count = sum(p.numel() for p in rein.parameters())
        rows.append(differing("ViT-L parameters", count, arrays["vitl_lora_rein_params"]))
        bound = arrays.number("vitl_token_init_bound_a")
        highest = rein.tokens_a.abs().max()
        rows.append(compare("ViT-L bound", highest, bound, relative=1e-3))
    return rows


def _rein_rows(case: Arrays) -> list[Row]:
    """Three layers in a row, class token first, and the gradient of everything."""
    values = case.below("sd/")
    blocks, tokens, rank = values["learnable_tokens_a"].shape
    width = len(values["merge.bias"])
    rein = Rein(tokens=tokens, rank=rank, query_width=width)
    rein.build(blocks=blocks, width=values["learnable_tokens_b"].shape[-1], prefix=1)
    rein.load_state_dict({_rein_name(name): value for name, value in values.items()})
    x = case.tensor("x").requires_grad_()
    y = x
    for block in range(blocks):
        y = rein(y, block)
    queries = rein.queries()
    (y.square().mean() + queries.square().mean()).backward()
    network = {"absolute": 1e-5, "relative": 1e-4}
    rows = [
        compare("rein y", y, case["y_after_3_layers"], **network),
        compare("rein queries", queries, case["queries"], **network),
        compare("rein grad x", x.grad, case["grad_x"], absolute=1e-7, relative=1e-4),
    ]
    own = dict(rein.named_parameters())
    for name, wanted in case.below("grad/").items():
        limit = 1e-7 + 1e-5 * float(wanted.abs().max())
        rows.append(
            compare(f"rein grad {name}", own[_rein_name(name)].grad, wanted, absolute=limit)
        )
    return rows


def _rein_name(name: str) -> str:
    first, dot, rest = name.partition(".")
    return REIN_NAMES[first] + dot + rest


def _soma_rows(case: Arrays) -> list[Row]:
    """The split of a weight, the unchanged output, and gradients at the recorded A and B."""
    weight, bias, x = case.tensor("weight"), case.tensor("bias"), case.tensor("x")
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    change = LowRankChange(layer, rank=int(case["rank"]), alpha=float(case["alpha"]))
    change.take_minor(layer)
    layer.register_forward_hook(change.hook)
    product = change.b @ change.a
    rows = [
        compare("soma BA", product, case["BA_unscaled"], absolute=1e-5),
        compare("soma rest", layer.weight, case["frozen_weight"], absolute=1e-5),
        compare("soma y", layer(x), case["y"], absolute=1e-5),
        compare("soma merged", layer.weight + change.weight(), weight, absolute=1e-5),
    ]
    # A and B alone have free signs: gradients belong to the recorded ones.
    with torch.no_grad():
        change.a.copy_(case.tensor("A"))
        change.b.copy_(case.tensor("B"))
    layer(x).square().sum().backward()
    for name, parameter in (("A", change.a), ("B", change.b)):
        wanted = case[f"grad_{name}"]
        limit = 1e-5 + 1e-5 * float(np.abs(wanted).max())
        rows.append(compare(f"soma grad {name}", parameter.grad, wanted, absolute=limit))
    return rows


CHECKS: Mapping[str, Callable[[Path], list[Row]]] = {
    "ema": check_ema,
    "feature_distance": check_feature_distance,
    "lr_groups": check_lr_groups,
    "mix": check_mix,
    "peft": check_peft,
    "pseudo": check_pseudo,
    "scheduler": check_scheduler,
}
