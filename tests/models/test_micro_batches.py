"""A batch in parts: the same losses and gradients, less memory, statistics that move once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.losses import weighted_cross_entropy
from uda.models import SegmentationNetwork
from uda.models.micro_batches import frozen_statistics, in_micro_batches
from uda.structures import NetworkOutput


class Small(nn.Module):
    """Two maps, logits and an auxiliary head, with dropout and BatchNorm as asked."""

    def __init__(self, *, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(4, 2, 1)
        self.calls: list[int] = []

    def forward(self, image: Tensor) -> NetworkOutput:
        """Count the images of each call."""
        self.calls.append(len(image))
        features = self.dropout(self.norm(self.stem(image)).relu())
        logits = self.head(features)
        return NetworkOutput(logits, (features, features[:, :, ::2, ::2]), ((logits * 2, 0.4),))


def data(images: int = 5) -> tuple[Tensor, Tensor]:
    """Images whose share of labelled pixels differs."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (images, 6, 6), generator=generator)
    label[1:] = torch.where(torch.rand(images - 1, 6, 6, generator=generator) < 0.7, 255, 0)
    return torch.randn(images, 3, 6, 6, generator=generator).double(), label


def losses_of(output: NetworkOutput, label: Tensor) -> Tensor:
    """Something of everything an output holds, divided by the labelled pixels."""
    loss = weighted_cross_entropy(output.logits, label, average="valid")
    ((auxiliary, share),) = output.auxiliary
    return (
        loss + share * auxiliary.square().mean() + sum(f.square().mean() for f in output.features)
    )


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_in_micro_batches_values(count: int) -> None:
    """Loss and gradients are those of the batch in one piece, whatever the sizes of the parts."""
    image, label = data()
    whole, parts = Small().double(), Small().double()
    parts.load_state_dict(whole.state_dict())
    wanted = losses_of(whole(image), label)
    wanted.backward()
    loss = losses_of(in_micro_batches(parts, parts, image, count), label)
    loss.backward()
    torch.testing.assert_close(loss, wanted)
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    # Each part is computed twice and no call had the whole batch.
    assert sum(parts.calls) == 10
    assert max(parts.calls) == -(-5 // min(count, 5))


def test_statistics_move_once() -> None:
    """Running statistics are those after the forward passes, the counter too."""
    image, label = data(4)
    network = Small(norm=True).double()
    forward_only = copy.deepcopy(network)
    for part in image.chunk(2):
        forward_only(part)
    losses_of(in_micro_batches(network, network, image, 2), label).backward()
    for one, two in zip(forward_only.buffers(), network.buffers(), strict=True):
        assert torch.equal(one, two)


def test_dropout_is_drawn_once() -> None:
    """The second computation drops what the first one dropped: the loss is that of its gradient."""
    image, label = data(4)
    network = Small(dropout=0.5).double()
    torch.manual_seed(3)
    reference = copy.deepcopy(network)
    loss = losses_of(in_micro_batches(network, network, image, 2), label)
    loss.backward()
    torch.manual_seed(3)
    outputs = [reference(part) for part in image.chunk(2)]
    joined = NetworkOutput(
        torch.cat([o.logits for o in outputs]),
        tuple(torch.cat(maps) for maps in zip(*[o.features for o in outputs], strict=True)),
        ((torch.cat([o.auxiliary[0][0] for o in outputs]), 0.4),),
    )
    wanted = losses_of(joined, label)
    wanted.backward()
    assert torch.equal(loss, wanted)
    for one, two in zip(reference.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_frozen_statistics_values() -> None:
    """Inside they move, outside they have not; the buffers are the same objects again."""
    norm = nn.BatchNorm2d(3)
    before = dict(norm.named_buffers())
    with frozen_statistics(nn.Sequential(norm)):
        norm(torch.randn(2, 3, 4, 4) + 5)
        assert norm.running_mean is not None
        assert norm.running_mean.min() > 0.3
    assert all(norm.get_buffer(name) is buffer for name, buffer in before.items())
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.num_batches_tracked == 0


def network_config() -> dict[str, Any]:
    """A network of a few thousand weights, with DropPath."""
    from tests.engine.tiny_run import model_config

    config: dict[str, Any] = model_config()["network"]
    return config


def test_network_cuts_only_passes_with_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation and the teacher see whole batches; training gives the same output."""
    network = SegmentationNetwork.from_config(network_config(), micro_batches=2).eval()
    sizes: list[int] = []
    whole = network._whole

    def counted(image: Tensor) -> NetworkOutput:
        sizes.append(len(image))
        return whole(image)

    monkeypatch.setattr(network, "_whole", counted)
    image = torch.randn(4, 3, 32, 64)
    with torch.no_grad():
        wanted = network(image)
    assert sizes == [4]
    output = network(image)
    assert sizes == [4, 2, 2]
    torch.testing.assert_close(output.logits, wanted.logits)
    assert len(output.features) == len(wanted.features) == 4


def test_micro_batches_error() -> None:
    with pytest.raises(ValueError, match=r"micro_batches has to be at least 1, not 0\."):
        SegmentationNetwork.from_config(network_config(), micro_batches=0)
