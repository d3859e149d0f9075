"""Test-time adaptation of mmseg's segmentors on a stream, measured as it predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from uda.engine.stream_participant import Participant, Run
from uda.engine.stream_scores import StreamScores, Thinning
from uda.engine.stream_sources import Domain


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


class Panel(NamedTuple):
    """One image of a stream and what was made of it, all (H, W).

    Attributes:
        image: Its number, from 1.
        domain: Of the image.
        round: Of the visit.
        pixels: (H, W, 3) uint8, RGB, as the network saw it before normalisation.
        label: Train ids, None without labels.
        predictions: Train ids by participant.
    """

    image: int
    domain: str
    round: int
    pixels: np.ndarray
    label: np.ndarray | None
    predictions: dict[str, np.ndarray]


class StreamResult(NamedTuple):
    """What came of a stream.

    Attributes:
        runs: By participant: `mIoU` in percent and `IoU` by class (None without labels), the same
            for each of `visits`, `images`, time of a call in milliseconds as `latency_p50_ms` and
            `latency_p95_ms`, `peak_memory_mib`, points of the `curve`, `events` of the guard, and
            the adapter's `report`.
        panels: Images spread evenly over the stream.
    """

    runs: dict[str, dict[str, Any]]
    panels: list[Panel]


def run_stream(
    segmentor: nn.Module,
    domains: Sequence[Domain],
    runs: Mapping[str, Run],
    *,
    rounds: int = 1,
    batch_size: int = 1,
    workers: int = 0,
    panels: int = 0,
    progress: Callable[[int, Mapping[str, float | None]], None] | None = None,
) -> StreamResult:
    """Predict a stream by several models side by side, each image scored when it came.

    Every image is read once. Each participant has a copy of the network of its own, and the memory
    of them all counts in `peak_memory_mib`: on CUDA the peak while the participant worked, on a
    CPU that of the process so far.

    Args:
        segmentor: mmseg's, with weights; it stays as it is.
        domains: In the order in which they come.
        runs: Participants by name; the first one is what others are compared with.
        rounds: How often the row of domains comes.
        batch_size: Images in a call.
        workers: Processes that read images.
        panels: About how many images to show; 0: none.
        progress: Called after each batch with the number of images, and the mIoU in percent of
            the last images by participant (None without labels).

    Raises:
        ValueError: There is no domain, or images of a batch differ in size.
    """
    if not domains:
        raise ValueError("A stream needs at least one domain.")
    participants = {
        name: Participant(SegmentorForward(segmentor), run, StreamScores(domains[0].classes))
        for name, run in runs.items()
    }
    for participant in filter(lambda one: one.offline, participants.values()):
        for _ in range(participant.run.epochs):
            participant.fit(_images(segmentor, domains, batch_size, workers))
    kept: Thinning[Panel] = Thinning(2 * panels)
    count = 0
    for number, domain in _visits(domains, rounds):
        for participant in participants.values():
            participant.begin(domain.name, number)
        for data in domain.batches(batch_size, workers):
            predictions = _predict(segmentor, participants, data)
            if panels:
                _keep(kept, count, domain.name, number, data, predictions)
            count += len(data["inputs"])
            if progress is not None:
                progress(count, {name: p.scores.running for name, p in participants.items()})
    labelled = any(domain.labelled for domain in domains)
    return StreamResult(
        {name: p.result(labelled=labelled) for name, p in participants.items()}, kept.items
    )


def _visits(domains: Sequence[Domain], rounds: int) -> Iterator[tuple[int, Domain]]:
    """Numbers of rounds, from 1, and domains."""
    for number in range(1, rounds + 1):
        for domain in domains:
            yield number, domain


class SourceImages:
    """Normalised batches of a domain's images, read anew whenever they are gone through.

    Args:
        segmentor: mmseg's, whose pre-processing they get.
        domain: Where they are.
        batch_size: Images in a batch.
        workers: Processes that read images.
    """

    def __init__(
        self, segmentor: nn.Module, domain: Domain, *, batch_size: int = 1, workers: int = 0
    ) -> None:
        self.segmentor, self.domain = segmentor, domain
        self.batch_size, self.workers = batch_size, workers

    def __iter__(self) -> Iterator[Tensor]:
        for image, _ in _images(self.segmentor, [self.domain], self.batch_size, self.workers):
            yield image


def _images(
    segmentor: Any, domains: Sequence[Domain], batch_size: int, workers: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Normalised batches of one pass and what of them is valid, without labels."""
    for domain in domains:
        for data in domain.batches(batch_size, workers):
            batch = _normalised(segmentor, data)
            yield batch["inputs"], valid_pixels(batch["inputs"], batch["data_samples"])


