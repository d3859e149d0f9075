"""The four small networks of the test-time adaptation fixtures, and a stream through them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.parity.rows import Arrays, Row, compare, differing
from uda.tta import Adapter, Method, adapt

# Two independent implementations differ by 7e-15 in float64.
LIMIT = 1e-9
Weights = dict[str, Tensor]


class ConvNet(nn.Module):
    """Two convolutions with normalisation; a classifier with `fc`, dense with `head`."""

    def __init__(self, weights: Weights, norm: str) -> None:
        super().__init__()
        first, second = weights["conv1.weight"], weights["conv2.weight"]
        dense = "head.weight" in weights
        has_bias = "conv1.bias" in weights
        self.conv1 = nn.Conv2d(first.shape[1], first.shape[0], 3, padding=1, bias=has_bias)
        stride = 1 if dense else 2
        self.conv2 = nn.Conv2d(
            second.shape[1], second.shape[0], 3, stride=stride, padding=1, bias=has_bias
        )
        self.norm = norm
        for number, channels in ((1, first.shape[0]), (2, second.shape[0])):
            layer = nn.BatchNorm2d(channels) if norm == "bn" else nn.GroupNorm(number + 1, channels)
            self.add_module(f"{norm}{number}", layer)
        last = weights["head.weight" if dense else "fc.weight"]
        if dense:
            self.head = nn.Conv2d(last.shape[1], last.shape[0], 1)
        else:
            self.fc = nn.Linear(last.shape[1], last.shape[0])

    def forward(self, image: Tensor) -> Tensor:
        first, second = getattr(self, f"{self.norm}1"), getattr(self, f"{self.norm}2")
        hidden = F.relu(second(self.conv2(F.relu(first(self.conv1(image))))))
        return self.head(hidden) if hasattr(self, "head") else self.fc(hidden.mean((2, 3)))


class Attention(nn.Module):
    """Self-attention of two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        qkv = self.qkv(tokens).view(count, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = (query @ key.transpose(-2, -1) * (width // 2) ** -0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(count, length, width))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn = Attention(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))


class VisionTransformer(nn.Module):
    """Patches, blocks, mean of the tokens."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        patch = weights["patch.weight"]
        width, hidden = patch.shape[0], weights["blocks.0.fc1.weight"].shape[0]
        blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        self.patch = nn.Conv2d(patch.shape[1], width, patch.shape[2], stride=patch.shape[2])
        self.blocks = nn.Sequential(*(Block(width, hidden) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, weights["head.weight"].shape[0])

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patch(image).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def build(weights: Weights) -> nn.Module:
    """The network whose state dict `weights` is, told apart by its names, without loading it."""
    if "patch.weight" in weights:
        return VisionTransformer(weights).double()
    norm = "gn" if "gn1.weight" in weights else "bn"
    return ConvNet(weights, norm).double()


def recorded_network(arrays: Arrays) -> nn.Module:
    """The network of a file with its first weights."""
    weights = arrays.below("init/")
    network = build(weights)
    network.load_state_dict(weights)
    return network


def meta_of(arrays: Arrays) -> dict[str, Any]:
    """The settings of a file."""
    return json.loads(str(np.asarray(arrays["meta"]).item()))


def adapter(arrays: Arrays, method: str | Method, **settings: Any) -> Adapter:
    """The recorded network adapting with the recorded optimiser, unguarded."""
    meta = meta_of(arrays)
    settings.setdefault("lr", meta["lr"])
    kind = meta.get("opt", "Adam").lower()
    network = settings.pop("network", None) or recorded_network(arrays)
    return adapt(
        network,
        method,
        optimiser=kind,
        momentum=0.9 if kind == "adam" else meta.get("momentum", 0.0),
        nesterov=False,
        guard=False,
        **settings,
    )


def stream_rows(
    model: Adapter, arrays: Arrays, *, after: Callable[[int], None] | None = None
) -> list[Row]:
    """Feed all batches; rows of what moves, of logits, and of parameters after each."""
    meta = meta_of(arrays)
    rows = []
    if "adapted" in meta:
        missing = set(meta["adapted"]) ^ set(model.learner.parameters)
        rows.append(differing("names of adapted parameters", float(len(missing)), 0.0))
    outputs = []
    for number, image in enumerate(arrays.tensor("x")):
        outputs.append(model(image))
        if after is not None:
            after(number)
        for name, value in arrays.below(f"step{number}/").items():
            ours = model.learner.parameters[name]
            rows.append(compare(f"step{number}/{name}", ours, value, absolute=LIMIT))
    if "out" in arrays:
        rows.append(compare("out", torch.stack(outputs), arrays["out"], absolute=LIMIT))
    for name, value in arrays.below("final/").items():
        if name in model.learner.parameters:
            ours = model.learner.parameters[name]
            rows.append(compare(f"final/{name}", ours, value, absolute=LIMIT))
    return rows


def share_of_log_classes(value: float, network: nn.Module) -> float:
    """An entropy in nats as a share of log K."""
    last = network.fc if hasattr(network, "fc") else network.head
    return value / float(np.log(last.weight.shape[0]))
