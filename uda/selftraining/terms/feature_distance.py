"""Feature distance: stay near the features of ImageNet on things."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uda.losses import downscale_label, feature_distance, masked_mean
from uda.selftraining.terms.base import Term
from uda.structures import Labelled, NetworkOutput

CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)


class FeatureDistance(Term):
    """The distance of the student's coarsest source features to those of a frozen encoder.

    `weight * mean_j || f_j - r_j ||_2` over the positions j whose block of the label is held to
    at least `min_share` by one of `classes` (Hoyer et al., DAFormer, CVPR 2022; `dacs.py`).
    A batch without such a position gives 0, where the released code logs NaN.

    Args:
        num_classes: K.
        encoder: The frozen encoder: a module that maps images to feature maps, coarsest last.
            None: a copy of the student's encoder as it is when `bind` is called, that is with
            its ImageNet weights. It is kept in evaluation mode and saved with the run.
        classes: Ids of the classes with shapes ("things"); None: all labelled and unlabelled
            positions.
        weight: Weight of the loss; 0.005 in the paper.
        min_share: Share of a block that one class has to hold, in [0, 1].

    Raises:
        ValueError: A class is outside 0..K-1, or `min_share` outside [0, 1].
    """

    name = "feature_distance"
    is_wanted: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: nn.Module | None = None,
        classes: Sequence[int] | None = CITYSCAPES_THINGS,
        weight: float = 0.005,
        min_share: float = 0.75,
    ) -> None:
        super().__init__()
        unknown = [c for c in classes or () if not 0 <= c < num_classes]
        if unknown:
            raise ValueError(
                f"FeatureDistance: classes {unknown} are not in 0..{num_classes - 1}; "
                "name the ids of this data set's things."
            )
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share has to lie in [0, 1], not {min_share}.")
        self.num_classes, self.weight, self.min_share = num_classes, weight, min_share
        self.classes = None if classes is None else tuple(classes)
        self.encoder: nn.Module | None = None
        if encoder is not None:
            self._keep(encoder)
        lookup = torch.zeros(256, dtype=torch.bool)
        lookup[list(classes or ())] = True
        self.register_buffer("is_wanted", lookup, persistent=False)

    def bind(self, student: nn.Module) -> None:
        """Copy the student's encoder, unless one was given."""
        if self.encoder is None or getattr(self, "_own_encoder", False):
            encoder = getattr(student, "encoder", None)
            if encoder is None:
                raise TypeError(
                    f"FeatureDistance needs an encoder, but {type(student).__name__} has no "
                    "`encoder()`; wrap the network in uda.models.SegmentationNetwork or pass "
                    "`encoder=`."
                )
            self._keep(encoder())
            self._own_encoder = True

    def source_loss(self, output: NetworkOutput, source: Labelled) -> Tensor:
        """The weighted distance over the wanted positions; a scalar."""
        if self.encoder is None:
            raise RuntimeError(
                "FeatureDistance has no frozen encoder yet: call `bind(student)` once the "
                "student is initialised, or pass `encoder=`."
            )
        with torch.no_grad():
            reference = self.encoder(source.image)[-1].float()
        distance = feature_distance(output.features[-1].float(), reference)
        return self.weight * masked_mean(distance, self.mask(source.label, distance))

    def mask(self, label: Tensor, distance: Tensor) -> Tensor:
        """Which positions count: (N, h, w) bool for a label (N, H, W)."""
        if self.classes is None:
            return torch.ones_like(distance, dtype=torch.bool)
        small = downscale_label(
            label,
            (distance.shape[-2], distance.shape[-1]),
            num_classes=self.num_classes,
            min_share=self.min_share,
        )
        return self.is_wanted[small]

    def train(self, mode: bool = True) -> FeatureDistance:
        """Keep the frozen encoder in evaluation mode."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def _keep(self, encoder: nn.Module) -> None:
        self.encoder = copy.deepcopy(encoder).requires_grad_(False).eval()
