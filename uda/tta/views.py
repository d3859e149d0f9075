"""The random views of an image that CoTTA and ViDA average over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as transform

View = Callable[[Tensor, torch.Generator], Tensor]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class RandomView:
    """A batch jittered in colour, moved, blurred, mirrored and made noisy, one draw for all images.

    The augmentations of CoTTA (Wang et al., CVPR 2022; released code): brightness 0.6 to 1.4,
    contrast 0.7 to 1.3, saturation 0.5 to 1.5, hue +-0.06, gamma 0.7 to 1.3, rotation +-15 degrees,
    shift 1/16, scale 0.9 to 1.1, blur of 5 pixels with sigma 0.001 to 0.5, mirroring, noise 0.005.
    They hold for images in [0, 1]; the clipping ruins images that are normalised already, so mean
    and deviation of the normalisation have to be told.

    Args:
        mean: Of the normalisation, for images in [0, 1]; None where images are not normalised.
        std: Its deviation.
        geometry: Also move and mirror; without, each pixel stays where it is, as targets of dense
            predictions need it.

    Raises:
        ValueError: One of the two is missing, or a deviation is not positive.
    """

    def __init__(
        self,
        *,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        geometry: bool = True,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError(
                "mean and std of the normalisation belong together: give both or none."
            )
        if std is not None and min(std) <= 0:
            raise ValueError(f"std has to be above 0, not {tuple(std)}.")
        self.mean, self.std, self.geometry = mean, std, geometry

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """A view of `image` (N, 3, H, W); draws come from `generator` in a fixed order."""
        draws = torch.rand(11, generator=generator).tolist()

        def between(low: float, high: float) -> float:
            return low + (high - low) * draws.pop()

        view = self._normalise(image, back=True).clamp(0, 1)
        view = transform.adjust_brightness(view, between(0.6, 1.4))
        view = transform.adjust_contrast(view, between(0.7, 1.3))
        view = transform.adjust_saturation(view, between(0.5, 1.5))
        view = transform.adjust_hue(view, between(-0.06, 0.06))
        view = transform.adjust_gamma(view, between(0.7, 1.3))
        if self.geometry:
            view = moved(
                view,
                angle=between(-15, 15),
                shift=(between(-1 / 16, 1 / 16), between(-1 / 16, 1 / 16)),
                scale=between(0.9, 1.1),
            )
        sigma = between(0.001, 0.5)
        if min(view.shape[2:]) > 2:  # its border is reflected
            view = transform.gaussian_blur(view, [5, 5], [sigma, sigma])
        if self.geometry and draws.pop() < 0.5:
            view = view.flip(3)
        noise = torch.randn(view.shape, generator=generator).to(view)
        return self._normalise((view + 0.005 * noise).clamp(0, 1), back=False)

    def _normalise(self, image: Tensor, *, back: bool) -> Tensor:
        if self.mean is None or self.std is None:
            return image
        mean = torch.tensor(self.mean).to(image).view(1, -1, 1, 1)
        std = torch.tensor(self.std).to(image).view(1, -1, 1, 1)
        return image * std + mean if back else (image - mean) / std


def moved(image: Tensor, *, angle: float, shift: tuple[float, float], scale: float) -> Tensor:
    """Images (N, C, H, W) turned, shifted and scaled about their middle; edges are repeated.

    Args:
        image: Any floats.
        angle: Degrees.
        shift: Right and down, as shares of width and height.
        scale: Factor.
    """
    height, width = image.shape[2:]
    radians = torch.deg2rad(torch.tensor(angle))
    cos, sin = (float(f(radians)) / scale for f in (torch.cos, torch.sin))
    # In coordinates of [-1, 1] a turn has to know the proportions of the image.
    rows = [
        [cos, sin * height / width, -2 * shift[0]],
        [-sin * width / height, cos, -2 * shift[1]],
    ]
    theta = torch.tensor(rows).to(image).expand(len(image), 2, 3)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def mean_probs(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    size: tuple[int, int],
    scales: Sequence[float],
    mirror: bool,
) -> Tensor:
    """Mean probabilities of a dense prediction over sizes and mirroring, put back in place.

    Args:
        predict: Logits (N, K, h, w) of images.
        image: (N, C, H, W).
        size: Height and width of the result.
        scales: Factors on height and width of the image.
        mirror: Also the mirrored image at each scale.

    Returns:
        (N, K, *size), float.
    """
    total: list[Tensor] = []
    for scale in scales:
        sized = image
        if scale != 1:
            lengths = [max(1, round(length * scale)) for length in image.shape[2:]]
            sized = F.interpolate(image, lengths, mode="bilinear", align_corners=False)
        for mirrored in (False, True) if mirror else (False,):
            logits = predict(sized.flip(3) if mirrored else sized)
            logits = logits.flip(3) if mirrored else logits
            if logits.shape[2:] != size:
                logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            total = [total[0] + logits.softmax(1) if total else logits.softmax(1)]
    return total[0] / (len(scales) * (2 if mirror else 1))
