"""By which statistics batch normalisation works while a model adapts and predicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uda.selftraining.norm_statistics import norm_layers
from uda.tta.batch_norm import moments
from uda.tta.held import Moments, set_moments

Kind = Literal["auto", "source", "batch", "running", "blend", "cumulative", "stream", "robust"]
KINDS = ("auto", "source", "batch", "running", "blend", "cumulative", "stream", "robust")
# A rule sets the mode of a layer, or gives the moments that are to normalise its input.
Rule = Callable[[_BatchNorm, Tensor], Moments | None]


@dataclass(frozen=True)
class Statistics:
    """How the batch normalisation of a network gets mean and variance.

    No layer's forward is replaced: a rule sets the layer's mode, or changes its input (without
    gradient: its stored statistics, for the time of the pass) so that the layer's own arithmetic
    gives the wanted result. So subclasses that also activate (timm's
    BatchNormAct2d) or exchange between processes (SyncBatchNorm) stay as they are. A layer that
    sees a single value a channel uses its stored statistics, since one value has no variance.

    Args:
        kind: `"source"`: the stored ones. `"batch"`: those of the batch, biased variance; the
            stored ones do not move (TENT). `"running"`: the same, and the stored ones follow with
            the layer's momentum (robusta's self-learning). `"blend"`: a mean of stored and batch's
            (Schneider et al., NeurIPS 2020). `"cumulative"`: mean over all batches so far.
            `"stream"`: mean over all images so far, and the stored ones as N images before them:
            the source at first, adaptive batch normalisation of the whole stream in the end. With
            `share` below 1 the batch's own have the rest.
            `"robust"`: the stored ones follow the batch's and normalise, with gradient through the
            batch's part (RoTTA). `"auto"`: `"batch"` for 16 images or more, else `"blend"`: safe
            for single images.
        prior: N of `"blend"` and `"stream"`: the stored statistics count as N images; their share
            is N / (N + n) for n images of the batch or of the stream so far.
        share: A fixed share of the stored statistics in [0, 1]; of `"blend"` in place of `prior`,
            of `"stream"` beside it (None: 1).
        mean: Whether `"blend"` takes the mean from the batch at all.
        variance: And the variance. It is the unbiased one, as in the released code.
        momentum: Step of `"robust"`.

    Raises:
        ValueError: An argument is out of range.
    """

    kind: Kind = "auto"
    prior: float = 16.0
    share: float | None = None
    mean: bool = True
    variance: bool = True
    momentum: float = 0.05

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"statistics has to be one of {', '.join(KINDS)}, not {self.kind!r}.")
        if self.prior < 0:
            raise ValueError(f"prior is a number of images, at least 0, not {self.prior}.")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"share of the stored statistics lies in [0, 1], not {self.share}.")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum has to lie in [0, 1], not {self.momentum}.")

    def start(self, network: nn.Module) -> None:
        """Make a network ready for its first batch: those of a stream count from 0."""
        if self.kind in ("cumulative", "stream"):
            for layer in norm_layers(network).values():
                if layer.num_batches_tracked is not None:
                    layer.num_batches_tracked.zero_()

    @contextlib.contextmanager
    def applied(
        self,
        network: nn.Module,
        *,
        update: bool,
        noted: dict[nn.Module, Moments] | None = None,
        lend: bool = False,
    ) -> Iterator[None]:
        """Run a block by these statistics; the network's modes come back afterwards.

        Everything but batch normalisation is in evaluation mode inside.

        Args:
            network: Any module.
            update: Whether stored statistics may move; without, each kind predicts by what is
                stored or by the batch, and leaves no trace.
            noted: Filled with the moments that each layer normalised by, where they were not
                simply the stored ones; not for `"running"`.
            lend: Whether a pass without gradient may go the faster way of lending statistics to
                layers. It rounds otherwise than a pass with gradient, which is not for a teacher:
                Adam makes visible steps of the last bits of its difference to the student.
        """
        modes = [(module, module.training) for module in network.modules()]
        layers = list(norm_layers(network).values())
        tracked = [layer.track_running_stats for layer in layers]
        network.eval()
        rule = self.rule(update=update)
        single = None if rule is None else _Pass(rule, noted, lend)
        hooks = [layer.register_forward_pre_hook(single) for layer in layers] if single else []
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            if single is not None:
                single.close()
            for layer, track in zip(layers, tracked, strict=True):
                layer.track_running_stats = track
            for module, training in modes:
                module.training = training

    def rule(self, *, update: bool) -> Rule | None:
        """What is done with the input of each layer before its forward."""
        stores = ("cumulative", "robust")
        if self.kind == "source" or (not update and self.kind in stores):
            return None
        return {
            "auto": self._auto,
            "batch": _by_batch,
            "running": _follow if update else _by_batch,
            "blend": self._blend,
            "cumulative": _cumulate,
            "stream": self._follow_stream if update else self._by_stream,
            "robust": self._robust,
        }[self.kind]

    def _auto(self, layer: _BatchNorm, values: Tensor) -> Moments | None:
        if values.shape[0] >= 16:
            _by_batch(layer, values)
            return None
        return self._blend(layer, values)

    def auto_by_input(self, layer: _BatchNorm, values: Tensor) -> Moments:
        """`"auto"` that changes a layer's input alone and never its mode."""
        if values.shape[0] < 16:
            return self._blend(layer, values)
        return moments(values, unbiased=False)

    def _blend(self, layer: _BatchNorm, values: Tensor) -> Moments:
        stored = self.share
        if stored is None:
            stored = self.prior / (self.prior + values.shape[0])
        mean, variance = moments(values, unbiased=True)
        old_mean, old_variance = _stored(layer)
        mean = torch.lerp(mean, old_mean, stored) if self.mean else old_mean
        variance = torch.lerp(variance, old_variance, stored) if self.variance else old_variance
        return mean, variance

    def _follow_stream(self, layer: _BatchNorm, values: Tensor) -> Moments | None:
        found = mean, variance = moments(values, unbiased=True)
        images = values.shape[0]
        seen = _counted(layer, images)
        weight = images / (self.prior + seen.to(mean.dtype))
        old_mean, old_variance = _stored(layer)
        _store(
            layer,
            torch.lerp(old_mean, mean.detach(), weight),
            torch.lerp(old_variance, variance.detach(), weight),
        )
        return self._beside_stream(layer, lambda: found)

    def _by_stream(self, layer: _BatchNorm, values: Tensor) -> Moments | None:
        return self._beside_stream(layer, lambda: moments(values, unbiased=True))

    def _beside_stream(self, layer: _BatchNorm, own: Callable[[], Moments]) -> Moments | None:
        layer.training = False
        if self.share is None or self.share == 1:
            return None
        mean, variance = own()
        stored_mean, stored_variance = _stored(layer)
        mean = torch.lerp(mean, stored_mean, self.share)
        return mean, torch.lerp(variance, stored_variance, self.share)

    def _robust(self, layer: _BatchNorm, values: Tensor) -> Moments:
        mean, variance = moments(values, unbiased=False)
        old_mean, old_variance = _stored(layer)
        mean = torch.lerp(old_mean, mean, self.momentum)
        variance = torch.lerp(old_variance, variance, self.momentum)
        _store(layer, mean, variance)
        return mean, variance


