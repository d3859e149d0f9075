"""Terms on the confident and on the ignored region of a pseudo-label (IAST, HIAST)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.losses import region_consistency, region_entropy, uniform_divergence
from uda.losses.regions import Consistency, Normalisation
from uda.selftraining.terms.base import Term
from uda.structures import IGNORE_INDEX, Mixed, NetworkOutput

Region = Literal["ignored", "confident", "all"]


class RegionRegularisation(Term):
    """Holds predictions back where the pseudo-label is kept, sharpens them where it is ignored.

    `confident_weight * mean_kept(1/K sum_k -log p_k) + ignored_weight * mean_ignored(H(p))`
    (Mei et al., IAST, ECCV 2020, with 0.1 and 3.0; HIAST, released code, with 0.1 and 1.0).

    Args:
        confident_weight: Weight of the divergence from uniform on the kept pixels.
        ignored_weight: Weight of the entropy on the ignored pixels.
        normalisation: `"pixels_and_classes"` (reference): the released code's further division by
            K, with which the published weights were chosen. `"pixels"` (clean): the papers'
            formula; to get the same loss, divide both weights by K.

    Raises:
        ValueError: `normalisation` is unknown.
    """

    name = "regions"

    def __init__(
        self,
        *,
        confident_weight: float = 0.1,
        ignored_weight: float = 3.0,
        normalisation: Literal["pixels", "pixels_and_classes"] = "pixels_and_classes",
    ) -> None:
        super().__init__()
        if normalisation not in ("pixels", "pixels_and_classes"):
            raise ValueError(
                f'normalisation has to be "pixels" or "pixels_and_classes", not {normalisation!r}.'
            )
        self.confident_weight, self.ignored_weight = confident_weight, ignored_weight
        self.normalisation: Normalisation = normalisation

    def mixed_loss(self, output: NetworkOutput, mixed: Mixed) -> Tensor:
        """Both weighted parts together; a scalar, 0 for the part of an empty region."""
        logits = output.logits.float()
        kept, ignored = (region(mixed, name) for name in ("confident", "ignored"))
        divergence = uniform_divergence(logits, kept, normalisation=self.normalisation)
        entropy = region_entropy(logits, ignored, normalisation=self.normalisation)
        return self.confident_weight * divergence + self.ignored_weight * entropy


class RegionConsistency(Term):
    """Brings the student's strong view to the teacher's probabilities of the weak view.

    `weight * mean_region(-t_k log p_k)`, t being the teacher's probabilities, neither sharpened
    nor thresholded (HIAST, released code, on the ignored region).

    Args:
        weight: Weight of the loss.
        region: Pixels it is taken over: `"ignored"`, `"confident"` or `"all"`.
        kind: See `uda.losses.region_consistency`.
        normalisation: See `uda.losses.regions.region_mean`; `"nonzero_terms"` is the reference,
            `"pixels"` clean.

    Raises:
        ValueError: A setting is unknown.
    """

    name = "consistency"
    needs_teacher = True
    needs_mixed_probs = True

    def __init__(
        self,
        *,
        weight: float = 0.5,
        region: Region = "ignored",
        kind: Consistency = "cross_entropy",
        normalisation: Normalisation = "nonzero_terms",
    ) -> None:
        super().__init__()
        self.weight, self.region, self.kind = weight, region, kind
        self.normalisation: Normalisation = normalisation
        # The functions know their settings: a trial on nothing tells now what would fail later.
        nothing = torch.zeros(1, 2, 1, 1)
        label = torch.zeros(1, 1, 1, dtype=torch.int64)
        trial = Mixed(nothing, label, label.float(), label.bool(), teacher_probs=nothing)
        self.mixed_loss(NetworkOutput(nothing), trial)

    def mixed_loss(self, output: NetworkOutput, mixed: Mixed) -> Tensor:
        """The weighted loss; a scalar, 0 for an empty region."""
        if mixed.teacher_probs is None:
            raise ValueError(
                "RegionConsistency needs the teacher's probabilities of the weak view "
                "(Mixed.teacher_probs), which this method does not give."
            )
        return self.weight * region_consistency(
            output.logits.float(),
            mixed.teacher_probs,
            region(mixed, self.region),
            kind=self.kind,
            normalisation=self.normalisation,
        )


def region(mixed: Mixed, name: Region) -> Tensor:
    """A region of mixed images: (N, H, W) bool, padding left out.

    Args:
        mixed: Images with labels.
        name: `"confident"`: pixels with a label and a weight above 0; `"ignored"`: pixels of label
            255; `"all"`. A pixel with a label of weight 0 is neither confident nor ignored.

    Raises:
        ValueError: `name` is unknown.
    """
    if name == "confident":
        chosen = (mixed.label != IGNORE_INDEX) & (mixed.weight > 0)
    elif name == "ignored":
        chosen = mixed.label == IGNORE_INDEX
    elif name == "all":
        chosen = torch.ones_like(mixed.label, dtype=torch.bool)
    else:
        raise ValueError(f'region has to be "ignored", "confident" or "all", not {name!r}.')
    return chosen if mixed.valid is None else chosen & mixed.valid
