"""The model that mmengine's Runner trains and evaluates: networks and a method around them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmseg.registry import MODELS
from torch import Tensor, nn

from uda import registry, watching
from uda.data.margins import VALID
from uda.engine.checkpoint_networks import load_start
from uda.engine.distributed import synchronise_batch_norm
from uda.engine.log import DeviceScalars
from uda.engine.number_watch import NumberWatch
from uda.engine.optim import STUDENT
from uda.engine.prediction import described, predict_classes
from uda.engine.preprocessor import BatchPreProcessor
from uda.evaluation.class_maps import ClassMaps
from uda.evaluation.label_free.metric import SUMS
from uda.evaluation.label_free.sums import PredictionSums
from uda.methods import Method
from uda.models import SegmentationNetwork
from uda.models.batch_norm import BatchNorm
from uda.selftraining import LookAhead
from uda.structures import Batch, Labelled, Unlabelled

# Keys of a method's config under which single parts stand, and groups: methods of their own.
PARTS = {
    "teacher": registry.TEACHERS,
    "selector": registry.SELECTORS,
    "mixer": registry.MIXERS,
    "target_mix": registry.MIXERS,
    "view": registry.VIEWS,
    "source_style": registry.VIEWS,
}
GROUPS = ("primary", "secondary")
# How torch's BatchNorm begins to say that a batch of one image was pooled to one pixel.
_LONE_VALUE = "Expected more than 1 value per channel"


class RunnerOptimiser:
    """mmengine's optimiser wrapper with the interface a method needs.

    Args:
        wrapper: From the Runner.
        model: The model, for the wrapper's precision context.
        average: Averages gradients over processes before the step, those of opponents too; None
            for one process.
        watch: Sees the gradients before each step, and may refuse it.

    Attributes:
        opponents: Optimisers of the method's opponents, by name.
    """

    def __init__(
        self,
        wrapper: OptimWrapper,
        model: nn.Module,
        *,
        average: Callable[[], None] | None,
        watch: NumberWatch,
    ) -> None:
        wrappers = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {}
        self.wrapper: OptimWrapper = wrappers.pop(STUDENT, wrapper)
        self.model, self.average, self.watch = model, average, watch
        self.opponents = {
            name: RunnerOptimiser(one, model, average=None, watch=watch)
            for name, one in wrappers.items()
        }

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """The torch optimiser inside."""
        optimiser: torch.optim.Optimizer = self.wrapper.optimizer
        return optimiser

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.wrapper.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`, scaled if the precision asks for it."""
        self.wrapper.backward(loss)

    def step(self) -> None:
        """Average over processes, then move the weights, if the gradient is one."""
        if self.average is not None:
            with watching.phase("exchange"):
                self.average()
        # Gradients in fp16 are scaled, and overflow now and then: the wrapper skips such steps.
        scaled = isinstance(self.wrapper, AmpOptimWrapper)
        if scaled or self.watch.allows(self._parameters()):
            self.wrapper.step()

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.wrapper.optimizer.param_groups:
            yield from group["params"]

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes run."""
        context: AbstractContextManager[object] = self.wrapper.optim_context(self.model)
        return context


@MODELS.register_module()
class DomainAdaptation(BaseModel):
    """A student network, and the method that adapts it.

    Args:
        network: Config of a segmentor that mmseg builds, such as an `EncoderDecoder`.
        method: Config of a method, its parts as nested configs under `teacher`, `selector`,
            `mixer`, `view` and `terms`; a term can have such parts too. The number of classes and
            the normalisation are filled in from `network` and `data_preprocessor`.
        data_preprocessor: Config of mmseg's `SegDataPreProcessor`, which prepares the images of
            validation; training does the same to whole batches (`BatchPreProcessor`).
        evaluate: Names of the networks that validation runs.
        channels_last: Keep images and weights in channels-last layout, which is faster for
            convolutional encoders; rounding differs.
        micro_batches: Into how many parts the student's passes cut a batch, to need less memory:
            what is known as gradient accumulation, with the losses of the whole batch. Each part
            is computed a second time in the backward pass.
        sync_batch_norm: With several processes, BatchNorm takes its statistics over the images of
            all of them. Needs CUDA.
        batch_norm: What of BatchNorm learns: `"trained"`, `"affine_frozen"` or `"frozen"`; see
            `SegmentationNetwork`.
        start: Weights that the student starts from, in place of those of `network`:
            `dict(checkpoint="work_dirs/warm_up/iter_40000.pth", network="student")`, of a run by
            any method. Everything else starts afresh, other than with `load_from`.
    """

    method: Method

    def __init__(
        self,
        *,
        network: Mapping[str, Any],
        method: Mapping[str, Any],
        data_preprocessor: Mapping[str, Any],
        evaluate: Sequence[str] = ("student", "teacher"),
        channels_last: bool = False,
        micro_batches: int = 1,
        sync_batch_norm: bool = False,
        batch_norm: BatchNorm = "trained",
        start: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=MODELS.build(dict(data_preprocessor)))
        self.training_batches = BatchPreProcessor.from_config(data_preprocessor)
        make = partial(
            SegmentationNetwork.from_config,
            network,
            micro_batches=micro_batches,
            batch_norm=batch_norm,
        )
        student = make()
        self.num_classes: int = student.num_classes
        self.method = build_method(
            method,
            student,
            another=make,
            num_classes=self.num_classes,
            mean=data_preprocessor["mean"],
            std=data_preprocessor["std"],
        )
        if sync_batch_norm:
            synchronise_batch_norm(self.method)
        self.start = start_settings(start)
        self.evaluate = evaluated_networks(evaluate, self.method)
        self.log = DeviceScalars()
        self._class_maps = ClassMaps()
        # A hook replaces the watch, and says which iteration it is.
        self.watch = NumberWatch()
        self.iteration = 0
        self.live: watching.Watch | None = None  # of a hook, if somebody watches
        # What scores without labels need of an image's logits; validation sets it.
        self.describe: Callable[[Tensor, int], PredictionSums] | None = None
        self.average_gradients: Callable[[], None] | None = None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def init_weights(self) -> None:
        """Load what is trained with its initial weights and start everything else from them."""
        self.method.init_weights()
        if self.start:
            student: Any = self.method.student
            load_start(student.segmentor, **self.start)
            self.method.initialise()
        self.to(memory_format=self.memory_format)

    def train_step(self, data: Mapping[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One iteration on a batch of the loader.

        The log stays on the device until a hook asks for it (`self.log`), so that no iteration
        waits for it; nothing is returned to the Runner.
        """
        optimiser = RunnerOptimiser(
            optim_wrapper, self, average=self.average_gradients, watch=self.watch
        )
        with watching.watched_by(self.live):
            return self._step(data, optimiser)

    def _step(self, data: Mapping[str, Any], optimiser: RunnerOptimiser) -> dict[str, Tensor]:
        with watching.phase("batch"):
            batch = self.batch(data)
        # Each goes to the device when it is wanted, so that only one is there at a time.
        further = (self.batch(pair) for pair in data.get("further", ()))
        self.watch.begin()
        try:
            log = self.method.training_step(batch, optimiser, further)
        except ValueError as error:
            told = lone_value(error, batch.source.image, self.method)
            if told is None:
                raise
            raise ValueError(told) from error
        self.watch.record(log, self.iteration)
        if not self.watch.refused:
            self.log.add(log)
        return {}

    def batch(self, data: Mapping[str, Any]) -> Batch:
        """What the loader gave, normalised and on the device."""
        images, _ = self.training_batches.images(data["source"]["inputs"])
        label = self.training_batches.labels(
            [sample.gt_sem_seg.data for sample in data["source"]["data_samples"]]
        )
        source = Labelled(images.to(memory_format=self.memory_format), label)
        targets = (self._unlabelled(data.get(name)) for name in ("target", "second_target"))
        return Batch(source, *targets)

    def _unlabelled(self, items: Mapping[str, Any] | None) -> Unlabelled | None:
        if items is None:
            return None
        images, valid = self.training_batches.images(items["inputs"])
        masks = [sample.get(VALID) for sample in items["data_samples"]]
        if all(mask is not None for mask in masks):  # of PseudoLabelMargins, False in padding
            valid = self.training_batches.valid([mask.data for mask in masks])
        return Unlabelled(images.to(memory_format=self.memory_format), valid)

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "predict"
    ) -> list[Any]:
        """Predictions of all networks in `evaluate`, written into the data samples.

        The first network's prediction is `pred_sem_seg`, as mmseg's tools expect it; that of
        another network `<name>_pred_sem_seg`. `pred_network` in the metainfo names the first.
        `<name>_sums` are what `describe` makes of a network's logits.
        """
        if mode != "predict":
            raise ValueError(
                f"DomainAdaptation is trained by train_step; forward(mode={mode!r}) is what a "
                "foreign wrapper for several processes calls, and it would train nothing. Start by "
                "`torchrun ... tools/train.py CONFIG --launcher pytorch`, which wraps the model in "
                "uda.engine.distributed.Replicated."
            )
        samples = data_samples or []
        networks: dict[str, Any] = dict(self.method.networks())
        inputs = inputs.to(memory_format=self.memory_format)
        predictions: dict[str, list[Any]] = {}
        for name in self.evaluate:
            segmentor = networks[name].segmentor
            if self.describe is None:
                results = predict_classes(segmentor, inputs, data_samples, self._class_maps)
            else:
                results = described(
                    segmentor.predict(inputs, data_samples), self.describe, SUMS.format(name)
                )
            predictions[name] = [result.pred_sem_seg for result in results]
            samples = results
        for name, maps in predictions.items():
            key = "pred_sem_seg" if name == self.evaluate[0] else f"{name}_pred_sem_seg"
            for sample, prediction in zip(samples, maps, strict=True):
                sample.set_data({key: prediction})
        for sample in samples:
            sample.set_metainfo({"pred_network": self.evaluate[0]})
        return samples


