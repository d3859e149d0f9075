"""Label generation against plain inference of the same network, measured side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmseg.registry import MODELS
from numpy.typing import NDArray

from uda.engine.deploy import deploy_config
from uda.engine.evaluate import LoadedNetwork, load_network
from uda.engine.label_generation import Item, Labeller, load_batches, of_one_size
from uda.engine.label_images import label_names, target_set
from uda.engine.label_pass import Pass
from uda.engine.label_settings import LabelSettings
from uda.engine.label_writer import LabelWriter
from uda.engine.overlap import overlapped

# Batches that are timed in one go: so many that the work of each can overlap with the next one's.
_BLOCK = 4
Block = Sequence[Sequence[Item]]
# Wall and processor seconds.
Seconds = tuple[float, float]


@dataclass(frozen=True)
class LabelTimes:
    """What labelling costs beside prediction.

    Attributes:
        ratio: Speed of labelling over that of plain inference; 1: alike. Of each block the fastest
            repeat counts, since other load of the machine only ever slows down.
        ratio_min: The same of the worst repeat, which shows how much load there was.
        ratio_max: The same of the best repeat.
        cpu_ratio: The same as `ratio` by processor seconds, of all threads.
        plain_images_per_s: Plain inference: network and class of each pixel.
        labels_images_per_s: Labelling: network, probabilities, selection, statistics, PNG files.
        images: Images of one repeat.
        size: Height and width of the first image in pixels.
        threads: Threads torch uses on the CPU.
        device: Name of the device.
    """

    ratio: float
    ratio_min: float
    ratio_max: float
    cpu_ratio: float
    plain_images_per_s: float
    labels_images_per_s: float
    images: int
    size: tuple[int, int]
    threads: int
    device: str

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def network_of(
    config: Config, checkpoint: str | Path | None, network: str | None = None
) -> LoadedNetwork:
    """The network of a checkpoint, see `load_network`; without one, with random weights."""
    if checkpoint is not None:
        return load_network(config, checkpoint, network)
    segmentor = MODELS.build(deploy_config(config).model)
    return LoadedNetwork(segmentor.to(get_device()).eval(), network or "student")


def time_labels(
    network: LoadedNetwork,
    config: Config,
    *,
    settings: LabelSettings,
    images: int = 16,
    repeats: int = 4,
) -> LabelTimes:
    """Time plain inference and labelling of the same images in turn.

    Images are read beforehand: in both cases other processes do that. Both are timed for a few
    batches after the other, in changing order, so that other load of the machine meets both alike.
    Labels go to a temporary folder, and waiting for the last of them counts.

    Args:
        network: From `network_of`.
        config: The run's config; its target images are used.
        settings: How labels are made.
        images: How many images, at most all of the set.
        repeats: How often, after one that does not count.
    """
    dataset = target_set(config, settings.scale)
    numbers = list(range(min(images, len(dataset))))
    size = settings.batch_size
    cut = [numbers[first : first + size] for first in numbers[::size]]
    batches = list(load_batches(dataset, cut, workers=0))
    blocks = [batches[first : first + _BLOCK] for first in range(0, len(batches), _BLOCK)]
    device = next(network.segmentor.parameters()).device
    done = Pass.start(settings.selector, len(dataset.metainfo["classes"]), device)
    plain: list[list[Seconds]] = []
    labels: list[list[Seconds]] = []
    with tempfile.TemporaryDirectory() as folder, LabelWriter() as writer:
        labeller = Labeller(
            network.segmentor, settings, done, label_names(dataset), Path(folder), writer
        )

        def label(block: Block) -> None:
            overlapped(enumerate(block), labeller.predict, lambda _, parts: labeller.select(parts))
            writer.wait()

        def predict(block: Block) -> None:
            for items in block:
                plain_inference(network.segmentor, items)

        for number in range(repeats + 1):
            plain.append([])
            labels.append([])
            for place, block in enumerate(blocks, start=number):
                pairs = [(predict, plain), (label, labels)]
                for work, times in pairs if place % 2 else reversed(pairs):
                    times[-1].append(_time(partial(work, block), device))
    return _result(np.array(plain[1:]), np.array(labels[1:]), batches, device)


@torch.no_grad()
def plain_inference(segmentor: Any, items: Sequence[Item]) -> None:
    """The class of each pixel of some images, on the host, and nothing else."""
    for part in of_one_size(items):
        data = {key: [item[key] for item in part] for key in ("inputs", "data_samples")}
        image = segmentor.data_preprocessor(data, False)["inputs"]
        shape = tuple(image.shape[2:])
        meta = {"img_shape": shape, "ori_shape": shape, "pad_shape": shape}
        logits = segmentor.inference(image, [dict(meta) for _ in part])
        # On a CPU several times as fast as argmax, which would flatter the labels.
        logits.max(1).indices.to(torch.uint8).cpu()


def _time(work: Callable[[], None], device: torch.device) -> Seconds:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def _result(
    plain: NDArray[np.float64],
    labels: NDArray[np.float64],
    batches: Sequence[Sequence[Item]],
    device: torch.device,
) -> LabelTimes:
    """The figures from times of each repeat and block, (R, B, 2)."""
    ratios = plain[..., 0].sum(1) / labels[..., 0].sum(1)
    wall_plain, cpu_plain = plain.min(0).sum(0).tolist()
    wall_labels, cpu_labels = labels.min(0).sum(0).tolist()
    images = sum(map(len, batches))
    height, width = batches[0][0]["inputs"].shape[1:]
    return LabelTimes(
        ratio=wall_plain / wall_labels,
        ratio_min=float(ratios.min()),
        ratio_max=float(ratios.max()),
        cpu_ratio=cpu_plain / cpu_labels,
        plain_images_per_s=images / wall_plain,
        labels_images_per_s=images / wall_labels,
        images=images,
        size=(height, width),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else device.type,
    )
