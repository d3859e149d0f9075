"""ViDA: adapters of low and high rank, weighed by how unsure the teacher is."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from uda.losses import soft_cross_entropy, symmetric_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.low_rank import MARK, Where, adapters, described, inject, set_scales
from uda.tta.method import Method
from uda.tta.methods.vida_settings import PUBLISHED, Loss, Published
from uda.tta.parameters import Parameters
from uda.tta.restore import StochasticRestore, as_restore, follow
from uda.tta.views import RandomView, View

Scales = Literal["both", "low_only"]
logger = logging.getLogger("uda.tta")


class ViDA(Method):
    """A teacher-student pair with two adapters a layer, whose shares follow the uncertainty.

    Liu et al., "ViDA: Homeostatic Visual Domain Adapter for Continual Test Time Adaptation", ICLR
    2024. With u a tenth of the mean variance of the teacher's logits over views: above `threshold`
    the high-rank branch counts 1+u and the low-rank one 1-u, else the other way round. Student and
    teacher then agree by cross-entropy; what is returned are the teacher's logits.

    The paper first trains the adapters on the source with the rest frozen; that code is not
    released. A model that holds adapted layers already is taken as it is, into any other untrained
    ones are put, and the log and `report` say beside which layers.

    Of dense predictions nothing is published. There views keep every pixel in its place, so that
    the variance is that of one pixel.

    Args:
        published: Which script's values hold for the arguments that are None, see `ViDASettings`:
            `"cifar10"`, `"cifar100"` or `"imagenet"`.
        low: Rank of the domain-shared branch.
        high: Rank of the domain-specific branch.
        threshold: Of u.
        passes: Teacher passes over random views that the variance is taken of.
        view: Makes a view; None: `RandomView()`, which supposes ImageNet's normalisation, for dense
            predictions without its geometry.
        decay: Share of the old teacher kept, backbone.
        decay_adapters: The same for adapters.
        restore: Probability of each entry to go back to the source.
        lr_adapters: Learning rate of the adapters.
        loss: `"cross_entropy"` or `"symmetric"`.
        scales: `"both"` branches are weighed (paper, clean). `"low_only"`: the high-rank one stays
            at 1, as a fault of the released code has it (reference).
        where: Chooses the modules whose linear layers and 1x1 convolutions get adapters, by name
            and module; None: linear layers of attention, or in a network without, all 1x1
            convolutions; see `adaptable_layers`.

    Raises:
        ValueError: An argument is out of range, or no layer was found.
    """

    needs: ClassVar[str] = "all"
    teacher: nn.Module

    def __init__(
        self,
        *,
        published: Published = "cifar10",
        low: int = 1,
        high: int = 128,
        threshold: float | None = None,
        passes: int = 10,
        view: View | None = None,
        decay: float | None = None,
        decay_adapters: float | None = None,
        restore: float | StochasticRestore | None = None,
        lr_adapters: float | None = None,
        loss: Loss | None = None,
        scales: Scales = "both",
        where: Where | None = None,
    ) -> None:
        super().__init__()
        if passes < 2:
            raise ValueError(f"passes have to be at least 2 to have a variance, not {passes}.")
        if loss not in (None, "cross_entropy", "symmetric"):
            raise ValueError(f'loss has to be "cross_entropy" or "symmetric", not {loss!r}.')
        if published not in PUBLISHED:
            raise ValueError(
                f"published has to be one of {', '.join(PUBLISHED)}, not {published!r}."
            )
        if scales not in ("both", "low_only"):
            raise ValueError(f'scales has to be "both" or "low_only", not {scales!r}.')
        script = PUBLISHED[published]
        self.published, self.low, self.high, self.passes = published, low, high, passes
        self.threshold = script.threshold if threshold is None else threshold
        self.view = view
        self.decay = script.decay if decay is None else decay
        self.decay_adapters = script.decay_adapters if decay_adapters is None else decay_adapters
        self.restore = as_restore(script.restore if restore is None else restore)
        self.lr_adapters = script.lr_adapters if lr_adapters is None else lr_adapters
        self.loss = script.loss if loss is None else loss
        self.scales, self.where = scales, where
        self.shares = (1.0, 1.0)

    def prepare(self, network: nn.Module) -> nn.Module:
        """Adapters beside layers, unless the network brings its own."""
        if adapters(network):
            return network
        if not inject(network, low=self.low, high=self.high, where=self.where):
            raise ValueError(
                "vida puts adapters beside the linear layers of modules whose class is named "
                "...Attention..., or beside 1x1 convolutions, and the model has neither; choose "
                "modules by where=."
            )
        found = described(network)
        logger.info("vida adapts %d layers: %s", len(found), found)
        return network

    def report(self) -> dict[str, Any]:
        """Beside which layers adapters stand, and what the two branches count."""
        low, high = self.shares
        return {"adapters": described(self.teacher), "share_low": low, "share_high": high}

    def moves(self, network: nn.Module) -> Parameters:
        """All parameters, adapters included."""
        return dict(network.named_parameters())

    def own_lr(self, name: str) -> float | None:
        """Adapters have a rate of their own."""
        return self.lr_adapters if MARK in name else None

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """That of the script."""
        return PUBLISHED[self.published].optimiser

    def attach(self, network: nn.Module) -> None:
        """The teacher starts as the source."""
        self.teacher = copy.deepcopy(network).requires_grad_(False)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Uncertainty, shares, loss of the student, teacher, restore."""
        view = self.view or RandomView(geometry=not learner.dense)
        passes = (
            learner.teach(self.teacher, view(image, learner.generator)) for _ in range(self.passes)
        )
        self._weigh(learner.network, uncertainty(passes))
        target = learner.teach(self.teacher, image)
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        if self.loss == "symmetric":
            losses = symmetric_cross_entropy(samples.of(logits), samples.of(target))
        else:
            losses = soft_cross_entropy(samples.of(logits), samples.of(target).softmax(1))
        if learner.minimise(samples.mean(losses)):
            follow(self.teacher, learner.parameters, self._decays(learner.parameters))
            self.restore(learner.parameters, learner.source, learner.generator)
        return target

    def _weigh(self, network: nn.Module, unsure: Tensor) -> None:
        low, high = branch_shares(float(unsure), self.threshold)
        self.shares = (low, 1.0 if self.scales == "low_only" else high)
        for holder in (network, self.teacher):
            set_scales(holder, low=self.shares[0], high=self.shares[1])

    def _decays(self, parameters: Parameters) -> dict[str, float]:
        return {n: self.decay_adapters if MARK in n else self.decay for n in parameters}

    def predict(self, learner: Learner, image: Tensor) -> Tensor:
        """The teacher's logits."""
        return learner.teach(self.teacher, image, update=False)

    def predictor(self, network: nn.Module) -> nn.Module:
        """The teacher."""
        return self.teacher

    def followers(self) -> dict[str, nn.Module]:
        """The teacher."""
        return {"teacher": self.teacher}

    def memory(self) -> dict[str, Any]:
        """The shares of the two branches."""
        return {"shares": list(self.shares)}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.shares = (memory["shares"][0], memory["shares"][1])

    def forget(self) -> None:
        """Both branches count alike."""
        self.shares = (1.0, 1.0)


def branch_shares(unsure: float, threshold: float) -> tuple[float, float]:
    """What the low- and the high-rank branch count: unsure of the domain, high rank counts more.

    >>> branch_shares(0.25, 0.2), branch_shares(0.125, 0.2)
    ((0.75, 1.25), (1.125, 0.875))
    """
    return (1 - unsure, 1 + unsure) if unsure >= threshold else (1 + unsure, 1 - unsure)


def uncertainty(passes: Iterable[Tensor]) -> Tensor:
    """A tenth of the mean unbiased variance over passes, one at a time in memory.

    Args:
        passes: Logits (N, K, ...) of at least two, or one tensor (passes, N, K, ...).

    Returns:
        A scalar.

    >>> round(uncertainty(torch.tensor([[1.0], [3.0]])).item(), 4)  # a variance of 2
    0.2
    """
    squares = mean = torch.zeros(())
    count = 0
    for logits in passes:
        count += 1
        if count == 1:
            mean, squares = logits.clone(), torch.zeros_like(logits)
            continue
        difference = logits - mean
        mean += difference / count
        squares += difference * (logits - mean)
    return 0.1 * squares.mean() / (count - 1)
