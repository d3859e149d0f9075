"""The class of each pixel of a batch, as mmseg predicts it, without keeping logits of full size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.segmentors.base import BaseSegmentor
from torch import Tensor

from uda.evaluation.class_maps import ClassMaps
from uda.evaluation.label_free.metric import IMAGE_NUMBER
from uda.models.sliding_windows import mean_over_windows


def predict_classes(
    segmentor: Any, inputs: Tensor, samples: Sequence[Any] | None, maps: ClassMaps
) -> list[Any]:
    """Data samples with `pred_sem_seg` (1, H, W) int64, to the bit what `segmentor.predict` gives.

    Logits at the size of the original image are not kept in the samples, and are the work of
    `ClassMaps`. A segmentor that predicts in a way of its own is asked for it.

    Args:
        segmentor: mmseg's.
        inputs: (N, 3, H, W), normalised.
        samples: What is known of each image, changed in place; None: nothing.
        maps: Keeps memory from one batch to the next.
    """
    if not samples or not _predicts_as_mmseg(segmentor):
        results: list[Any] = segmentor.predict(inputs, samples)
        for result in results:
            result.pop("seg_logits", None)
        return results
    metas = [sample.metainfo for sample in samples]
    logits = whole_logits(segmentor, inputs, metas)
    for one, sample, meta in zip(logits.split(1), samples, metas, strict=True):
        classes = maps(
            _as_stored(one, meta), meta["ori_shape"][:2], align_corners=segmentor.align_corners
        )
        sample.set_data({"pred_sem_seg": PixelData(data=classes)})
    return list(samples)


def described(results: list[Any], describe: Callable[[Tensor, int], Any], key: str) -> list[Any]:
    """Data samples with what `describe` makes of their logits, in place of the logits.

    Args:
        results: Of `segmentor.predict`, with the number of each image in the metainfo.
        describe: Of `LabelFreeScores`: logits (K, H, W) and number of the image in.
        key: Under which it is kept.
    """
    for result in results:
        number = result.metainfo[IMAGE_NUMBER]
        result.set_data({key: describe(result.seg_logits.data, number)})
        # `pop` would leave them in memory: the sample keeps them as _seg_logits.
        del result.seg_logits
    return results


def whole_logits(segmentor: Any, inputs: Tensor, metas: list[dict[str, Any]]) -> Tensor:
    """Logits (N, K, H, W) by the segmentor's `test_cfg`: whole, or by windows.

    mmseg predicts one window at a time; with `test_cfg.window_batch` several go together.
    """
    settings = segmentor.test_cfg
    batch = int(settings.get("window_batch", 1))
    own = type(segmentor).slide_inference is not EncoderDecoder.slide_inference
    if settings.get("mode", "whole") != "slide" or batch == 1 or own:
        logits: Tensor = segmentor.inference(inputs, metas)
        return logits
    return mean_over_windows(
        inputs,
        metas,
        segmentor.encode_decode,
        num_classes=segmentor.out_channels,
        crop=tuple(settings.crop_size),
        stride=tuple(settings.stride),
        batch=batch,
    )


def _predicts_as_mmseg(segmentor: Any) -> bool:
    """Whether logits become classes by mmseg's own code: resized, and the highest wins."""
    kind = type(segmentor)
    return (
        isinstance(segmentor, EncoderDecoder)
        and kind.predict is EncoderDecoder.predict
        and kind.postprocess_result is BaseSegmentor.postprocess_result
        and segmentor.out_channels > 1
    )


def _as_stored(logits: Tensor, meta: Mapping[str, Any]) -> Tensor:
    """Logits without the padding of a batch, turned back if the image was mirrored."""
    left, right, top, bottom = meta.get("img_padding_size") or meta.get("padding_size", [0] * 4)
    height, width = logits.shape[2:]
    logits = logits[:, :, top : height - bottom, left : width - right]
    if not meta.get("flip"):
        return logits
    return logits.flip(3 if meta.get("flip_direction") == "horizontal" else 2)
