"""Other ways to predict an image: sliding windows, and the mean over views of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from torch import Tensor

from uda.evaluation.class_maps import best_class

LABEL_LOADERS = ("LoadLabel", "LoadAnnotations", "LoadPseudoLabel")


def slide(
    segmentor: Any,
    window: tuple[int, int],
    stride: tuple[int, int] | None = None,
    *,
    batch: int = 1,
) -> None:
    """Make a segmentor predict by windows whose logits are averaged where they overlap.

    Args:
        segmentor: mmseg's; its `test_cfg` is replaced.
        window: Height and width in pixels of the image as the network sees it.
        stride: Steps down and to the right; None: two thirds of the window.
        batch: Windows that go through the network together; memory grows with it, and last bits
            may differ.

    Raises:
        ValueError: A length is below 1, the stride leaves gaps between windows, or there is no
            window in a batch.
    """
    stride = stride or (max(1, window[0] * 2 // 3), max(1, window[1] * 2 // 3))
    for step, length in zip(stride, window, strict=True):
        if not 1 <= step <= length:
            raise ValueError(
                "sliding windows need 1 <= stride <= window in height and width, got a window of "
                f"{tuple(window)} and a stride of {tuple(stride)} (height, width)"
            )
    if batch < 1:
        raise ValueError(f"at least 1 window goes through the network at a time, got {batch}")
    settings: dict[str, Any] = {
        "mode": "slide",
        "crop_size": tuple(window),
        "stride": tuple(stride),
    }
    if batch > 1:
        settings["window_batch"] = batch
    segmentor.test_cfg = ConfigDict(settings)


def augmented_pipeline(
    pipeline: Sequence[Mapping[str, Any]], scales: Sequence[float], flip: bool
) -> list[dict[str, Any]]:
    """The pipeline with its geometry repeated for each scale, plain and mirrored.

    Args:
        pipeline: Loading, resizing, label, packing, in this order.
        scales: Factors on the size the image has there.
        flip: Also mirror.

    Raises:
        ValueError: A scale is not positive.
    """
    if any(scale <= 0 for scale in scales):
        raise ValueError(f"scales of test-time augmentation have to be above 0, got {list(scales)}")
    steps = [dict(step) for step in pipeline]
    labels = [step for step in steps if step["type"] in LABEL_LOADERS]
    first = [step for step in steps if step not in labels and step["type"] != "PackSegInputs"]
    pack = [step for step in steps if step["type"] == "PackSegInputs"]
    resizes = [{"type": "Resize", "scale_factor": scale, "keep_ratio": True} for scale in scales]
    mirrors = [{"type": "RandomFlip", "prob": 0.0, "direction": "horizontal"}]
    if flip:
        mirrors.append({"type": "RandomFlip", "prob": 1.0, "direction": "horizontal"})
    # Without label loaders their place must not stay: an empty choice would mean no view at all.
    choices = [part for part in (resizes, mirrors, labels, pack) if part]
    return [*first, {"type": "TestTimeAug", "transforms": choices}]


def augmented_probs(segmentor: Any, views: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """Class probabilities of each image of a batch, (K, H, W): the mean of softmax over views.

    Args:
        segmentor: mmseg's; it turns mirrored logits back and resizes all to the original size.
        views: The same batch as `test_step` takes it, once for each scale and mirroring.
    """
    total: list[Tensor] = []
    for view in views:
        probs = [sample.seg_logits.data.softmax(0) for sample in segmentor.test_step(view)]
        total = [sum_ + new for sum_, new in zip(total, probs, strict=True)] if total else probs
    return [sum_ / len(views) for sum_ in total]


def predict_augmented(segmentor: Any, data: Mapping[str, Any]) -> list[Any]:
    """Data samples of a batch with the class of highest mean probability as `pred_sem_seg`.

    Args:
        segmentor: mmseg's.
        data: Batch of a loader with `augmented_pipeline`: `inputs` and `data_samples` are lists
            over the views of lists over the images.
    """
    pairs = zip(data["inputs"], data["data_samples"], strict=True)
    views = [{"inputs": inputs, "data_samples": samples} for inputs, samples in pairs]
    samples: list[Any] = list(views[0]["data_samples"])  # their metainfo and label are the image's
    for sample, probs in zip(samples, augmented_probs(segmentor, views), strict=True):
        sample.set_data({"pred_sem_seg": PixelData(data=best_class(probs).unsqueeze(0))})
    return samples


@torch.no_grad()
def mean_probs(
    segmentor: Any, image: Tensor, scales: Sequence[float] = (1.0,), *, flip: bool = False
) -> Tensor:
    """Class probabilities (N, K, H, W) of images, the mean over their views.

    Args:
        segmentor: mmseg's; it predicts whole or by sliding windows, as its `test_cfg` says.
        image: (N, 3, H, W), normalised.
        scales: Factors on H and W.
        flip: Also mirror.
    """
    size = (image.shape[2], image.shape[3])
    total: Tensor | None = None
    for scale, mirrored in itertools.product(scales, (False, True) if flip else (False,)):
        shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        view = image if shape == size else F.interpolate(image, shape, mode="bilinear")
        view = view.flip(3) if mirrored else view
        meta = {"img_shape": shape, "ori_shape": shape, "pad_shape": shape}
        logits = segmentor.inference(view, [dict(meta) for _ in view])
        probs = logits.float().softmax(1)
        probs = probs.flip(3) if mirrored else probs
        probs = probs if shape == size else F.interpolate(probs, size, mode="bilinear")
        # In place: these maps are large, and memory that is new costs more than the sum.
        total = probs if total is None else total.add_(probs)
    if total is None:
        raise ValueError("mean_probs needs at least one scale, but scales is empty.")
    return total if len(scales) * (1 + flip) == 1 else total.div_(len(scales) * (1 + flip))
