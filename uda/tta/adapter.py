"""A model that adapts while it predicts."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uda.losses import entropy_map
from uda.selftraining.norm_statistics import estimate_statistics, load_statistics
from uda.tta import adapter_state
from uda.tta.exported import Exported
from uda.tta.guard import Guard, warn_rarely
from uda.tta.inspection import refusal
from uda.tta.learner import Learner, OptimiserSettings, load_values, snapshot
from uda.tta.learning_rate import suggested_lr
from uda.tta.meter import Meter, peak_memory
from uda.tta.method import Method
from uda.tta.output import Output, Precision
from uda.tta.parameters import Choice
from uda.tta.samples import PixelSettings
from uda.tta.settings import Between, Protocol, check, groups, moving_parameters
from uda.tta.statistics import Kind, Statistics, freeze_rule


class Adapter(nn.Module):
    """Wraps a model: a call predicts a batch and adapts to it. `uda.tta.adapt` builds it.

    Args:
        model: Any module whose forward takes images first and gives logits (N, K) or (N, K, H, W);
            it is copied.
        method: The algorithm.
        lr: Learning rate; None: by the method, the architecture and the first batch, see
            `suggested_lr`.
        optimiser: `"sgd"` or `"adam"`; None: the method's.
        momentum: None: the method's.
        nesterov: None: the method's.
        weight_decay: None: the method's.
        statistics: How batch normalisation works: a `Statistics`, or its kind; None: the method's,
            which is safe for single images.
        parameters: What moves, see `chosen_parameters`; None: the method's choice.
        steps: Updates a call; what is returned is the last prediction before an update.
        protocol: `"continual"`: one stream, never reset. `"online"`: reset by `new_domain`.
            `"episodic"`: reset before each call. `"offline"`: calls only predict, `fit` adapts.
        every: Adapt at every k-th call, predict at the others.
        between: Statistics of those other calls: `"held"`: those of the last adaptation, at the
            cost of plain inference; `"own"`: of each call's images, as `predict` has it.
        skip_reliable: Do not adapt to a batch whose mean entropy, as a share of log K, is below it;
            None: adapt to all. It saves backward passes and costs a forward pass for the others.
        output: Where the logits are in what the model returns: key, index or function.
        precision: Of forward passes: `"full"`, `"bfloat16"` or `"float16"` by autocast.
        confidence: See `PixelSettings`.
        class_balance: See `PixelSettings`.
        max_pixels: See `PixelSettings`.
        guard: Watches the adaptation and rolls it back; True: `Guard()`; False: nothing watches.
        seed: Of everything random.
        inplace: Adapt the model itself instead of a copy.

    Raises:
        ValueError: A setting is out of range, or the model has nothing that the method could move.
        TypeError: The model is of a kind that cannot be adapted.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        *,
        lr: float | None = None,
        optimiser: Literal["sgd", "adam"] | None = None,
        momentum: float | None = None,
        nesterov: bool | None = None,
        weight_decay: float | None = None,
        statistics: Statistics | Kind | None = None,
        parameters: Choice | None = None,
        steps: int = 1,
        protocol: Protocol = "continual",
        every: int = 1,
        between: Between = "held",
        skip_reliable: float | None = None,
        output: Output = None,
        precision: Precision = "full",
        confidence: float = 0.0,
        class_balance: float = 0.0,
        max_pixels: int | None = None,
        guard: Guard | bool = True,
        seed: int = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        check(steps=steps, protocol=protocol, every=every, precision=precision, between=between)
        if reason := refusal(model, method.needs if parameters is None else "choice"):
            raise reason
        model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
        network = method.prepare(model if inplace else copy.deepcopy(model))
        network.eval().requires_grad_(False)
        self.network, self.method = network, method
        self.lr, self.every, self.steps, self.protocol = lr, every, steps, protocol
        self.skip_reliable, self.seed, self.trusted = skip_reliable, seed, False
        self.guard = Guard() if guard is True else (guard or None)
        self.meter = Meter()
        self.calls = self.skipped = self.not_finite = 0
        self.dense: bool | None = None
        self._wanted_statistics = statistics
        names = ("kind", "momentum", "nesterov", "weight_decay")
        given = (optimiser, momentum, nesterov, weight_decay)
        self._changes: dict[str, Any] = dict(zip(names, given, strict=True))
        method.attach(network)
        moving = moving_parameters(method, network, parameters)
        self.learner = Learner(
            network=network,
            parameters=moving,
            source=snapshot(network, moving),
            optimiser=None,
            statistics=Statistics("source"),
            output=output,
            pixels=PixelSettings(confidence, class_balance, max_pixels),
            precision=precision,
            generator=torch.Generator().manual_seed(seed),
            hold=every > 1 and between == "held",
        )
        self.source = self.capture()

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Predict a batch and, unless protocol or budget say otherwise, adapt to it.

        Args:
            image: (N, C, H, W).
            valid: (N,) or (N, H, W) bool, False where nothing may be learnt; None: everywhere.

        Returns:
            The logits, without gradient; those of before the update where the method has it so.
        """
        with (
            self.meter.call(self.learner.device),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            image = image.clone() if image.is_inference() else image
            return self._call(image, valid).detach()

    def predict(self, image: Tensor) -> Tensor:
        """The logits that a call would give now; nothing moves.

        Where a guard does not trust the adaptation (yet), they are the unadapted model's.
        """
        with torch.inference_mode(False), torch.no_grad():
            image = image.clone() if image.is_inference() else image
            self._begin(image)
            return self._predicted(image).detach()

    def reset(self) -> None:
        """Back to the start: weights, statistics, optimiser, memory; the report's counts stay."""
        self._to_source()
        self.trusted = False
        if self.guard is not None:
            self.guard.forget()

    def new_domain(self) -> None:
        """Tell that the stream changes: resets under the protocol `"online"`, else does nothing."""
        if self.protocol == "online":
            self.reset()

    def fit(
        self, batches: Iterable[Tensor | tuple[Tensor, Tensor | None]], *, epochs: int = 1
    ) -> None:
        """Adapt to batches without predicting, as the protocol `"offline"` has it.

        Args:
            batches: Images (N, C, H, W), or pairs of images and what of them is valid, as a call
                takes them; a collection that can be read once an epoch.
            epochs: How often.

        Raises:
            ValueError: `batches` can be read once only, and there are several epochs.
        """
        if epochs > 1 and isinstance(batches, Iterator):
            raise ValueError(
                f"batches is an iterator, which can be read once, but epochs={epochs}; give a list "
                "or a loader, or call fit once an epoch."
            )
        for _ in range(epochs):
            for batch in batches:
                image, valid = (batch, None) if isinstance(batch, Tensor) else batch
                with torch.inference_mode(False), torch.enable_grad():
                    image = image.clone() if image.is_inference() else image
                    self._begin(image)
                    self._adapted(image, valid)

    def capture(self) -> dict[str, Any]:
        """A copy of all that moves, for `restore`."""
        return adapter_state.capture(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `capture` gave."""
        adapter_state.restore(self, state)

    def train(self, mode: bool = True) -> Adapter:
        """Keep everything in evaluation mode: the statistics of each pass are set by the method."""
        return super().train(False)

    def export(
        self, *, freeze_on: Iterable[Tensor] | None = None, precision: Precision | None = None
    ) -> nn.Module:
        """A plain network in evaluation mode that gives the logits of `predict`.

        Where batch normalisation works by the batch, so does the exported network's. Where a guard
        does not trust the adaptation (yet), it is the unadapted network.

        Args:
            freeze_on: Images; batch normalisation then has their statistics for good, as a graph
                for another runtime wants it, and the logits are no longer those of `predict`.
            precision: Of passes; None: the adapter's. Other runtimes choose their own: give
                `"full"` for them.
        """
        if self._distrusted:
            network = copy.deepcopy(self.network).requires_grad_(False)
            load_values(network, self.learner.source)
            statistics = Statistics("source")
        else:
            network = copy.deepcopy(self.method.predictor(self.network)).requires_grad_(False)
            statistics = self.learner.statistics
        if freeze_on is not None:
            load_statistics(network, estimate_statistics(network, freeze_on))
            statistics = Statistics("source")
        freeze_rule(network, statistics)
        exported = Exported(network, self.learner.output, precision or self.learner.precision)
        return exported if self._distrusted else self.method.finished(exported)

    def report(self) -> dict[str, Any]:
        """Calls, passes, updates, what was left out and why, latency (ms), peak memory (MiB)."""
        return {
            "method": type(self.method).__name__,
            "calls": self.calls,
            **dataclasses.asdict(self.learner.counts),
            "skipped": self.skipped,
            "frames_not_finite": self.not_finite,
            **self.meter.latency(),
            "peak_memory_mib": peak_memory(self.learner.device),
            "moving_parameters": sum(p.numel() for p in self.learner.parameters.values()),
            "guard": None if self.guard is None else self.guard.report(),
            "details": self.method.report(),
        }

    def get_extra_state(self) -> dict[str, Any]:
        """What is saved beside networks: optimiser, memory, guard, counters, random state."""
        return adapter_state.extra(self)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_extra_state` gave."""
        adapter_state.load_extra(self, state)

    def _to_source(self) -> None:
        self.learner.restore_source()
        for name, network in self.method.followers().items():
            load_values(network, self.source["followers"][name])
        self.method.forget()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Adapter:
        """Move to a device or type, and with the networks all that is kept beside them."""
        super()._apply(fn, recurse)
        adapter_state.moved(self, fn)
        return self

    def _call(self, image: Tensor, valid: Tensor | None) -> Tensor:
        self._begin(image)
        self.calls += 1
        if self.protocol == "offline":
            return self._predicted(image)
        if self.protocol == "episodic":
            self._to_source()  # what the guard knows of the stream stays
        if self.every > 1 and (self.calls - 1) % self.every:
            with self.learner.between():
                return self._predicted(image)
        if self.skip_reliable is not None:
            logits = self._predicted(image)
            if bool(_relative_entropy(logits) < self.skip_reliable):
                self.skipped += 1
                return logits
        return self._adapted(image, valid)

    def _adapted(self, image: Tensor, valid: Tensor | None) -> Tensor:
        if not bool(torch.isfinite(image).all()):
            # One such image would spoil statistics, and by them every later prediction.
            self.not_finite += 1
            warn_rarely(self.not_finite, "batch %d has values that are not finite", self.calls)
            if self.guard is None:
                return self.method.predict(self.learner, image)
            return self.learner.predict_source(image)
        if self.guard is None:
            return self.adapt_once(image, valid)
        served, blank = self.guard.served, self.guard.blank
        logits = self.guard.watch(self, image, valid)
        if self.guard.blank == blank:  # a batch that shows nothing says nothing
            self.trusted = self.guard.served > served
        return logits

    @property
    def _distrusted(self) -> bool:
        """Whether a guard served the unadapted model at the last batch, or has seen none."""
        return self.guard is not None and not self.trusted

    def _predicted(self, image: Tensor) -> Tensor:
        """Logits without adaptation, of the model that the guard lets answer."""
        if self._distrusted:
            return self.learner.predict_source(image)
        return self.method.predict(self.learner, image)

    def adapt_once(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """The updates of one call, unguarded, whatever protocol and budget say."""
        for _ in range(self.steps):
            logits = self.method.step(self.learner, image, valid)
        return logits

    @torch.no_grad()
    def _begin(self, image: Tensor) -> None:
        """At the first images: whether predictions are dense, and what follows from that."""
        if self.dense is None:
            logits = self.learner.predict_source(image)
            self.configure(logits.ndim > 2, batch=len(image))

    def configure(self, dense: bool, *, batch: int) -> None:
        """Choose statistics, rate and optimiser; a call does so for the first batch.

        Args:
            dense: Whether predictions are maps.
            batch: Images in a batch.
        """
        learner, method = self.learner, self.method
        self.dense = learner.dense = dense
        wanted = self._wanted_statistics
        if wanted is None:
            wanted = method.statistics(dense=dense)
        learner.statistics = wanted if isinstance(wanted, Statistics) else Statistics(wanted)
        learner.statistics.start(self.network)
        for network in method.followers().values():
            learner.statistics.start(network)
        learner.source = self.source["student"] = snapshot(self.network, learner.parameters)
        settings = self._settings(method.optimiser(dense=dense), batch)
        self.lr = settings.lr
        if learner.parameters:
            learner.optimiser = settings.build(groups(learner.parameters, method))

    def _settings(self, settings: OptimiserSettings, batch: int) -> OptimiserSettings:
        changes = {name: value for name, value in self._changes.items() if value is not None}
        settings = dataclasses.replace(settings, **changes)
        lr = self.lr
        if lr is None:
            lr = suggested_lr(settings, self.network, batch=batch, dense=bool(self.dense))
        return dataclasses.replace(settings, lr=lr)


def _relative_entropy(logits: Tensor) -> Tensor:
    """The mean entropy as a share of log K."""
    return entropy_map(logits).mean() / math.log(logits.shape[1])
