"""LoRA and SoMA: a product of two thin matrices beside the linear layers of a frozen encoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.models.peft.base import Tuning, find_blocks

# Attention and MLP of timm's ViTs, EVA-02, DINOv3, Swin and of Mix Transformer.
TARGETS = ("qkv", "q", "kv", "q_proj", "k_proj", "v_proj", "proj", "fc1", "fc1_g", "fc1_x", "fc2")
# Fused layers: each part is adapted as a layer of its own.
_PARTS = {"qkv": 3, "kv": 2}


class LowRankChange(nn.Module):
    """The change `s B A x` of a linear layer's output, for each part of a fused layer its own.

    Args:
        linear: The layer (out, in), whose dtype and device are taken.
        rank: r.
        alpha: s = alpha / r.
        parts: Into how many equal parts the outputs are cut, each with an A and a B.

    Raises:
        ValueError: The outputs cannot be cut so, or the rank exceeds the layer.
    """

    def __init__(self, linear: nn.Linear, *, rank: int, alpha: float, parts: int = 1) -> None:
        super().__init__()
        out_features, in_features = linear.weight.shape
        if out_features % parts or rank > min(in_features, out_features // parts):
            raise ValueError(
                f"rank={rank} does not fit a layer of {in_features} inputs and "
                f"{out_features // parts} outputs; give at most the smaller of both."
            )
        self.parts, self.rank, self.scale = parts, rank, alpha / rank
        weight = linear.weight
        self.a = nn.Parameter(weight.new_empty(parts * rank, in_features))
        self.b = nn.Parameter(weight.new_zeros(out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, values: Tensor) -> Tensor:
        """The change (..., out) for the layer's input (..., in)."""
        hidden = F.linear(values, self.a)
        if self.parts == 1:
            return self.scale * F.linear(hidden, self.b)
        pieces = zip(hidden.chunk(self.parts, -1), self.b.chunk(self.parts, 0), strict=True)
        return self.scale * torch.cat([F.linear(h, b) for h, b in pieces], -1)

    def hook(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """What the layer gives with the change."""
        return output + self(inputs[0])

    def weight(self) -> Tensor:
        """The change of the layer's weight, (out, in)."""
        pieces = zip(self.a.chunk(self.parts, 0), self.b.chunk(self.parts, 0), strict=True)
        return self.scale * torch.cat([b @ a for a, b in pieces], 0)

    @torch.no_grad()
    def take_minor(self, linear: nn.Linear) -> None:
        """Move the smallest `rank` singular triplets of each part of the weight into A and B.

        `W = U S V^t`; of the smallest triplets `B = U sqrt(S / s)`, `A = sqrt(S / s) V^t`, and
        `W - s B A` is left in the layer, whose output stays what it was.
        """
        weights = linear.weight.chunk(self.parts, 0)
        for weight, a, b in zip(
            weights, self.a.chunk(self.parts, 0), self.b.chunk(self.parts, 0), strict=True
        ):
            # In double precision: the smallest values are what matters.
            u, s, vt = torch.linalg.svd(weight.double(), full_matrices=False)
            root = (s[-self.rank :] / self.scale).sqrt()
            minor_b, minor_a = u[:, -self.rank :] * root, root.unsqueeze(1) * vt[-self.rank :]
            a.copy_(minor_a)
            b.copy_(minor_b)
            weight.copy_(weight.double() - self.scale * (minor_b @ minor_a))


class LoRA(Tuning):
    """Trains `W x + (alpha / r) B A x` with W frozen, in the linear layers of the blocks.

    (Hu et al., ICLR 2022.) A starts Kaiming-uniform and B at 0, so that nothing changes at first.
    Of fused layers each part (query, key, value) has an A and a B of its own. The change can be
    merged into W: deploy checkpoints hold the plain network.

    Args:
        rank: r.
        alpha: The change is scaled by alpha / r; None: alpha = r.
        first_block: Blocks before this one stay frozen as they are.
        targets: Names of the layers; those that an encoder lacks are passed over.
        biases: Train the biases of these layers too.

    Raises:
        ValueError: A number is out of range.
    """

    mergeable = True

    def __init__(
        self,
        *,
        rank: int = 16,
        alpha: float | None = None,
        first_block: int = 0,
        targets: Sequence[str] = TARGETS,
        biases: bool = False,
    ) -> None:
        super().__init__()
        self.settings = _checked(rank, alpha, first_block)
        self.targets, self.biases = tuple(targets), biases
        self.changes = nn.ModuleDict()

    def attach(self, encoder: nn.Module) -> None:
        """Put a change beside each target."""
        self.changes = attach_changes(encoder, self.targets, **self.settings)

    def trained_parameters(self, encoder: nn.Module) -> Iterable[nn.Parameter]:
        """The biases of the changed layers, if they are to be trained."""
        return biases_of(encoder, self.changes) if self.biases else ()

    def merged(self, encoder: nn.Module) -> Mapping[str, Tensor]:
        """W + (alpha / r) B A of each changed layer."""
        return merged_weights(encoder, self.changes)


class SoMA(Tuning):
    """Trains the minor singular components of the weights, and the biases of these layers.

    `W = U S V^t` is cut into the r smallest triplets, which become B and A of a low-rank change,
    and the rest, which is frozen (Yun et al., CVPR 2025; released code with `sora`, which its
    configs set: a full SVD). At first the network is unchanged. Norms, layer scales, embeddings
    and the first blocks stay frozen. The change can be merged: deploy checkpoints hold the plain
    network. The paper anneals the weight decay: add
    `dict(type="CosineAnnealingParamScheduler", param_name="weight_decay", eta_min=1e-5,
    by_epoch=False)` to `param_scheduler`.

    Args:
        rank: r.
        alpha: See `LoRA`.
        first_block: See `LoRA`; 8 in the released configs, of 24 blocks.
        targets: See `LoRA`.
        biases: See `LoRA`.

    Raises:
        ValueError: A number is out of range.
    """

    mergeable = True

    def __init__(
        self,
        *,
        rank: int = 16,
        alpha: float | None = None,
        first_block: int = 8,
        targets: Sequence[str] = TARGETS,
        biases: bool = True,
    ) -> None:
        super().__init__()
        self.settings = _checked(rank, alpha, first_block)
        self.targets, self.biases = tuple(targets), biases
        self.changes = nn.ModuleDict()

    def attach(self, encoder: nn.Module) -> None:
        """Put a change beside each target; it is none before `start`."""
        self.changes = attach_changes(encoder, self.targets, **self.settings)

    def start(self, encoder: nn.Module) -> None:
        """Take the minor components out of the pretrained weights."""
        for layer, change in changed_layers(encoder, self.changes):
            change.take_minor(layer)

    def trained_parameters(self, encoder: nn.Module) -> Iterable[nn.Parameter]:
        """The biases of the changed layers, if they are to be trained."""
        return biases_of(encoder, self.changes) if self.biases else ()

    def merged(self, encoder: nn.Module) -> Mapping[str, Tensor]:
        """The frozen rest and the change of each changed layer, in one weight."""
        return merged_weights(encoder, self.changes)


def attach_changes(
    encoder: nn.Module, targets: Sequence[str], *, rank: int, alpha: float, first_block: int
) -> nn.ModuleDict:
    """A `LowRankChange` hooked to each linear layer of that name in the blocks, by its name.

    Raises:
        ValueError: No layer has such a name, the encoder reads a layer's weight itself, or the
            rank exceeds a layer.
    """
    changes = nn.ModuleDict()
    for name, block in find_blocks(encoder)[first_block:]:
        for inner, layer in block.named_modules():
            kind = inner.rpartition(".")[2]
            if kind not in targets or not isinstance(layer, nn.Linear):
                continue
            _refuse_bypassed(block.get_submodule(inner.rpartition(".")[0]), f"{name}.{inner}")
            parts = _PARTS.get(kind, 1)
            change = LowRankChange(layer, rank=rank, alpha=alpha, parts=parts)
            layer.register_forward_hook(change.hook)
            # Dots cannot stand in the name of a module.
            changes[f"{name}.{inner}".replace(".", "-")] = change
    if not changes:
        raise ValueError(
            f"No linear layer in the blocks of {type(encoder).__name__} from first_block="
            f"{first_block} on is called one of {list(targets)}: set `targets` to the names of its "
            "layers, or lower first_block."
        )
    return changes


def changed_layers(
    encoder: nn.Module, changes: nn.ModuleDict
) -> Iterator[tuple[nn.Linear, LowRankChange]]:
    """The layers of an encoder with their changes."""
    for name, change in changes.items():
        layer: Any = encoder.get_submodule(name.replace("-", "."))
        yield layer, cast(LowRankChange, change)


def biases_of(encoder: nn.Module, changes: nn.ModuleDict) -> list[nn.Parameter]:
    """The biases of the changed layers that have one."""
    layers = (layer for layer, _ in changed_layers(encoder, changes))
    return [layer.bias for layer in layers if layer.bias is not None]


@torch.no_grad()
def merged_weights(encoder: nn.Module, changes: nn.ModuleDict) -> dict[str, Tensor]:
    """New weights of the changed layers, by their names in the encoder."""
    names = (f"{name.replace('-', '.')}.weight" for name in changes)
    pairs = changed_layers(encoder, changes)
    return {
        name: layer.weight + change.weight()
        for name, (layer, change) in zip(names, pairs, strict=True)
    }


def _refuse_bypassed(owner: nn.Module, name: str) -> None:
    """EVA attention of timm computes a fused layer from its weight, past any hook, if biased."""
    if name.endswith("qkv") and getattr(owner, "q_bias", None) is not None:
        raise ValueError(
            f"{name} is computed from its weight alone, so that a change beside it would be "
            'without effect. Build the network with model_args={"qkv_fused": False}, or leave qkv '
            "out of targets."
        )


def _checked(rank: int, alpha: float | None, first_block: int) -> dict[str, Any]:
    scale = float(rank if alpha is None else alpha)
    if rank < 1 or not scale > 0 or first_block < 0:
        raise ValueError(
            f"rank has to be at least 1, alpha above 0 and first_block at least 0, not {rank}, "
            f"{alpha} and {first_block}."
        )
    return {"rank": rank, "alpha": scale, "first_block": first_block}
