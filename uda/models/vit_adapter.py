"""ViT-Adapter: four maps of strides 4 to 32 from a plain Vision Transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from uda.models.adapter_interaction import Interaction
from uda.models.deformable_attention import Sizes
from uda.models.foundation_encoder import FoundationEncoder
from uda.models.spatial_prior import SpatialPrior
from uda.models.state_dicts import load_exactly, read_state_dict
from uda.models.vit_tokens import Embedded, run, saves_memory
from uda.models.working_size import fit_image, working_size

_INTERACTIONS = 4
_COARSEST = 32


class ViTAdapter(BaseModule):
    """Maps (N, D, H/4 .. H/32, W/4 .. W/32) of the working size, from a ViT and convolutions.

    Convolutions give maps c_1..c_4 (`SpatialPrior`). c_2..c_4, with an embedding a level, are
    exchanged with the patch tokens x at four places, one a quarter of the blocks: before the
    blocks x reads c (`Injector`), after them c reads x (`Extractor`; the last place has two more).
    Then c_1 <- c_1 + up(c_2), and f_i = BN(c_i + x_i), x_i the tokens after quarter i, resized.
    (Chen et al., ICLR 2023, as VFM-UDA++ sets it: no final norm of the ViT, BatchNorm momentum
    0.01; its parameter names.) The deformable attention is plain PyTorch. Where the encoder has
    `grad_checkpointing`, injectors and extractors compute their activations again as well.

    VFM-UDA++ starts from an adapter trained on ImageNet with the ViT frozen; without `weights`
    it starts random here, for which no figure is published.

    Args:
        encoder: Config of a `FoundationEncoder` that is a Vision Transformer, or the encoder; its
            `out_indices` are the ends of the quarters. Its `multiple` is raised to a common one
            with 32, and its `final_norm` has to be False.
        weights: A file with the adapter in VFM-UDA++'s names, with or without its ViT; or None.
        stem_width: Channels of the convolutional stem.
        heads: Heads of the deformable attention; None: D / 64.
        momentum: Of BatchNorm's running statistics.

    Raises:
        TypeError: `encoder` is something else.
        ValueError: The encoder is no Vision Transformer, has a final norm, not four outputs, or
            pads.
    """

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | FoundationEncoder,
        weights: str | Path | None = None,
        stem_width: int = 64,
        heads: int | None = None,
        momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.encoder = as_adaptable(encoder)
        self.weights = weights
        channels = self.encoder.out_channels[0]
        self.out_channels = (channels,) * _INTERACTIONS
        self.strides = (4, 8, 16, 32)
        self.multiple = math.lcm(self.encoder.multiple, _COARSEST)
        self.spm = SpatialPrior(channels=channels, width=stem_width, momentum=momentum)
        self.level_embed = nn.Parameter(torch.zeros(3, channels))
        nn.init.normal_(self.level_embed)
        heads = heads or max(1, channels // 64)
        self.interactions = nn.ModuleList(
            Interaction(channels=channels, heads=heads, further=2 * (i == _INTERACTIONS - 1))
            for i in range(_INTERACTIONS)
        )
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        for level in range(1, _INTERACTIONS + 1):
            self.add_module(f"norm{level}", nn.BatchNorm2d(channels, momentum=momentum))

    def init_weights(self) -> None:
        """Read the encoder's weights, then `weights`; does nothing when called again.

        Raises:
            FileNotFoundError: A file is not there.
            ValueError: A file holds another network; the first differing names are listed.
        """
        if self._is_init:
            return
        self.encoder.init_weights()
        if self.weights is not None:
            own = self.state_dict()
            state = own_names(read_state_dict(self.weights))
            # a file of the adapter alone leaves the ViT as it is
            kept = {n: v for n, v in own.items() if n.startswith("encoder.") and n not in state}
            load_exactly(self, {**kept, **state}, origin=str(Path(self.weights).resolve()))
            print_log(
                f"{self.weights}: adapter loaded; its licence stands where the file was published.",
                logger="current",
            )
        self.is_init = True

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Four maps of an image (N, 3, H, W), fine to coarse."""
        size = (image.shape[2], image.shape[3])
        way = self.encoder.resize
        image = fit_image(image, working_size(size, self.multiple, way), way)
        first, *coarse = self.spm(image)
        sizes = [(one.shape[2], one.shape[3]) for one in coarse]
        levels = torch.cat(
            [
                one.flatten(2).transpose(1, 2) + embedding
                for one, embedding in zip(coarse, self.level_embed, strict=True)
            ],
            dim=1,
        )
        levels, tokens = self._interact(self.encoder.embed(image), levels, sizes)
        parts = levels.transpose(1, 2).split([h * w for h, w in sizes], dim=-1)
        maps = [part.unflatten(-1, size) for part, size in zip(parts, sizes, strict=True)]
        maps = [first + self.up(maps[0]), *maps]
        return tuple(
            getattr(self, f"norm{level}")(one + resized(read, one))
            for level, (one, read) in enumerate(zip(maps, tokens, strict=True), start=1)
        )

    def _interact(
        self, embedded: Embedded, levels: Tensor, sizes: Sizes
    ) -> tuple[Tensor, list[Tensor]]:
        """The levels after all interactions, and the map of patch tokens after each."""
        tokens, start, maps = embedded.tokens, 0, []
        recompute = saves_memory(self.encoder.model)
        interactions = cast(Sequence[Interaction], self.interactions)
        for interaction, last in zip(interactions, self.encoder.out_indices, strict=True):
            front, patches = tokens[:, : embedded.prefix], tokens[:, embedded.prefix :]
            patches = run(
                interaction.injector, patches, embedded.grid, levels, sizes, recompute=recompute
            )
            tokens = torch.cat([front, patches], dim=1)
            tokens = self.encoder.through_blocks(tokens, embedded, range(start, last + 1))
            start = last + 1
            read = tokens[:, embedded.prefix :]
            for extractor in interaction.extractors():
                levels = run(extractor, levels, sizes, read, embedded.grid, recompute=recompute)
            maps.append(embedded.as_map(tokens))
        return levels, maps


