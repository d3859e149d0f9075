"""Watches an adaptation without labels, and takes it back where it goes wrong."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from uda.tta.learner import Learner
from uda.tta.signs import Health, health, measure, shows_nothing
from uda.tta.trees import mapped

logger = logging.getLogger("uda.tta")


class Adapting(Protocol):
    """What a guard needs of the adapter."""

    learner: Learner

    def capture(self) -> dict[str, Any]:
        """A copy of all that moves."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over such a copy."""

    def adapt_once(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Adapt, and give the logits."""


class Fault(NamedTuple):
    """What is wrong.

    Attributes:
        kind: One word for counts.
        sentence: With numbers, for the log.
    """

    kind: str
    sentence: str


class Guard:
    """Serves the adapted model while signs say that it is no worse than the unadapted one.

    Each batch is also predicted by the unadapted model. From both predictions come signs that need
    no label (`Health`); they are judged batch by batch and as moving averages. Where they speak
    against the adaptation, it goes back to the last snapshot that was well (to an older one each
    time that follows soon, at last to the source), rests for a while that doubles each time, and
    the unadapted model's predictions are served meanwhile, as they are before there is evidence.
    Nothing is learnt from batches that show nothing at all. What one pays is a forward pass a batch
    and copies of what moves.

    Judged are, in this order: values that are not finite; `distance` of the parameters; `collapse`:
    the effective number of predicted classes falls to this share of the unadapted model's;
    `entropy`: the adapted model is less sure than the unadapted one by more than this share of log
    K; `contradiction`: both disagree on more samples than the unadapted model's own doubt (1 -
    confidence) explains, by more than this share of the doubt and 2 points; twice that where the
    adapted model is surer and predicts no fewer classes.

    Args:
        distance: Largest distance from the source, relative to the length of what moves.
        collapse: Smallest ratio of effective numbers of classes.
        entropy: Largest rise of the entropy.
        contradiction: Largest unexplained disagreement, as a share of the doubt.
        window: Samples that moving averages look back on; a dense prediction counts as 32.
        evidence: Samples, of which a dense prediction holds 128, after which the adapted model
            may be served; twice as many after each rollback that follows soon.
        snapshot_every: Good batches between two snapshots.
        snapshots: Snapshots beside the source.
        rest: Batches of the first rest.
        longest_rest: And of the longest.
        keep_on: Where snapshots are kept: on the model's `"device"`, or in the memory of the
            `"cpu"`, from where a roll-back takes longer. One is as large as what moves and the
            state of the optimiser, for `cotta` twice the model and more.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        distance: float = 0.1,
        collapse: float = 0.5,
        entropy: float = 0.03,
        contradiction: float = 0.25,
        window: int = 128,
        evidence: int = 128,
        snapshot_every: int = 50,
        snapshots: int = 3,
        rest: int = 8,
        longest_rest: int = 1024,
        keep_on: Literal["device", "cpu"] = "device",
    ) -> None:
        if min(window, evidence, snapshot_every, snapshots, rest, longest_rest) < 1:
            raise ValueError("window, evidence, snapshots and rests of a guard are at least 1.")
        if min(distance, collapse, entropy, contradiction) < 0:
            raise ValueError("Limits of a guard are at least 0.")
        self.distance, self.collapse = distance, collapse
        self.entropy, self.contradiction = entropy, contradiction
        self.window, self.evidence = window, evidence
        self.snapshot_every, self.snapshots = snapshot_every, snapshots
        if keep_on not in ("device", "cpu"):
            raise ValueError(f'keep_on of a guard is "device" or "cpu", not {keep_on!r}.')
        self.rest, self.longest_rest, self.keep_on = rest, longest_rest, keep_on
        self.batches = self.served = self.rollbacks = self.blank = 0
        self.reasons: dict[str, int] = {}
        self.doubts: dict[str, int] = {}
        self.last: Health | None = None
        self.average: Tensor | None = None
        self.samples = 0
        self.doubted = False
        self.forget()

    def forget(self) -> None:
        """As at the start of a stream; counts of the report stay."""
        self.ring: deque[dict[str, Any]] = deque(maxlen=self.snapshots)
        self.base: dict[str, Any] | None = None
        self.resting = self.good = self.streak = 0
        self._start_window()

    def watch(self, adapter: Adapting, image: Tensor, valid: Tensor | None) -> Tensor:
        """Adapt to a batch, and give the adapted model's logits or the unadapted one's."""
        self.batches += 1
        source = adapter.learner.predict_source(image)
        if shows_nothing(image, valid):
            self.blank += 1
            warn_rarely(self.blank, "batch %d shows nothing: its images are constant", self.batches)
            return source
        if self.resting > 0:
            self.resting -= 1
            return source
        if self.base is None:
            self.base = self._kept(adapter.capture())
        logits = adapter.adapt_once(image, valid)
        fault = self._judged(logits, source, adapter.learner, valid)
        if fault is not None:
            self._roll_back(adapter, fault)
            return source
        self.good += 1
        if self.good % self.snapshot_every == 0:
            self.ring.append(self._kept(adapter.capture()))
            self.streak = max(0, self.streak - 1)
        if self.samples < self.wanted or self.doubted:
            return source
        self.served += 1
        return logits

    @property
    def wanted(self) -> int:
        """Samples that are evidence enough at the moment."""
        return self.evidence * 2 ** min(self.streak, 6)

    def _judged(
        self, logits: Tensor, source: Tensor, learner: Learner, valid: Tensor | None
    ) -> Fault | None:
        self.doubted = False
        signs = measure(logits, source, learner, valid)
        if not bool(torch.isfinite(signs).all()):
            return Fault("not finite", "a prediction or parameter is not finite")
        dense = logits.ndim > 2
        count = 32 * len(logits) if dense else len(logits)
        share = min(0.5, count / self.window)
        self.average = signs if self.average is None else torch.lerp(self.average, signs, share)
        # A map of predictions shows at once what single ones show in a hundred.
        self.samples += 128 * len(logits) if dense else count
        self.last = health(self.average)
        # Half of it is enough to find a fault.
        fault = self.verdict(self.last) if 2 * self.samples >= self.evidence else None
        if fault is None and count >= 16:
            # A single batch is weak evidence: it is served unadapted, but nothing is taken back.
            doubt = self.verdict(health(signs), slack=2.0)
            self.doubted = doubt is not None
            if doubt is not None:
                self._note_doubt(doubt)
        return fault

    def verdict(self, signs: Health, *, slack: float = 1.0) -> Fault | None:
        """What is wrong by the signs, or None.

        Args:
            signs: Of a batch or averaged.
            slack: Factor on the limits; a single batch gets more.
        """
        if signs.distance > self.distance:
            return Fault(
                "distance",
                f"parameters are {signs.distance:.2f} of their length away from the source "
                f"(limit {self.distance})",
            )
        if signs.classes < self.collapse / slack * signs.source_classes:
            return Fault(
                "collapse",
                f"predictions collapse: {signs.classes:.1f} effective classes, the unadapted model "
                f"has {signs.source_classes:.1f}",
            )
        if signs.source_classes < 2 and signs.classes > 1.5 * slack * signs.source_classes:
            return Fault(
                "spread",
                f"predictions spread over {signs.classes:.1f} effective classes, where the "
                f"unadapted model sees {signs.source_classes:.1f}",
            )
        if signs.entropy > signs.source_entropy + slack * self.entropy:
            return Fault(
                "entropy",
                f"entropy {signs.entropy:.3f} of log K, the unadapted model has "
                f"{signs.source_entropy:.3f}",
            )
        # In proportion to the doubt, because a model far from its source is less right than it is
        # sure: where it is wrong nearly always, a good adaptation contradicts it nearly always.
        unexplained = 1 - signs.agreement - signs.doubt
        # A model that errs surely contradicts a good adaptation; what breaks one narrows it.
        better = signs.entropy < signs.source_entropy and signs.classes >= signs.source_classes
        if unexplained > slack * (1 + better) * (self.contradiction * signs.doubt + 0.02):
            return Fault(
                "contradiction",
                f"{100 * (1 - signs.agreement):.0f} % of predictions contradict the unadapted "
                f"model, whose own doubt is {100 * signs.doubt:.0f} %",
            )
        return None

    def report(self) -> dict[str, Any]:
        """Batches, those served adapted, rollbacks with reasons, doubts, the signs of now."""
        return {
            "batches": self.batches,
            "served_adapted": self.served,
            "rollbacks": self.rollbacks,
            "blank": self.blank,
            "reasons": dict(self.reasons),
            "doubts": dict(self.doubts),
            "health": None if self.last is None else vars(self.last).copy(),
        }

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        names = ("batches", "served", "rollbacks", "blank", "resting", "good", "streak", "samples")
        return {
            "numbers": {name: getattr(self, name) for name in names},
            "reasons": dict(self.reasons),
            "doubts": dict(self.doubts),
            "average": self.average,
            "base": self.base,
            "ring": list(self.ring),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        for name, value in state["numbers"].items():
            setattr(self, name, value)
        self.reasons, self.average = dict(state["reasons"]), state["average"]
        self.base, self.doubts = state["base"], dict(state.get("doubts", {}))
        self.base = None if self.base is None else self._kept(self.base)
        self.ring = deque(map(self._kept, state["ring"]), maxlen=self.snapshots)
        self.last = None if self.average is None else health(self.average)

    def _roll_back(self, adapter: Adapting, fault: Fault) -> None:
        soon = self.good < self.snapshot_every
        if soon and self.ring:
            self.ring.pop()
        target = self.ring[-1] if self.ring else self.base
        if target is not None:
            adapter.restore(target)
        self.rollbacks += 1
        self.reasons[fault.kind] = self.reasons.get(fault.kind, 0) + 1
        self.resting = min(self.rest * 2**self.streak, self.longest_rest)
        self.streak, self.good = min(self.streak + 1, 30), 0
        self._start_window()
        logger.warning(
            "adaptation rolled back to %s at batch %d, resting for %d: %s",
            "a snapshot" if self.ring else "the source",
            self.batches,
            self.resting,
            fault.sentence,
        )

    def _kept(self, state: dict[str, Any]) -> dict[str, Any]:
        """A snapshot where it is to be kept."""
        if self.keep_on == "device":
            return state
        kept: dict[str, Any] = mapped(state, lambda tensor: tensor.cpu())
        return kept

    def _note_doubt(self, doubt: Fault) -> None:
        self.doubts[doubt.kind] = count = self.doubts.get(doubt.kind, 0) + 1
        warn_rarely(
            count,
            "batch %d is answered by the unadapted model: %s",
            self.batches,
            doubt.sentence,
            learnt=True,
        )

    def _start_window(self) -> None:
        self.average, self.samples = None, 0


def warn_rarely(count: int, sentence: str, *values: object, learnt: bool = False) -> None:
    """Log the 1st, 2nd, 4th, 8th, ... batch of a kind, so that a long stream fills no disk.

    Args:
        count: Which one it is, from 1.
        sentence: Of the log, with places for values.
        *values: For these places.
        learnt: Whether the batch was adapted to.
    """
    if count & (count - 1) == 0:
        ending = "" if learnt else "; nothing is learnt from it"
        logger.warning(f"{sentence}{ending} (%d so far)", *values, count)
