"""Weights of timm's networks for encoders: from a file, or downloaded when told to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
from mmengine.logging import print_log
from torch import Tensor, nn

from uda.models.state_dicts import load_exactly, read_state_dict
from uda.models.weight_licences import full_name, licence_line, normalisation_of

DOWNLOAD = "download"
# What stands behind the last block, and what only pretraining needs.
_NOT_ENCODER = ("head", "head_dist", "fc_norm", "norm", "norm_pre", "attn_pool", "mask_token")


def load_weights(
    model: nn.Module, name: str, weights: str | Path, *, known: frozenset[str] = frozenset()
) -> None:
    """Load pretrained weights into a timm network without its head, and show their licence.

    Files in timm's names or in those of the published networks are taken (timm's own conversion);
    a patch size or position table of another size is resampled, as timm does it.

    Args:
        model: timm's network, cut behind the last used block.
        name: timm's name.
        weights: A file, or "download".
        known: Names of the whole network, which a file may hold beside those of `model`.

    Raises:
        FileNotFoundError: The file is not there.
        OSError: The download failed.
        ValueError: The file holds another network; the first differing names are listed.
    """
    if weights == DOWNLOAD:
        origin, found = address_of(name), _downloaded(name)
    else:
        file = Path(weights)
        found, origin = read_state_dict(file), str(file.expanduser().resolve())
        print_log(licence_line(name, str(weights)), logger="current")
    state = _converted(found, model)
    own = model.state_dict()
    fitting = {
        key: value
        for key, value in state.items()
        if key in own or (key not in known and key.partition(".")[0] not in _NOT_ENCODER)
    }
    load_exactly(model, fitting, origin=origin)
    mean, std = normalisation_of(name)
    print_log(
        f"{full_name(name)}: {len(fitting)} of {len(state)} tensors loaded; trained with images "
        f"of mean {mean} and deviation {std} (0..255, RGB)",
        logger="current",
    )


def address_of(name: str) -> str:
    """Where timm takes the weights of a name from.

    >>> address_of("vit_small_patch14_dinov2")
    'huggingface.co/timm/vit_small_patch14_dinov2.lvd142m'
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not (config.hf_hub_id or config.url):
        raise ValueError(f"timm knows no weights to download for {name!r}; give a file instead.")
    return f"huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)


def _downloaded(name: str) -> dict[str, Tensor]:
    address = address_of(name)
    print_log(f"Downloading weights. {licence_line(name, address)}", logger="current")
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # each of several libraries below has errors of its own
        raise OSError(
            f"The weights of {full_name(name)} could not be downloaded from {address} "
            f"({type(error).__name__}). Fetch the file on a machine with a connection and give "
            "its path as `weights`."
        ) from error


def _converted(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state dict in the names and shapes of timm's network."""
    convert: Callable[[dict[str, Any], nn.Module], dict[str, Tensor]] | None = getattr(
        sys.modules[type(model).__module__], "checkpoint_filter_fn", None
    )
    return dict(state) if convert is None else dict(convert(dict(state), model))
