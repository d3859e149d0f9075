"""The shared parts: parameters, samples, ascent, restore, memory, views, adapters."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.tta.tiny import Transformer, classifier, images
from uda.selftraining.norm_statistics import norm_layers
from uda.tta import Statistics
from uda.tta.learner import OptimiserSettings
from uda.tta.learning_rate import suggested_lr
from uda.tta.low_rank import AdaptedLinear, inject, set_scales
from uda.tta.memory import BalancedMemory
from uda.tta.methods.deyo import shuffle_patches
from uda.tta.parameters import chosen_parameters, norm_parameters, trained_layers
from uda.tta.restore import StochasticRestore, follow
from uda.tta.sam import SharpnessAscent
from uda.tta.samples import PixelSettings, Samples
from uda.tta.views import RandomView, mean_probs, moved


class OwnNorm(nn.Module):
    """A normalisation that derives from nothing of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))


def test_norm_parameters_values() -> None:
    """All kinds of normalisation count, those without weights and other layers do not."""
    layers = nn.ModuleDict(
        {
            "a": nn.BatchNorm1d(3),
            "b": nn.SyncBatchNorm(3),
            "c": nn.GroupNorm(1, 3),
            "d": nn.LayerNorm(3, bias=False),
            "e": nn.InstanceNorm2d(3),
            "f": OwnNorm(),
            "g": nn.Linear(3, 3),
        }
    )
    wanted = ["a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias", "d.weight"]
    assert list(norm_parameters(layers)) == [*wanted, "f.weight", "f.bias"]
    assert list(norm_parameters(layers, skip=["a", "b", "c"])) == ["d.weight", "f.weight", "f.bias"]
    chosen = chosen_parameters(layers, lambda model: {"g.bias": model["g"].bias})
    assert list(chosen) == ["g.bias"]
    assert len(chosen_parameters(layers, "all")) == len(list(layers.parameters()))


def test_trained_layers_values() -> None:
    """Of a ViT-B's names both rules leave blocks 9 to 11 and the last norm."""
    names = [f"{i}_norm{j}" for i in range(12) for j in (1, 2)]
    transformer = nn.Module()
    blocks = nn.ModuleList()
    for _ in range(12):
        block = nn.Module()
        block.norm1, block.norm2 = nn.LayerNorm(2), nn.LayerNorm(2)
        blocks.append(block)
    transformer.blocks, transformer.norm = blocks, nn.LayerNorm(2)
    clean = trained_layers(transformer, "last_quarter")
    assert len(clean) == 2 * (len(names) + 1 - 6)
    reference = trained_layers(transformer, "reference")
    assert {n.split(".")[1] for n in reference} == {str(i) for i in range(9)}
    assert set(clean) - set(reference) == {"blocks.9.norm1.weight", "blocks.9.norm1.bias"}
    assert not any("norm1" in name for name in trained_layers(transformer, ["norm1"]))
    with pytest.raises(ValueError, match='skip has to be "last_quarter"'):
        trained_layers(transformer, "all")  # type: ignore[arg-type]


