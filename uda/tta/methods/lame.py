"""LAME: predictions of a batch corrected by the neighbourhood of its features."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.tta.exported import Exported
from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.statistics import Statistics

Affinity = Literal["rbf", "knn", "linear"]


class LAME(Method):
    """Laplacian adjusted maximum likelihood: nothing of the model moves, its predictions do.

    Boudiaf et al., "Parameter-free Online Test-time Adaptation", CVPR 2022, eqs. 4 and 5. For
    classifiers: the affinity matrix has a row for each sample, which for pixels is too many.

    Args:
        affinity: `"rbf"`, `"knn"` or `"linear"`.
        neighbours: k of the first two.
        symmetric: Use the mean of the affinity matrix and its transpose.
        features: Name of the module whose output is the feature vector; None: the input of the
            network's last `nn.Linear`.

    Raises:
        ValueError: An argument is out of range.
    """

    needs: ClassVar[str] = "nothing"

    def __init__(
        self,
        *,
        affinity: Affinity = "rbf",
        neighbours: int = 5,
        symmetric: bool = False,
        features: str | None = None,
    ) -> None:
        super().__init__()
        if affinity not in ("rbf", "knn", "linear"):
            raise ValueError(f'affinity has to be "rbf", "knn" or "linear", not {affinity!r}.')
        if neighbours < 1:
            raise ValueError(f"neighbours has to be at least 1, not {neighbours}.")
        self.affinity, self.neighbours, self.symmetric = affinity, neighbours, symmetric
        self.features = features

    def statistics(self, *, dense: bool) -> Statistics:
        """The source's."""
        return Statistics("source")

    @torch.no_grad()
    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """The log of corrected probabilities."""
        found: list[Tensor] = []
        handle = self._listen(learner.network, found.append)
        try:
            logits = learner.predict(image)
        finally:
            handle.remove()
        return self.log_corrected(logits, found[-1])

    def predict(self, learner: Learner, image: Tensor) -> Tensor:
        """The same: nothing moves in either."""
        return self.step(learner, image)

    def finished(self, exported: Exported) -> nn.Module:
        """The exported network with the correction behind it."""
        return Corrected(exported, self)

    def log_corrected(
        self, logits: Tensor, features: Tensor, *, tolerance: float | None = 1e-8
    ) -> Tensor:
        """The log of corrected probabilities of logits (N, K) with features (N, ...).

        Raises:
            ValueError: The logits are maps.
        """
        if logits.ndim > 2:
            raise ValueError(
                "lame compares all samples of a batch with each other and is for classifiers; for "
                'dense predictions use "bn" where no weight may move.'
            )
        features = features.flatten(1).to(logits.dtype)
        probs = self.corrected(logits.softmax(1), features, tolerance=tolerance)
        return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()

    def corrected(
        self, probs: Tensor, features: Tensor, *, tolerance: float | None = 1e-8
    ) -> Tensor:
        """Probabilities (N, K) corrected by the affinity of features (N, D)."""
        weights = self.weights(F.normalize(features, dim=1))
        return laplacian_optimum(-(probs + 1e-10).log(), weights, tolerance=tolerance)

    def weights(self, features: Tensor) -> Tensor:
        """The affinity matrix (N, N) of normalised features."""
        if self.affinity == "linear":
            weights = features @ features.T
        else:
            exact = "donot_use_mm_for_euclid_dist"
            distances = torch.cdist(features, features, compute_mode=exact)
            count = min(self.neighbours + 1, len(features))
            nearest, index = distances.topk(count, largest=False)
            if self.affinity == "rbf":
                # The distance to the k-th, oneself included.
                sigma = nearest[:, min(self.neighbours, count) - 1].mean()
                # Equal features have no width: then each is near to each.
                width = (2 * sigma**2).clamp(min=torch.finfo(sigma.dtype).tiny)
                weights = (-(distances**2) / width).exp()
            else:
                weights = torch.zeros_like(distances).scatter_(1, index[:, 1:], 1.0)
        return 0.5 * (weights + weights.T) if self.symmetric else weights

    def _listen(
        self, network: nn.Module, tell: Callable[[Tensor], Any]
    ) -> torch.utils.hooks.RemovableHandle:
        """Have the features of each pass told; ValueError where the network has none."""
        if self.features is not None:
            modules = dict(network.named_modules())
            if self.features not in modules:
                raise ValueError(f"The model has no module {self.features!r} to take features of.")
            return modules[self.features].register_forward_hook(_Listener(tell, of_output=True))
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError(
                "lame takes features at the input of the last nn.Linear, and the model has none; "
                "name the module whose output they are by features=."
            )
        return linear[-1].register_forward_pre_hook(_Listener(tell))


class _Listener:
    """A hook that tells the input, or the output, of a module; a network with it can be copied."""

    def __init__(self, tell: Callable[[Tensor], Any], *, of_output: bool = False) -> None:
        self.tell, self.of_output = tell, of_output

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], *output: Tensor) -> None:
        self.tell(output[0] if self.of_output else inputs[0])


class Corrected(nn.Module):
    """A network whose logits are corrected batch by batch, as `LAME` does it.

    Several threads may call it at once. All fixed-point steps are taken, since a graph for another
    runtime cannot look at the energy; that changes nothing that the tolerance of `LAME` would see.

    Args:
        exported: Gives logits (N, K).
        method: The settings.
    """

    def __init__(self, exported: Exported, method: LAME) -> None:
        super().__init__()
        self.exported = exported
        self._method = [method]  # in a list, so that it is no submodule
        self._features: dict[int, Tensor] = {}
        method._listen(exported.network, self._keep)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """The log of corrected probabilities."""
        logits = self.exported(image)
        features = self._features.pop(threading.get_ident())
        return self._method[0].log_corrected(logits, features, tolerance=None)

    def _keep(self, features: Tensor) -> None:
        self._features[threading.get_ident()] = features


def laplacian_optimum(
    unary: Tensor, weights: Tensor, *, steps: int = 100, tolerance: float | None = 1e-8
) -> Tensor:
    """The assignments (N, K) that minimise `sum u Y - (W Y) Y + Y log Y`, by fixed-point steps.

    Each is `Y <- softmax(W Y - u)`; they end where the energy changes by no more than `tolerance`
    of itself; with None all steps are taken and no number leaves the device.
    """
    assigned = (-unary).softmax(1)
    before = float("inf")
    for step in range(steps):
        pairwise = weights @ assigned
        assigned = (pairwise - unary).softmax(1)
        if tolerance is None:
            continue
        energy = float(
            (
                unary * assigned - pairwise * assigned + assigned * assigned.clamp(min=1e-20).log()
            ).sum()
        )
        if step > 1 and abs(energy - before) <= tolerance * abs(before):
            break
        before = energy
    return assigned
