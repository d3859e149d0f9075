"""Pseudo-labels of a whole set in one pass, which may be stopped and goes on the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader

from uda.data.label_shards import Shard, finished_shards, join_shards
from uda.data.pseudo_labels import MANIFEST, LabelledImage, Manifest
from uda.engine.evaluate import LoadedNetwork, adapt_statistics
from uda.engine.inference import mean_probs
from uda.engine.label_images import label_names, target_set
from uda.engine.label_pass import PROGRESS, Pass, pass_key, restored
from uda.engine.label_relay import Relay
from uda.engine.label_settings import LabelSettings
from uda.engine.label_writer import LabelWriter
from uda.engine.overlap import overlapped
from uda.files import write_atomically
from uda.runs.digests import file_digest
from uda.structures import IGNORE_INDEX

# Batches between two notes of the progress: at most so many are predicted twice after a stop.
_NOTED = 16
WHOLE = Shard()
Item = Mapping[str, Any]
# Images of one size, and their probabilities (N, K, H, W).
Parts = Sequence[tuple[Sequence[Item], Tensor]]


def generate_labels(
    network: LoadedNetwork,
    config: Config,
    *,
    checkpoint: str | Path,
    out: str | Path,
    settings: LabelSettings,
    workers: int = 1,
    shard: Shard = WHOLE,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Label the target training images of a config, and write labels and manifest to a folder.

    The labels are 8-bit PNGs of train ids, 255 where rejected, at the size the network saw; their
    names are those of the images with `SUFFIX`. Order and batches follow from the seed alone, so
    the number of workers changes nothing. Nor does that of processes: those of a process group
    predict at the same time and select in turn (`Relay`), and what they write together is what one
    process writes. Every few batches the thresholds are noted together with what was done; the same
    call goes on from there after a stop, to the same labels, also with another number of processes.
    A finished folder is returned as it is.

    Args:
        network: From `load_network`; changed in place with `settings.target_statistics`.
        config: The run's config.
        checkpoint: The file that `network` was loaded from, for the manifest.
        out: Folder; made if missing. Where processes have disks of their own, each writes the
            labels of its images there, and process 0 the manifest.
        settings: See `LabelSettings`.
        workers: Processes that read images, for each process that predicts.
        shard: Label this share of the batches alone, with thresholds of its own, as each process of
            IAST's released code does. Whoever finishes the last shard of a folder joins them, see
            `join_shards`.
        progress: Called in process 0 with the number of images done and of all images.

    Returns:
        The manifest of the folder; that of the shard as long as others are missing.

    Raises:
        ValueError: `out` holds pseudo-labels of another network or other settings, there is no
            target image, or processes see different ones.
    """
    out = Path(out)
    dataset = target_set(config, settings.scale)
    names = label_names(dataset)
    origin = {
        "file": Path(checkpoint).name,
        "sha256": file_digest(Path(checkpoint)),
        "network": network.name,
    }
    key = pass_key(settings, origin, names, shard)
    relay = Relay()
    before = _before(relay, out, key, shard)
    if not isinstance(before, Manifest):
        if settings.target_statistics:
            adapt_statistics(network, config)
        classes = list(dataset.metainfo["classes"])
        device = next(network.segmentor.parameters()).device
        done = Pass.start(settings.selector, len(classes), device)
        if before is not None:
            done.restore(before)
        order = np.random.default_rng(settings.seed).permutation(len(dataset)).tolist()
        batches = shard.of(_cut(order, settings.batch_size))
        batches = batches[-(-len(done.images) // settings.batch_size) :]
        note = _Note(out / shard.file(PROGRESS), key)
        with LabelWriter() as writer:
            labeller = Labeller(network.segmentor, settings, done, names, out, writer)
            _label(labeller, dataset, batches, workers, relay, note, progress)
        relay.wait_for_all()
        told = {**settings.told(), "key": key}
        before = Manifest(
            classes=classes,
            images=done.images,
            class_mean=done.kept.class_mean.tolist(),
            thresholds=done.thresholds,
            settings={**told, "shard": [shard.number, shard.count]} if shard.count > 1 else told,
            checkpoint=origin,
        )
        if relay.keeps:
            before.write(out, shard.file(MANIFEST))
            note.path.unlink(missing_ok=True)
    return relay.from_keeper(_with_others(before, out, shard) if relay.keeps else None)


@dataclass
class Labeller:
    """The work on one batch: `predict`, then `select`.

    Attributes:
        segmentor: mmseg's.
        settings: How labels are made.
        done: The pass so far.
        names: Image and label of each path, from `label_names`.
        out: Folder of labels.
        writer: Writes them.
    """

    segmentor: Any
    settings: LabelSettings
    done: Pass
    names: Mapping[str, tuple[str, str]]
    out: Path
    writer: LabelWriter

    def predict(self, items: Sequence[Item]) -> Parts:
        """Parts of a batch whose images have one size, with probabilities (N, K, H, W)."""
        return [(part, self._probs(part)) for part in of_one_size(items)]

    def select(self, parts: Parts) -> None:
        """Select by the thresholds, have the labels written, and keep what was done."""
        for items, probs in parts:
            pseudo, counts = self.done.select(probs)
            predicted = class_counts(probs).tolist()
            label = pseudo.label.masked_fill(pseudo.weight == 0, IGNORE_INDEX)
            labels = label.to(torch.uint8).cpu().numpy()
            for item, array, kept, seen in zip(items, labels, counts, predicted, strict=True):
                image, name = self.names[item["data_samples"].img_path]
                self.writer.write(self.out / name, array)
                entry = LabelledImage(image, name, array.shape, tuple(kept), tuple(seen))
                self.done.images.append(entry)
        self.done.note_thresholds()

    def _probs(self, items: Sequence[Item]) -> Tensor:
        data = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
        height, width = items[0]["inputs"].shape[1:]
        image = self.segmentor.data_preprocessor(data, False)["inputs"]
        settings = self.settings
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.amp)
        with torch.autocast(image.device.type, dtype=half, enabled=half is not None):
            probs = mean_probs(self.segmentor, image, settings.scales, flip=settings.flip)
        return probs[:, :, :height, :width]  # without padding


def class_counts(probs: Tensor) -> Tensor:
    """Pixels predicted as each class, of probabilities (N, K, H, W): (N, K) int64."""
    classes, number = probs.shape[1], len(probs)
    image = torch.arange(number, device=probs.device).view(-1, 1, 1)
    # max: on a CPU it is several times as fast as argmax
    codes = (probs.max(1).indices + classes * image).flatten()
    return torch.bincount(codes, minlength=number * classes).view(number, classes)


@dataclass(frozen=True)
class _Note:
    """Where the progress is noted, and the key of the pass."""

    path: Path
    key: str


def load_batches(dataset: Any, batches: Sequence[list[int]], workers: int) -> Iterator[Any]:
    """The items of each batch, read by `workers` processes.

    Args:
        dataset: From `target_set`.
        batches: Numbers of images.
        workers: 0: read by this process.
    """
    loader: Any = DataLoader(
        dataset, batch_sampler=batches, num_workers=workers, collate_fn=pseudo_collate
    )
    for data in loader:
        keys = list(data)
        yield [dict(zip(keys, values, strict=True)) for values in zip(*data.values(), strict=True)]


def _label(
    labeller: Labeller,
    dataset: Any,
    batches: Sequence[list[int]],
    workers: int,
    relay: Relay,
    note: _Note,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Label `batches`, the first of which are done, in turn with the other processes.

    A cycle is one batch of each process. Process 0 has its last turn and notes what was done; by
    then the labels of all have to be on the disk.
    """
    done, last = labeller.done, len(batches) - 1
    turns = range(relay.turn, len(batches), relay.size)
    cycles = max(1, _NOTED // relay.size)
    total = len(done.images) + sum(map(len, batches))
    if not relay.keeps:
        done.give()  # process 0 has what was done before

    def finish(turn: int, parts: Parts) -> None:
        _take(done, relay, turn)
        labeller.select(parts)
        is_noted = (turn // relay.size + 1) % cycles == 0
        if is_noted:
            labeller.writer.wait()
        if is_noted and relay.keeps:
            write_atomically(note.path, done.note(note.key))
        if relay.keeps and progress is not None:
            progress(len(done.images), total)
        if turn < last:
            _hand_on(done, relay, relay.of(turn + 1))

    loader = load_batches(dataset, [batches[turn] for turn in turns], workers)
    overlapped(zip(turns, loader, strict=True), labeller.predict, finish)
    labeller.writer.wait()
    if relay.rank == relay.of(last):
        _hand_on(done, relay, 0)
    elif relay.keeps:
        done.take(relay.receive(relay.of(last)))


def _take(done: Pass, relay: Relay, turn: int) -> None:
    """Take over the state with which the turn before ended."""
    if relay.size > 1 and turn > 0:
        done.take(relay.receive(relay.of(turn - 1)))


def _hand_on(done: Pass, relay: Relay, process: int) -> None:
    """Give the state to another process, and what was done since process 0 knew it."""
    if process != relay.rank:
        relay.hand_on(done.state() if relay.keeps else done.give(), process)


def _before(relay: Relay, out: Path, key: str, shard: Shard) -> Manifest | Mapping[str, Any] | None:
    """What process 0 finds of earlier calls, see `restored`; all processes have to fit it."""
    found = restored(out, key, shard) if relay.keeps else None
    wanted, found = relay.from_keeper((key, found))
    if wanted != key:
        raise ValueError(
            f"process {relay.rank} sees other images, another checkpoint or other settings than "
            "process 0; give all of them the same files and the same command."
        )
    return found


def _with_others(manifest: Manifest, out: Path, shard: Shard) -> Manifest:
    """The manifest of all shards, if this was the last one."""
    if shard.count == 1 or len(finished_shards(out)) < shard.count:
        return manifest
    return join_shards(out)


def _cut(order: list[int], size: int) -> list[list[int]]:
    return [order[first : first + size] for first in range(0, len(order), size)]


def of_one_size(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Neighbours in a batch whose images have one size."""
    for _, part in itertools.groupby(items, key=lambda item: item["inputs"].shape):
        yield list(part)
