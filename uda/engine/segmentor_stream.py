"""Test-time adaptation of mmseg's segmentors on a folder of images, measured as it predicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from uda.engine.deploy import inference_pipeline
from uda.engine.evaluate import evaluation_dataset
from uda.engine.inference import LABEL_LOADERS
from uda.evaluation import SegmentationMetric
from uda.tta import Adapter, adapt
from uda.tta.meter import peak_memory

_HOW_LABELS_ARE_READ = ("image_suffix", "label_suffix", "label_map", "unmapped", "palette")


class SegmentorForward(nn.Module):
    """Logits of a segmentor as at inference, whole or by sliding windows, as a plain forward.

    Args:
        segmentor: mmseg's; its `test_cfg` says how.
    """

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, H, W) of normalised images (N, 3, H, W)."""
        size = tuple(image.shape[2:])
        shapes = {"img_shape": size, "ori_shape": size, "pad_shape": size}
        metas = [{**shapes, "padding_size": [0, 0, 0, 0]} for _ in image]
        segmentor: Any = self.segmentor
        logits: Tensor = segmentor.inference(image, metas)
        return logits


def stream_dataset(
    config: Config,
    folder: str | Path,
    labels: str | Path | None = None,
    *,
    image_suffix: str | None = None,
    label_suffix: str | None = None,
) -> dict[str, Any]:
    """The config of a data set of a folder's images, as they are at inference, in order of names.

    Args:
        config: The run's config, whose validation (or target) says how images are read.
        folder: Images.
        labels: Labels as the config's validation set has them, or None.
        image_suffix: Ending of image names; None: as `FolderDataset` has it.
        label_suffix: What stands in its place in a label's name.

    Raises:
        ValueError: Labels are given, but the config has no pipeline that reads any.
    """
    if labels is None:
        own: dict[str, Any] = {}
        steps = [step for step in inference_pipeline(config) if step["type"] not in LABEL_LOADERS]
    else:
        own = evaluation_dataset(config)
        steps = own["pipeline"]
        if not any(step["type"] in LABEL_LOADERS for step in steps):
            raise ValueError(
                f"{config.filename} reads no labels at validation, so those of {labels} cannot be "
                "read; give its pipeline a LoadLabel, or leave out the labels."
            )
    given = {"image_suffix": image_suffix, "label_suffix": label_suffix}
    kept = {name: own[name] for name in _HOW_LABELS_ARE_READ if name in own}
    return {
        **kept,
        **{name: suffix for name, suffix in given.items() if suffix is not None},
        "type": "FolderDataset",
        "image_dir": str(Path(folder).absolute()),
        "label_dir": None if labels is None else str(Path(labels).absolute()),
        "pipeline": steps,
        "test_mode": True,
    }


def run_stream(
    segmentor: nn.Module,
    dataset: Mapping[str, Any],
    method: str | None,
    *,
    reset_every: int | None = None,
    workers: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Predict a stream image by image, each scored by the prediction made when it came.

    Args:
        segmentor: mmseg's, with weights; it stays as it is.
        dataset: From `stream_dataset`, with `classes`.
        method: Of `uda.tta.METHODS`; None: the unadapted model.
        reset_every: Go back to the start every so many images.
        workers: Processes that read images.
        settings: Of `uda.tta.adapt`.
        progress: Called with the number of images after each.

    Returns:
        `mIoU` in percent and `IoU` by class (None without labels), `images`, time an image in
        milliseconds as `latency_p50_ms` and `latency_p95_ms`, `peak_memory_mib` and, unless the
        method is None, the adapter's `report`.
    """
    loader = _loader(dataset, workers)
    forward = SegmentorForward(segmentor).eval()
    adapter = None if method is None else adapt(forward, method, **dict(settings or {}))
    metric = SegmentationMetric()
    metric.dataset_meta = loader.dataset.metainfo
    times: list[float] = []
    model: Any = segmentor
    for number, data in enumerate(loader):
        if adapter is not None and reset_every and number and number % reset_every == 0:
            adapter.reset()
        batch = model.data_preprocessor(data, False)
        start = time.perf_counter()
        logits = _logits(adapter, forward, batch["inputs"])
        samples = model.postprocess_result(logits, batch["data_samples"])
        times.append(time.perf_counter() - start)
        if dataset.get("label_dir") is not None:
            metric.process(data, [sample.to_dict() for sample in samples])
        if progress is not None:
            progress(number + 1)
    return {
        "images": len(times),
        **_scores(metric, labelled=dataset.get("label_dir") is not None, images=len(times)),
        "latency_p50_ms": _milliseconds(times, 0.5),
        "latency_p95_ms": _milliseconds(times, 0.95),
        "peak_memory_mib": peak_memory(next(model.parameters()).device),
        "report": None if adapter is None else adapter.report(),
    }


@torch.no_grad()
def _logits(adapter: Adapter | None, forward: nn.Module, image: Tensor) -> Tensor:
    """An adapter switches gradients on for itself."""
    logits: Tensor = forward(image) if adapter is None else adapter(image)
    return logits


def _loader(dataset: Mapping[str, Any], workers: int) -> Any:
    return Runner.build_dataloader(
        {
            "batch_size": 1,
            "num_workers": workers,
            "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
            "dataset": dict(dataset),
        }
    )


def _scores(metric: SegmentationMetric, *, labelled: bool, images: int) -> dict[str, Any]:
    if not labelled:
        return {"mIoU": None, "IoU": None}
    found = metric.evaluate(images)
    prefix = "student/IoU."
    by_class = {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}
    return {"mIoU": found["student/mIoU"], "IoU": by_class}


def _milliseconds(times: list[float], share: float) -> float | None:
    if not times:
        return None
    return 1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))]
