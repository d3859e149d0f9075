"""An encoder whose weights are frozen, tuned by few parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from uda.models.peft.base import Tuning

ENCODER, TUNING = "encoder.", "tuning."


class TunedEncoder(BaseModule):
    """Any encoder with its weights frozen, and a tuning that changes what it computes.

    A switch for a config: put it around the encoder,
    `backbone=dict(type="TunedEncoder", encoder=dict(type="FoundationEncoder", ...),
    tuning=dict(type="LoRA", rank=16))`. What is frozen gets no gradient and no state in the
    optimiser, and stays in evaluation mode. Checkpoints hold all weights, frozen ones as well, so
    that they can be resumed and scored without the pretrained file. Deploy checkpoints hold the
    plain encoder with merged weights where the tuning allows it (LoRA, SoMA).

    Let the teacher share the frozen weights: `teacher=dict(type="EMATeacher", share_frozen=True)`.

    Args:
        encoder: The encoder, or its config.
        tuning: `LoRA`, `SoMA`, `Rein`, or the config of one; None: the encoder is frozen as it is.
        trainable: Parts of names of the encoder's parameters that are trained in full, such as
            ("spm", "interactions") of a `ViTAdapter`, or ("norm",).

    Raises:
        TypeError: The tuning is something else.
        ValueError: A name in `trainable` is in no parameter, or the tuning does not fit.

    >>> encoder = dict(type="TimmEncoder", name="vit_tiny_patch16_224", out_indices=(0, 1),
    ...                model_args=dict(depth=2, dynamic_img_size=True))
    >>> tuned = TunedEncoder(encoder=encoder, tuning=dict(type="LoRA", rank=4))
    >>> sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    27648
    """

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | nn.Module,
        tuning: Mapping[str, Any] | Tuning | None = None,
        trainable: Sequence[str] = (),
    ) -> None:
        super().__init__()
        built: Any = MODELS.build(dict(encoder)) if isinstance(encoder, Mapping) else encoder
        tuned: Any = MODELS.build(dict(tuning)) if isinstance(tuning, Mapping) else tuning
        if tuned is not None and not isinstance(tuned, Tuning):
            raise TypeError(
                "TunedEncoder takes LoRA, SoMA or Rein (or a subclass of "
                f"uda.models.peft.Tuning) as `tuning`, not {type(tuned).__name__}."
            )
        self.encoder: Any = built
        self.tuning: Tuning | None = tuned
        self.trainable = tuple(trainable)
        if tuned is not None:
            tuned.attach(built)
        self._freeze()
        if hasattr(built, "out_channels"):
            self.out_channels = tuple(built.out_channels)
        if hasattr(built, "strides"):
            self.strides = tuple(built.strides)
        self.train()

    def init_weights(self) -> None:
        """Let the encoder read its weights and the tuning start from them; once."""
        if self._is_init:
            return
        if hasattr(self.encoder, "init_weights"):
            self.encoder.init_weights()
        if self.tuning is not None:
            self.tuning.start(self.encoder)
        self.is_init = True

    def forward(self, image: Tensor) -> Any:
        """What the encoder gives for an image (N, 3, H, W), with the tuning."""
        return self.encoder(image)

    def train(self, mode: bool = True) -> TunedEncoder:
        """Keep what is frozen in evaluation mode."""
        super().train(mode)
        _quieten(self.encoder)
        return self

    @property
    def mergeable(self) -> bool:
        """Whether `merged_state` is the whole network."""
        return self.tuning is None or self.tuning.mergeable

    def merged_state(self) -> dict[str, Tensor]:
        """The state dict of the plain encoder that computes the same.

        Raises:
            ValueError: The tuning cannot be merged.
        """
        if not self.mergeable:
            raise ValueError(f"{type(self.tuning).__name__} cannot be merged into an encoder.")
        state: dict[str, Tensor] = dict(self.encoder.state_dict())
        if self.tuning is not None:
            state.update(self.tuning.merged(self.encoder))
        return state

    def _freeze(self) -> None:
        named = dict(self.encoder.named_parameters())
        for key in self.trainable:
            if not any(key in name for name in named):
                raise ValueError(
                    f"trainable names {key!r}, which is in no parameter's name of "
                    f"{type(self.encoder).__name__}; the first is {next(iter(named), None)!r}."
                )
        for name, parameter in named.items():
            parameter.requires_grad_(any(key in name for key in self.trainable))
        if self.tuning is not None:
            for parameter in self.tuning.trained_parameters(self.encoder):
                parameter.requires_grad_(True)


def _quieten(module: nn.Module) -> None:
    """Put every module of which all parameters are frozen into evaluation mode."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        module.eval()
        return
    for child in module.children():
        _quieten(child)


def merged_segmentor_state(segmentor: nn.Module) -> dict[str, Tensor]:
    """The state dict of a segmentor, with a tuned backbone merged where that is possible.

    Args:
        segmentor: mmseg's; its `backbone` may be a `TunedEncoder`.
    """
    state: dict[str, Tensor] = dict(segmentor.state_dict())
    backbone = getattr(segmentor, "backbone", None)
    if not isinstance(backbone, TunedEncoder) or not backbone.mergeable:
        return state
    plain = {f"backbone.{name}": value for name, value in backbone.merged_state().items()}
    rest = {name: value for name, value in state.items() if not name.startswith("backbone.")}
    return {**plain, **rest}


def merged_backbone(backbone: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the backbone that `merged_segmentor_state` is of."""
    kind = backbone.get("type")
    if kind not in ("TunedEncoder", TunedEncoder):
        return backbone
    tuning = backbone.get("tuning")
    known = None if tuning is None else MODELS.get(tuning["type"])
    if tuning is None or getattr(known, "mergeable", False):
        encoder: Mapping[str, Any] = backbone["encoder"]
        return encoder
    return backbone
