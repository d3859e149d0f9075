"""Source-target pairs: what a draw contains follows from (seed, draw number) alone."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmseg.registry import DATASETS

from uda.data.cache.use import fresh, use_cache
from uda.data.joined import build_joined, part_of, parts_of
from uda.data.rare_class_sampling import (
    RareClassSampling,
    RareClassTable,
    TablesBySource,
    fetch_until,
)
from uda.data.seeding import epoch_index, seeded
from uda.data.shared_crop import crop_alike
from uda.data.source_statistics import known_of_all, statistics_of_all
from uda.data.statistics import ClassStatistics
from uda.text import nearest

SOURCE_STREAM, TARGET_STREAM, SECOND_TARGET_STREAM, CROP_STREAM = 0, 1, 2, 3


@DATASETS.register_module()
class SourceTargetPairs:
    """Training items ``{"source": item, "target": item}``, an item being what the pipeline packs.

    A class of which the source labels have no pixel is named in the log, once, where statistics are
    at hand (with rare class sampling always).

    ``pairs[(seed, draw)]`` is a pure function: equal in any process, after any other draw. Without
    `sampling` the source goes through its images once an epoch, newly shuffled each time; with it,
    by rare class sampling. The target goes through its images once an epoch in an order of its own,
    so pairs change from epoch to epoch. Source and target have separate random numbers: changing
    one's pipeline leaves the other's items as they were. To be used with
    ``sampler=dict(type="DrawSampler")``.

    Source and target can each be a list of data sets, every one with a pipeline of its own. Without
    `sampling` a domain's sets are gone through together, so that each is met in proportion to its
    number of images; with it the source's class statistics are merged (see
    `RareClassSampling.over`).

    Two deviations from the reference (Hoyer et al., CVPR 2022; released code), with rare class
    sampling. The reference then draws target images uniformly with replacement; here each comes
    once an epoch, as without the sampling, so that a short run sees every target image and
    switching the sampling on changes the source alone. And the reference repeats the crop together
    with the flip after it; here the crop alone is repeated and the flip drawn once: a flip moves
    pixels without changing how many there are of a class, so the test cannot tell, and the items
    are distributed alike.

    A method that learns from more than one batch an iteration gets what it needs in the same item:
    `further` whole pairs, as a list under ``"further"``, and with `second_target` another target
    image under ``"second_target"``. With `further` pairs, item d holds the draws
    ``d (further + 1)`` and those after it, so that again each draw number gives the same pair in
    any run.

    Args:
        source: Labelled data set, or its config, or a list of either.
        target: Unlabelled data set, or its config, or a list of either; None for training on the
            source alone (items have no ``"target"`` then).
        sampling: `RareClassSampling`, or a dict of its arguments; None draws all images alike.
        further: Number of further pairs in an item: virtual steps of `LookAhead(mode="wide")`.
            `tools/train.py` fills it in from the method.
        second_target: Add a second target image, drawn in an order of its own; for
            `DualTeacherStudent`.
        shared_crop: (height, width) of a part that is cut out of source and target at the same
            place, after their pipelines (an ablation of HRDA); None cuts nothing.
        cache: Folder of caches that `tools/prepare_data.py --cache` wrote; a data set with one
            there is read from it. The items are the same to the bit. None, or no such folder:
            images are read from their files.

    Raises:
        ValueError: A data set is empty, an unknown sampling argument, no image qualifies for a
            class (see `RareClassSampling`), `further` is negative, or a second target image or a
            shared crop is wanted of no target.
    """

    def __init__(
        self,
        *,
        source: Any,
        target: Any = None,
        sampling: RareClassSampling | Mapping[str, Any] | None = None,
        further: int = 0,
        second_target: bool = False,
        shared_crop: tuple[int, int] | None = None,
        cache: str | None = "data/cache",
    ) -> None:
        if further < 0:
            raise ValueError(f"SourceTargetPairs: further has to be at least 0, got {further}")
        if second_target and target is None:
            raise ValueError("SourceTargetPairs: second_target=True needs a target data set")
        if shared_crop is not None and target is None:
            raise ValueError(
                "SourceTargetPairs: shared_crop cuts source and target alike and needs a target "
                "data set; for the source alone give its RandomCrop the size"
            )
        self.source = build_joined(source, "source")
        self.target = build_joined(target, "target")
        self.sampling = build_sampling(sampling)
        self.further, self.second_target = further, second_target
        self.shared_crop = shared_crop
        self.cache = cache
        self.table: RareClassTable | TablesBySource | None = None
        self._initialised = False

    def full_init(self) -> None:
        """Read the folders and, for rare class sampling, the statistics; once.

        Classes without a pixel in the source are logged as a warning.
        """
        if self._initialised:
            return
        for name, dataset in (("source", self.source), ("target", self.target)):
            for part in [] if dataset is None else parts_of(dataset):
                if hasattr(part, "full_init"):
                    part.full_init()
                if len(part) == 0:
                    raise ValueError(f"SourceTargetPairs: the {name} data set is empty: {part!r}")
        sources = parts_of(self.source)
        if self.sampling is None:
            _warn_of_empty_classes(known_of_all(sources), self.metainfo)
        else:
            statistics = statistics_of_all(sources, self.sampling.statistics)
            _warn_of_empty_classes(statistics, self.metainfo)
            self.table = self.sampling.tables(statistics, self.metainfo["classes"])
        if self.cache is not None:
            for name, dataset in (("source", self.source), ("target", self.target)):
                for part in [] if dataset is None else parts_of(dataset):
                    use_cache(part, self.cache, name)
        self._initialised = True

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes and palette, those of the source."""
        return dict(self.source.metainfo)

    def __len__(self) -> int:
        """Number of source images, one epoch; draws go on beyond it without end."""
        return len(self.source)

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
        """The pair of one draw.

        Args:
            index: (seed, draw number), both >= 0.

        Raises:
            TypeError: The index is a plain number.
        """
        seed, draw = check_index(index, type(self).__name__)
        self.full_init()
        first = draw * (self.further + 1)
        pair = self._pair(seed, first)
        if self.further:
            pair["further"] = [self._pair(seed, first + 1 + j) for j in range(self.further)]
        return pair

    def _pair(self, seed: int, draw: int) -> dict[str, Any]:
        with seeded(seed, draw, SOURCE_STREAM):
            pair = {"source": self._source_item(seed, draw)}
        if self.target is not None:
            pair["target"] = self._target_item(seed, draw, TARGET_STREAM)
        if self.second_target:
            pair["second_target"] = self._target_item(seed, draw, SECOND_TARGET_STREAM)
        if self.shared_crop is not None:
            with seeded(seed, draw, CROP_STREAM):
                pair = crop_alike(pair, self.shared_crop)
        return pair

    def _target_item(self, seed: int, draw: int, stream: int) -> Any:
        position = epoch_index(seed, draw, len(self.target), stream)
        with seeded(seed, draw, stream):
            return _not_none(self.target[position], self.target, position)

    def _source_item(self, seed: int, draw: int) -> Any:
        if self.table is None or self.sampling is None:
            position = epoch_index(seed, draw, len(self.source), SOURCE_STREAM)
            return _not_none(self.source[position], self.source, position)
        class_id, position = self.table.draw(np.random)
        crop_pixels = self.table.crop_pixels
        source, place = part_of(self.source, position)
        load, crop, rest = split_pipeline(source.pipeline.transforms)
        loaded = apply_transforms(load, source.get_data_info(place))

        def enough(results: dict[str, Any]) -> bool:
            label = results["gt_seg_map"]
            return bool((label == class_id).sum() > crop_pixels(label.size))

        # A copy for each try: a transform may write into the arrays it is given.
        cropped, _ = fetch_until(
            lambda: apply_transforms(crop, fresh(loaded)), enough, self.sampling.retries
        )
        return apply_transforms(rest, cropped)


