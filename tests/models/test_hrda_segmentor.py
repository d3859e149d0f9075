"""HRDA's network: fusion, training passes, windows, sizes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.hrda_networks import CLASSES, dilated_config, hrda_config, hrda_network, images
from uda.models import HRDASegmentor, SegmentationNetwork
from uda.models.scale_fusion import fuse, resized
from uda.structures import Box

BOX = Box(8, 40, 16, 48)


def test_fuse_values() -> None:
    """Context 2 and 4, attention 0 and 1, detail 10: between the two columns each weight is
    interpolated on its own: a up = 0, 1/4, 3/4, 1, (1 - a) c up = 2, 3/2, 1/2, 0."""
    context = torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)
    attention = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    fused, weighted = fuse(context, torch.full((1, 1, 1, 4), 10.0), attention)
    assert weighted.flatten().tolist() == [2.0, 0.0]
    assert fused.flatten().tolist() == [2.0, 1.5 + 2.5, 0.5 + 7.5, 10.0]


def test_fuse_grad() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs = drawn(1, 2, 2, 3), drawn(1, 2, 4, 6), drawn(1, 1, 2, 3)
    torch.autograd.gradcheck(fuse, inputs)


def test_training_pass_shapes() -> None:
    """Logits of the image, features of the half image, detail logits at the size of the box."""
    network = hrda_network().train()
    output = network(images())
    assert output.logits.shape == (2, CLASSES, 64, 64)
    assert output.features[0].shape[2:] == (8, 8)
    (detail,) = output.regions
    assert (detail.name, detail.weight, output.share) == ("detail", 0.1, 0.9)
    assert detail.logits.shape == (2, CLASSES, 32, 32)
    assert detail.box.size == (32, 32)


def test_outside_of_the_box_only_the_context_counts_values() -> None:
    """Far from the box the logits are those of the context alone, enlarged."""
    network = hrda_network().eval()
    segmentor: Any = network.segmentor
    image = images()
    output = segmentor.output(image, Box(0, 32, 0, 32))
    features = network.encoder()(image)
    context = segmentor.decode_head(features)
    wanted = torch.nn.functional.interpolate(context, (16, 16), mode="bilinear")
    wanted = torch.nn.functional.interpolate(wanted, (64, 64), mode="bilinear")
    assert torch.allclose(output.logits[..., 48:, 48:], wanted[..., 48:, 48:], atol=1e-6)
    assert not torch.allclose(output.logits[..., :24, :24], wanted[..., :24, :24], atol=1e-3)


def test_the_detail_is_the_crop_values() -> None:
    """The region's logits are those of the encoder and head on the crop, enlarged."""
    segmentor: Any = hrda_network().eval().segmentor
    image = images()
    (detail,) = segmentor.output(image, BOX).regions
    alone = segmentor.decode_head(segmentor.extract_feat(BOX.cut(image)))
    alone = torch.nn.functional.interpolate(alone, (32, 32), mode="bilinear")
    assert torch.allclose(detail.logits, alone, atol=1e-6)


def test_one_window_is_the_box_of_the_whole_values() -> None:
    """A window as large as the image, and a training box of that size, give the same logits."""
    segmentor: Any = hrda_network(detail_size=(64, 64)).eval().segmentor
    image = images()
    trained, predicted = segmentor.output(image, Box(0, 64, 0, 64)), segmentor.output(image)
    assert torch.allclose(trained.logits, predicted.logits, atol=1e-6)
    assert predicted.regions == ()
    assert predicted.share == 1


@pytest.mark.parametrize(("stride", "windows"), [(None, 9), ((32, 32), 4), ((32, 16), 6)])
def test_windows_run_as_one_batch(stride: Any, windows: int) -> None:
    """The encoder is called twice: with the context, and with all windows of all images."""
    segmentor: Any = hrda_network(detail_stride=stride).eval().segmentor
    seen: list[int] = []
    segmentor.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    segmentor.output(images(2))
    assert seen == [2, 2 * windows]


def test_windows_do_not_mix_images_properties() -> None:
    """Each image of a batch is predicted as it is alone."""
    network = hrda_network().eval()
    together = network(images(3)).logits
    alone = torch.cat([network(image[None]).logits for image in images(3)])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (61, 70), (57, 120), (73, 65)])
@pytest.mark.parametrize("detail", [32, 96])
def test_any_size_is_predicted_shapes(size: tuple[int, int], detail: int) -> None:
    """Other sizes are padded; images smaller than the detail have one smaller window."""
    logits = hrda_network(detail_size=(detail, detail)).eval()(images(1, size)).logits
    assert logits.shape == (1, CLASSES, *size)
    assert logits.isfinite().all()


