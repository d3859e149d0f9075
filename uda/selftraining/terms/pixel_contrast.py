"""PiPa's contrast of source pixels with each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from uda.losses import pixel_contrast
from uda.selftraining.anchors import choose_anchors
from uda.selftraining.projection import ProjectionHead, flattened
from uda.selftraining.terms.base import Term
from uda.selftraining.views.base import without_autocast
from uda.structures import Labelled, NetworkOutput


class PixelContrast(Term):
    """Source pixels of one class near to each other, those of different classes apart.

    `weight * pixel_contrast` of projected features of the source pass, over anchors that
    `choose_anchors` draws (Chen et al., PiPa, MM 2023, arXiv 2211.07609). The projection learns
    with the student's optimiser; the gradient reaches the student too.

    Whether a pixel is hard is told by the student's own prediction. In the released code it is that
    of a second classifier, which gets no gradient and stays as drawn.

    Args:
        num_classes: K.
        channels: Width of each feature map that is read: (64, 128, 320, 512) for MiT-B5.
        levels: Which maps those are, see `ProjectionHead`.
        hidden: See `ProjectionHead`.
        size: Length of the projected features.
        norm: See `ProjectionHead`.
        weight: Weight of the loss; 0.1 in the released code.
        temperature: See `pixel_contrast`.
        base_temperature: See `pixel_contrast`.
        anchors: Most pixels contrasted in an iteration, in each process.
        per_class: Most of them of one class in one image.
        min_pixels: A class in an image takes part with more pixels than this, counted in the
            finest of the maps.

    Raises:
        ValueError: A setting is outside its range.
    """

    name = "pixel_contrast"

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        levels: Sequence[int] = (0, 1, 2, 3),
        hidden: int | None = None,
        size: int = 256,
        norm: bool = True,
        weight: float = 0.1,
        temperature: float = 0.1,
        base_temperature: float = 0.07,
        anchors: int = 1024,
        per_class: int = 100,
        min_pixels: int = 100,
    ) -> None:
        super().__init__()
        if not (temperature > 0 and base_temperature > 0):
            raise ValueError(
                f"temperatures have to be above 0, not {temperature} and {base_temperature}."
            )
        if anchors < 2 or per_class < 2 or min_pixels < 0:
            raise ValueError(
                "anchors and per_class have to be at least 2 and min_pixels at least 0, not "
                f"{anchors}, {per_class} and {min_pixels}: one pixel has nothing to be near to."
            )
        self.num_classes, self.weight = num_classes, weight
        self.temperature, self.base_temperature = temperature, base_temperature
        self.anchors, self.per_class, self.min_pixels = anchors, per_class, min_pixels
        self.projection = ProjectionHead(
            channels=channels, levels=levels, hidden=hidden, size=size, norm=norm
        )

    def heads(self) -> dict[str, nn.Module]:
        """The projection."""
        return {self.name: self.projection}

    def source_loss(self, output: NetworkOutput, source: Labelled) -> Tensor:
        """The weighted contrast; a scalar, 0 where no class takes part."""
        features = self.projection(output)
        size = features.shape[2:]
        label, predicted = (
            F.interpolate(ids.unsqueeze(1).to(features.dtype), size, mode="nearest")
            .long()
            .flatten(1)
            for ids in (source.label, output.logits.detach().max(1).indices)
        )
        chosen, counted = choose_anchors(
            label,
            predicted,
            num_classes=self.num_classes,
            most=self.anchors,
            per_class=self.per_class,
            min_pixels=self.min_pixels,
        )
        with without_autocast(features.device.type):
            return self.weight * pixel_contrast(
                flattened(features)[chosen],
                label.flatten()[chosen],
                counted,
                temperature=self.temperature,
                base_temperature=self.base_temperature,
            )
