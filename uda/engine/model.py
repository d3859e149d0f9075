"""The model that mmengine's Runner trains and evaluates: networks and a method around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmseg.registry import MODELS
from torch import Tensor, nn

from uda import registry
from uda.engine.checkpoint_networks import load_start
from uda.engine.log import DeviceScalars
from uda.engine.optim import STUDENT
from uda.engine.preprocessor import BatchPreProcessor
from uda.methods import Method
from uda.models import SegmentationNetwork
from uda.structures import Batch, Labelled, Unlabelled

# How torch's BatchNorm begins to say that a batch of one image was pooled to one pixel.
_LONE_VALUE = "Expected more than 1 value per channel"


class RunnerOptimiser:
    """mmengine's optimiser wrapper with the interface a method needs.

    Args:
        wrapper: From the Runner.
        model: The model, for the wrapper's precision context.
        average: Averages gradients over processes before the step, those of opponents too; None
            for one process.

    Attributes:
        opponents: Optimisers of the method's opponents, by name.
    """

    def __init__(self, wrapper: OptimWrapper, model: nn.Module, average: Any = None) -> None:
        wrappers = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {}
        self.wrapper: OptimWrapper = wrappers.pop(STUDENT, wrapper)
        self.model, self.average = model, average
        self.opponents = {name: RunnerOptimiser(one, model) for name, one in wrappers.items()}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.wrapper.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`, scaled if the precision asks for it."""
        self.wrapper.backward(loss)

    def step(self) -> None:
        """Average over processes, then move the weights."""
        if self.average is not None:
            self.average()
        self.wrapper.step()

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
            `mixer`, `view` and `terms`. The number of classes and the normalisation are filled
            in from `network` and `data_preprocessor`.
        data_preprocessor: Config of mmseg's `SegDataPreProcessor`, which prepares the images of
            validation; training does the same to whole batches (`BatchPreProcessor`).
        evaluate: Names of the networks that validation runs.
        channels_last: Keep images and weights in channels-last layout, which is faster for
            convolutional encoders; rounding differs.
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
        start: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=MODELS.build(dict(data_preprocessor)))
        self.training_batches = BatchPreProcessor.from_config(data_preprocessor)
        student = SegmentationNetwork.from_config(network)
        self.num_classes: int = student.num_classes
        self.method = build_method(
            method,
            student,
            num_classes=self.num_classes,
            mean=data_preprocessor["mean"],
            std=data_preprocessor["std"],
        )
        self.start = start_settings(start)
        self.evaluate = evaluated_networks(evaluate, self.method)
        self.log = DeviceScalars()
        self.average_gradients: Any = None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def init_weights(self) -> None:
        """Load the student's initial weights and start everything else from them."""
        student: Any = self.method.student
        student.init_weights()
        if self.start:
            load_start(student.segmentor, **self.start)
        self.method.initialise()
        self.to(memory_format=self.memory_format)

    def train_step(self, data: Mapping[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One iteration on a batch of the loader.

        The log stays on the device until a hook asks for it (`self.log`), so that no iteration
        waits for it; nothing is returned to the Runner.
        """
        optimiser = RunnerOptimiser(optim_wrapper, self, self.average_gradients)
        batch = self.batch(data)
        try:
            self.log.add(self.method.training_step(batch, optimiser))
        except ValueError as error:
            if _LONE_VALUE not in str(error):
                raise
            raise ValueError(
                "A BatchNorm layer got a single value of each channel, which has no variance: "
                f"{_images(batch)}. Set train_dataloader.batch_size to at least 2, or use a head "
                "without BatchNorm behind global pooling (norm_cfg of another type)."
            ) from error
        return {}

    def batch(self, data: Mapping[str, Any]) -> Batch:
        """What the loader gave, normalised and on the device."""
        images, _ = self.training_batches.images(data["source"]["inputs"])
        label = self.training_batches.labels(
            [sample.gt_sem_seg.data for sample in data["source"]["data_samples"]]
        )
        source = Labelled(images.to(memory_format=self.memory_format), label)
        if "target" not in data:
            return Batch(source)
        images, valid = self.training_batches.images(data["target"]["inputs"])
        return Batch(source, Unlabelled(images.to(memory_format=self.memory_format), valid))

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "predict"
    ) -> list[Any]:
        """Predictions of all networks in `evaluate`, written into the data samples.

        The first network's prediction is `pred_sem_seg`, as mmseg's tools expect it; that of
        another network `<name>_pred_sem_seg`. `pred_network` in the metainfo names the first.
        """
        if mode != "predict":
            raise ValueError(
                f"DomainAdaptation is trained by train_step; mode {mode!r} is not used."
            )
        samples = data_samples or []
        networks: dict[str, Any] = dict(self.method.networks())
        inputs = inputs.to(memory_format=self.memory_format)
        predictions: dict[str, list[Any]] = {}
        for name in self.evaluate:
            results = networks[name].segmentor.predict(inputs, data_samples)
            predictions[name] = [result.pred_sem_seg for result in results]
            samples = results
            for result in results:
                result.pop("seg_logits", None)
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


def _images(batch: Batch) -> str:
    count, _, height, width = batch.source.image.shape
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


def build_method(config: Mapping[str, Any], student: nn.Module, **shared: Any) -> Method:
    """The method that `config` describes, with all its parts, around `student`.

    Args:
        config: See `DomainAdaptation`.
        student: The network to train.
        **shared: What parts may want to know: `num_classes`, `mean`, `std`.

    Raises:
        ValueError: A type or an argument is unknown.
    """
    settings = dict(config)
    single = {
        "teacher": registry.TEACHERS,
        "selector": registry.SELECTORS,
        "mixer": registry.MIXERS,
        "view": registry.VIEWS,
    }
    for key, kind in single.items():
        if settings.get(key) is not None:
            settings[key] = registry.build_part(kind, settings[key], student=student, **shared)
    if settings.get("terms") is not None:
        settings["terms"] = [
            registry.build_part(registry.TERMS, term, **shared) for term in settings["terms"]
        ]
    method: Method = registry.build_part(registry.METHODS, settings, student=student, **shared)
    return method
