"""What is kept of the predictions of an image: a few sums, exact over images and processes."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from uda.evaluation.label_free.exact_sum import as_counts, from_counts
from uda.evaluation.label_free.neighbourhood import sampled_pixels, soft_neighbourhood_density

_PIXELS_AT_ONCE = 2**16  # 10 MB of float64 with 19 classes


class PredictionSums(NamedTuple):
    """Sums over the pixels of images, from which all scores of `scores.py` follow.

    All are int64, so that the sum over images is the same in any order and over any number of
    processes. Real numbers are pairs of integers in a last dimension (`as_counts`).

    Attributes:
        images: Number of images, ().
        broken: How many of them have a prediction that is no number, (); nothing else counts those.
        pixels: Number of pixels, ().
        entropy: Sum of the entropies of pixels in nats, (2,).
        density: Sum of the soft neighbourhood densities of images in nats, (2,).
        probs: Sum of the class probabilities, (K, 2).
        products: Sum of the products of each two class probabilities of a pixel, (K, K, 2).
    """

    images: Tensor
    broken: Tensor
    pixels: Tensor
    entropy: Tensor
    density: Tensor
    probs: Tensor
    products: Tensor

    @classmethod
    def zero(cls, num_classes: int) -> Self:
        """The sums over no image."""
        shapes = ((), (), (), (2,), (2,), (num_classes, 2), (num_classes, num_classes, 2))
        return cls(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))

    def plus(self, other: PredictionSums) -> Self:
        """The sums over the images of both, on the CPU."""
        return type(self)(*(a.cpu() + b.cpu() for a, b in zip(self, other, strict=True)))

    def flat(self) -> Tensor:
        """All numbers in a row, for an exchange between processes."""
        return torch.cat([part.reshape(-1) for part in self])

    @classmethod
    def from_flat(cls, flat: Tensor, num_classes: int) -> Self:
        """What `flat` gave, in its shapes."""
        empty = cls.zero(num_classes)
        pieces = flat.split([part.numel() for part in empty])
        return cls(*(p.view(part.shape) for p, part in zip(pieces, empty, strict=True)))


@torch.no_grad()
def prediction_sums(
    logits: Tensor,
    image_number: int,
    *,
    pixels: int = 512,
    temperature: float = 0.05,
    include_self: bool = False,
) -> PredictionSums:
    """The sums of one image.

    Every pixel counts in all but the density, which is quadratic in the pixels and taken over a
    sample of them, within the image, as the code released with SND does for segmentation (there
    over 100 pixels). Sums are in float64, the softmax in the precision of the logits, or float32
    if that is more. The memory needed beside the logits does not depend on the image.

    Args:
        logits: (K, H, W) float.
        image_number: Position of the image in the data set; it chooses the sampled pixels.
        pixels: How many are sampled for the density. The memory is 8 * `pixels`**2 bytes up to
            1024, and 8192 * `pixels` bytes above.
        temperature: Of the density.
        include_self: Of the density.
    """
    num_classes = logits.shape[0]
    flat = logits.reshape(num_classes, -1)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    entropy = flat.new_zeros((), dtype=torch.float64)
    probs_sum = flat.new_zeros(num_classes, dtype=torch.float64)
    products = flat.new_zeros(num_classes, num_classes, dtype=torch.float64)
    for part in flat.split(_PIXELS_AT_ONCE, 1):
        probs = part.softmax(0)
        entropy += torch.special.entr(probs).sum(dtype=torch.float64)
        probs = probs.double()
        probs_sum += probs.sum(1)
        products += probs @ probs.T
    chosen = sampled_pixels(flat.shape[1], pixels, image_number).to(flat.device)
    density = soft_neighbourhood_density(
        flat[:, chosen].softmax(0).T, temperature=temperature, include_self=include_self
    )
    finite = (entropy + density + products.sum()).isfinite()
    # 0 where there is no number: an integer cannot say NaN.
    kept = (torch.where(finite, value, 0.0) for value in (entropy, density, probs_sum, products))
    return PredictionSums(
        torch.ones_like(finite, dtype=torch.int64),
        (~finite).long(),
        finite.long() * flat.shape[1],
        *map(as_counts, kept),
    )


class Means(NamedTuple):
    """`PredictionSums` as means.

    Attributes:
        images: Number of images without broken ones.
        pixels: Their number of pixels.
        entropy: Mean entropy of a pixel in nats, ().
        density: Mean soft neighbourhood density of an image in nats, ().
        probs: Mean class probabilities, (K,) float64.
        products: Mean products of each two class probabilities, (K, K) float64.
    """

    images: int
    pixels: int
    entropy: Tensor
    density: Tensor
    probs: Tensor
    products: Tensor


def means(sums: PredictionSums) -> Means:
    """The means of what was summed; NaN without a pixel, and where an image was broken."""
    images, pixels = int(sums.images) - int(sums.broken), int(sums.pixels)
    known = pixels > 0 and int(sums.broken) == 0
    over_pixels, over_images = (pixels, images) if known else (float("nan"), float("nan"))
    return Means(
        images,
        pixels,
        from_counts(sums.entropy) / over_pixels,
        from_counts(sums.density) / over_images,
        from_counts(sums.probs) / over_pixels,
        from_counts(sums.products) / over_pixels,
    )