def check_index(index: Any, name: str) -> tuple[int, int]:
    """Seed and draw number of an index, as `DrawSampler` gives them.

    Args:
        index: What the loader asks for.
        name: Of the data set, for the error message.

    Raises:
        TypeError: It is something else, such as the plain number of another sampler.
    """
    if not (isinstance(index, Sequence) and len(index) == 2):
        raise TypeError(
            f"{name} wants an index (seed, draw), got {index!r}; "
            "set sampler=dict(type='DrawSampler') in the train_dataloader"
        )
    return index[0], index[1]


def split_pipeline(transforms: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Transforms that read files, those up to the crop (drawn again by RCS), and the rest.

    Reading is the leading run of transforms named ``Load...``; the second part ends with the last
    one named ``...Crop...``, or before packing when there is none.
    """
    names = [type(transform).__name__ for transform in transforms]
    read = next((i for i, name in enumerate(names) if not name.startswith("Load")), len(names))
    crops = [i + 1 for i, name in enumerate(names) if "Crop" in name]
    packs = [i for i, name in enumerate(names) if name.startswith("Pack")]
    end = max(read, crops[-1] if crops else (packs[0] if packs else len(names)))
    return list(transforms[:read]), list(transforms[read:end]), list(transforms[end:])


def apply_transforms(transforms: Sequence[Any], results: Any) -> Any:
    """What the transforms make of `results`, one after the other.

    Raises:
        ValueError: One of them dropped the image.
    """
    for transform in transforms:
        results = transform(results)
        if results is None:
            raise ValueError(f"transform {transform!r} dropped the image (None)")
    return results


def _not_none(item: Any, dataset: Any, position: int) -> Any:
    if item is None:
        raise ValueError(
            f"SourceTargetPairs: the pipeline of {type(dataset).__name__} dropped image {position}"
        )
    return item


def _warn_of_empty_classes(
    statistics: Sequence[ClassStatistics] | None, metainfo: Mapping[str, Any]
) -> None:
    """Classes that no source has; of several sets one may well lack what another one has."""
    if statistics is None:
        return
    pixels = np.sum([one.class_pixels for one in statistics], axis=0).tolist()
    images = sum(len(one.files) for one in statistics)
    empty = [name for name, count in zip(metainfo["classes"], pixels, strict=True) if not count]
    if empty:
        print_log(
            f"the {images} source labels have no pixel of: {', '.join(empty)}; "
            "these classes are not learnt, and rare class sampling cannot draw them",
            "current",
            logging.WARNING,
        )


def build_sampling(
    sampling: RareClassSampling | Mapping[str, Any] | None,
) -> RareClassSampling | None:
    """The sampling that a config's `sampling` describes; None for none.

    Raises:
        ValueError: An argument is unknown, or a value is out of range.
    """
    if sampling is None or isinstance(sampling, RareClassSampling):
        return sampling
    arguments = dict(sampling)
    kind = arguments.pop("type", "RareClassSampling")
    if kind not in ("RareClassSampling", RareClassSampling):
        raise ValueError(f"sampling type must be 'RareClassSampling', got {kind!r}")
    known = inspect.signature(RareClassSampling).parameters
    for key in arguments:
        if key not in known:
            raise ValueError(f"sampling has no argument {key!r}.{nearest(key, known)}")
    return RareClassSampling(**arguments)
