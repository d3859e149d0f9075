"""Predicting single images, as scoring does, but from pixels in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from numpy.typing import NDArray
from torch import Tensor

from uda.engine.deploy import inference_pipeline
from uda.engine.evaluate import LoadedNetwork
from uda.engine.inference import LABEL_LOADERS, augmented_pipeline, augmented_probs

_IMAGE_LOADERS = ("LoadImage", "LoadImageFromFile")


class Prediction(NamedTuple):
    """What a network says of one image, at the image's own size.

    Attributes:
        label: (H, W) uint8, train ids.
        confidence: (H, W) float32, probability of that class, in [0, 1].
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.float32]


class Predictor:
    """Images in, train ids out: the config's resizing, the network, and back to the image's size.

    The label is what `tools/test.py --save-predictions` writes for the same image and settings.
    Sliding windows are a property of the segmentor: see `uda.engine.inference.slide`.

    Args:
        network: From `load_network`.
        config: The run's config; its test pipeline is applied.
        scales: Test-time augmentation: mean probabilities over these scales of the image.
        flip: Test-time augmentation: and over its mirror image.

    Raises:
        ValueError: More classes than 8 bits hold, or a scale is not positive.
    """

    def __init__(
        self,
        network: LoadedNetwork,
        config: Config,
        *,
        scales: Sequence[float] = (),
        flip: bool = False,
    ) -> None:
        self.network = network
        segmentor: Any = network.segmentor
        if segmentor.num_classes > 256:
            raise ValueError(
                f"Predictions are maps of 8 bits: at most 256 classes, the network has "
                f"{segmentor.num_classes}."
            )
        self.segmentor = segmentor
        steps = [s for s in inference_pipeline(config) if s["type"] not in LABEL_LOADERS]
        if scales or flip:
            steps = augmented_pipeline(steps, tuple(scales) or (1.0,), flip)
        self._augmented = bool(scales) or flip
        self._prepare = Compose([s for s in steps if s["type"] not in _IMAGE_LOADERS])

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        """The prediction of one image.

        Args:
            image: (H, W, 3) uint8, BGR, as `uda.data.images.read_image` gives it.

        Raises:
            ValueError: The image is not of this kind.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"An image is (H, W, 3) of uint8, BGR, got {image.shape} of {image.dtype}."
            )
        size = image.shape[:2]
        data: Any = self._prepare({"img": image, "img_shape": size, "ori_shape": size})
        if not self._augmented:
            batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
            (found,) = self.segmentor.test_step(batch)
            label = found.pred_sem_seg.data[0]  # of logits: equal ones may differ after softmax
            confidence = found.seg_logits.data.float().softmax(0).amax(0)
            return _prediction(label, confidence)
        views = [
            {"inputs": [one], "data_samples": [sample]}
            for one, sample in zip(data["inputs"], data["data_samples"], strict=True)
        ]
        (probs,) = augmented_probs(self.segmentor, views)
        return _prediction(probs.argmax(0), probs.float().amax(0))


def _prediction(label: Tensor, confidence: Tensor) -> Prediction:
    return Prediction(label.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy())
