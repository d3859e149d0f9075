"""Parameter groups by name, and bfloat16 training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

# The student's optimiser beside those of its opponents.
STUDENT = "student"
_FACTORS = ("lr_mult", "decay_mult")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ParameterGroups:
    """Makes the optimiser over the student's parameters, few groups by name.

    A parameter belongs to the longest key of `custom_keys` that its name contains (DAFormer:
    `head` learns ten times as fast, `norm` is not decayed). Parameters with the same factors
    share one group, so that fused and foreach optimisers take few calls. Teacher and frozen
    encoders are not handed to the optimiser.

    A method with opponents, such as the discriminator of `AdversarialOutput`, gets an optimiser for
    each, wrapped like the student's, without `clip_grad`. Schedules apply to all of them, and
    checkpoints hold all of them.

    Args:
        optim_wrapper_cfg: Config of the wrapper, with an `optimizer`; under `opponents` the
            optimiser of each opponent: `dict(discriminator=dict(type="Adam", lr=1e-4))`.
        paramwise_cfg: `dict(custom_keys={"head": dict(lr_mult=10.0)})` with the factors `lr_mult`
            and `decay_mult`.

    Raises:
        ValueError: `paramwise_cfg` has another key, or a factor is unknown.
    """

    def __init__(
        self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None
    ) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.opponents: Mapping[str, Any] = self.wrapper.pop("opponents", {})
        settings = dict(paramwise_cfg or {})
        self.keys: Mapping[str, Mapping[str, float]] = settings.pop("custom_keys", {})
        if settings:
            raise ValueError(f"paramwise_cfg takes only custom_keys, not {sorted(settings)}.")
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
        members: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in student.named_parameters():
            if parameter.requires_grad:
                members.setdefault(self.factors(name), []).append(parameter)
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