def start_settings(start: Mapping[str, str] | None) -> dict[str, str]:
    """The arguments of `load_start` in a config's `start`; none without it.

    Raises:
        ValueError: There is no checkpoint, or another key.
    """
    settings = dict(start or {})
    if settings and ("checkpoint" not in settings or set(settings) - {"checkpoint", "network"}):
        raise ValueError(
            "model.start takes a checkpoint and, if it holds several networks, a network, such as "
            f"dict(checkpoint='iter_N.pth', network='student'); not {sorted(settings)}."
        )
    return settings


def lone_value(error: ValueError, image: Tensor, method: Method) -> str | None:
    """The sentence for torch's error about BatchNorm of one value; None for any other error.

    Args:
        error: From a pass of the method.
        image: Source images of the batch (N, 3, H, W).
        method: The method.
    """
    if _LONE_VALUE not in str(error):
        return None
    return (
        "A BatchNorm layer got a single value of each channel, which has no variance: "
        f"{_images(image)}{_parts(method)}. Set train_dataloader.batch_size to at least 2, or use "
        "a head without BatchNorm behind global pooling (norm_cfg of another type)."
    )


def _parts(method: Method) -> str:
    count = getattr(method.student, "micro_batches", 1)
    return f", and model.micro_batches={count} cuts it into parts" if count > 1 else ""


