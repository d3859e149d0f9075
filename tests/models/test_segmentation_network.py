"""The network's face: logits at image size, features, auxiliary heads, shared encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from tests.parity.daformer_network import check_mit_daformer
from uda.models import SegmentationNetwork
from uda.models.segmentation_network import resize_logits
from uda.structures import NetworkOutput

LOSS = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
BN = {"type": "BN"}


def aux_head(
    weights: tuple[float, ...] = (0.4,), index: int = 2, width: int = 20
) -> dict[str, Any]:
    """An auxiliary head of mmseg with one loss for each weight."""
    losses = [
        {**LOSS, "loss_weight": weight, "loss_name": f"loss_{i}"}
        for i, weight in enumerate(weights)
    ]
    return {
        "type": "FCNHead",
        "in_channels": width,
        "in_index": index,
        "channels": 4,
        "num_convs": 1,
        "concat_input": False,
        "num_classes": 5,
        "norm_cfg": BN,
        "loss_decode": losses if len(losses) > 1 else losses[0],
    }


def config(**changes: Any) -> dict[str, Any]:
    """A small MiT with a DAFormer head."""
    return {
        "type": "EncoderDecoder",
        "backbone": {"type": "MixTransformer", "widths": (8, 16, 20, 32), "depths": (1, 1, 1, 1)},
        "decode_head": {
            "type": "DAFormerHead",
            "in_channels": (8, 16, 20, 32),
            "channels": 12,
            "num_classes": 5,
        },
        **changes,
    }


def image() -> torch.Tensor:
    """Two random images whose sides are no multiple of the strides."""
    return torch.randn(2, 3, 50, 70, generator=torch.Generator().manual_seed(0))


def test_daformer_parameter_count() -> None:
    """MiT-B0 with the full head of 19 classes: the released code counts 6,900,595."""
    head = {"type": "DAFormerHead", "in_channels": (32, 64, 160, 256), "num_classes": 19}
    backbone = {"type": "MixTransformer", "variant": "b0"}
    network = SegmentationNetwork.from_config(
        {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}, num_classes=19
    )
    assert sum(p.numel() for p in network.parameters()) == 6_900_595


def test_parity(shared: Path) -> None:
    """Released code and ours agree on every `mit_daformer` file at hand."""
    files = sorted((shared / "fixtures" / "daformer").glob("mit_daformer_*.npz"))
    assert files
    for file in files:
        failed = [row for row in check_mit_daformer(file) if not row[1] <= row[2]]
        assert not failed, f"{file.name}: {failed}"


def test_output_shapes_and_modes() -> None:
    """Logits at image size; auxiliary logits in training mode only, with their weights added."""
    network = SegmentationNetwork.from_config(
        config(auxiliary_head=[aux_head(), aux_head((0.5, 0.25), index=3, width=32)])
    )
    output = network(image())
    assert isinstance(output, NetworkOutput)
    assert output.logits.shape == (2, 5, 50, 70)
    assert [one.shape[1] for one in output.features] == [8, 16, 20, 32]
    assert [logits.shape for logits, _ in output.auxiliary] == [(2, 5, 50, 70)] * 2
    assert [weight for _, weight in output.auxiliary] == pytest.approx([0.4, 0.75])
    assert network.eval()(image()).auxiliary == ()
    assert network.num_classes == 5


def test_agrees_with_mmseg() -> None:
    """In evaluation mode the logits are those of mmseg's own whole-image inference."""
    network = SegmentationNetwork.from_config(config(test_cfg={"mode": "whole"})).eval()
    metas = [{"img_shape": (50, 70), "ori_shape": (50, 70)}] * 2
    with torch.no_grad():
        wanted = network.segmentor.inference(image(), metas)
        torch.testing.assert_close(network(image()).logits, wanted)


def test_cascade() -> None:
    """The last stage gives the logits, the earlier one is auxiliary in training mode."""
    last = {
        "type": "OCRHead",
        "in_channels": 32,
        "in_index": 3,
        "channels": 8,
        "ocr_channels": 4,
        "num_classes": 5,
        "norm_cfg": BN,
        "loss_decode": LOSS,
    }
    heads = [aux_head(index=3, width=32), last]
    network = SegmentationNetwork.from_config(
        config(type="CascadeEncoderDecoder", num_stages=2, decode_head=heads), num_classes=5
    )
    output = network(image())
    assert output.logits.shape == (2, 5, 50, 70)
    assert [weight for _, weight in output.auxiliary] == pytest.approx([0.4])
    network.eval()
    with torch.no_grad():
        wanted = network.segmentor._forward(image())
        torch.testing.assert_close(
            network(image()).logits, resize_logits(wanted, (50, 70), head=nn.Identity())
        )


