"""Views: definitions by hand, against colorsys and a dense convolution; gates and draws."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from uda.selftraining import ColorJitterBlur, NoView, TorchvisionView, View
from uda.selftraining.views.color_jitter_blur import (
    blur_kernel_length,
    color_jitter,
    gaussian_blur,
)
from uda.selftraining.views.color_space import hsv_to_rgb, rgb_to_hsv

unit = st.floats(0, 1, width=32)


def images(count: int = 3, height: int = 12, width: int = 14, seed: int = 0) -> Tensor:
    """RGB images in [0, 1]."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def changed(view: View, image: Tensor, seed: int) -> list[bool]:
    """Which images of a batch a view changes."""
    torch.manual_seed(seed)
    return (view(image) - image).abs().flatten(1).amax(1).gt(1e-3).tolist()


def pixel(*rgb: float) -> Tensor:
    """One pixel as an image (1, 3, 1, 1) in float64."""
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)


@settings(deadline=None)
@given(unit, unit, unit)
def test_color_space_parity(red: float, green: float, blue: float) -> None:
    """Python's colorsys says the same in both directions, and the way back is the identity."""
    hue, saturation, value = (x.item() for x in rgb_to_hsv(pixel(red, green, blue)))
    wanted = colorsys.rgb_to_hsv(red, green, blue)
    # 1e-8 in the denominator of the saturation keeps black from dividing by 0.
    assert saturation == pytest.approx(
        wanted[1] * max(red, green, blue) / (max(red, green, blue) + 1e-8), abs=1e-9
    )
    assert value == wanted[2]
    assert math.isclose(math.cos(2 * math.pi * (hue - wanted[0])), 1, abs_tol=1e-9)
    maps = [torch.full((1, 1, 1), x, dtype=torch.float64) for x in (red, green, blue)]
    back = hsv_to_rgb(*maps).flatten().tolist()
    assert back == pytest.approx(colorsys.hsv_to_rgb(red, green, blue), abs=1e-9)
    again = hsv_to_rgb(*rgb_to_hsv(pixel(red, green, blue)))
    torch.testing.assert_close(again, pixel(red, green, blue), atol=2e-8, rtol=0)


def test_color_jitter_values() -> None:
    """Brightness adds, contrast multiplies without a mean; saturation and hue by colorsys.

    (0.2, 0.4, 0.9): brightness 1.2 adds 0.2 and clips the last to 1; contrast 0.5 halves.
    """
    image = pixel(0.2, 0.4, 0.9)
    amounts = [1.2, 0.5, 0.8, 0.1]
    wanted = {
        0: (0.4, 0.6, 1.0),
        1: (0.1, 0.2, 0.45),
        2: colorsys.hsv_to_rgb(*(np.array(colorsys.rgb_to_hsv(0.2, 0.4, 0.9)) * [1, 0.8, 1])),
        3: colorsys.hsv_to_rgb(*(np.array(colorsys.rgb_to_hsv(0.2, 0.4, 0.9)) + [0.1, 0, 0])),
    }
    for operation, rgb in wanted.items():
        torch.testing.assert_close(
            color_jitter(image, amounts, [operation]), pixel(*rgb), atol=1e-7, rtol=0
        )


def test_color_jitter_order_values() -> None:
    """On grey 0.9: brighter by 0.2 and clipped to 1, then halved, 0.5; the other way 0.65."""
    grey, amounts = pixel(0.9, 0.9, 0.9), [1.2, 0.5, 1.0, 0.0]
    assert color_jitter(grey, amounts, [0, 1])[0, 0].item() == pytest.approx(0.5)
    assert color_jitter(grey, amounts, [1, 0])[0, 0].item() == pytest.approx(0.65)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), strength=st.floats(0, 1))
def test_color_jitter_properties(seed: int, strength: float) -> None:
    """Pixels stay in [0, 1] whatever the factors and their order."""
    torch.manual_seed(seed)
    amounts = (1 + strength * (2 * torch.rand(4) - 1)).tolist()
    result = color_jitter(images(), [*amounts[:3], amounts[3] - 1], torch.randperm(4).tolist())
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6


