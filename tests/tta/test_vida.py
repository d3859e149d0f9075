"""ViDA: adapters of conv nets, views of dense predictions, the settings of released scripts."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tta.tiny import Transformer, images, network
from uda.tta import adapt, inspect
from uda.tta.low_rank import AdaptedConvolution, adaptable_layers, described, inject, set_scales
from uda.tta.methods import ViDA
from uda.tta.methods.vida import uncertainty


@pytest.mark.parametrize("stride", [1, 2])
def test_adapted_convolution_values(stride: int) -> None:
    """At first the layer itself; then a 1x1 convolution by the sum of the three matrices."""
    convolution = nn.Conv2d(4, 6, 1, stride=stride)
    layer = AdaptedConvolution(convolution, low=1, high=128)
    values = torch.randn(2, 4, 5, 5)
    assert torch.equal(layer(values), convolution(values))
    assert layer.adapter_down_high.shape == (4, 4)  # no more than there are channels
    nn.init.normal_(layer.adapter_up_low)
    nn.init.normal_(layer.adapter_up_high)
    set_scales(layer, low=0.5, high=2.0)
    weight = convolution.weight.flatten(1) + 0.5 * layer.adapter_up_low @ layer.adapter_down_low
    weight = weight + 2 * layer.adapter_up_high @ layer.adapter_down_high
    wanted = F.conv2d(values, weight[:, :, None, None], convolution.bias, stride=stride)
    torch.testing.assert_close(layer(values), wanted, atol=1e-4, rtol=1e-4)


def test_adapted_convolution_errors() -> None:
    with pytest.raises(ValueError, match="go beside convolutions of 1x1 pixels"):
        AdaptedConvolution(nn.Conv2d(4, 4, 3), low=1, high=2)
    with pytest.raises(ValueError, match="ranks of adapters have to be at least 1"):
        AdaptedConvolution(nn.Conv2d(4, 4, 1), low=0, high=2)


def test_adaptable_layers_values() -> None:
    """Attention has its linear layers alone; a network without it every 1x1 convolution."""
    assert list(adaptable_layers(Transformer())) == ["attention.qkv", "attention.proj"]
    mixed = nn.Sequential(nn.Conv2d(3, 4, 1), Transformer())
    assert list(adaptable_layers(mixed)) == ["1.attention.qkv", "1.attention.proj"]
    convolutional = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Linear(8, 8),
        nn.Sequential(nn.Conv2d(8, 4, 1, padding=1), nn.Conv2d(4, 4, 1, stride=2)),
    )  # fmt: skip
    assert list(adaptable_layers(convolutional)) == ["1", "4.1"]
    chosen = adaptable_layers(convolutional, lambda name, owner: name == "")
    assert list(chosen) == ["1", "3"]
    assert inject(convolutional, low=1, high=2) == ["1", "4.1"]
    assert inject(convolutional, low=1, high=2) == []  # a second time nothing is found
    assert described(convolutional)["4.1"] == "1x1 convolution 4 -> 4, ranks 1 and 2"


def test_layers_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Before by `inspect`, then by the log and the report."""
    assert "vida puts adapters beside 1 Conv2d: 3" in str(inspect(network("segmenter")))
    with caplog.at_level(logging.INFO, logger="uda.tta"):
        model = adapt(network("segmenter"), "vida", passes=2, guard=False)
    assert "vida adapts 1 layers: {'3': '1x1 convolution 6 -> 5, ranks 1 and 5'}" in caplog.text
    model(images(2))
    assert model.report()["details"]["adapters"] == {"3": "1x1 convolution 6 -> 5, ranks 1 and 5"}
    bare = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert "or 1x1 convolutions" in inspect(bare).refused["vida"]
    with pytest.raises(ValueError, match="beside 1x1 convolutions, and the model has neither"):
        adapt(bare, "vida")


def views_of(kind: str) -> list[Tensor]:
    """What the teacher is shown of an image with an edge in its middle."""
    model = adapt(network(kind), "vida", passes=4, high=2, guard=False)
    shown: list[Tensor] = []
    teach = model.learner.teach
    model.learner.teach = lambda net, image, **how: shown.append(image) or teach(net, image, **how)
    image = torch.full((1, 3, 16, 16), -1.0)
    image[..., 8:] = 1.0
    model(image)
    return shown[:4]


def test_views_of_dense_predictions() -> None:
    """Every pixel stays in its place, so that the variance over passes is that of one pixel."""
    for view in views_of("segmenter"):
        middle = view[:, :, 3:-3]
        assert (middle[..., 10:].mean() - middle[..., :6].mean()) > 0.3
        assert middle.diff(dim=-1).abs().mean((0, 1, 2)).argmax() == 7  # the edge, where it was
    moved = [view[..., 11:].mean() < view[..., :5].mean() for view in views_of("transformer")]
    assert any(moved)  # images of a classifier are mirrored


def test_convolutional_vida_learns() -> None:
    """Student, adapters and teacher move; what is predicted is the teacher's."""
    model = adapt(network("segmenter"), "vida", passes=2, restore=0.0, guard=False, lr=0.01,
                  lr_adapters=0.01, decay=0.5, decay_adapters=0.5)  # fmt: skip
    before = model.predict(images(2))
    torch.testing.assert_close(before, network("segmenter")(images(2)).detach(), atol=1, rtol=1)
    for seed in range(3):
        model(images(2, seed))
    up = model.method.teacher[3].adapter_up_low
    assert up.abs().max() > 0
    assert not torch.equal(model.predict(images(2)), before)


PUBLISHED = {
    "cifar10": (0.05, 0.999, 0.999, 0.1, "adam", 1e-4, 1e-5, "cross_entropy"),
    "cifar100": (0.05, 0.999, 0.999, 0.1, "adam", 3e-4, 1e-6, "cross_entropy"),
    "imagenet": (0.2, 0.999, 0.8, 0.0, "sgd", 5e-7, 2e-7, "symmetric"),
}


@pytest.mark.parametrize("published", PUBLISHED)
def test_published_values(published: str) -> None:
    """Each script's values belong together; the rate is no other architecture's or batch's."""
    method = ViDA(published=published)  # type: ignore[arg-type]
    rates = method.optimiser(dense=False)
    assert PUBLISHED[published] == (
        method.threshold, method.decay, method.decay_adapters, method.restore.rate,
        rates.kind, rates.lr, method.lr_adapters, method.loss,
    )  # fmt: skip
    model = adapt(Transformer(), "vida", published=published, passes=2, high=2, guard=False)
    model(images(3))
    groups = {group["lr"] for group in model.learner.optimiser.param_groups}
    assert groups == {rates.lr, method.lr_adapters}


def test_published_changes() -> None:
    """A value that is given replaces the script's, 0 too; another script is refused."""
    method = ViDA(published="imagenet", threshold=0.0, decay_adapters=0.5, restore=0.25)
    assert (method.threshold, method.decay_adapters, method.restore.rate) == (0.0, 0.5, 0.25)
    assert method.loss == "symmetric"
    with pytest.raises(ValueError, match="published has to be one of cifar10, cifar100, imagenet"):
        ViDA(published="acdc")  # type: ignore[arg-type]


def test_uncertainty_values() -> None:
    """The unbiased variance, whether passes come one by one or stacked."""
    passes = torch.randn(10, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = 0.1 * passes.var(0).mean()
    torch.testing.assert_close(uncertainty(passes), wanted)
    torch.testing.assert_close(uncertainty(single for single in passes), wanted)
