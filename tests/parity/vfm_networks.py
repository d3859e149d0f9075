"""Parity of whole networks with VFM-UDA and VFM-UDA++ (family `vfm`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.rows import Arrays, Row, compare
from tests.parity.vfm_models import OUTPUTS, attention_heads, network_input, vit_from_state
from uda._token_masking import masking_tokens
from uda.models import LightweightHead, ViTAdapter
from uda.models.position_tables import table_at
from uda.models.state_dicts import load_exactly
from uda.models.vit_adapter import own_names


def check_lightweight_head(path: Path) -> list[Row]:
    """VFM-UDA's network: last map and logits, plain and with the recorded tokens masked."""
    arrays = Arrays.read(path)
    state = arrays.below("sd/")
    vit = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
    mask_token = vit.pop("mask_token")
    if "token_masking.mask_token" in state:  # the one that masks; DINOv2's own is not used
        mask_token = state["token_masking.mask_token"]
    depth = len({name.split(".")[1] for name in vit if name.startswith("blocks.")})
    encoder = vit_from_state(
        {**vit, "mask_token": mask_token},
        heads=int(arrays.number("heads", 2)),
        out_indices=[depth - 1],
        final_norm=True,
    )
    load_exactly(
        encoder,
        {**{f"model.{n}": v for n, v in vit.items()}, "masking.mask_token": mask_token},
        origin=path.name,
    )
    head = LightweightHead(
        in_channels=encoder.out_channels[-1], num_classes=state["out.weight"].shape[0]
    )
    upscale = {n: v for n, v in state.items() if n.startswith("upscale.")}
    load_exactly(head, {**upscale, "conv_seg.weight": state["out.weight"]}, origin=path.name)
    batch, side = arrays["logits_s8"].shape[0], 8 * arrays["logits_s8"].shape[-1]
    image = network_input(arrays, (batch, 3, side, side))
    with torch.no_grad():
        rows = _network_rows(arrays, encoder.eval()(image), head.eval(), side, "")
        if arrays.filled("noise"):
            masked = _masked_maps(arrays, encoder.train(), image)
            rows += _network_rows(arrays, masked, head.train(), side, "_masked")
    return rows


def _network_rows(
    arrays: Arrays, maps: tuple[Tensor, ...], head: LightweightHead, side: int, kind: str
) -> list[Row]:
    logits = F.interpolate(head(maps), (side, side), mode="bilinear", align_corners=False)
    return [
        compare(f"feat{kind}", maps[-1], arrays[f"feat{kind}"], **OUTPUTS),
        compare(f"logits{kind}", logits[:, :, ::8, ::8], arrays[f"logits{kind}_s8"], **OUTPUTS),
    ]


def _masked_maps(arrays: Arrays, encoder: torch.nn.Module, image: Tensor) -> tuple[Tensor, ...]:
    """The maps in training mode, the draws of the masking replaced by the recorded ones."""
    noise = arrays.tensor("noise")
    with (
        masking_tokens(encoder, arrays.number("mask_ratio")),
        mock.patch("uda._token_masking.torch.rand", return_value=noise),
    ):
        maps: tuple[Tensor, ...] = encoder(image)
    return maps


def check_vit_adapter(path: Path) -> list[Row]:
    """VFM-UDA++'s encoder: four maps in evaluation mode, the coarsest in training mode."""
    arrays = Arrays.read(path)
    state = arrays.below("sd/")
    indexes = arrays["interaction_indexes"]
    encoder = vit_from_state(
        state,
        heads=int(arrays.number("heads", 2)),
        out_indices=[int(last) for _, last in indexes],
        final_norm=False,
    )
    encoder.resize = "none"
    adapter = ViTAdapter(
        encoder=encoder,
        stem_width=state["spm.stem.0.weight"].shape[0],
        heads=attention_heads(
            state["interactions.0.injector.attn.attention_weights.bias"], levels=3
        ),
    )
    load_exactly(adapter, own_names(state), origin=path.name)
    side = 32 * arrays["f4"].shape[-1]
    image = network_input(arrays, (arrays["f4"].shape[0], 3, side, side))
    rows = []
    with torch.no_grad():
        if "pos_embed_16x16" in arrays:
            table = table_at(
                encoder.model.pos_embed,
                (16, 16),
                own=tuple(encoder.model.patch_embed.grid_size),
                prefix=1,
                rule="dinov2",
            )
            first = arrays["pos_embed_16x16"]
            rows.append(compare("pos_embed", table[..., : first.shape[-1]], first, **OUTPUTS))
        maps = adapter.eval()(image)
        for name, one in zip(("f1_s8", "f2_s4", "f3_s2", "f4"), maps, strict=True):
            step = int(name.partition("_s")[2] or 1)
            rows.append(compare(name, one[:, :, ::step, ::step], arrays[name], **OUTPUTS))
        if "f4_train" in arrays:
            rows.append(
                compare("f4_train", adapter.train()(image)[-1], arrays["f4_train"], **OUTPUTS)
            )
    return rows


CHECKS: Mapping[str, Callable[[Path], list[Row]]] = {
    "lightweight_head": check_lightweight_head,
    "vit_adapter": check_vit_adapter,
}
