"""Moving average, parameter groups and schedule against arrays of the released DAFormer code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from tests.parity.rows import Arrays, Row, compare, differing
from uda.engine.optim import ParameterGroups
from uda.engine.schedule import WarmUpPolyLR
from uda.selftraining import EMATeacher

SCHEDULE = Path(__file__).parents[2] / "configs/_base_/schedules/daformer_40k.py"
# The two parameters whose learning rate the fixtures follow.
FOLLOWED = ("backbone.block1.0.attn.q.weight", "decode_head.conv_seg.weight")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def check_ema(path: Path) -> list[Row]:
    """The decay of each iteration, and every weight of student and teacher over some updates."""
    arrays = Arrays.read(path)
    students, teachers = arrays.below("student_"), arrays.below("teacher_")
    student = module_of({name: steps[0] for name, steps in students.items()})
    decay = arrays.number("alpha_max")
    teacher = EMATeacher(student, decay=decay, mode="train", buffers="own")
    decays = [teacher.decay_at(int(i)) for i in arrays["iters"]]
    rows = [compare("alpha", decays, arrays["alpha"], absolute=1e-12)]
    steps = len(next(iter(students.values())))
    ours: dict[str, list[Tensor]] = {name: [] for name in teachers}
    for step in range(steps):
        student.load_state_dict({name: values[step] for name, values in students.items()})
        teacher.update(student)
        state = teacher.network.state_dict()
        for name, history in ours.items():
            history.append(state[name].clone())
    for name, history in ours.items():
        limits = (
            dict(absolute=0.0) if name.endswith(BUFFERS) else dict(absolute=1e-6, relative=1e-6)
        )
        rows.append(compare(f"teacher_{name}", torch.stack(history), teachers[name], **limits))
    return rows


def check_lr(path: Path) -> list[Row]:
    """Learning rate and decay of each parameter, and the schedule of the two followed ones."""
    arrays = Arrays.read(path)
    names = [str(name) for name in arrays["param_names"]]
    model = module_of({name: torch.zeros(1) for name in names})
    optimiser = make_optimiser(
        model,
        lr=float(arrays["base_lr"].min()),
        weight_decay=float(arrays["weight_decay"].max()),
        betas=tuple(arrays["betas"].tolist()) if "betas" in arrays else None,
        eps=arrays.number("eps", 1e-8),
    )
    groups = group_of(model, optimiser)
    exact = {"absolute": 1e-15, "relative": 1e-9}
    rows = [
        compare(key, [groups[name][field] for name in names], arrays[key], **exact)
        for key, field in (("base_lr", "lr"), ("weight_decay", "weight_decay"))
    ]
    scheduler = make_scheduler(
        optimiser,
        end=int(arrays.number("max_iters")),
        warmup=int(arrays.number("warmup_iters")),
        ratio=arrays.number("warmup_ratio"),
    )
    followed = [groups[next(n for n in names if n.endswith(end))] for end in FOLLOWED]
    wanted = [int(i) for i in arrays["iters"]]
    series = {}
    for iteration in range(max(wanted) + 1):
        series[iteration] = [group["lr"] for group in followed]
        optimiser.step()
        scheduler.step()
    ours = [series[iteration] for iteration in wanted]
    rows.append(compare("lr_backbone_head", ours, arrays["lr_backbone_head"], **exact))
    return [differing("parameters", len(groups), len(names)), *rows]


def make_optimiser(
    student: nn.Module,
    *,
    lr: float | None = None,
    weight_decay: float | None = None,
    betas: tuple[float, ...] | None = None,
    eps: float | None = None,
) -> torch.optim.Optimizer:
    """The optimiser that the project's 40k schedule builds; settings given here take precedence."""
    wrapper = Config.fromfile(SCHEDULE).optim_wrapper.to_dict()
    given = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
    wrapper["optimizer"].update({key: value for key, value in given.items() if value is not None})
    groups = ParameterGroups(
        {"type": "OptimWrapper", "optimizer": wrapper["optimizer"]}, wrapper["paramwise_cfg"]
    )
    # the constructor takes the model a Runner trains, and looks for its student
    model: Any = SimpleNamespace(method=SimpleNamespace(student=student))
    return groups(model).optimizer


def make_scheduler(
    optimiser: torch.optim.Optimizer, *, end: int, warmup: int, ratio: float
) -> WarmUpPolyLR:
    """The schedule of DAFormer: linear decay over `end` iterations times the warm-up."""
    return WarmUpPolyLR(optimiser, end=end, power=1.0, warmup=warmup, warmup_ratio=ratio)


def group_of(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """The optimiser's group of each parameter, by the parameter's name."""
    groups = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    return {name: groups[id(p)] for name, p in model.named_parameters() if id(p) in groups}


def module_of(values: Mapping[str, Tensor]) -> nn.Module:
    """A module with parameters, and buffers of batch norms, of the given dotted names.

    >>> sorted(module_of({"a.w": torch.zeros(2), "b": torch.zeros(1)}).state_dict())
    ['a.w', 'b']
    """
    root = nn.Module()
    for name, value in values.items():
        *folders, leaf = name.split(".")
        node = root
        for folder in folders:
            if folder not in dict(node.named_children()):
                node.add_module(folder, nn.Module())
            node = node.get_submodule(folder)
        if leaf in BUFFERS:
            node.register_buffer(leaf, value.clone())
        else:
            node.register_parameter(leaf, nn.Parameter(value.clone()))
    return root
