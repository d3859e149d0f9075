"""One call from a model to a model that adapts."""

from __future__ import annotations

import inspect as signatures
from typing import Any

from torch import nn

from uda.text import nearest
from uda.tta import methods
from uda.tta.adapter import Adapter
from uda.tta.method import Method

METHODS: dict[str, type[Method]] = {
    "bn": methods.BN,
    "tent": methods.Tent,
    "ent": methods.Ent,
    "hard_pl": methods.HardPL,
    "soft_pl": methods.SoftPL,
    "rpl": methods.RPL,
    "eta": methods.ETA,
    "eata": methods.EATA,
    "sar": methods.SAR,
    "cotta": methods.CoTTA,
    "vida": methods.ViDA,
    "lame": methods.LAME,
    "rotta": methods.RoTTA,
    "deyo": methods.DeYO,
    "rdumb": methods.RDumb,
}


def adapt(model: nn.Module, method: str | Method, **settings: Any) -> Adapter:
    """A module that predicts and adapts at each call.

    Args:
        model: Any module that gives logits (N, K) or (N, K, H, W); it is copied.
        method: A name of `METHODS`, or a method made by its constructor.
        **settings: Arguments of the method's constructor and of `Adapter`.

    Raises:
        ValueError: The method or a setting is unknown (the nearest known one is proposed), a value
            is out of range, or the model has nothing to adapt.
        TypeError: The model is of a kind that cannot be adapted.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    >>> model = adapt(network, "rpl", q=0.8)
    >>> model(torch.rand(2, 3, 8, 8)).shape
    torch.Size([2, 2, 6, 6])
    >>> model.report()["updates"]
    1
    """
    if isinstance(method, Method):
        return Adapter(model, method, **_known(settings, Adapter, "adapt", set()))
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r}.{nearest(str(method), METHODS)}")
    cls = METHODS[method]
    own = set(signatures.signature(cls).parameters)
    common = _known({k: v for k, v in settings.items() if k not in own}, Adapter, method, own)
    return Adapter(model, cls(**{k: v for k, v in settings.items() if k in own}), **common)


def _known(
    settings: dict[str, Any], cls: type[Adapter], method: str, own: set[str]
) -> dict[str, Any]:
    known = set(signatures.signature(cls).parameters) - {"model", "method"}
    for name in settings:
        if name not in known:
            raise ValueError(f"{method} has no setting {name!r}.{nearest(name, known | own)}")
    return settings
