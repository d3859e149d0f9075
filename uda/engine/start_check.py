"""What only the start of a run would tell: weights it starts from, and batches of one."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from uda.data.check.findings import Finding, of_set
from uda.engine.checkpoint_files import read_checkpoint
from uda.engine.checkpoints import misfit
from uda.engine.model import DomainAdaptation, lone_value

_NAME = "model"


def check_start(config: Config) -> list[Finding]:
    """Findings about the model of a config, which is built and given its first weights as a run is.

    Files of weights (those of the encoder, `model.start`, `load_from`) are read whole and compared
    with the networks. Then the student's pass over a batch of training is made without values, on
    torch's device "meta", for its shapes: BatchNorm refuses a single value of each channel.

    Args:
        config: From `load_config`; a model of another type than `DomainAdaptation` is left alone.
    """
    settings = config.get("model") or {}
    if settings.get("type") not in ("DomainAdaptation", DomainAdaptation):
        return []
    try:
        model = MODELS.build(settings)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        return [of_set(_NAME, "no model", str(error))]
    findings = []
    try:
        model.init_weights()
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        findings.append(of_set(_NAME, "start weights", str(error)))
    origin = config.get("load_from")
    told = None if not origin else _load_from(model, str(origin))
    if told is not None:
        findings.append(of_set(_NAME, "start weights", told))
    told = _lone_value(model, config)
    if told is not None:
        findings.append(of_set(_NAME, "lone value", told))
    return findings


def _load_from(model: DomainAdaptation, origin: str) -> str | None:
    """What is wrong with the checkpoint of `load_from`."""
    try:
        checkpoint = read_checkpoint(origin)
    except (OSError, ValueError) as error:
        return str(error)
    return misfit(model.state_dict(), checkpoint.get("state_dict", checkpoint), origin)


def _lone_value(model: DomainAdaptation, config: Config) -> str | None:
    """What BatchNorm would say of the first batch; None too where the size is not known."""
    size = config.model.data_preprocessor.get("size")
    batch_size = (config.get("train_dataloader") or {}).get("batch_size", 1)
    if size is None:
        return None
    model.train()
    model.to("meta")
    image = torch.zeros(batch_size, 3, *size, device="meta")
    student: Any = model.method.student
    try:
        student(image)
    except ValueError as error:
        return lone_value(error, image, model.method)
    except Exception:  # of networks that ask for values, which "meta" does not have
        return None
    return None
