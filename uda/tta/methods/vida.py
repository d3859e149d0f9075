"""ViDA: adapters of low and high rank, weighed by how unsure the teacher is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from uda.losses import soft_cross_entropy, symmetric_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.low_rank import MARK, AdaptedLinear, in_attention, inject, set_scales
from uda.tta.method import Method
from uda.tta.parameters import Parameters
from uda.tta.restore import StochasticRestore, as_restore, follow
from uda.tta.views import RandomView, View

Loss = Literal["cross_entropy", "symmetric"]
Scales = Literal["both", "low_only"]


class ViDA(Method):
    """A teacher-student pair with two adapters a layer, whose shares follow the uncertainty.

    Liu et al., "ViDA: Homeostatic Visual Domain Adapter for Continual Test Time Adaptation", ICLR
    2024. With u a tenth of the mean variance of the teacher's logits over views: above `threshold`
    the high-rank branch counts 1+u and the low-rank one 1-u, else the other way round. Student and
    teacher then agree by cross-entropy; what is returned are the teacher's logits.

    The paper first trains the adapters on the source with the rest frozen; that code is not
    released. A model that holds `AdaptedLinear` layers already is taken as it is, into any other
    untrained ones are put.

    Args:
        low: Rank of the domain-shared branch.
        high: Rank of the domain-specific branch.
        threshold: Of u: 0.2 in the paper and on ImageNet, 0.05 in the CIFAR script.
        passes: Teacher passes over random views that the variance is taken of.
        view: Makes a view; None: `RandomView()`, which supposes ImageNet's normalisation.
        decay: Share of the old teacher kept, backbone.
        decay_adapters: The same for adapters; 0.8 on ImageNet.
        restore: Probability of each entry to go back to the source; 0 on ImageNet.
        lr_adapters: Learning rate of the adapters.
        loss: `"cross_entropy"` (CIFAR) or `"symmetric"` (ImageNet).
        scales: `"both"` branches are weighed (paper, clean). `"low_only"`: the high-rank one stays
            at 1, as a fault of the released code has it (reference).
        where: Chooses the modules whose linear layers get adapters, by name and module.

    Raises:
        ValueError: An argument is out of range, or no layer was found.
    """

    needs: ClassVar[str] = "all"
    teacher: nn.Module

    def __init__(
        self,
        *,
        low: int = 1,
        high: int = 128,
        threshold: float = 0.2,
        passes: int = 10,
        view: View | None = None,
        decay: float = 0.999,
        decay_adapters: float = 0.999,
        restore: float | StochasticRestore = 0.0,
        lr_adapters: float = 1e-5,
        loss: Loss = "cross_entropy",
        scales: Scales = "both",
        where: Callable[[str, nn.Module], bool] = in_attention,
    ) -> None:
        super().__init__()
        if passes < 2:
            raise ValueError(f"passes have to be at least 2 to have a variance, not {passes}.")
        if loss not in ("cross_entropy", "symmetric"):
            raise ValueError(f'loss has to be "cross_entropy" or "symmetric", not {loss!r}.')
        if scales not in ("both", "low_only"):
            raise ValueError(f'scales has to be "both" or "low_only", not {scales!r}.')
        self.low, self.high, self.threshold, self.passes = low, high, threshold, passes
        self.view = view or RandomView()
        self.decay, self.decay_adapters = decay, decay_adapters
        self.restore = as_restore(restore)
        self.lr_adapters, self.loss, self.scales, self.where = lr_adapters, loss, scales, where
        self.shares = (1.0, 1.0)

    def prepare(self, network: nn.Module) -> nn.Module:
        """Adapters beside the linear layers, unless the network brings its own."""
        if any(isinstance(module, AdaptedLinear) for module in network.modules()):
            return network
        if not inject(network, low=self.low, high=self.high, where=self.where):
            raise ValueError(
                "vida puts adapters beside the linear layers of modules whose class is named "
                "...Attention..., and the model has none; choose modules by where=."
            )
        return network

    def moves(self, network: nn.Module) -> Parameters:
        """All parameters, adapters included."""
        return dict(network.named_parameters())

    def own_lr(self, name: str) -> float | None:
        """Adapters have a rate of their own."""
        return self.lr_adapters if MARK in name else None

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """Adam 1e-4 (CIFAR10-C, ViT-B); SGD 5e-7 on ImageNet-C."""
        return OptimiserSettings("adam", lr=1e-4)

    def attach(self, network: nn.Module) -> None:
        """The teacher starts as the source."""
        self.teacher = copy.deepcopy(network).requires_grad_(False)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Uncertainty, shares, loss of the student, teacher, restore."""
        passes = [
            learner.teach(self.teacher, self.view(image, learner.generator))
            for _ in range(self.passes)
        ]
        self._weigh(learner.network, uncertainty(torch.stack(passes)))
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


def uncertainty(logits: Tensor) -> Tensor:
    """A tenth of the mean unbiased variance over passes: (passes, N, K, ...) to a scalar."""
    return 0.1 * logits.var(0).mean()