def _images(image: Tensor) -> str:
    count, _, height, width = image.shape
    return f"the batch has {count} image{'s' * (count > 1)} of {width}x{height} pixels"


def evaluated_networks(names: Sequence[str], method: Method) -> list[str]:
    """The networks to validate: those of `names` that the method has.

    Raises:
        ValueError: A name is none that any method has, or nothing is left.
    """
    unknown = [name for name in names if name not in ("student", "teacher", *method.networks())]
    known = [name for name in names if name in method.networks()]
    if unknown or not known:
        raise ValueError(
            f"evaluate={list(names)}: {type(method).__name__} has the networks "
            f"{list(method.networks())}."
        )
    return known


def further_batches(config: Mapping[str, Any]) -> int:
    """How many batches beside the real one the method of a config wants in an iteration."""
    counts = [further_batches(config[key]) for key in GROUPS if config.get(key) is not None]
    if config.get("look_ahead") is not None:
        built: LookAhead = registry.build_part(registry.LOOK_AHEADS, config["look_ahead"])
        counts.append(built.further_batches)
    return max(counts, default=0)


def build_method(
    config: Mapping[str, Any],
    student: nn.Module,
    *,
    another: Callable[[], nn.Module] | None = None,
    **shared: Any,
) -> Method:
    """The method that `config` describes, with all its parts, around `student`.

    Args:
        config: See `DomainAdaptation`.
        student: The network to train; that of the first group, if the method has groups.
        another: Makes the student of a second group; None copies the first.
        **shared: What parts may want to know: `num_classes`, `mean`, `std`.

    Raises:
        ValueError: A type or an argument is unknown.
    """
    settings = _with_parts(config, student=student, **shared)
    if settings.get("terms") is not None:
        settings["terms"] = [
            registry.build_part(
                registry.TERMS, _with_parts(term, student=student, **shared), **shared
            )
            for term in settings["terms"]
        ]
    make = another or partial(copy.deepcopy, student)
    for number, key in enumerate(GROUPS):
        if settings.get(key) is not None:
            own = make() if number else student
            settings[key] = build_method(settings[key], own, **shared)
    look_ahead = settings.pop("look_ahead", None)
    method: Method = registry.build_part(registry.METHODS, settings, student=student, **shared)
    if look_ahead is not None:
        method.use_look_ahead(registry.build_part(registry.LOOK_AHEADS, look_ahead))
    return method


def _with_parts(config: Mapping[str, Any], **shared: Any) -> dict[str, Any]:
    """A config in which the parts that stand under their keys are built, theirs before them."""
    settings = dict(config)
    for key, kind in PARTS.items():
        if settings.get(key) is not None:
            settings[key] = registry.build_part(
                kind, _with_parts(settings[key], **shared), **shared
            )
    return settings
