"""Sums over the pixels of an interval from which the curves of pseudo-labels are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from mmengine.dist import get_world_size
from torch import Tensor

from uda.selftraining.views.base import without_autocast
from uda.structures import IGNORE_INDEX, PseudoLabel

# Columns of the sums, which have a row a class. The first four are by the class predicted.
PIXELS, WEIGHT, CONFIDENCE, ENTROPY, COMPARED, AGREED, LABELLED, SOURCE = range(8)
# Figures of each class and of all: name, column, column it is divided by.
_BY_CLASS = (
    ("kept", WEIGHT, PIXELS),
    ("confidence", CONFIDENCE, PIXELS),
    ("agreement", AGREED, COMPARED),
)
_SHARES = (("pseudo", LABELLED), ("source", SOURCE))


class PseudoLabelSums:
    """Adds up what pseudo-labels are like, on the device; only `pop` waits for it.

    Every `stride`-th row and column is looked at, which is enough for shares over an interval and
    costs a small part of a pass. Nothing is drawn.

    Args:
        num_classes: K.
        stride: Distance of the pixels looked at, in rows and columns; 1 looks at all.

    >>> sums = PseudoLabelSums(num_classes=2, stride=1)
    >>> probs = torch.tensor([[[[0.9, 0.6, 0.2]], [[0.1, 0.4, 0.8]]]])
    >>> label = torch.tensor([[[0, 255, 1]]])
    >>> pseudo = PseudoLabel(label, (label != 255).float(), probs.amax(1))
    >>> sums.add_labels("", pseudo, probs)
    >>> found = sums.pop(["road", "sky"])
    >>> round(found["pseudo/kept"], 3), found["pseudo/kept/road"], found["pseudo/kept/sky"]
    (0.667, 0.5, 1.0)
    """

    def __init__(self, *, num_classes: int, stride: int = 4) -> None:
        self.num_classes, self.stride = num_classes, stride
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add_labels(
        self,
        group: str,
        pseudo: PseudoLabel,
        scores: Tensor,
        valid: Tensor | None = None,
        *,
        logits: bool = False,
    ) -> None:
        """Add the pseudo-labels of a batch; see `uda.watching.pseudo_labels`.

        Args:
            group: Whose they are, such as "primary"; "" in methods with one student.
            pseudo: The labels.
            scores: Probabilities or logits.
            valid: Which pixels count.
            logits: Whether `scores` are logits.
        """
        with without_autocast(scores.device.type):  # sums of thousands of ones
            scores = self._grid(scores).float()
            probs = scores.softmax(-3) if logits else scores
            probs = probs.mean(0) if probs.dim() == 5 else probs  # of two teachers
            confidence, predicted = probs.max(1)
            entropy = -torch.xlogy(probs, probs).sum(1)
            label = self._grid(pseudo.label)
            weight = self._grid(pseudo.weight).float() * (label != IGNORE_INDEX)
            columns = torch.stack([torch.ones_like(weight), weight, confidence, entropy], -1)
            if valid is not None:
                columns = columns * self._grid(valid).unsqueeze(-1)
            self._add(group, predicted, columns, PIXELS)
            self._add(group, label, columns[..., WEIGHT : WEIGHT + 1], LABELLED)

    @torch.no_grad()
    def add_answers(
        self, group: str, logits: Tensor, label: Tensor, pasted: Tensor | None = None
    ) -> None:
        """Add how often the student agrees with pseudo-labels; see `uda.watching.answers`.

        Args:
            group: Whose they are.
            logits: Of the student.
            label: What it learns from.
            pasted: Where that is a label of the source.
        """
        with without_autocast(logits.device.type):
            label = self._grid(label)
            compared = torch.ones_like(label, dtype=torch.bool)
            if pasted is not None:
                compared = ~self._grid(pasted.squeeze(1))
            agreed = compared & (self._grid(logits).max(1).indices == label)
            self._add(group, label, torch.stack([compared, agreed], -1).float(), COMPARED)

    @torch.no_grad()
    def add_source(self, label: Tensor) -> None:
        """Add labels (N, H, W) of source images."""
        label = self._grid(label)
        with without_autocast(label.device.type):
            ones = torch.ones(*label.shape, 1, device=label.device)
            self._add("", label, ones, SOURCE)

    def average(self) -> None:
        """Replace the sums by their means over the processes, in one exchange.

        Shares of the means are those of all pixels. Every process has to call it.
        """
        if not self._sums or get_world_size() == 1:
            return
        flat = torch.stack(list(self._sums.values()))
        torch.distributed.all_reduce(flat)
        self._sums = dict(zip(self._sums, flat / get_world_size(), strict=True))

    def pop(self, class_names: Sequence[str]) -> dict[str, float]:
        """The figures since the last call by name, fetched in one transfer.

        A figure without a pixel is left out.
        """
        if not self._sums:
            return {}
        fetched = torch.stack(list(self._sums.values())).cpu()
        groups = dict(zip(self._sums, fetched, strict=True))
        self._sums.clear()
        source = groups.get("", fetched[0])[:, SOURCE]
        names = [name.replace("/", "-") for name in class_names]
        return {
            f"{group}/{name}" if group else name: value
            for group, sums in groups.items()
            for name, value in _figures(sums, names, source)
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The sums since the last `pop`, by group."""
        return {group: sums.clone().cpu() for group, sums in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with sums from `state_dict`; they move to the device of what is added next."""
        self._sums = {group: sums.clone() for group, sums in state.items()}

    def _grid(self, maps: Tensor) -> Tensor:
        """The pixels of maps (..., H, W) that are looked at."""
        first = (self.stride - 1) // 2
        return maps[..., first :: self.stride, first :: self.stride]

    def _add(self, group: str, label: Tensor, columns: Tensor, first: int) -> None:
        """Add columns (N, h, w, S) of each class of a label (N, h, w), from column `first` on.

        By a product with zeros and ones, whose result does not depend on the order of threads as
        that of scattered additions does.
        """
        classes = torch.arange(self.num_classes, device=label.device)
        members = (label.reshape(-1, 1) == classes).float()
        found = members.T @ columns.reshape(-1, columns.shape[-1])
        sums = self._sums.get(group)
        if sums is None:
            sums = torch.zeros(self.num_classes, 8, dtype=torch.float64, device=label.device)
        sums = sums.to(label.device)
        sums[:, first : first + found.shape[1]] += found
        self._sums[group] = sums


def _figures(
    sums: Tensor, class_names: Sequence[str], source: Tensor
) -> Iterator[tuple[str, float]]:
    """The figures that the sums (K, 8) of one group give, with those of the source (K,)."""
    rows, total = sums.tolist(), sums.sum(0).tolist()
    for name, column, divisor in _BY_CLASS:
        if total[divisor]:
            yield f"pseudo/{name}", total[column] / total[divisor]
        for class_name, row in zip(class_names, rows, strict=True):
            if row[divisor]:
                yield f"pseudo/{name}/{class_name}", row[column] / row[divisor]
    if total[PIXELS]:
        yield "pseudo/entropy", total[ENTROPY] / total[PIXELS]
    for name, column in _SHARES:
        if total[column]:
            for class_name, row in zip(class_names, rows, strict=True):
                yield f"classes/{name}/{class_name}", row[column] / total[column]
    labelled, everything = sums[:, LABELLED], source.sum()
    if total[LABELLED] and everything:
        apart = (labelled / labelled.sum() - source / everything).abs().sum() / 2
        yield "classes/distance", float(apart)
