"""Foundation encoders of timm (DINOv2, DINOv3, EVA-02, ConvNeXt, Swin) for any image size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from mmengine.model import BaseModule
from torch import Tensor

from uda._token_masking import TokenMasking
from uda.models.foundation_weights import load_weights
from uda.models.position_tables import check_rule
from uda.models.timm_encoder import check_timm_name
from uda.models.vit_tokens import Embedded, embed, is_vit, through_blocks
from uda.models.working_size import check_way, fit_image, without_padding, working_size

# What lets a network of timm take any size, by the module of timm it is defined in.
_ANY_SIZE: dict[str, dict[str, Any]] = {
    "vision_transformer": {"dynamic_img_size": True},
    "eva": {"dynamic_img_size": True},
    "swin_transformer": {"strict_img_size": False},
    "swin_transformer_v2": {"strict_img_size": False},
    "convnext": {},
}
_MAPS = 4


class FoundationEncoder(BaseModule):
    """Four feature maps of an image of any size.

    Vision Transformers give the tokens after each quarter of their blocks, all at the stride of
    the patch size; ConvNeXt and Swin give their four stages at strides 4 to 32. The image is
    brought to a working size first, because patches have to cover it; heads resize logits to the
    image as always. Nothing is downloaded unless `weights="download"`; the licence of weights is
    shown when they are loaded.

    Args:
        name: timm's name, with a tag where the weights are not timm's first choice, such as
            "vit_base_patch14_reg4_dinov2.lvd142m".
        weights: A file (timm's or the publisher's names), "download", or None.
        out_indices: Blocks (Vision Transformers) or stages, counted from 0; None: the last of
            each quarter of the blocks (2, 5, 8, 11 of 12), all four stages.
        resize: How an image comes to its working size: "next" (each side to the next multiple,
            bilinear), "vfm_uda" (to floor(1.1 side / multiple) multiples, the released code),
            "pad" (zeros below and right; maps are cut to the image afterwards), "none" (other
            sizes are an error).
        multiple: Of the working size in pixels; None: the patch size, or the coarsest stride.
            ViT-Adapter needs a common multiple with 32, such as 224 for patch 14.
        patch_size: Another patch size than the name says, such as 16 for DINOv2 (kernel and
            position table are then resampled when weights are loaded); None: the network's own.
        position_rule: How a position table is interpolated: "timm", or "dinov2" as in DINOv2's
            models without registers and in VFM-UDA (reference there); see `table_at`.
        final_norm: Whether the network's last norm is applied to each map (VFM-UDA does, VFM-UDA++
            does not). EVA-02 and stages have none.
        token_masking: Whether patch tokens can be withheld, by `masking_tokens`.
        grad_checkpointing: Compute activations again in the backward pass instead of keeping
            them: less memory, about a third more time.
        drop_path_rate: Probability in [0, 1) to skip a residual branch, at the last block.
        model_args: Further arguments of `timm.create_model`.

    Raises:
        ValueError: Unknown name or option, block or stage; or a setting that only Vision
            Transformers have, for another network.

    >>> encoder = FoundationEncoder(name="vit_tiny_patch16_224", model_args={"depth": 4})
    >>> encoder.out_channels, encoder.strides
    ((192, 192, 192, 192), (16, 16, 16, 16))
    """

    def __init__(
        self,
        *,
        name: str = "vit_base_patch14_reg4_dinov2",
        weights: str | Path | None = None,
        out_indices: Sequence[int] | None = None,
        resize: str = "next",
        multiple: int | None = None,
        patch_size: int | None = None,
        position_rule: str = "timm",
        final_norm: bool = True,
        token_masking: bool = False,
        grad_checkpointing: bool = False,
        drop_path_rate: float = 0.0,
        model_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_timm_name(name.partition(".")[0])
        check_way(resize)
        check_rule(position_rule)
        self.name, self.weights = name, weights
        self.resize, self.position_rule, self.final_norm = resize, position_rule, final_norm
        self.model: Any = create_any_size(
            name, patch_size=patch_size, drop_path_rate=drop_path_rate, model_args=model_args or {}
        )
        self.is_vit = is_vit(self.model)
        self._check_vit_settings(patch_size, token_masking)
        self.out_indices = self._checked_indices(out_indices)
        self._known = frozenset(self.model.state_dict())
        self.model.prune_intermediate_layers(
            list(self.out_indices), prune_norm=not (self.is_vit and final_norm)
        )
        info = [self.model.feature_info[index] for index in self.out_indices]
        self.out_channels: tuple[int, ...] = tuple(one["num_chs"] for one in info)
        self.strides: tuple[int, ...] = tuple(self._stride(one) for one in info)
        self.multiple = multiple or max(self.strides)
        if self.multiple % max(self.strides):
            raise ValueError(
                f"The working size of {name} has to be a multiple of {max(self.strides)} pixels; "
                f"got multiple={multiple}."
            )
        self.masking = TokenMasking(self.out_channels[0]) if token_masking else None
        if grad_checkpointing:
            self.model.set_grad_checkpointing(True)

    def init_weights(self) -> None:
        """Read `weights`; does nothing without them or when called again.

        Raises:
            FileNotFoundError: The file is not there.
            OSError: A download failed.
            ValueError: The file holds another network; the first differing names are listed.
        """
        if self._is_init:
            return
        if self.weights is not None:
            load_weights(self.model, self.name, self.weights, known=self._known)
        self.is_init = True

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, out_channels[i], h, w) of an image (N, 3, H, W), h near H / strides[i].

        Strides are those of the working size.
        """
        size = (image.shape[2], image.shape[3])
        working = working_size(size, self.multiple, self.resize)
        maps = self.maps_at(fit_image(image, working, self.resize))
        if self.resize == "pad":
            maps = tuple(without_padding(one, size, working) for one in maps)
        return maps

    def maps_at(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of an image (N, 3, H, W) whose sides are multiples of `multiple` already."""
        if not self.is_vit:
            found = self.model.forward_intermediates(
                image, indices=list(self.out_indices), intermediates_only=True
            )
            return tuple(found)
        embedded = self.embed(image)
        tokens, maps, start = embedded.tokens, [], 0
        for index in self.out_indices:
            tokens = self.through_blocks(tokens, embedded, range(start, index + 1))
            start = index + 1
            maps.append(embedded.as_map(self.model.norm(tokens) if self.final_norm else tokens))
        return tuple(maps)

    def embed(self, image: Tensor) -> Embedded:
        """Tokens before the first block (Vision Transformers only)."""
        return embed(self.model, image, rule=self.position_rule, masking=self.masking)

    def through_blocks(self, tokens: Tensor, embedded: Embedded, which: range) -> Tensor:
        """Tokens after some blocks (Vision Transformers only)."""
        return through_blocks(self.model, tokens, embedded, which)

    def _stride(self, info: Mapping[str, Any]) -> int:
        return int(self.model.patch_embed.patch_size[0] if self.is_vit else info["reduction"])

    def _checked_indices(self, given: Sequence[int] | None) -> tuple[int, ...]:
        count = len(self.model.feature_info)
        if given is None:
            parts = min(_MAPS, count)
            return tuple((part + 1) * count // parts - 1 for part in range(parts))
        if list(given) != sorted(set(given)) or not given or not 0 <= given[0] <= given[-1] < count:
            raise ValueError(
                f"out_indices of {self.name} have to rise within 0..{count - 1}; got {list(given)}."
            )
        return tuple(given)

    def _check_vit_settings(self, patch_size: int | None, token_masking: bool) -> None:
        if self.is_vit:
            if getattr(self.model, "rope_mixed", False):
                raise ValueError(f"{self.name} has rotations learnt block by block: not supported.")
            return
        if patch_size is not None or token_masking or self.position_rule != "timm":
            raise ValueError(
                f"{self.name} is no plain Vision Transformer: patch_size, token_masking and "
                "position_rule do not apply; remove them."
            )


def create_any_size(
    name: str, *, patch_size: int | None, drop_path_rate: float, model_args: Mapping[str, Any]
) -> Any:
    """Timm's network without classifier and with random weights, made to take any size.

    Raises:
        ValueError: `model_args` asks for dropped patches, which leave no map.
    """
    if model_args.get("patch_drop_rate"):
        raise ValueError(
            "patch_drop_rate removes tokens, and what is left is no map. Use "
            "token_masking=True, which replaces them."
        )
    kind = timm.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]
    arguments: dict[str, Any] = {"num_classes": 0, **model_args, **_ANY_SIZE.get(kind, {})}
    if drop_path_rate > 0 or kind in _ANY_SIZE:  # timm's own default for Swin is 0.1
        arguments["drop_path_rate"] = drop_path_rate
    if patch_size is not None:
        arguments["patch_size"] = patch_size
        # the table then has the grid of the largest whole number of patches
        side = timm.get_pretrained_cfg(name, allow_unregistered=True)
        whole = (side.input_size[-1] if side is not None else 224) // patch_size * patch_size
        arguments.setdefault("img_size", whole)
    return timm.create_model(name, pretrained=False, **arguments)
