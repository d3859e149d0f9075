"""HRDA's network against arrays of the released code (`hrda_*.npz`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.rows import Arrays, Row, compare, differing
from uda.losses import pixel_accuracy
from uda.methods import Method
from uda.models import SegmentationNetwork
from uda.models.detail_windows import draw_box
from uda.structures import Box, NetworkOutput

# Seen with another re-implementation: inference 4e-5, losses 2e-7.
VALUES = {"absolute": 2e-4, "relative": 1e-5}
GRADIENTS = {"absolute": 1e-6, "relative": 1e-3}
LOSSES = {"absolute": 1e-5}
HEADS = {"decode_head.head.": "decode_head.", "decode_head.scale_attention.": "attention_head."}
DRAWS = 3000


def check_hrda(path: Path) -> list[Row]:
    """Inference, sliding inference, a training pass with its losses and gradients, the offsets."""
    arrays = Arrays.read(path)
    network = network_of(arrays)
    return [
        *_inference(network, arrays),
        *_sliding(network, arrays),
        *_training(network, arrays),
        *_offsets(network, arrays),
    ]


def network_of(arrays: Arrays) -> SegmentationNetwork:
    """The network of a fixture with its weights; settings it leaves out are the paper's."""
    state = {our_name(name): value for name, value in arrays.below("sd/").items()}
    widths = [int(width) for width in arrays["cfg_widths"]]
    classes = len(state["decode_head.conv_seg.weight"])
    classwise = bool(arrays.number("cfg_classwise", 1))
    crop = int(arrays.number("cfg_hr_crop"))
    head = {"type": "DAFormerHead", "in_channels": widths, "dropout_ratio": 0.0}
    network = SegmentationNetwork.from_config(
        {
            "type": "HRDASegmentor",
            "backbone": {
                "type": "MixTransformer",
                "widths": widths,
                "heads": _list(arrays, "cfg_heads", [1, 2, 5, 8]),
                "depths": _list(arrays, "cfg_depths", [1, 1, 1, 1]),
                "sr_ratios": _list(arrays, "cfg_sr", [8, 4, 2, 1]),
                "mlp_ratios": [
                    len(state[f"backbone.block{stage}.0.mlp.fc1.weight"]) // width
                    for stage, width in enumerate(widths, start=1)
                ],
                "drop_path_rate": 0.0,
            },
            "decode_head": {
                **head,
                "channels": int(arrays.number("cfg_head_channels")),
                "num_classes": classes,
            },
            "attention_head": {
                **head,
                "channels": int(arrays.number("cfg_attention_dim")),
                "num_classes": classes if classwise else 1,
                "fusion": "conv1x1",
            },
            "detail_size": (crop, crop),
            "detail_weight": arrays.number("cfg_hr_loss_weight"),
            "context_weight": arrays.number("cfg_lr_loss_weight"),
            "context_logits": "weighted",
            "last_offset": False,
            "test_cfg": {"mode": "slide", "crop_size": [2 * crop] * 2, "stride": [crop] * 2},
        }
    )
    network.segmentor.load_state_dict(state, strict=True)
    return network


def our_name(name: str) -> str:
    """A parameter's name in the released code as it is here."""
    for theirs, ours in HEADS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _list(arrays: Arrays, name: str, default: list[int]) -> list[int]:
    return [int(value) for value in arrays[name]] if name in arrays else default


class _Watched:
    """What the fusion was given and gave in a pass, seen through its function."""

    def __init__(self, monkey: Any) -> None:
        self.monkey, self.found = monkey, {}

    def __enter__(self) -> dict[str, Tensor]:
        original = self.original = self.monkey.fuse

        def fuse(context: Tensor, detail: Tensor, attention: Tensor, **more: Any) -> Any:
            fused, weighted = original(context, detail, attention, **more)
            self.found.update(
                context=context, detail=detail, attention=attention, fused=fused, weighted=weighted
            )
            return fused, weighted

        self.monkey.fuse = fuse
        return self.found

    def __exit__(self, *_: object) -> None:
        self.monkey.fuse = self.original


def watched() -> _Watched:
    """A context in which the maps of a pass can be looked at."""
    from uda.models import hrda_segmentor

    return _Watched(hrda_segmentor)