def dense_blur(image: Tensor, sigma: float) -> Tensor:
    """A sum over all offsets of the reference's full square kernel, for one channel (H, W)."""
    reach = [(blur_kernel_length(n) - 1) // 2 for n in image.shape]
    padded = np.pad(image.numpy(), [(r, r) for r in reach], mode="reflect")
    weights, total = 0.0, np.zeros(image.shape)
    for y in range(-reach[0], reach[0] + 1):
        for x in range(-reach[1], reach[1] + 1):
            weight = math.exp(-(x * x + y * y) / (2 * sigma**2))
            top, left = reach[0] + y, reach[1] + x
            view = padded[top : top + image.shape[0], left : left + image.shape[1]]
            total += weight * view
            weights += weight
    return torch.from_numpy(total / weights)


def test_gaussian_blur_parity() -> None:
    """Each image by its own sigma, equal to the dense convolution with reflected borders."""
    sigmas = [0.15, 0.7, 1.15]
    image = images(3, 60, 115).double()
    result = gaussian_blur(image, sigmas)
    for i, sigma in enumerate(sigmas):
        for channel in range(3):
            wanted = dense_blur(image[i, channel], sigma)
            torch.testing.assert_close(result[i, channel], wanted, atol=1e-12, rtol=0)


def test_gaussian_blur_shapes() -> None:
    """Images too small for a kernel are returned as they are."""
    image = images(2, 8, 9)
    assert blur_kernel_length(8) == 1
    assert torch.equal(gaussian_blur(image, [1.0, 1.0]), image)


@pytest.mark.parametrize(
    ("length", "taps"), [(512, 51), (1024, 103), (240, 23), (241, 25), (320, 31), (30, 3)]
)
def test_blur_kernel_length_values(length: int, taps: int) -> None:
    """A tenth, rounded up; an even one is lowered by 1: 240 has 24 -> 23, 241 has 25 -> 25."""
    assert blur_kernel_length(length) == taps


def test_view_identity_properties() -> None:
    """With both chances 0 only the rounding of de- and re-normalising is left; NoView is exact."""
    image = (images() * 255 - 120) / 57
    view = ColorJitterBlur(jitter_probability=0, blur_probability=0)
    torch.testing.assert_close(view(image), image, atol=2e-6, rtol=0)
    assert NoView()(image) is image


def test_view_normalisation_values() -> None:
    """Mean 127.5 and deviation 51 (0.5 and 0.2): 0 stands for 0.5, 1 for 0.7, and back."""
    view = ColorJitterBlur(mean=(127.5,) * 3, std=(51.0,) * 3)
    seen = view.denormalise(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2))
    torch.testing.assert_close(seen[0, 0, 0], torch.tensor([0.5, 0.7]))
    torch.testing.assert_close(view.normalise(seen)[0, 0, 0], torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("kind", ["jitter", "blur"])
def test_gate_properties(kind: str) -> None:
    """ "batch" changes all images or none, "image" each by itself, both at the given rate.

    60 draws of 3 images at p = 0.5: 30 batches, or 90 images, within 4 standard deviations.
    """
    chances = {"jitter_probability": 0.0, "blur_probability": 0.0, f"{kind}_probability": 0.5}
    image = images(3, 30, 30)
    sigma = (0.8, 1.15)  # 0.15 would change an image too little to be noticed
    batch = ColorJitterBlur(**chances, gate="batch", blur_sigma=sigma)
    flags = [changed(batch, image, seed) for seed in range(60)]
    assert all(len(set(flag)) == 1 for flag in flags)
    assert abs(sum(flag[0] for flag in flags) - 30) < 4 * math.sqrt(60) / 2
    single = ColorJitterBlur(**chances, gate="image", blur_sigma=sigma)
    flags = [changed(single, image, seed) for seed in range(60)]
    assert any(len(set(flag)) == 2 for flag in flags)
    assert abs(sum(map(sum, flags)) - 90) < 4 * math.sqrt(180) / 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: ColorJitterBlur(jitter_probability=1, blur_probability=1),
        lambda: TorchvisionView(transforms=[{"type": "ColorJitter", "brightness": 0.5}]),
    ],
)
def test_view_draws_properties(make: Callable[[], View]) -> None:
    """The same seed gives the same bits; the images of a batch get draws of their own."""
    image = images(1, 30, 30).expand(2, 3, 30, 30)
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(make()(image))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0][0], results[0][1])


def test_view_grad() -> None:
    """A view builds no graph."""
    image = images().requires_grad_()
    assert not ColorJitterBlur(jitter_probability=1)(image).requires_grad


def test_torchvision_view_values() -> None:
    """The transform sees [0, 1]: inverting 0.25 gives 0.75. `p=0` beside a transform: identity."""
    mean, std = (0.0,) * 3, (255.0,) * 3
    image = torch.full((2, 3, 4, 4), 0.25)
    inverted = TorchvisionView(
        transforms=[{"type": "RandomInvert", "p": 1.0}, v2.Identity()], mean=mean, std=std
    )
    torch.testing.assert_close(inverted(image), 1 - image)
    never = TorchvisionView(
        transforms=[{"type": "GaussianBlur", "kernel_size": 3, "p": 0.0}], mean=mean, std=std
    )
    image = images()
    torch.testing.assert_close(never(image), image)


def test_view_errors() -> None:
    """Unknown transforms propose the nearest; numbers out of range are named."""
    with pytest.raises(ValueError, match="no transform 'ColorJiter'. Did you mean 'ColorJitter'"):
        TorchvisionView(transforms=[{"type": "ColorJiter"}])
    with pytest.raises(ValueError, match="no transform None"):
        TorchvisionView(transforms=[{"brightness": 0.4}])
    with pytest.raises(TypeError, match="brigtness"):
        TorchvisionView(transforms=[{"type": "ColorJitter", "brigtness": 0.4}])
    for name in ("jitter_probability", "blur_probability"):
        with pytest.raises(ValueError, match=rf"{name} has to lie in \[0, 1\], not 80"):
            ColorJitterBlur(**{name: 80})
    with pytest.raises(ValueError, match="jitter_strength has to be at least 0, not -0.2"):
        ColorJitterBlur(jitter_strength=-0.2)
    for sigma in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="blur_sigma has to be"):
            ColorJitterBlur(blur_sigma=sigma)
    with pytest.raises(ValueError, match='gate has to be "batch" or "image", not \'pixel\''):
        ColorJitterBlur(gate="pixel")  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="View has to define `change`"):
        View()(images())


def test_view_under_autocast_values() -> None:
    """Mixed precision of the networks does not touch the colours: equal to the bit."""
    view = ColorJitterBlur(jitter_probability=1.0, blur_probability=1.0)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    plain = view(image)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed_precision = view(image)
    assert torch.equal(plain, mixed_precision)