def samples(logits: Tensor, valid: Tensor | None = None, **pixels: object) -> Samples:
    return Samples(logits, valid, PixelSettings(**pixels), torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_samples_values() -> None:
    """Losses 1, 2, 3 and one not valid: mean 2; with only that one kept: 0, no gradient."""
    logits = torch.zeros(1, 2, 1, 4, requires_grad=True)
    valid = torch.tensor([[[True, True, True, False]]])
    chosen = samples(logits, valid)
    losses = torch.tensor([[[1.0, 2.0, 3.0, math.inf]]])
    assert chosen.mean(losses).item() == 2
    loss = chosen.mean(logits.sum(1), ~valid)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (loss.item(), gradient.abs().max().item()) == (0, 0)


def test_samples_class_balance() -> None:
    """Three pixels of class 0 and one of class 1: with balance 1 both classes count a half."""
    logits = torch.tensor([[[[5.0, 5.0, 5.0, 0.0]], [[0.0, 0.0, 0.0, 5.0]]]])
    losses = torch.tensor([[[1.0, 1.0, 1.0, 3.0]]])
    assert samples(logits).mean(losses).item() == 1.5
    balanced = samples(logits, class_balance=1.0).mean(losses)
    assert balanced.item() == pytest.approx(2.0)
    sure = samples(torch.tensor([[[[9.0, 0.1]], [[0.0, 0.0]]]]), confidence=0.9)
    assert sure.mean(torch.tensor([[[1.0, 7.0]]])).item() == 1
    # images of a classifier are not weighted
    assert samples(torch.zeros(4, 2), class_balance=1.0, confidence=0.9).weight is None


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(0, 99))
def test_samples_subset(limit: int, seed: int) -> None:
    """Drawn pixels are rows of the maps, the same in each map, as many as allowed."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    chosen = samples(logits, max_pixels=limit)
    found, label = chosen.of(logits), chosen.of_map(logits.argmax(1))
    assert torch.equal(found.argmax(1), label)
    if limit < 40:
        assert found.shape == (limit, 3)
        rows = {tuple(row) for row in logits.movedim(1, -1).reshape(-1, 3).tolist()}
        assert {tuple(row) for row in found.tolist()} <= rows
        assert len({tuple(row) for row in found.tolist()}) == limit


def test_ascent_values() -> None:
    """Gradient (3, 4), rho 0.5: a move by (0.3, 0.4); back to the same bits; none without."""
    first, second = nn.Parameter(torch.tensor([0.1])), nn.Parameter(torch.tensor([0.7]))
    first.grad, second.grad = torch.tensor([3.0]), torch.tensor([4.0])
    ascent = SharpnessAscent([first, second], rho=0.5)
    ascent.climb()
    torch.testing.assert_close((first.item(), second.item()), (0.4, 1.1))
    assert first.grad is None
    ascent.descend()
    assert (first.item(), second.item()) == (torch.tensor(0.1).item(), torch.tensor(0.7).item())
    ascent.climb()
    assert first.item() == torch.tensor(0.1).item()
    with pytest.raises(ValueError, match="rho is the length"):
        SharpnessAscent([], rho=-1)


def test_follow_and_restore_values() -> None:
    """0.75 of 4 and 0.25 of 8 is 5; rate 1 brings the source back, 0 leaves everything."""
    teacher, student = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, value in ((teacher, 4.0), (student, 8.0)):
        for parameter in layer.parameters():
            nn.init.constant_(parameter, value)
    follow(teacher, {"weight": student.weight}, {"weight": 0.75})
    assert (teacher.weight.item(), teacher.bias.item()) == (5, 4)
    source = {"weight": torch.tensor([[1.0]])}
    generator = torch.Generator()
    StochasticRestore(0.0)({"weight": student.weight}, source, generator)
    assert student.weight.item() == 8
    StochasticRestore(1.0)({"weight": student.weight}, source, generator)
    assert (student.weight.item(), student.bias.item()) == (1, 8)
    share = StochasticRestore(0.25).mask("", torch.Size([10000]), generator).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.03)
    with pytest.raises(ValueError, match="restore is a probability"):
        StochasticRestore(1.5)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1.09)), max_size=40))
def test_memory_properties(offers: list[tuple[int, float]]) -> None:
    """Never above capacity; every class keeps its quota once it had that many offers."""
    memory = BalancedMemory(6, 3)
    for label, entropy in offers:
        memory.add(torch.zeros(1, 1, 1), label, entropy)
    assert len(memory) <= 6
    for label in range(3):
        offered = sum(own == label for own, _ in offers)
        assert len(memory.of_class[label]) <= min(offered, 2)
    other = BalancedMemory(6, 3)
    other.load(memory.state())
    for ours, theirs in zip(other.of_class, memory.of_class, strict=True):
        assert [(i.entropy, i.age) for i in ours] == [(i.entropy, i.age) for i in theirs]


def test_memory_sizes() -> None:
    """Images of several sizes are refused in a sentence."""
    memory = BalancedMemory(6, 2)
    memory.add(torch.zeros(1, 2, 2), 0, 0.1)
    memory.add(torch.zeros(1, 3, 2), 1, 0.1)
    with pytest.raises(ValueError, match=r"several sizes: \[\(1, 2, 2\), \(1, 3, 2\)\]"):
        memory.batch()


def test_view_values() -> None:
    """In range, of the same shape, repeatable by its generator, and different for another."""
    view = RandomView(mean=None, std=None)
    image = images(2, size=16)
    first, second = (view(image, torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(first, second)
    assert first.shape == image.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert not torch.equal(view(image, torch.Generator().manual_seed(1)), first)
    # normalised images come back normalised
    normalise = RandomView(mean=[0.5] * 3, std=[0.25] * 3)
    found = normalise((image - 0.5) / 0.25, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, (first - 0.5) / 0.25, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="belong together"):
        RandomView(mean=None)
    with pytest.raises(ValueError, match="std has to be above 0"):
        RandomView(std=[1.0, 0.0, 1.0])


def test_moved_values() -> None:
    """No move: the image; half a turn: upside down; a shift by a quarter: one pixel of four."""
    image = images(1, size=4)
    still = moved(image, angle=0, shift=(0, 0), scale=1)
    torch.testing.assert_close(still, image)
    turned = moved(image, angle=180, shift=(0, 0), scale=1)
    torch.testing.assert_close(turned, image.flip(2, 3), atol=1e-5, rtol=1e-5)
    right = moved(image, angle=0, shift=(0.25, 0), scale=1)
    torch.testing.assert_close(right[..., 1:], image[..., :-1])
    down = moved(image, angle=0, shift=(0, 0.25), scale=1)
    torch.testing.assert_close(down[..., 1:, :], image[..., :-1, :])


def test_mean_probs_values() -> None:
    """Of a network that looks at pixels alone, mirroring changes nothing and sizes come back."""
    conv = nn.Conv2d(3, 4, 1)
    image = images(1, size=9)
    plain = conv(image).softmax(1)
    size = (9, 9)
    found = mean_probs(conv, image, size=size, scales=(1.0,), mirror=True)
    torch.testing.assert_close(found, plain)
    scaled = mean_probs(conv, image, size=size, scales=(0.5, 1.0, 1.5), mirror=True)
    assert scaled.shape == plain.shape
    torch.testing.assert_close(scaled.sum(1), torch.ones(1, 9, 9))


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 4), st.integers(0, 50))
def test_shuffle_properties(side: int, seed: int) -> None:
    """An order and its inverse give the image back; patches stay whole."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 1, 3 * side, 2 * side, generator=generator)
    order = torch.rand(2, side**2, generator=generator).argsort(1)
    shuffled = shuffle_patches(image, order, side)
    assert torch.equal(shuffle_patches(shuffled, order.argsort(1), side), image)
    row, column = divmod(int(order[0, 0]), side)
    patch = image[0, :, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
    assert torch.equal(shuffled[0, :, :3, :2], patch)
    with pytest.raises(ValueError, match="cannot be cut"):
        shuffle_patches(torch.zeros(1, 1, 1, 8), order, side)


def test_adapted_linear_values() -> None:
    """At first the layer itself; then the sum of the branches by definition."""
    linear = nn.Linear(4, 3)
    layer = AdaptedLinear(linear, low=1, high=2)
    values = torch.randn(5, 4)
    assert torch.equal(layer(values), linear(values))
    nn.init.normal_(layer.adapter_up_low)
    nn.init.normal_(layer.adapter_up_high)
    set_scales(layer, low=0.5, high=2.0)
    weight = linear.weight + 0.5 * layer.adapter_up_low @ layer.adapter_down_low
    weight = weight + 2 * layer.adapter_up_high @ layer.adapter_down_high
    torch.testing.assert_close(layer(values), F.linear(values, weight, linear.bias))
    deviation = AdaptedLinear(nn.Linear(5000, 1), low=1, high=2).adapter_down_high.std().item()
    assert deviation == pytest.approx(0.25, rel=0.05)  # 1 / r^2
    with pytest.raises(ValueError, match="ranks of adapters"):
        AdaptedLinear(linear, low=0, high=2)


def test_inject_values() -> None:
    """Linear layers of the attention alone, by default; a second time nothing is found."""
    made = Transformer()
    before = made(images())
    assert inject(made, low=1, high=2) == ["attention.qkv", "attention.proj"]
    assert torch.equal(made(images()), before)
    assert inject(made, low=1, high=2) == []
    assert inject(Transformer(), low=1, high=2, where=lambda name, owner: name == "") == ["head"]


def test_suggested_lr_values() -> None:
    """The rule of SAR's code for BN, GN and LN; Adam and dense predictions stay."""
    rate = OptimiserSettings(lr=2.5e-4)
    cases = [
        (classifier(), 64, 2.5e-4),
        (classifier(), 8, 2.5e-4 / 64 * 8 * 2),
        (classifier(nn.GroupNorm), 1, 2.5e-4 / 32),
        (Transformer(), 16, 1e-3 * 16 / 64),
        (Transformer(), 128, 1e-3),
    ]
    for model, batch, wanted in cases:
        found = suggested_lr(rate, model, batch=batch, dense=False)
        assert found == pytest.approx(wanted)
        assert suggested_lr(rate, model, batch=batch, dense=True) == 2.5e-4
    adam = OptimiserSettings("adam", lr=1e-3)
    assert suggested_lr(adam, classifier(), batch=1, dense=False) == 1e-3


def test_norm_layers_reused() -> None:
    """Layers without stored statistics are left to torch: always the batch's."""
    made = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    assert norm_layers(made) == {}
    with Statistics("source").applied(made, update=True):
        torch.testing.assert_close(
            made(images()).mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0
        )
