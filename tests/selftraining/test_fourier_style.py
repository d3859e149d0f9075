"""Low frequencies of another image: against NumPy, the mean, identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uda.selftraining import FourierStyle

PLAIN: dict[str, Any] = {"mean": (0, 0, 0), "std": (255, 255, 255)}


def images(seed: int, size: tuple[int, int] = (10, 13)) -> torch.Tensor:
    """Two images in [0, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)


def by_numpy(image: NDArray[Any], style: NDArray[Any], share: float, extra: int) -> NDArray[Any]:
    """The exchange with a centred spectrum: rows c - b .. c + b, one less without `extra`."""
    own, other = (np.fft.fftshift(np.fft.fft2(x), axes=(-2, -1)) for x in (image, style))
    height, width = image.shape[-2:]
    b = int(np.floor(share * min(height, width)))
    rows = slice(height // 2 - b, height // 2 + b + extra)
    columns = slice(width // 2 - b, width // 2 + b + extra)
    amplitude, phase = np.abs(own), np.angle(own)
    amplitude[..., rows, columns] = np.abs(other)[..., rows, columns]
    mixed = np.fft.ifftshift(amplitude * np.exp(1j * phase), axes=(-2, -1))
    return np.fft.ifft2(mixed).real


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 50),
    share=st.sampled_from([0.01, 0.1, 0.2, 0.35]),
    window=st.sampled_from(["centred", "corner"]),
    size=st.sampled_from([(10, 13), (8, 8), (7, 9)]),
)
def test_fourier_style_parity(seed: int, share: float, window: Any, size: tuple[int, int]) -> None:
    """The formula written with NumPy and a centred spectrum gives the same images."""
    pair = images(seed, size)
    view = FourierStyle(share=share, window=window, **PLAIN).double()
    found = view.transfer(pair, pair.flip(0))
    wanted = by_numpy(pair.numpy(), pair.flip(0).numpy(), share, int(window == "centred"))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


def test_fourier_style_values() -> None:
    """b = 0: centred takes the mean of the other image and nothing else, corner nothing at all."""
    pair = images(0)
    centred = FourierStyle(share=0.01, **PLAIN).double().transfer(pair, pair.flip(0))
    shift = pair.flip(0).mean((2, 3), keepdim=True) - pair.mean((2, 3), keepdim=True)
    torch.testing.assert_close(centred, pair + shift)
    corner = FourierStyle(share=0.01, window="corner", **PLAIN).double()
    torch.testing.assert_close(corner.transfer(pair, pair.flip(0)), pair)


def test_own_style_values() -> None:
    """An image in its own style is itself; as a view each image takes the next one's style."""
    pair = images(1).float()
    view = FourierStyle(share=0.1)
    torch.testing.assert_close(view.transfer(pair, pair), pair, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(view(pair), view.transfer(pair, pair.flip(0)))


def test_fourier_style_errors() -> None:
    """A share of the whole spectrum, an unknown window, images of two sizes."""
    with pytest.raises(ValueError, match=r"share has to be at least 0 and below 0.5, not 0.5"):
        FourierStyle(share=0.5)
    with pytest.raises(ValueError, match='window has to be "corner" or "centred", not \'round\''):
        FourierStyle(window="round")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="FourierStyle needs images of one shape, not"):
        FourierStyle().transfer(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
