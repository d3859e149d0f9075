"""Training images from the loader to the device: one copy a batch, and no waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uda.structures import IGNORE_INDEX

_UNKNOWN_HERE = ("batch_augments", "rgb_to_bgr")


class BatchPreProcessor(nn.Module):
    """Stacked, padded and normalised batches, equal to those of mmseg's `SegDataPreProcessor`.

    `(image - mean) / std` in float32, then padding at the right and at the bottom with `pad_val`
    (so padding is `pad_val` after normalisation). mmseg copies image by image and waits for each;
    here bytes are stacked on the host, pinned if they go to a GPU, and copied once without
    waiting.

    Args:
        mean: Subtracted, for each channel of the result, in 0..255.
        std: Divided by.
        size: Height and width of the batch in pixels, at least those of each image; None takes
            the largest image.
        size_divisor: With `size=None`: height and width are rounded up to a multiple.
        bgr_to_rgb: Reverse the channels first.
        pad_val: Value of padding in images.
        seg_pad_val: Value of padding in labels.

    Raises:
        ValueError: Both `size` and `size_divisor` are given.

    >>> batches = BatchPreProcessor(mean=[0.0] * 3, std=[2.0] * 3, size=(2, 3))
    >>> image, valid = batches.images([torch.full((3, 2, 2), 8, dtype=torch.uint8)])
    >>> image[0, 0].tolist(), valid.tolist()
    ([[4.0, 4.0, 0.0], [4.0, 4.0, 0.0]], [[[True, True, False], [True, True, False]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        size: tuple[int, int] | None = None,
        size_divisor: int | None = None,
        bgr_to_rgb: bool = False,
        pad_val: float = 0.0,
        seg_pad_val: int = IGNORE_INDEX,
    ) -> None:
        super().__init__()
        if size is not None and size_divisor is not None:
            raise ValueError(f"Give size={size} or size_divisor={size_divisor}, not both.")
        self.size, self.size_divisor = size, size_divisor
        self.bgr_to_rgb, self.pad_val, self.seg_pad_val = bgr_to_rgb, pad_val, seg_pad_val
        mean_values = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
        self.register_buffer("mean", mean_values, persistent=False)
        std_values = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
        self.register_buffer("std", std_values, persistent=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BatchPreProcessor:
        """The same normalisation and padding as the `SegDataPreProcessor` of `config`.

        Raises:
            ValueError: `config` asks for what training does not do.
        """
        settings = {key: value for key, value in config.items() if value is not None}
        settings.pop("type", None)
        settings.pop("test_cfg", None)  # of inference alone
        for key in _UNKNOWN_HERE:
            if settings.pop(key, None):
                raise ValueError(
                    f"data_preprocessor: {key} is not done in training; remove it (images are "
                    "read as BGR: bgr_to_rgb=True; changes by chance belong to the pipeline)."
                )
        missing = [key for key in ("mean", "std") if key not in settings]
        if missing:
            raise ValueError(f"data_preprocessor needs {' and '.join(missing)}.")
        return cls(**settings)

    def images(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """A batch of images on the device, and which of its pixels are not padding.

        Args:
            images: (3, H, W) each, on the host, any H and W up to `size`.

        Returns:
            (N, 3, H, W) float32 and (N, H, W) bool; None instead if nothing was padded.

        Raises:
            ValueError: An image is larger than `size`.
        """
        height, width = self._size_of(images)
        stacked = self._host((len(images), images[0].shape[0], height, width), images[0].dtype, 0)
        for row, image in zip(stacked, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = image
        batch = self._to_device(stacked)
        if self.bgr_to_rgb:
            batch = batch.flip(1)
        batch = (batch.float() - self.mean) / self.std
        if all(image.shape[1:] == (height, width) for image in images):
            return batch, None
        inside = self._host((len(images), height, width), torch.bool, False)
        for mask, image in zip(inside, images, strict=True):
            mask[: image.shape[1], : image.shape[2]] = True
        valid = self._to_device(inside)
        return batch.masked_fill(~valid.unsqueeze(1), self.pad_val), valid

    def labels(self, labels: Sequence[Tensor]) -> Tensor:
        """A batch of labels on the device, padded like their images: (N, H, W) int64.

        Args:
            labels: (1, H, W) each, on the host.
        """
        height, width = self._size_of(labels)
        stacked = self._host((len(labels), height, width), torch.int64, self.seg_pad_val)
        for row, label in zip(stacked, labels, strict=True):
            row[: label.shape[1], : label.shape[2]] = label[0]
        return self._to_device(stacked)

    def valid(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks on the device, False in the padding of their images: (N, H, W) bool.

        Args:
            masks: (1, H, W) bool each, on the host.
        """
        height, width = self._size_of(masks)
        stacked = self._host((len(masks), height, width), torch.bool, False)
        for row, mask in zip(stacked, masks, strict=True):
            row[: mask.shape[1], : mask.shape[2]] = mask[0]
        return self._to_device(stacked)

    def _size_of(self, items: Sequence[Tensor]) -> tuple[int, int]:
        height = max(item.shape[1] for item in items)
        width = max(item.shape[2] for item in items)
        if self.size is None:
            divisor = self.size_divisor or 1
            return -(-height // divisor) * divisor, -(-width // divisor) * divisor
        if height > self.size[0] or width > self.size[1]:
            raise ValueError(
                f"A training image has {height}x{width} pixels (height x width), more than "
                f"data_preprocessor.size={tuple(self.size)}: make the pipeline's RandomCrop as "
                "large as that size, or smaller."
            )
        return self.size[0], self.size[1]

    def _host(self, shape: tuple[int, ...], dtype: torch.dtype, value: float) -> Tensor:
        return torch.full(shape, value, dtype=dtype, pin_memory=self.mean.is_cuda)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.mean.device, non_blocking=True)
