"""Parameter groups by name and depth, and bfloat16 training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from uda.engine.layer_decay import layer_factors

# The student's optimiser beside those of its opponents.
STUDENT = "student"
_FACTORS = ("lr_mult", "decay_mult")
_LAYER_DECAY = {"rate": 0.9, "lr_mult": 0.1, "within": "backbone"}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ParameterGroups:
    """Makes the optimiser over the student's parameters, few groups by name.

    A parameter belongs to the longest key of `custom_keys` that its name contains (DAFormer:
    `head` learns ten times as fast, `norm` is not decayed). Parameters with the same factors
    share one group, so that fused and foreach optimisers take few calls. Teacher, frozen encoders
    and frozen parameters of the student are not handed to the optimiser, so it keeps no state of
    them.

    The recipe of VFM-UDA++ (released code), whose block i of n learns at
    `0.1 * 0.9^(n - 1 - i)` times `lr * sqrt(images of a domain in a step)`, and whose weights all
    decay alike, is `paramwise_cfg=dict(layer_decay=dict(rate=0.9, lr_mult=0.1), batch_size=2)`.

    A method with opponents, such as the discriminator of `AdversarialOutput`, gets an optimiser for
    each, wrapped like the student's, without `clip_grad`. Schedules apply to all of them, and
    checkpoints hold all of them.

    Args:
        optim_wrapper_cfg: Config of the wrapper, with an `optimizer`; under `opponents` the
            optimiser of each opponent: `dict(discriminator=dict(type="Adam", lr=1e-4))`.
        paramwise_cfg: `dict(custom_keys={"head": dict(lr_mult=10.0)})` with the factors `lr_mult`
            and `decay_mult`; `layer_decay`, the arguments of `layer_factors`, whose factors
            multiply those of the keys; `batch_size`, images of a domain in a process: all rates
            are multiplied by the root of this times the number of processes. None of the keys:
            factors of 1.

    Raises:
        ValueError: `paramwise_cfg` has another key, a factor is unknown or out of range, or there
            is no block to which `layer_decay` could apply.
    """

    def __init__(
        self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None
    ) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.opponents: Mapping[str, Any] = self.wrapper.pop("opponents", {})
        settings = dict(paramwise_cfg or {})
        self.keys: Mapping[str, Mapping[str, float]] = settings.pop("custom_keys", {})
        self.layer_decay = _checked_layer_decay(settings.pop("layer_decay", None))
        self.batch_size = settings.pop("batch_size", None)
        if settings:
            raise ValueError(
                "paramwise_cfg takes only custom_keys, layer_decay and batch_size, not "
                f"{sorted(settings)}."
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"paramwise_cfg: batch_size is at least 1, not {self.batch_size}.")
        for key, factors in self.keys.items():
            unknown = sorted(set(factors) - set(_FACTORS))
            if unknown:
                raise ValueError(f"custom_keys[{key!r}] takes {list(_FACTORS)}, not {unknown}.")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The wrapped optimiser for what the method of `model` trains, and those of its opponents.

        Raises:
            ValueError: An opponent has no optimiser, or an optimiser no opponent.
        """
        inner: Any = getattr(model, "module", model)
        optimizer = dict(self.wrapper["optimizer"])
        # Whoever trains a student without our `Method` has no opponents, and that student alone.
        trained = getattr(inner.method, "trained", lambda: inner.method.student)
        groups = self.groups(
            trained(), lr=optimizer["lr"], decay=optimizer.get("weight_decay", 0.0)
        )
        student = self._wrapped({**optimizer, "params": groups}, self.wrapper)
        opponents: dict[str, nn.Module] = getattr(inner.method, "opponents", dict)()
        if set(opponents) != set(self.opponents):
            raise ValueError(
                f"The method has the opponents {sorted(opponents)}, optim_wrapper.opponents the "
                f"optimisers {sorted(self.opponents)}; give each opponent one, such as "
                "opponents=dict(discriminator=dict(type='Adam', lr=1e-4))."
            )
        if not opponents:
            return student
        settings = {key: value for key, value in self.wrapper.items() if key != "clip_grad"}
        wrappers = {STUDENT: student}
        for name, network in opponents.items():
            parameters = list(network.parameters())
            wrappers[name] = self._wrapped({**self.opponents[name], "params": parameters}, settings)
        return OptimWrapperDict(**wrappers)

    def _wrapped(self, optimizer: dict[str, Any], wrapper: Mapping[str, Any]) -> OptimWrapper:
        settings = {"type": "OptimWrapper", **wrapper, "optimizer": OPTIMIZERS.build(optimizer)}
        built: OptimWrapper = OPTIM_WRAPPERS.build(settings)
        return built

    def groups(self, student: nn.Module, *, lr: float, decay: float) -> list[dict[str, Any]]:
        """Parameter groups of `student`, each with its own learning rate and decay."""
        named = [(name, p) for name, p in student.named_parameters() if p.requires_grad]
        names = [name for name, _ in named]
        layers = {} if self.layer_decay is None else layer_factors(names, **self.layer_decay)
        if self.batch_size is not None:
            lr *= math.sqrt(self.batch_size * get_world_size())
        members: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named:
            lr_mult, decay_mult = self.factors(name)
            key = (lr_mult * layers.get(name, 1.0), decay_mult)
            members.setdefault(key, []).append(parameter)
        return [
            {"params": parameters, "lr": lr * lr_mult, "weight_decay": decay * decay_mult}
            for (lr_mult, decay_mult), parameters in members.items()
        ]

    def factors(self, name: str) -> tuple[float, float]:
        """Factors of learning rate and decay for the parameter called `name`.

        >>> keys = {"head": dict(lr_mult=10.0), "norm": dict(decay_mult=0.0)}
        >>> ParameterGroups(dict(), dict(custom_keys=keys)).factors("backbone.norm1.weight")
        (1.0, 0.0)
        """
        for key in sorted(sorted(self.keys), key=len, reverse=True):
            if key in name:
                found = self.keys[key]
                return found.get("lr_mult", 1.0), found.get("decay_mult", 1.0)
        return 1.0, 1.0


def _checked_layer_decay(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    unknown = sorted(set(given) - set(_LAYER_DECAY))
    if unknown:
        raise ValueError(f"layer_decay takes {list(_LAYER_DECAY)}, not {unknown}.")
    settings = {**_LAYER_DECAY, **given}
    if not 0 < settings["rate"] <= 1 or not settings["lr_mult"] > 0:
        raise ValueError(
            "layer_decay: rate has to lie in (0, 1] and lr_mult above 0, not "
            f"{settings['rate']} and {settings['lr_mult']}."
        )
    return settings


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 where that is safe, weights and gradients in float32.

    bfloat16 has the range of float32, so no loss scaling is needed. Runs on CPU and CUDA.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The autocast context of the model's device."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
