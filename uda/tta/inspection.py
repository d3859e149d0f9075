"""What would move in a model, what stands in the way, and which settings fit it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from uda.tta.learner import OptimiserSettings
from uda.tta.learning_rate import suggested_lr
from uda.tta.low_rank import adaptable_layers
from uda.tta.parameters import norm_modules, norm_parameters

NO_NORM = (
    "The model has no normalisation layer with weights of its own: perhaps it was fused for "
    "deployment. Adapt the model from before that, or choose what moves by parameters=."
)
NO_BATCH_NORM = (
    "The model has no batch normalisation, so its statistics cannot be adapted; use a method that "
    'moves weights, such as "tent".'
)


@dataclass
class Inspection:
    """What `inspect` found; as a string a short page.

    Attributes:
        norm_layers: Number of normalisation layers by class name.
        moving: Number of parameters that norm-only methods move, and names of their tensors.
        parameters: Number of all parameters.
        methods: Methods that fit.
        refused: Methods that do not, with the reason.
        warnings: What to look at before adapting.
        suggested: Settings by name.
        adaptable: Layers that `vida` puts adapters beside, by name, with their class.
    """

    norm_layers: dict[str, int]
    moving: int
    moving_names: list[str]
    parameters: int
    methods: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    suggested: dict[str, object] = field(default_factory=dict)
    adaptable: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        layers = ", ".join(f"{count} {name}" for name, count in self.norm_layers.items())
        lines = [
            f"normalisation: {layers or 'none'}",
            f"norm-only methods move {self.moving:,} of {self.parameters:,} parameters",
            f"methods: {', '.join(self.methods) or 'none'}",
            *(f"not {name}: {reason}" for name, reason in self.refused.items()),
            *_adaptable_line(self.adaptable),
            *(f"suggested {name}: {value}" for name, value in self.suggested.items()),
            *(f"warning: {sentence}" for sentence in self.warnings),
        ]
        return "\n".join(lines)


def inspect(model: nn.Module, *, batch_size: int = 1, dense: bool = False) -> Inspection:
    """What adaptation would do with a model, without running or changing it.

    Args:
        model: Any module.
        batch_size: Images in a batch of the stream.
        dense: Whether its predictions are maps.

    >>> found = inspect(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    >>> found.norm_layers, found.moving
    ({'BatchNorm2d': 1}, 8)
    >>> "needs" in found.refused["vida"]
    True
    """
    layers = norm_modules(model)
    moving = norm_parameters(model)
    found = Inspection(
        norm_layers=dict(Counter(type(layer).__name__ for layer in _normalising(model))),
        moving=sum(parameter.numel() for parameter in moving.values()),
        moving_names=list(moving),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    layers_of_vida = adaptable_layers(model)
    found.adaptable = {name: type(layer).__name__ for name, layer in layers_of_vida.items()}
    found.refused = _refused(model, dense=dense)
    found.methods = [name for name in NEEDS if name not in found.refused]
    found.warnings = _warnings(model, list(layers.values()), batch_size)
    found.suggested = {
        "lr (SGD with momentum 0.9)": suggested_lr(
            OptimiserSettings(), model, batch=batch_size, dense=dense
        ),
        "statistics": _suggested_statistics(model, batch_size),
    }
    return found


# What each method needs; "adaptable" are linear layers of attention, or 1x1 convolutions.
NEEDS = {
    "bn": "batch_norm",
    "tent": "norm",
    "ent": "norm",
    "hard_pl": "norm",
    "soft_pl": "norm",
    "rpl": "norm",
    "eta": "norm",
    "eata": "norm",
    "sar": "norm",
    "cotta": "all",
    "vida": "adaptable",
    "lame": "classifier",
    "rotta": "norm",
    "deyo": "norm",
    "rdumb": "norm",
}


def refusal(model: nn.Module, needs: str) -> Exception | None:
    """Why a model cannot be adapted, as the error to raise, or None.

    Args:
        model: What was given.
        needs: `"norm"`, `"batch_norm"`, `"all"`, `"nothing"`, or `"choice"` of the user.
    """
    if not isinstance(model, nn.Module):
        return TypeError(f"Only an nn.Module can be adapted, not a {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        return TypeError(
            "A TorchScript model hides its layers, so nothing in it can be adapted; adapt the "
            "module it was scripted from and export afterwards."
        )
    if isinstance(model, torch.fx.GraphModule) and not norm_modules(model):
        return TypeError(
            "An exported graph has no layers whose modes and statistics could be set; adapt the "
            "module it was exported from and export afterwards."
        )
    parameters = list(model.parameters())
    if any(parameter.is_inference() for parameter in parameters):
        return ValueError(
            "The model was made under torch.inference_mode, so its weights can have no gradient; "
            "build and load it outside."
        )
    if needs == "norm" and not norm_parameters(model):
        return ValueError(NO_NORM)
    if needs == "batch_norm" and not _batch_norms(model):
        return ValueError(NO_BATCH_NORM)
    if needs == "all" and not any(p.is_floating_point() for p in parameters):
        return ValueError("The model has no floating-point parameter that could move.")
    return None


def _refused(model: nn.Module, *, dense: bool) -> dict[str, str]:
    reasons = {}
    for name, needs in NEEDS.items():
        if reason := refusal(model, needs):
            reasons[name] = str(reason)
        elif needs == "classifier" and dense:
            reasons[name] = "it compares all samples with each other, too many for pixels"
        elif needs == "adaptable" and not adaptable_layers(model):
            reasons[name] = (
                "it needs linear layers in modules whose class is named ...Attention..., or 1x1 "
                "convolutions; where= chooses others"
            )
    return reasons


def _adaptable_line(layers: dict[str, str]) -> list[str]:
    if not layers:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(layers.values()).items())
    names = list(layers)
    shown = ", ".join(names if len(names) < 5 else [*names[:2], "...", names[-1]])
    return [f"vida puts adapters beside {kinds}: {shown}"]


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def _normalising(model: nn.Module) -> list[nn.Module]:
    """Layers with weights, and batch normalisation without."""
    with_weights = set(norm_modules(model).values())
    return [m for m in model.modules() if m in with_weights or isinstance(m, _BatchNorm)]


def _suggested_statistics(model: nn.Module, batch_size: int) -> str:
    if not _batch_norms(model):
        return "none to set: no batch normalisation"
    if batch_size >= 16:
        return '"batch" (what "auto" does from 16 images on)'
    return '"auto": stored statistics blended with those of the batch'


def _warnings(model: nn.Module, layers: list[nn.Module], batch_size: int) -> list[str]:
    sentences = []
    batch_norms = _batch_norms(model)
    bare = sum(module.running_mean is None for module in batch_norms)
    if bare:
        sentences.append(
            f"{bare} layers of batch normalisation keep no statistics: they always use the batch's "
            "and cannot predict a single value a channel."
        )
    sentences += _unmovable(model, batch_norms)
    if any(isinstance(module, nn.SyncBatchNorm) for module in batch_norms):
        sentences.append(
            "SyncBatchNorm shares statistics between processes where torch.distributed runs: all "
            "of them then have to adapt in step."
        )
    if batch_size < 16 and batch_norms:
        sentences.append(
            f'batches of {batch_size} say little about statistics: keep statistics="auto".'
        )
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    random = any(isinstance(m, kinds) or "droppath" in type(m).__name__.lower()
                 for m in model.modules())  # fmt: skip
    if model.training and random:
        sentences.append(
            "The model is in training mode and has dropout or stochastic depth; adaptation runs in "
            "evaluation mode, where they are off."
        )
    elif model.training and batch_norms:
        sentences.append(
            "The model is in training mode; adaptation and `predict` run it in evaluation mode."
        )
    if hasattr(model, "_orig_mod"):
        sentences.append("The model is compiled; the module inside is adapted, uncompiled.")
    if not layers:
        sentences.append(NO_NORM)
    return sentences


def _unmovable(model: nn.Module, batch_norms: list[_BatchNorm]) -> list[str]:
    """Layers that look as if they could be adapted and cannot."""
    sentences = []
    plain = sum(module.weight is None for module in batch_norms)
    if plain:
        sentences.append(
            f"{plain} layers of batch normalisation have no weights of their own (affine=False): "
            "their statistics can be adapted, nothing else."
        )
    known = set(batch_norms)
    frozen = Counter(
        type(module).__name__
        for module in model.modules()
        if module not in known
        and "norm" in type(module).__name__.lower()
        and "weight" in module._buffers
    )
    if frozen:
        kinds = ", ".join(f"{count} {name}" for name, count in frozen.items())
        sentences.append(
            f"{kinds}: weights and statistics are buffers, so nothing in these layers is adapted; "
            "put nn.BatchNorm2d with the same values in their place to adapt them."
        )
    return sentences