@torch.no_grad()
def _inference(network: SegmentationNetwork, arrays: Arrays) -> Iterator[Row]:
    network.eval()
    with watched() as found:
        output = network(arrays.tensor("x"))
    ours = {
        "infer_attention": found["attention"],
        "infer_hr_os4": found["detail"],
        "infer_lr_times_1_minus_att": found["weighted"],
        "infer_fused_os4": found["fused"],
        "infer_up_s4": output.logits[..., ::4, ::4],
    }
    for name, value in ours.items():
        if name in arrays:
            wanted = arrays.tensor(name)
            yield compare(name, value.expand_as(wanted), wanted, **VALUES)


@torch.no_grad()
def _sliding(network: SegmentationNetwork, arrays: Arrays) -> Iterator[Row]:
    if "slide_logits_s4" not in arrays:
        return
    image = arrays.tensor("x_wide")
    size = tuple(image.shape[2:])
    metas = [{"ori_shape": size, "img_shape": size, "pad_shape": size} for _ in image]
    logits = network.eval().segmentor.inference(image, metas)
    yield compare("slide_logits_s4", logits[..., ::4, ::4], arrays["slide_logits_s4"], **VALUES)


def _training(network: SegmentationNetwork, arrays: Arrays) -> Iterator[Row]:
    network.train()
    top, bottom, left, right = (int(border) for border in arrays["crop_box_y1y2x1x2"])
    box = Box(top, bottom, left, right)
    with watched() as found:
        output = network.segmentor.output(arrays.tensor("x"), box)
    crop = Box(top // 4, bottom // 4, left // 4, right // 4).cut(found["detail"])
    ours = {
        "train_fused": found["fused"],
        "train_lr_times_1_minus_att": found["weighted"],
        "train_hr": crop,
        "fd_feature_lowres_stage4": output.features[-1],
    }
    for name, value in ours.items():
        if name in arrays:
            yield compare(name, value, arrays[name], **VALUES)
    yield from _losses(network, output, arrays)


def _losses(network: SegmentationNetwork, output: NetworkOutput, arrays: Arrays) -> Iterator[Row]:
    weight = arrays.tensor("pixel_weight") if "pixel_weight" in arrays else None
    label = arrays.label("label")
    losses = Method(student=network).supervised(output, label, weight)
    seen = {"ce": (output.logits, label)}
    seen |= {r.name: (r.logits, r.box.cut(label)) for r in output.regions}
    total = torch.stack(list(losses.values())).sum()
    ours = {
        "decode.loss_seg": losses["ce"],
        "decode.hr.loss_seg": losses.get("detail"),
        "decode.lr.loss_seg": losses.get("context"),
        "loss": total,
    }
    for prefix, key in (("decode", "ce"), ("decode.hr", "detail"), ("decode.lr", "context")):
        if key in seen:
            ours[f"{prefix}.acc_seg"] = pixel_accuracy(*seen[key])
    # Percent of all pixels, of which a few may be tied.
    accuracy = {"absolute": 300 / min(part.numel() for _, part in seen.values())}
    names = [str(name) for name in arrays["loss_names"]]
    for name, theirs in zip(names, arrays["loss_values"], strict=True):
        if name in ours and ours[name] is not None:
            limits = accuracy if name.endswith("acc_seg") else LOSSES
            yield compare(name, ours[name], theirs, **limits)
        else:
            yield f"{name} (nothing of the kind here)", math.inf, 0.0
    total.backward()
    gradients = {name: p.grad for name, p in network.segmentor.named_parameters()}
    wanted = {our_name(name): value for name, value in arrays.below("gnorm/").items()}
    for name, norm in wanted.items():
        yield compare(f"gnorm/{name}", gradients[name].norm(), norm, **GRADIENTS)
    if wanted:
        yield differing("parameters without a norm", len(set(gradients) - set(wanted)), 0)


def _offsets(network: nn.Module, arrays: Arrays) -> Iterator[Row]:
    """The same offsets as in the released code's draws, none more and none less."""
    inner = network.segmentor.detail_size
    size = arrays["x"].shape[2:]
    step = network.segmentor.step
    drawn = [draw_box(size, inner, step=step, include_last=False) for _ in range(DRAWS)]
    for axis, place in (("y", 0), ("x", 2)):
        name = f"crop_offsets_seen_{axis}"
        if name in arrays:
            yield differing(name, sorted({box[place] for box in drawn}), sorted(arrays[name]))