def test_padding_is_the_mean_colour_values() -> None:
    """An image of 61x70 is predicted as the same one with zeros up to 64x72."""
    network = hrda_network().eval()
    image = images(1, (61, 70))
    padded = torch.nn.functional.pad(image, (0, 2, 0, 3))
    assert torch.equal(network(image).logits, network(padded).logits[..., :61, :70])


def test_mmseg_inference_values() -> None:
    """mmseg's own inference, which deploy checkpoints use, gives the same logits."""
    network = hrda_network().eval()
    metas = [{"ori_shape": (64, 64), "img_shape": (64, 64), "pad_shape": (64, 64)}] * 2
    assert torch.equal(network.segmentor.inference(images(), metas), network(images()).logits)
    assert torch.equal(network.segmentor(images(), mode="tensor"), network(images()).logits)


def test_the_teacher_in_training_statistics_uses_windows() -> None:
    """Only the network's own training mode draws a box; its BatchNorm layers alone do not."""
    network = hrda_network().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    assert network(images()).regions == ()


def test_micro_batches_share_the_box_values() -> None:
    """One box for the whole batch; logits, regions, share and gradients as in one piece."""
    found = []
    for count in (1, 2):
        network = hrda_network(micro_batches=count).train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        torch.manual_seed(5)
        output = network(images(4))
        (output.logits.square().mean() + output.regions[0].logits.square().mean()).backward()
        weight = network.segmentor.backbone.patch_embed1.proj.weight.grad
        found.append((output, weight))
    (one, first), (two, second) = found
    assert one.regions[0].box == two.regions[0].box
    assert one.share == two.share
    assert torch.allclose(one.logits, two.logits, atol=1e-5)
    assert torch.allclose(one.regions[0].logits, two.regions[0].logits, atol=1e-5)
    assert torch.allclose(first, second, atol=1e-5)


def test_encoder_sees_the_context_values() -> None:
    """What `FeatureDistance` keeps gives maps of the size of the pass's features."""
    network = hrda_network().eval()
    reference = network.encoder()(images())
    for ours, wanted in zip(network(images()).features, reference, strict=True):
        assert torch.equal(ours, wanted)


def test_context_loss_values() -> None:
    """The clean loss is of the context's logits, the reference's of (1 - a') times them."""
    image, half = images(), {"fixed_attention": 0.5, "attention_head": None}
    regions = {}
    for kind in ("plain", "weighted"):
        segmentor: Any = hrda_network(context_weight=0.2, context_logits=kind, **half).segmentor
        output = segmentor.eval().output(image, Box(0, 32, 0, 32))
        assert output.share == pytest.approx(0.7)
        regions[kind] = output.regions[1]
    plain, weighted = regions["plain"], regions["weighted"]
    assert (plain.name, plain.weight, plain.box) == ("context", 0.2, Box(0, 64, 0, 64))
    inside, outside = (..., slice(0, 20), slice(0, 20)), (..., slice(48, 64), slice(48, 64))
    assert torch.allclose(weighted.logits[inside], plain.logits[inside] / 2, atol=1e-6)
    assert torch.allclose(weighted.logits[outside], plain.logits[outside], atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_detail_weight_edges_values(weight: float) -> None:
    """Without weight there is no region, and all of the loss is the fused logits'."""
    output = hrda_network(detail_weight=weight).train()(images())
    assert len(output.regions) == int(weight)
    assert output.share == 1 - weight


def test_fixed_attention_values() -> None:
    """With 1 inside a window everywhere, only the detail counts."""
    settings: dict[str, Any] = {"attention_head": None, "detail_size": (64, 64)}
    segmentor: Any = hrda_network(fixed_attention=1.0, **settings).eval().segmentor
    image = images()
    alone = segmentor.decode_head(segmentor.extract_feat(image))
    alone = torch.nn.functional.interpolate(alone, (64, 64), mode="bilinear")
    assert torch.allclose(segmentor.output(image).logits, alone, atol=1e-6)


def test_one_attention_for_all_classes_shapes(recwarn: pytest.WarningsRecorder) -> None:
    config = hrda_config()
    config["attention_head"] = {**config["attention_head"], "num_classes": 1}
    network = hrda_network(attention_head=config["attention_head"])
    assert [str(warning.message) for warning in recwarn if "threshold" in str(warning)] == []
    assert network.train()(images()).logits.shape == (2, CLASSES, 64, 64)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"context_scale": 0.25}, (128, 128)),
        ({"context_scale": 0.75}, (64, 64)),
        ({"detail_scale": 0.5, "detail_size": (64, 64)}, (64, 128)),
        ({"context_scale": 1.0}, (64, 64)),
        ({"blur_detail": 2}, (64, 64)),
        ({"detail_size": (32, 48)}, (64, 80)),
        ({"divisor": 32}, (64, 96)),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_ablations_shapes(changes: dict[str, Any], size: tuple[int, int]) -> None:
    """Each setting trains and predicts."""
    network = hrda_network(**changes)
    output = network.train()(images(2, size))
    assert output.logits.shape == (2, CLASSES, *size)
    (output.logits.mean() + output.regions[0].logits.mean()).backward()
    assert network.eval()(images(1, size)).logits.isfinite().all()