def valid_pixels(images: Tensor, samples: Sequence[Any]) -> Tensor | None:
    """Where images (N, C, H, W) are not padding: (N, H, W) bool, None where all is image.

    Args:
        images: As the network gets them.
        samples: What mmseg knows of each: `img_padding_size`, or `padding_size`, as left, right,
            top and bottom.
    """
    height, width = images.shape[2:]
    valid = torch.ones(len(images), height, width, dtype=torch.bool, device=images.device)
    padded = False
    for mask, sample in zip(valid, samples, strict=True):
        metas = sample.metainfo
        sizes = metas.get("img_padding_size", metas.get("padding_size"))
        if sizes is None or not any(sizes):
            continue
        left, right, top, bottom = (int(size) for size in sizes)
        padded = True
        mask[:] = False
        mask[top : height - bottom, left : width - right] = True
    return valid if padded else None


def _normalised(segmentor: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {tuple(image.shape[1:]) for image in data["inputs"]}
    if len(sizes) > 1:
        raise ValueError(
            f"Images of a batch differ in size (height, width): {sorted(sizes)}; adapt to one "
            "image at a time, or give the pipeline of validation a Resize to one size."
        )
    batch: dict[str, Any] = segmentor.data_preprocessor(dict(data), False)
    return batch


def _predict(
    segmentor: Any, participants: Mapping[str, Participant], data: Mapping[str, Any]
) -> dict[str, list[Tensor]]:
    """Maps (H, W) of each image at its original size, by participant; all are scored."""
    batch = _normalised(segmentor, data)
    valid = valid_pixels(batch["inputs"], batch["data_samples"])
    labels = [_label(sample) for sample in batch["data_samples"]]
    predictions: dict[str, list[Tensor]] = {}
    unadapted: Tensor | None = None
    for name, participant in participants.items():
        logits = participant.predict(batch["inputs"], valid)
        unadapted = logits if unadapted is None else unadapted
        samples = segmentor.postprocess_result(logits, batch["data_samples"])
        predictions[name] = [sample.pred_sem_seg.data.squeeze(0) for sample in samples]
        for prediction, label in zip(predictions[name], labels, strict=True):
            participant.scores.add(prediction, label)
        participant.record(logits, unadapted)
    return predictions


def _label(sample: Any) -> Tensor | None:
    label: Tensor | None = sample.gt_sem_seg.data.squeeze(0) if "gt_sem_seg" in sample else None
    return label


def _keep(
    kept: Thinning[Panel],
    count: int,
    domain: str,
    number: int,
    data: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Tensor]],
) -> None:
    """Keep the images of a batch that are to be shown; `count` came before it."""
    for index, (pixels, sample) in enumerate(
        zip(data["inputs"], data["data_samples"], strict=True)
    ):
        if not kept.wanted(count + index):
            continue
        label = _label(sample)
        maps = {name: found[index].to(torch.uint8) for name, found in predictions.items()}
        panel = Panel(
            count + index + 1,
            domain,
            number,
            pixels.permute(1, 2, 0).flip(2).byte().cpu().numpy(),  # BGR to RGB
            None if label is None else label.cpu().numpy(),
            {name: prediction.cpu().numpy() for name, prediction in maps.items()},
        )
        kept.add(count + index, panel)
