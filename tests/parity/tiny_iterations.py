"""What the checks of whole iterations share: the recorded tiny network, its optimiser, its rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tests.parity.rows import Arrays, Row, compare
from uda.selftraining import ConfidenceShare, EMATeacher
from uda.selftraining.mixers import paste
from uda.structures import Labelled, Mixed, PseudoLabel, Unlabelled

# The recordings are float64 and were reproduced elsewhere to 4e-15.
EXACT = {"absolute": 1e-10, "relative": 1e-10}


class TinyNetwork(nn.Module):
    """Convolution, BatchNorm, ReLU, 1x1 convolution; parameters are named as in the files."""

    def __init__(self, arrays: Arrays, prefix: str) -> None:
        super().__init__()
        weights = {name: arrays.tensor(f"{prefix}{name}") for name in _SHAPES}
        width, channels, *kernel = weights["conv1.weight"].shape
        classes = weights["conv2.weight"].shape[0]
        self.conv1 = nn.Conv2d(
            channels, width, tuple(kernel), padding=kernel[0] // 2, bias=False
        ).double()
        self.bn = nn.BatchNorm2d(
            width, eps=arrays.number("bn_eps", 1e-5), momentum=arrays.number("bn_momentum", 0.1)
        ).double()
        self.conv2 = nn.Conv2d(width, classes, 1).double()
        self.load_state_dict({**self.state_dict(), **weights})

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the size of the image."""
        logits: Tensor = self.conv2(self.bn(self.conv1(image)).relu())
        return logits


_SHAPES = ("conv1.weight", "bn.weight", "bn.bias", "conv2.weight", "conv2.bias")


class DoubleTeacher(EMATeacher):
    """A teacher whose probabilities stay in float64; `EMATeacher` gives float32."""

    logits: Tensor

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """The class probabilities, in the type of the network."""
        self.logits = self.network(image)
        return self.logits.softmax(1)


class QueuedMixer(nn.Module):
    """Pastes with recorded masks, one after another, and keeps what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []
        self.pseudo: list[PseudoLabel] = []
        self.mixed: list[Mixed] = []

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """The mixed images of the next mask."""
        self.pseudo.append(pseudo)
        self.mixed.append(paste(self.masks.pop(0), source, target, pseudo))
        return self.mixed[-1]


def selector_of(arrays: Arrays) -> ConfidenceShare:
    """The share of confident pixels of the batch, as all files use it."""
    return ConfidenceShare(
        threshold=arrays.number("pseudo_threshold"),
        scope="batch",
        ignore_rows=(
            int(arrays.number("ignore_top", 0)),
            int(arrays.number("ignore_bottom", 0)),
        ),
    )


def optimiser_of(arrays: Arrays, student: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD with the settings of the file; the learning rate is set each iteration."""
    kind, decay = str(arrays["optimizer"]), arrays.number("weight_decay", 0.0)
    if kind == "adamw":
        betas = tuple(arrays["betas"].tolist())
        eps = arrays.number("adam_eps", 1e-8)
        return torch.optim.AdamW(
            student.parameters(), lr=1.0, betas=betas, eps=eps, weight_decay=decay
        )
    if kind == "sgd":
        momentum = arrays.number("sgd_momentum")
        return torch.optim.SGD(student.parameters(), lr=1.0, momentum=momentum, weight_decay=decay)
    raise ValueError(f"optimizer is {kind!r}; known: adamw, sgd")


def state_rows(what: str, ours: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[Row]:
    """One row for each recorded tensor."""
    missing = sorted(set(wanted) - set(ours))
    if missing:
        raise ValueError(f"{what}: there is no {missing[0]} to compare")
    return [compare(f"{what}.{name}", ours[name], wanted[name], **EXACT) for name in wanted]


def network_state(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, copied."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