@dataclass(frozen=True)
class _Hook:
    """A forward pre-hook that knows only its rule, so that networks with it can be copied."""

    rule: Rule

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        values = inputs[0]
        if not isinstance(layer, _BatchNorm) or values.numel() // values.shape[1] < 2:
            layer.training = False
            return None
        found = self.rule(layer, values)
        if found is None:
            return None
        layer.training = False
        return _renormalised(layer, values, *found), *inputs[1:]


@dataclass
class _Pass:
    """The forward pre-hook of one pass, which may lend statistics to layers until `close`."""

    rule: Rule
    noted: dict[nn.Module, Moments] | None
    lend: bool
    lent: dict[_BatchNorm, tuple[Any, ...]] = field(default_factory=dict)
    biased: dict[_BatchNorm, float] = field(default_factory=dict)

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        values = inputs[0]
        if not isinstance(layer, _BatchNorm) or values.numel() // values.shape[1] < 2:
            layer.training = False
            return None
        self._take_back(layer)  # a layer that the network runs twice
        found = self.rule(layer, values)
        lend = self.lend and _is_full(values) and not torch.is_grad_enabled()
        own = layer.training and not layer.track_running_stats
        alone = values.device.type == "cpu" and not isinstance(layer, nn.SyncBatchNorm)
        if found is None and lend and own and alone:
            found = moments(values, unbiased=False)  # torch's kernel for training is slow there
        if found is None:
            if self.noted is not None and own:
                self._note_own(layer, values.numel() // values.shape[1])
            return None
        layer.training = False
        if self.noted is not None:
            self.noted[layer] = found
        if not lend:
            return _renormalised(layer, values, *found), *inputs[1:]
        self._lend(layer)
        mean, _ = _stored(layer)
        set_moments(layer, (found[0].to(mean.dtype), found[1].to(mean.dtype)))
        return None

    def close(self) -> None:
        """Every layer has its own statistics again."""
        for layer in list(self.lent):
            self._take_back(layer)

    def _note_own(self, layer: _BatchNorm, count: int) -> None:
        """Let the layer write the batch's moments where they are noted."""
        self._lend(layer)
        own = tuple(torch.zeros_like(value) for value in _stored(layer))
        set_moments(layer, (own[0], own[1]))
        layer.num_batches_tracked, layer.momentum, layer.track_running_stats = None, 1.0, True
        self.biased[layer] = (count - 1) / count  # the layer writes the unbiased variance

    def _lend(self, layer: _BatchNorm) -> None:
        counter = layer.num_batches_tracked
        self.lent[layer] = (*_stored(layer), counter, layer.momentum)

    def _take_back(self, layer: _BatchNorm) -> None:
        if layer not in self.lent:
            return
        if self.noted is not None and layer in self.biased:
            mean, variance = _stored(layer)
            self.noted[layer] = (mean, variance * self.biased.pop(layer))
        mean, variance, layer.num_batches_tracked, layer.momentum = self.lent.pop(layer)
        set_moments(layer, (mean, variance))


def freeze_rule(network: nn.Module, statistics: Statistics) -> None:
    """Make a copy of a network predict by these statistics for good, in evaluation mode.

    Args:
        network: A copy that nobody else uses.
        statistics: As it was predicted by.
    """
    network.eval()
    rule = statistics.rule(update=False)
    if statistics.kind == "auto":
        # Several threads may predict by the copy at once: no layer may change its mode meanwhile.
        rule = statistics.auto_by_input
    for layer in norm_layers(network).values():
        if rule is _by_batch and layer.running_mean is not None:
            # Without stored statistics torch normalises by the batch in evaluation mode too.
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            layer.track_running_stats = False
        elif rule is not None:
            layer.register_forward_pre_hook(_Hook(rule))


def _by_batch(layer: _BatchNorm, values: Tensor) -> None:
    """In training mode without tracking torch neither reads nor writes the stored statistics."""
    layer.training, layer.track_running_stats = True, False


def _follow(layer: _BatchNorm, values: Tensor) -> None:
    layer.training, layer.track_running_stats = True, True


def _cumulate(layer: _BatchNorm, values: Tensor) -> None:
    """Replace at the first batch, then the plain mean over batches; the result normalises."""
    mean, variance = moments(values.detach(), unbiased=True)
    old_mean, old_variance = _stored(layer)
    weight = 1 / _counted(layer, 1).to(mean.dtype)
    _store(layer, torch.lerp(old_mean, mean, weight), torch.lerp(old_variance, variance, weight))
    layer.training = False


def _is_full(values: Tensor) -> bool:
    """Not of half precision, where an exported network would round in other places."""
    return values.dtype in (torch.float32, torch.float64)


def _counted(layer: _BatchNorm, number: int) -> Tensor:
    """The layer's counter, after so many more batches, or images."""
    counter = layer.num_batches_tracked
    if counter is None:
        raise ValueError("Statistics of a stream need layers that count their batches.")
    counter += number
    return counter


def _stored(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    if layer.running_mean is None or layer.running_var is None:
        raise ValueError(f"{type(layer).__name__} keeps no statistics.")
    return layer.running_mean, layer.running_var


def _store(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    # New tensors: the graph of an earlier forward pass may still need the old ones.
    layer.running_mean, layer.running_var = mean.detach(), variance.detach()


def _renormalised(layer: _BatchNorm, values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The input that the layer's stored statistics turn into `values` normalised by others."""
    old_mean, old_variance = _stored(layer)
    scale = ((old_variance + layer.eps) / (variance + layer.eps)).sqrt()
    shape = [1, -1, *[1] * (values.ndim - 2)]
    offset = old_mean - mean * scale
    shifted = torch.addcmul(offset.view(shape), values, scale.view(shape))
    return shifted.to(values.dtype)
