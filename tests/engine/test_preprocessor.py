"""Training batches: the same numbers as mmseg's preprocessor, in one copy."""

from __future__ import annotations

from typing import Any

import mmseg.models  # noqa: F401 - registers
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from uda.engine.preprocessor import BatchPreProcessor

CONFIG = {
    "type": "SegDataPreProcessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_val": 0,
    "seg_pad_val": 255,
}


def draw(sizes: list[tuple[int, int]]) -> tuple[list[Tensor], list[Tensor]]:
    """Images of all byte values and labels of these sizes."""
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes
    ]
    labels = [torch.randint(19, (1, *size), generator=generator) for size in sizes]
    return images, labels


def by_mmseg(config: dict[str, Any], images: list[Tensor], labels: list[Tensor]) -> Any:
    """What mmseg makes of the same batch in training: images and labels."""
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    data = {"inputs": images, "data_samples": samples}
    found = MODELS.build(config)(data, True)
    return found["inputs"], torch.stack([s.gt_sem_seg.data[0] for s in found["data_samples"]])


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        ([(8, 12), (8, 12)], {"size": (8, 12)}),
        ([(8, 12), (5, 12), (8, 7)], {"size": (8, 12)}),
        ([(5, 6)], {"size": (8, 12), "pad_val": -1.5, "seg_pad_val": 254}),
        ([(5, 6), (7, 9)], {"size_divisor": 4}),
        ([(8, 12)], {"size": (8, 12), "bgr_to_rgb": False}),
        ([(8, 12)], {"size": (8, 12), "mean": [0, 0, 0], "std": [1, 1, 1]}),
    ],
)
def test_batches_parity(sizes: list[tuple[int, int]], changes: dict[str, Any]) -> None:
    """Equal to the bit, with padding and without, in either order of channels."""
    config = {**CONFIG, **changes}
    images, labels = draw(sizes)
    ours = BatchPreProcessor.from_config(config)
    batch, valid = ours.images(images)
    label = ours.labels(labels)
    wanted, wanted_label = by_mmseg(config, images, labels)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, wanted)
    assert label.dtype == torch.int64
    assert torch.equal(label, wanted_label)
    if valid is not None:
        assert torch.equal(~valid, (label == changes.get("seg_pad_val", 255)))


def test_valid_values() -> None:
    """A crop of 2x2 in a batch of 3x2 is valid in its first two rows; nothing padded: None."""
    batches = BatchPreProcessor.from_config({**CONFIG, "size": (3, 2)})
    small, large = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(3, 3, 2, dtype=torch.uint8)
    _, valid = batches.images([small, large])
    assert valid is not None
    assert valid.tolist() == [[[True] * 2, [True] * 2, [False] * 2], [[True] * 2] * 3]
    assert batches.images([large])[1] is None


def test_checkpoint_is_free_of_it() -> None:
    """Mean and standard deviation come from the config, not from a checkpoint."""
    assert BatchPreProcessor.from_config({**CONFIG, "size": (8, 8)}).state_dict() == {}


def test_errors() -> None:
    """What cannot be done is told with the numbers."""
    with pytest.raises(
        ValueError, match=r"5x4 pixels .* more than data_preprocessor.size=\(4, 4\)"
    ):
        BatchPreProcessor.from_config({**CONFIG, "size": (4, 4)}).images(draw([(5, 4)])[0])
    with pytest.raises(ValueError, match="rgb_to_bgr is not done in training; remove it"):
        BatchPreProcessor.from_config({**CONFIG, "rgb_to_bgr": True})
    with pytest.raises(ValueError, match="data_preprocessor needs std"):
        BatchPreProcessor.from_config({"mean": [0.0] * 3})
    with pytest.raises(ValueError, match=r"size=\(4, 4\) or size_divisor=8, not both"):
        BatchPreProcessor.from_config({**CONFIG, "size": (4, 4), "size_divisor": 8})
