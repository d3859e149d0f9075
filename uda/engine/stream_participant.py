"""One of several models that predict the same stream side by side, with what it costs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from uda.engine.stream_scores import StreamScores, Thinning
from uda.tta import adapt
from uda.tta.meter import peak_memory


@dataclass(frozen=True)
class Run:
    """How a participant adapts.

    Attributes:
        method: Of `uda.tta.METHODS`; None: the unadapted model.
        reset_every: Back to the start every so many images, as RDumb does.
        settings: Of `uda.tta.adapt`.
        epochs: Passes over the stream before it is predicted, for the protocol `"offline"`.
    """

    method: str | None
    reset_every: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 1


class Participant:
    """A model on a stream: predictions, times, memory, scores and curves.

    Args:
        forward: Gives logits (N, K, H, W) of images; it stays as it is.
        run: How it adapts.
        scores: Where predictions are counted.
        curve: Most points of a curve.
    """

    def __init__(
        self, forward: nn.Module, run: Run, scores: StreamScores, *, curve: int = 1000
    ) -> None:
        self.run, self.scores = run, scores
        self.forward = forward.eval()
        self.device = next(forward.parameters()).device
        self.adapter = None
        if run.method is not None:
            self.adapter = adapt(forward, run.method, **dict(run.settings))
        self.times: list[float] = []
        self.curve: Thinning[dict[str, float | None]] = Thinning(curve)
        self.events: list[dict[str, Any]] = []
        self.images = self._since_reset = 0
        self._peak: float | None = None

    @property
    def offline(self) -> bool:
        """Whether it adapts before it predicts."""
        return self.adapter is not None and self.adapter.protocol == "offline"

    def fit(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> None:
        """One pass of offline adaptation, over images and what of them is valid."""
        if self.adapter is not None:
            self.adapter.fit(batches)

    def begin(self, domain: str, round_number: int) -> None:
        """A domain begins; only the protocol `"online"` uses that it is known."""
        self.scores.begin(domain, round_number)
        if self.adapter is not None:
            self.adapter.new_domain()

    def predict(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits of a batch, timed; an adapting model adapts to what of it is valid."""
        if self.adapter is not None and self.run.reset_every is not None:
            if self._since_reset >= self.run.reset_every:
                self.adapter.reset()
                self._since_reset = 0
            self._since_reset += len(image)
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        logits = self._logits(image, valid)
        if cuda:
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter() - start)
        memory = peak_memory(self.device)
        if memory is not None:
            self._peak = max(memory, self._peak or 0.0)
        self.images += len(image)
        self._note_events()
        return logits

    def record(self, logits: Tensor, unadapted: Tensor) -> None:
        """A point of the curves, at the images predicted so far.

        Args:
            logits: Of this model.
            unadapted: Of the unadapted one.
        """
        number = len(self.times) - 1
        if not self.curve.wanted(number):
            return
        same = (logits.argmax(1) == unadapted.argmax(1)).float().mean()
        self.curve.add(
            number,
            {
                "image": self.images,
                "mIoU": self.scores.running,
                "entropy": float(relative_entropy(logits)),
                "agreement": float(100 * same),
                "latency_ms": 1000 * self.times[-1],
            },
        )

    def result(self, *, labelled: bool) -> dict[str, Any]:
        """Scores, percentiles of the time of a call, memory, curves, the adapter's report."""
        return {
            **self.scores.summary(labelled=labelled),
            "latency_p50_ms": percentile(self.times, 0.5),
            "latency_p95_ms": percentile(self.times, 0.95),
            "peak_memory_mib": self._peak,
            "curve": self.curve.items,
            "events": self.events,
            "report": None if self.adapter is None else self.adapter.report(),
        }

    @torch.no_grad()
    def _logits(self, image: Tensor, valid: Tensor | None) -> Tensor:
        """An adapter switches gradients on for itself."""
        logits: Tensor = self.forward(image) if self.adapter is None else self.adapter(image, valid)
        return logits

    def _note_events(self) -> None:
        """Rollbacks since the last call, with the reason."""
        guard = None if self.adapter is None else self.adapter.guard
        if guard is None:
            return
        known = {event["kind"]: event["count"] for event in self.events}
        for kind, count in guard.reasons.items():
            if count > known.get(kind, 0):
                self.events.append({"image": self.images, "kind": kind, "count": count})


@torch.no_grad()
def relative_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions (N, K, H, W), as a share of log K."""
    log_probs = logits.log_softmax(1)
    entropy = -(log_probs.exp() * log_probs).sum(1).mean()
    return entropy / math.log(max(2, logits.shape[1]))


def percentile(times: list[float], share: float) -> float | None:
    """The time in milliseconds that this share of calls does not exceed; None without a call."""
    if not times:
        return None
    return 1000 * sorted(times)[max(0, math.ceil(share * len(times)) - 1)]