def test_encoder_shares_and_copies() -> None:
    """The encoder gives the same features from the same parameters; a deep copy is free."""
    neck = {"type": "FPN", "in_channels": [8, 16, 20, 32], "out_channels": 6, "num_outs": 4}
    head = {**config()["decode_head"], "in_channels": (6, 6, 6, 6)}
    network = SegmentationNetwork.from_config(config(neck=neck, decode_head=head)).eval()
    encoder = network.encoder()
    copied = copy.deepcopy(encoder)
    with torch.no_grad():
        for ours, theirs in zip(encoder(image()), network(image()).features, strict=True):
            assert torch.equal(ours, theirs)
        first = network.segmentor.backbone.patch_embed1.proj.bias
        first.add_(1)
    assert encoder.backbone.patch_embed1.proj.bias is first
    assert not torch.equal(copied.backbone.patch_embed1.proj.bias, first)
    assert not any(name.startswith("encoder") for name in network.state_dict())


@pytest.mark.parametrize("origin", ["mmseg", "timm"])
def test_deeplab_v2_builds(origin: str) -> None:
    """A ResNet of output stride 8 from either library carries the DeepLabV2 head."""
    if origin == "mmseg":
        backbone: dict[str, Any] = {
            "type": "ResNetV1c",
            "depth": 50,
            "strides": (1, 2, 1, 1),
            "dilations": (1, 1, 2, 4),
            "norm_cfg": BN,
        }
    else:
        backbone = {"type": "TimmEncoder", "name": "resnet50", "model_args": {"output_stride": 8}}
    head = {"type": "DeepLabV2Head", "num_classes": 5}
    network = SegmentationNetwork.from_config(config(backbone=backbone, decode_head=head)).eval()
    with torch.no_grad():
        output = network(image()[:1, :, :48, :64])
    assert output.logits.shape == (1, 5, 48, 64)
    assert [one.shape[2] for one in output.features] == [12, 6, 6, 6]


def test_init_weights_is_quiet_and_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Not a line for each parameter on the console, and no second drawing."""
    network = SegmentationNetwork.from_config(config())
    network.init_weights()
    torch.nn.init.constant_(network.segmentor.decode_head.conv_seg.bias, 7.0)
    network.init_weights()
    assert network.segmentor.decode_head.conv_seg.bias.eq(7).all()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


class OtherSegmentor(BaseModel):
    """Not an encoder with a decoder."""

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """The inputs."""
        return inputs


class Talkative(nn.Module):
    """A head that returns more than logits."""

    align_corners = False

    def forward(self, maps: Any) -> tuple[Any, Any]:
        """A pair."""
        return maps[0], maps[1]


def test_network_errors() -> None:
    """Other segmentors, one output, other class counts, heads with further outputs."""
    with pytest.raises(TypeError, match="EncoderDecoder or CascadeEncoderDecoder.*OtherSegmentor"):
        SegmentationNetwork(OtherSegmentor())
    binary = aux_head()
    binary.update(
        num_classes=2, out_channels=1, threshold=0.5, loss_decode={**LOSS, "use_sigmoid": True}
    )
    with pytest.raises(ValueError, match="one output channel; softmax needs one a class"):
        SegmentationNetwork.from_config(config(decode_head=binary))
    with pytest.raises(
        ValueError, match=r"`model\.decode_head` \(DAFormerHead\) has num_classes=5"
    ):
        SegmentationNetwork.from_config(config(), num_classes=19)
    with pytest.raises(ValueError, match=r"`model\.auxiliary_head` .*data set has 7"):
        SegmentationNetwork.from_config({"auxiliary_head": [aux_head()]}, num_classes=7)
    network = SegmentationNetwork.from_config(config())
    network.segmentor.decode_head = Talkative()
    with pytest.raises(TypeError, match="from Talkative; it returned tuple"):
        network(image())
