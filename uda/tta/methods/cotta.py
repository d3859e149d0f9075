"""CoTTA: a student that learns from the averaged views of its teacher, and partly goes back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from uda.losses import generalised_cross_entropy, soft_cross_entropy, symmetric_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.method import Method
from uda.tta.parameters import Parameters
from uda.tta.restore import StochasticRestore, as_restore, follow
from uda.tta.statistics import Statistics
from uda.tta.views import RandomView, View, mean_probs

Loss = Literal["cross_entropy", "symmetric"]


class CoTTA(Method):
    """Continual adaptation by a weight-averaged teacher, averaged views and stochastic restore.

    Wang et al., "Continual Test-Time Domain Adaptation", CVPR 2022, eqs. 1 to 8. All parameters
    move. Which of the two published algorithms runs follows from the predictions:

    Classifiers: where the source model's mean confidence on the batch is below `confidence`, the
    target is the mean of the teacher's logits over random views, else its logits of the plain
    image. Dense predictions: where the source model's confidence at a pixel is above `confidence`,
    the label is the teacher's of the plain image, else that of its mean over scales and mirroring;
    batch normalisation keeps the source's statistics.

    Settings of the released code, as (rate, confidence, restore): CIFAR10-C Adam 1e-3, 0.92, 0.01;
    CIFAR100-C the same with 0.72; ImageNet-C SGD 0.01 with Nesterov momentum, 0.1, 0.001 and
    `loss="symmetric"`; Cityscapes to ACDC Adam 7.5e-6, 0.69, 0.01.

    Args:
        confidence: Threshold in [0, 1]; None: 0.92 for classifiers, 0.69 for dense predictions. It
            should be what the source model has on source images it is little sure of (its 5 %
            quantile).
        views: Number of random views of a classifier's image.
        view: Makes one; None: `RandomView()`, which supposes ImageNet's normalisation.
        scales: Sizes of the image that dense predictions are averaged over.
        mirror: Also over its mirror image.
        decay: Share of the old teacher kept.
        restore: Probability of each entry of the parameters to go back to the source.
        loss: Of classifiers: `"cross_entropy"` (CIFAR) or `"symmetric"` (ImageNet).

    Raises:
        ValueError: An argument is out of range.
    """

    needs: ClassVar[str] = "all"
    teacher: nn.Module
    anchor: nn.Module

    def __init__(
        self,
        *,
        confidence: float | None = None,
        views: int = 32,
        view: View | None = None,
        scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
        mirror: bool = True,
        decay: float = 0.999,
        restore: float | StochasticRestore = 0.01,
        loss: Loss = "cross_entropy",
    ) -> None:
        super().__init__()
        if confidence is not None and not confidence >= 0:
            raise ValueError(f"confidence has to be at least 0, not {confidence}.")
        if views < 1 or not scales or min(scales) <= 0:
            raise ValueError("views has to be at least 1, and scales some factors above 0.")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay has to lie in [0, 1], not {decay}.")
        if loss not in ("cross_entropy", "symmetric"):
            raise ValueError(f'loss has to be "cross_entropy" or "symmetric", not {loss!r}.')
        self.confidence, self.views, self.loss, self.decay = confidence, views, loss, decay
        self.view = view or RandomView()
        self.scales, self.mirror = tuple(scales), mirror
        self.restore = as_restore(restore)

    def moves(self, network: nn.Module) -> Parameters:
        """All parameters."""
        return dict(network.named_parameters())

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """Adam: 1e-3 for classifiers (CIFAR), 7.5e-6 for dense predictions (ACDC)."""
        return OptimiserSettings("adam", lr=7.5e-6 if dense else 1e-3)

    def statistics(self, *, dense: bool) -> Statistics:
        """The source's for dense predictions."""
        return Statistics("source" if dense else "auto")

    def attach(self, network: nn.Module) -> None:
        """Teacher and anchor start as the source."""
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.anchor = copy.deepcopy(network).requires_grad_(False)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Target, loss of the student, teacher, restore; the target is what is returned."""
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        if logits.ndim == 2:
            target = self._target(learner, image)
            if self.loss == "symmetric":
                losses = symmetric_cross_entropy(samples.of(logits), samples.of(target))
            else:
                losses = soft_cross_entropy(samples.of(logits), samples.of(target).softmax(1))
        else:
            target = self._dense_target(learner, image)
            label = samples.of_map(target.argmax(1))
            losses = generalised_cross_entropy(samples.of(logits), label, q=0)
        if learner.minimise(samples.mean(losses)):
            follow(self.teacher, learner.parameters, self.decay)
            self.restore(learner.parameters, learner.source, learner.generator)
        return target

    def _target(self, learner: Learner, image: Tensor) -> Tensor:
        """Logits (N, K) of the teacher: one switch for the whole batch."""
        threshold = 0.92 if self.confidence is None else self.confidence
        sure = self._anchored(learner, image).mean()
        plain = learner.teach(self.teacher, image)
        if bool(sure >= threshold):
            return plain
        total = torch.zeros_like(plain)
        for _ in range(self.views):
            total += learner.teach(self.teacher, self.view(image, learner.generator))
        return total / self.views

    def _dense_target(self, learner: Learner, image: Tensor) -> Tensor:
        """Log-probabilities (N, K, H, W) of the teacher: a switch for each pixel."""
        threshold = 0.69 if self.confidence is None else self.confidence
        plain = learner.teach(self.teacher, image).softmax(1)
        sure = self._anchored(learner, image).unsqueeze(1) > threshold
        averaged = mean_probs(
            lambda sized: learner.teach(self.teacher, sized),
            image,
            size=(plain.shape[2], plain.shape[3]),
            scales=self.scales,
            mirror=self.mirror,
        )
        probs = torch.where(sure, plain, averaged)
        return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()

    def _anchored(self, learner: Learner, image: Tensor) -> Tensor:
        """The source model's confidence; its stored statistics stay the source's."""
        return learner.teach(self.anchor, image, update=False).softmax(1).amax(1)

    def predict(self, learner: Learner, image: Tensor) -> Tensor:
        """The teacher's logits of the plain image."""
        return learner.teach(self.teacher, image, update=False)

    def predictor(self, network: nn.Module) -> nn.Module:
        """The teacher."""
        return self.teacher

    def followers(self) -> dict[str, nn.Module]:
        """The teacher."""
        return {"teacher": self.teacher}
