"""Networks are scored, saved and deployed with the batch normalisation of target images."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import Tensor, nn

from uda.data.joined import build_joined, settings_of
from uda.engine.deploy import inference_pipeline
from uda.engine.hooks import unwrapped
from uda.engine.inference import LABEL_LOADERS
from uda.engine.random_state import saves_now
from uda.selftraining.norm_statistics import Statistics, estimate_statistics, using_statistics

STATISTICS_KEY = "target_statistics"


@HOOKS.register_module()
class TargetStatistics(Hook):
    """Validates and deploys networks with statistics of whole target images.

    A network with batch normalisation learns on crops, half of them of the source; its running
    statistics are of those. This hook estimates them on unlabelled target images as they are at
    inference (`estimate_statistics`; AdaBN, Li et al., 2016) before each validation and for each
    checkpoint. Training itself is not touched: the running statistics of training are put back,
    and a run with this hook makes the same steps as one without.

    A full checkpoint holds the estimates beside the weights, where `tools/test.py` finds them;
    deploy checkpoints hold them in place of the running statistics.

    Args:
        images: How many target images at most, evenly spread over the set.
        batch_size: Images a batch; smaller needs less memory.
        dataset: Config of the images; None takes the target training images. A run that has neither
            (source-only) keeps the statistics of training, and a warning says so.

    Raises:
        ValueError: A number is below 1.
    """

    # After Preemption, which says whether this iteration is the last; before Checkpoint.
    priority = "LOW"

    def __init__(
        self, *, images: int = 128, batch_size: int = 4, dataset: Mapping[str, Any] | None = None
    ) -> None:
        for name, value in (("images", images), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"TargetStatistics: {name} has to be at least 1, not {value}.")
        self.images, self.batch_size, self.dataset = images, batch_size, dataset
        self._images: Any = None
        self._found: dict[str, Statistics] | None = None
        self._applied = contextlib.ExitStack()

    def before_run(self, runner: Any) -> None:
        """Find the images before the training, so that missing ones are an error now."""
        target = runner.cfg.train_dataloader.dataset.get("target")
        if self.dataset is None and target is None:
            self._images = None
            print_log(
                "TargetStatistics does nothing: this run has no target images.",
                logger="current",
                level=logging.WARNING,
            )
            return
        self._images = target_images(runner.cfg, self.dataset)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """The weights are about to change: forget what was estimated for them."""
        self._found = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Estimate in all processes if rank 0 is about to save: SyncBN exchanges values."""
        if get_world_size() > 1 and saves_now(runner):
            self.statistics(runner)

    def before_val(self, runner: Any) -> None:
        """Exchange the statistics of all networks."""
        self._applied.enter_context(self.applied(runner))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put the statistics of training back, before the best checkpoint is saved."""
        self._applied.close()

    def after_val(self, runner: Any) -> None:
        """Put them back as well where a validation was cut short, which has no end of an epoch."""
        self._applied.close()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the estimates to a full checkpoint."""
        if self._images is None:
            return
        checkpoint[STATISTICS_KEY] = {
            network: {name: value.cpu() for name, value in statistics.items()}
            for network, statistics in self.statistics(runner).items()
        }

    @contextlib.contextmanager
    def applied(self, runner: Any) -> Iterator[None]:
        """Run a block with the estimates in all networks of the method."""
        networks = _networks(runner)
        with contextlib.ExitStack() as stack:
            for name, statistics in self.statistics(runner).items():
                stack.enter_context(using_statistics(networks[name], statistics))
            yield

    def statistics(self, runner: Any) -> dict[str, Statistics]:
        """The estimates for the present weights, by network; none without target images."""
        if self._images is None:
            return {}
        if self._found is None:
            model = unwrapped(runner)
            self._found = {
                name: estimate_statistics(
                    network,
                    image_batches(
                        self._images, model.data_preprocessor, self.images, self.batch_size
                    ),
                )
                for name, network in _networks(runner).items()
            }
        return self._found


@contextlib.contextmanager
def evaluation_statistics(runner: Any) -> Iterator[None]:
    """Run a block with the networks as validation sees them, whatever hooks the run has."""
    with contextlib.ExitStack() as stack:
        for hook in runner.hooks:
            if isinstance(hook, TargetStatistics):
                stack.enter_context(hook.applied(runner))
        yield


def target_images(config: Config, dataset: Mapping[str, Any] | None = None) -> Any:
    """The target training images of a config as they are at inference, without labels.

    Args:
        config: The run's config.
        dataset: Config of other images; its pipeline is replaced.

    Raises:
        ValueError: The run has no target images and `dataset` names none, or there is no image.
    """
    settings = dataset or config.train_dataloader.dataset.get("target")
    if settings is None:
        raise ValueError(
            "Statistics of target images need target images, but this config trains on the source "
            "alone (target=None); give their data set as `dataset`, or use a config that has one."
        )
    steps = [s for s in inference_pipeline(config) if s["type"] not in LABEL_LOADERS]
    changes: dict[str, Any] = {"pipeline": steps, "test_mode": True}
    plain = []
    for one in settings_of(settings):
        # Labels are those of pseudo-labels, which nobody reads here.
        unlabelled = {"label_dir": None} if "label_dir" in one else {}
        plain.append({**copy.deepcopy(dict(one)), **changes, **unlabelled})
    built = build_joined(plain, "target")
    built.full_init()
    if len(built) == 0:
        raise ValueError(f"Statistics of target images: the data set is empty: {built!r}")
    return built


def image_batches(
    dataset: Any, preprocessor: nn.Module, images: int, batch_size: int
) -> Iterator[Tensor]:
    """Batches of evenly spread images of a data set, normalised and on the device.

    Read one after the other in this process, so that no random number is drawn; a batch ends
    early where the size of images changes.

    Args:
        dataset: From `target_images`.
        preprocessor: mmseg's `SegDataPreProcessor`.
        images: How many at most.
        batch_size: How many a batch.
    """
    count = min(images, len(dataset))
    waiting: list[dict[str, Any]] = []
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    for position, index in enumerate(indices):
        item = dataset[index]
        # A last image alone would give a batch of one: it joins the batch before.
        full = len(waiting) == batch_size and len(indices) - position > 1
        if waiting and (full or item["inputs"].shape != waiting[0]["inputs"].shape):
            yield _prepared(waiting, preprocessor)
            waiting = []
        waiting.append(item)
    yield _prepared(waiting, preprocessor)


def _prepared(items: list[dict[str, Any]], preprocessor: Any) -> Tensor:
    data = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
    batch: Tensor = preprocessor(data, False)["inputs"]
    return batch


def _networks(runner: Any) -> dict[str, nn.Module]:
    networks: dict[str, nn.Module] = unwrapped(runner).method.networks()
    return networks