def test_blurred_detail_values() -> None:
    """The detail sees the image reduced and enlarged; the context the image itself."""
    sharp: Any = hrda_network().eval().segmentor
    blurred: Any = hrda_network(blur_detail=2).eval().segmentor
    image = images()
    small = resized(image, 0.5)
    soft = torch.nn.functional.interpolate(small, (64, 64), mode="bilinear")
    wanted = sharp.output(soft, BOX).regions[0].logits
    assert torch.allclose(blurred.output(image, BOX).regions[0].logits, wanted, atol=1e-6)


def test_dilated_network_shapes() -> None:
    """A head of stride 8 has its grids meet every 16 pixels."""
    network = SegmentationNetwork.from_config(dilated_config(detail_size=(48, 48)))
    assert network.segmentor.step == 16
    output = network.train()(images(2, (96, 96)))
    assert output.logits.shape == (2, CLASSES, 96, 96)
    assert network.eval()(images(1, (50, 70))).logits.shape == (1, CLASSES, 50, 70)


def test_auxiliary_heads_values() -> None:
    """They read the context's features, and their logits come at the size of the image."""
    head: dict[str, Any] = {"type": "LightHead", "in_channels": [8, 8, 16, 16], "channels": 8}
    head["num_classes"] = CLASSES
    head["loss_decode"] = {
        "type": "CrossEntropyLoss",
        "loss_weight": 0.4,
        "avg_non_ignore": True,
    }
    output = hrda_network(auxiliary_head=head).train()(images())
    ((logits, weight),) = output.auxiliary
    assert logits.shape == (2, CLASSES, 64, 64)
    assert weight == pytest.approx(0.4)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"detail_size": (30, 32)}, r"detail_size=\(30, 32\) has to be multiples of 8.*\(32, 32\)"),
    ({"detail_stride": (12, 16)}, r"detail_stride=\(12, 16\) has to be multiples of 8"),
    ({"detail_stride": (40, 32)}, r"detail_stride=\(40, 32\) leaves gaps.*detail_size=\(32, 32\)"),
    ({"attention_head": None}, "either attention_head.*or fixed_attention.*got neither"),
    ({"fixed_attention": 0.5}, "either attention_head.*or fixed_attention.*got both"),
    ({"attention_head": None, "fixed_attention": 2}, r"fixed_attention has to lie in \[0, 1\]"),
    ({"context_scale": 0.0}, "0 < context_scale <= detail_scale <= 1"),
    ({"context_scale": 1.0, "detail_scale": 0.5}, "0 < context_scale <= detail_scale <= 1"),
    ({"detail_weight": 0.7, "context_weight": 0.5}, "together at most 1; got 0.7 and 0.5"),
    ({"detail_weight": -0.1}, "at least 0"),
    ({"context_logits": "weird"}, "context_logits has to be"),
    ({"output_stride": 0}, "output_stride has to be at least 1, not 0"),
    ({"blur_detail": 0}, "blur_detail has to be at least 1, not 0"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_settings_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hrda_network(**changes)


def test_attention_classes_errors() -> None:
    head = {**hrda_config()["attention_head"], "num_classes": 7}
    with pytest.raises(ValueError, match="attention_head has num_classes=7; it needs 3.*or 1"):
        hrda_network(attention_head=head)


def test_training_size_errors() -> None:
    network = hrda_network().train()
    with pytest.raises(ValueError, match=r"multiples of 8.*60x64 pixels.*such as \(64, 64\)"):
        network(images(1, (60, 64)))
    with pytest.raises(ValueError, match=r"detail_size=\(32, 32\) is larger.*64x24"):
        network(images(1, (64, 24)))


def test_output_stride_errors() -> None:
    network = hrda_network(output_stride=8, detail_size=(32, 32)).train()
    with pytest.raises(ValueError, match=r"logits of 8x8, not 4x4.*set output_stride=4"):
        network(images())


def test_mmseg_training_errors() -> None:
    with pytest.raises(NotImplementedError, match="trained by a method of uda"):
        hrda_network().segmentor.loss(images(), [])


def test_registered() -> None:
    assert isinstance(hrda_network().segmentor, HRDASegmentor)
