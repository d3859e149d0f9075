"""Small networks of two scales for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from uda.models import SegmentationNetwork

CLASSES = 3


def hrda_config(**changes: Any) -> dict[str, Any]:
    """A Mix Transformer of a few thousand weights with details of 32x32; nothing is dropped."""
    widths = [8, 8, 16, 16]
    head = {
        "type": "DAFormerHead",
        "in_channels": widths,
        "channels": 8,
        "num_classes": CLASSES,
        "dropout_ratio": 0.0,
    }
    return {
        "type": "HRDASegmentor",
        "backbone": {
            "type": "MixTransformer",
            "widths": widths,
            "depths": [1, 1, 1, 1],
            "heads": [1, 1, 2, 2],
            "drop_path_rate": 0.0,
        },
        "decode_head": head,
        "attention_head": {**head, "fusion": "conv1x1"},
        "detail_size": (32, 32),
        "test_cfg": {"mode": "whole"},
        **changes,
    }


def dilated_config(**changes: Any) -> dict[str, Any]:
    """A ResNet of output stride 8 with DeepLabV2's head, and a convolution as attention."""
    return hrda_config(
        backbone={
            "type": "TimmEncoder",
            "name": "resnet18",
            "model_args": {"output_stride": 8},
            "weights": None,
        },
        decode_head={"type": "DeepLabV2Head", "in_channels": 512, "num_classes": CLASSES},
        attention_head={
            "type": "FCNHead",
            "in_channels": 512,
            "in_index": -1,
            "channels": 8,
            "num_convs": 1,
            "kernel_size": 1,
            "concat_input": False,
            "num_classes": CLASSES,
        },
        output_stride=8,
        **changes,
    )


def hrda_network(*, micro_batches: int = 1, **changes: Any) -> SegmentationNetwork:
    """The network, drawn from a fixed seed."""
    torch.manual_seed(0)
    network = SegmentationNetwork.from_config(hrda_config(**changes), micro_batches=micro_batches)
    for name, parameter in network.named_parameters():
        if name.endswith("conv_seg.weight"):  # its logits would be near 0
            torch.nn.init.normal_(parameter, std=0.5)
    return network


def images(count: int = 2, size: tuple[int, int] = (64, 64)) -> Tensor:
    """Noise."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))