def resized(one: Tensor, like: Tensor) -> Tensor:
    """A map at the size of another, bilinear (align_corners False)."""
    return F.interpolate(one, like.shape[2:], mode="bilinear", align_corners=False)


def as_adaptable(encoder: Mapping[str, Any] | nn.Module) -> FoundationEncoder:
    """The encoder of a config or itself, if an adapter can stand around it.

    Raises:
        TypeError: It is no `FoundationEncoder`.
        ValueError: It lacks what the adapter needs.
    """
    if isinstance(encoder, Mapping):
        encoder = MODELS.build({"type": "FoundationEncoder", "final_norm": False, **encoder})
    if not isinstance(encoder, FoundationEncoder):
        raise TypeError(
            "ViTAdapter wants the config of a FoundationEncoder as `encoder`; got "
            f"{type(encoder).__name__}."
        )
    complaints = {
        "is no plain Vision Transformer; use its maps without an adapter": not encoder.is_vit,
        f"gives {len(encoder.out_indices)} maps; the adapter needs four out_indices": (
            len(encoder.out_indices) != _INTERACTIONS
        ),
        "applies the final norm to each map; set final_norm=False": encoder.final_norm,
        'pads the image; set resize="next" or "vfm_uda"': encoder.resize == "pad",
    }
    for complaint, applies in complaints.items():
        if applies:
            raise ValueError(f"ViTAdapter cannot stand around {encoder.name}: it {complaint}.")
    return encoder


_ADAPTER: Sequence[str] = ("spm", "level_embed", "interactions", "up", "norm1", "norm2", "norm3")


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in VFM-UDA++'s names in those of `ViTAdapter`: its ViT is `encoder.model`.

    The mask token of DINOv2's pretraining is left out.

    >>> list(own_names({"up.bias": torch.zeros(1), "cls_token": torch.zeros(1)}))
    ['up.bias', 'encoder.model.cls_token']
    """
    parts = (*_ADAPTER, "norm4")
    return {
        name if name.partition(".")[0] in (*parts, "encoder") else f"encoder.model.{name}": value
        for name, value in state.items()
        if name != "mask_token"
    }
