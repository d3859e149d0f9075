"""Feature distance: stay near the features of a frozen encoder, of ImageNet or of DINOv2."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.losses import downscale_label, feature_distance, masked_mean, smooth_cosine_distance
from uda.selftraining.map_projection import MapProjection
from uda.selftraining.terms.base import Pass, Term
from uda.selftraining.views import View
from uda.structures import Batch, Labelled, NetworkOutput, PseudoLabel

CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
Measure = Literal["l2", "smooth_cosine"]
Domain = Literal["source", "target"]


class FeatureDistance(Term):
    """The distance of the student's coarsest features to those of a frozen encoder.

    DAFormer's (Hoyer et al., CVPR 2022; `dacs.py`) is the default: `weight * mean_j || f_j - r_j
    ||_2` on the source pass, over the positions j whose block of the label is held to at least
    `min_share` by one of `classes`. A batch without such a position gives 0, where the released
    code logs NaN.

    That of VFM-UDA++ (released code) is

        FeatureDistance(num_classes=19, encoder=dict(type="FoundationEncoder", ...), classes=None,
                        weight=0.1, measure="smooth_cosine", domains=("source", "target"),
                        view=dict(type="ColorJitterBlur", ...), size=406, projection=(D, 1024))

    where the student sees each domain in a pass of its own, after a weak view, and its coarsest
    map is projected to the channels of a frozen DINOv2, which sees the unchanged image. The
    projection learns with the student, at the rate of heads, and is dropped afterwards.

    Args:
        num_classes: K.
        encoder: The frozen encoder: a module that maps images to feature maps, coarsest last, or
            the config of one, which the student's `build_encoder` makes when `bind` is called.
            None: a copy of the student's encoder as it is at `bind`, that is with its pretrained
            weights. It is kept in evaluation mode and saved with the run. It gets the images with
            the student's normalisation.
        classes: Ids of the classes with shapes ("things"); None: all labelled and unlabelled
            positions.
        weight: Weight of the loss in each domain; 0.005 in DAFormer, 0.1 in VFM-UDA++.
        min_share: Share of a block that one class has to hold, in [0, 1].
        measure: `"l2"` (`feature_distance`) or `"smooth_cosine"` (`smooth_cosine_distance`).
        domains: Whose images are compared: `"source"`, `"target"`, or both.
        view: Changes the images that the student sees in passes of this term's own; None: source
            features are those of the source pass, target images are unchanged.
        size: Height and width, or both, in pixels that the frozen encoder sees; None: the image's.
            406 in VFM-UDA++, 29 x 29 patches of 14 pixels.
        projection: Channels of the student's map and of the frozen encoder's; None: both are
            alike, and so have to be their sizes.

    Raises:
        ValueError: A class is outside 0..K-1, `min_share` outside [0, 1], a choice is unknown, or
            classes are to be found in target images, which have no labels.
    """

    name = "feature_distance"
    is_wanted: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: nn.Module | Mapping[str, Any] | None = None,
        classes: Sequence[int] | None = CITYSCAPES_THINGS,
        weight: float = 0.005,
        min_share: float = 0.75,
        measure: Measure = "l2",
        domains: Sequence[Domain] = ("source",),
        view: View | None = None,
        size: int | tuple[int, int] | None = None,
        projection: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        _check_classes(classes, num_classes, domains)
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share has to lie in [0, 1], not {min_share}.")
        if measure not in ("l2", "smooth_cosine"):
            raise ValueError(f'measure has to be "l2" or "smooth_cosine", not {measure!r}.')
        self.num_classes, self.weight, self.min_share = num_classes, weight, min_share
        self.classes = None if classes is None else tuple(classes)
        self.measure, self.domains, self.view = measure, tuple(domains), view
        self.size = (size, size) if isinstance(size, int) else size
        self.projection = None if projection is None else MapProjection(*projection)
        self.encoder: nn.Module | None = None
        self.encoder_config = encoder if isinstance(encoder, Mapping) else None
        if isinstance(encoder, nn.Module):
            self._keep(encoder)
        lookup = torch.zeros(256, dtype=torch.bool)
        lookup[list(classes or ())] = True
        self.register_buffer("is_wanted", lookup, persistent=False)

    def bind(self, student: nn.Module) -> None:
        """Make the encoder of a config, or copy the student's, unless a module was given."""
        if self.encoder is None or getattr(self, "_own_encoder", False):
            configured = self.encoder_config is not None
            wanted = "build_encoder" if configured else "encoder"
            make = getattr(student, wanted, None)
            if make is None:
                raise TypeError(
                    f"FeatureDistance needs an encoder, but {type(student).__name__} has no "
                    f"`{wanted}()`; wrap the network in uda.models.SegmentationNetwork or pass "
                    "`encoder=`."
                )
            self._keep(make(self.encoder_config) if configured else make())
            # That of a config is the same each time, and may be large.
            self._own_encoder = not configured

    def heads(self) -> dict[str, nn.Module]:
        """The projection, if there is one."""
        return {} if self.projection is None else {self.name: self.projection}

    def source_loss(self, output: NetworkOutput, source: Labelled) -> Tensor | None:
        """The weighted distance on the source pass; None where the term makes passes of its own."""
        if self.view is not None or "source" not in self.domains:
            return None
        return self.loss(output, source.image, source.label)

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """A pass for each domain that no other pass of the method covers."""
        if self.view is not None and "source" in self.domains:
            source = batch.source
            loss = self.loss(student(self.view(source.image)), source.image, source.label)
            yield Pass("feature_source", {self.name: loss})
            del loss
        if "target" in self.domains and batch.target is not None:
            image = batch.target.image
            seen = image if self.view is None else self.view(image)
            loss = self.loss(student(seen), image)
            yield Pass("feature_target", {self.name: loss})

    def loss(self, output: NetworkOutput, image: Tensor, label: Tensor | None = None) -> Tensor:
        """The weighted distance over the wanted positions; a scalar.

        Args:
            output: Of the student.
            image: (N, 3, H, W), what the frozen encoder sees.
            label: (N, H, W); None of target images.

        Raises:
            RuntimeError: There is no frozen encoder yet.
        """
        if self.encoder is None:
            raise RuntimeError(
                "FeatureDistance has no frozen encoder yet: call `bind(student)` once the "
                "student is initialised, or pass `encoder=`."
            )
        with torch.no_grad():
            if self.size is not None:
                image = F.interpolate(image, self.size, mode="bilinear", align_corners=False)
            reference = self.encoder(image)[-1].float()
        features = output.features[-1]
        if self.projection is not None:
            features = self.projection(features, (reference.shape[2], reference.shape[3]))
        measured = feature_distance if self.measure == "l2" else smooth_cosine_distance
        distance = measured(features.float(), reference)
        return self.weight * masked_mean(distance, self.mask(label, distance))

    def mask(self, label: Tensor | None, distance: Tensor) -> Tensor:
        """Which positions count: (N, h, w) bool for a label (N, H, W)."""
        if self.classes is None or label is None:
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


def _check_classes(classes: Sequence[int] | None, num_classes: int, domains: Sequence[str]) -> None:
    unknown = [c for c in classes or () if not 0 <= c < num_classes]
    if unknown:
        raise ValueError(
            f"FeatureDistance: classes {unknown} are not in 0..{num_classes - 1}; "
            "name the ids of this data set's things."
        )
    if not domains or set(domains) - {"source", "target"} or len(set(domains)) < len(domains):
        raise ValueError(
            f'FeatureDistance: domains name "source", "target" or both, not {list(domains)}.'
        )
    if "target" in domains and classes is not None:
        raise ValueError(
            "FeatureDistance: target images have no labels to find classes in; set classes=None, "
            'or domains=["source"].'
        )
