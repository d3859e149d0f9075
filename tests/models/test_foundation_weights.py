"""Weights of foundation encoders: files of several kinds, downloads, licences, errors."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tests.models.tiny_foundation import FAMILIES, tiny
from uda.models import FoundationEncoder
from uda.models.weight_licences import FAMILIES as LICENCES
from uda.models.weight_licences import TERMS, licence_line, licence_of, normalisation_of


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged while weights are loaded."""
    shown: list[str] = []
    monkeypatch.setattr(
        "uda.models.foundation_weights.print_log", lambda text, logger: shown.append(text)
    )
    return shown


def full_network(family: str) -> torch.nn.Module:
    """timm's own network with classifier, as its weight files hold it."""
    name, args = FAMILIES[family]
    torch.manual_seed(1)
    sizes = {"strict_img_size": False} if "swin" in family else {}
    if family in ("dinov2", "dinov2_registers", "eva02"):
        sizes = {"dynamic_img_size": True}
    network = timm.create_model(name, pretrained=False, num_classes=10, **args, **sizes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_timm_file(family: str, tmp_path: Path, lines: list[str]) -> None:
    """With a full network's file the encoder gives that network's maps, and shows the licence."""
    full: Any = full_network(family)
    torch.save(full.state_dict(), tmp_path / "full.pth")
    encoder = tiny(family, weights=tmp_path / "full.pth")
    encoder.init_weights()
    image = torch.randn(1, 3, encoder.multiple, 2 * encoder.multiple)
    norm = {"norm": True} if encoder.is_vit else {}
    with torch.no_grad():
        wanted = full.forward_intermediates(
            image, indices=[0, 1, 2, 3], intermediates_only=True, **norm
        )
        for ours, theirs in zip(encoder(image), wanted, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert lines[0] == licence_line(encoder.name, str(tmp_path / "full.pth"))
    assert f"{len(encoder.model.state_dict())} of {len(full.state_dict())} tensors" in lines[1]


def test_fewer_blocks(tmp_path: Path, lines: list[str]) -> None:
    """Blocks behind the last used one may be in the file."""
    torch.save(full_network("dinov2").state_dict(), tmp_path / "full.pth")
    tiny("dinov2", out_indices=(1, 2), weights=tmp_path / "full.pth").init_weights()
    assert "of" in lines[1]


def test_published_names(tmp_path: Path) -> None:
    """DINOv2's own file with registers: names differ and the class token has a place of its own.

    There the table's first entry is added to the class token; timm's network has it in the token.
    """
    full: Any = full_network("dinov2_registers")
    state = dict(full.state_dict())
    published = {n: v for n, v in state.items() if n not in ("reg_token", "cls_token", "pos_embed")}
    published = {n: v for n, v in published.items() if not n.startswith("head")}
    place = torch.randn(1, 1, 32)
    published |= {
        "register_tokens": state["reg_token"],
        "cls_token": state["cls_token"] - place,
        "pos_embed": torch.cat([place, state["pos_embed"]], dim=1),
        "mask_token": torch.zeros(1, 32),
    }
    torch.save(published, tmp_path / "dinov2.pth")
    encoder = tiny("dinov2_registers", weights=tmp_path / "dinov2.pth")
    encoder.init_weights()
    for name, value in encoder.model.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_patch_14_to_16(tmp_path: Path) -> None:
    """Kernel and table of patch 14 are resampled as timm resamples them."""
    args = {"embed_dim": 32, "depth": 4, "num_heads": 2}
    torch.manual_seed(0)
    full = timm.create_model("vit_small_patch14_dinov2", pretrained=False, **args)
    torch.save(full.state_dict(), tmp_path / "patch14.pth")
    encoder = FoundationEncoder(
        name="vit_small_patch14_dinov2",
        patch_size=16,
        model_args=args,
        weights=tmp_path / "patch14.pth",
    )
    encoder.init_weights()
    kernel = timm.layers.resample_patch_embed(full.patch_embed.proj.weight, [16, 16])
    table = timm.layers.resample_abs_pos_embed(full.pos_embed, [32, 32], [37, 37])
    torch.testing.assert_close(encoder.model.patch_embed.proj.weight, kernel)
    torch.testing.assert_close(encoder.model.pos_embed, table)


def test_other_networks(tmp_path: Path) -> None:
    """Another width, missing blocks, unknown names: refused, with the first difference."""
    wide = timm.create_model("vit_small_patch14_dinov2", embed_dim=48, depth=4, num_heads=2)
    torch.save(wide.state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"wide\.pth do not fit .*cls_token is \(1, 1, 32\) here"):
        tiny("dinov2", weights=tmp_path / "wide.pth").init_weights()
    state = full_network("dinov2").state_dict()
    torch.save({n: v for n, v in state.items() if "blocks.3" not in n}, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"short\.pth do not fit .*blocks\.3\.\S+ is not in the"):
        tiny("dinov2", weights=tmp_path / "short.pth").init_weights()
    torch.save({**state, "surprise.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"surprise\.weight is only in the file"):
        tiny("dinov2", weights=tmp_path / "more.pth").init_weights()
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        tiny("dinov2", weights=tmp_path / "gone.pth").init_weights()


def test_download(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    """It is told, with address and licence, before anything is tried; and tried once."""
    full = full_network("dinov2")
    calls: list[dict[str, Any]] = []
    encoder = tiny("dinov2", weights="download")

    def create(name: str, **arguments: Any) -> torch.nn.Module:
        calls.append({"name": name, **arguments})
        assert len(lines) == 1
        return full

    monkeypatch.setattr("uda.models.foundation_weights.timm.create_model", create)
    encoder.init_weights()
    encoder.init_weights()
    assert calls == [{"name": "vit_small_patch14_dinov2", "pretrained": True}]
    assert lines[0].startswith(
        "Downloading weights. huggingface.co/timm/vit_small_patch14_dinov2.lvd142m: licence of "
        "vit_small_patch14_dinov2.lvd142m: Apache-2.0: any use"
    )
    torch.testing.assert_close(encoder.model.cls_token, full.get_parameter("cls_token"))


def test_download_errors(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    """Without a connection: what to do instead. Without an address: nothing is tried."""

    def fail(name: str, **arguments: Any) -> torch.nn.Module:
        raise ConnectionError("no route")

    encoder = tiny("dinov2", weights="download")
    bare = FoundationEncoder(name="test_vit2", weights="download")
    monkeypatch.setattr("uda.models.foundation_weights.timm.create_model", fail)
    with pytest.raises(
        OSError, match=r"could not be downloaded from huggingface\.co/timm/vit_small"
    ):
        encoder.init_weights()
    monkeypatch.setattr(
        "uda.models.foundation_weights.timm.get_pretrained_cfg", lambda *_, **__: None
    )
    with pytest.raises(ValueError, match="timm knows no weights to download for 'test_vit2'"):
        bare.init_weights()


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building an encoder and its weights never asks timm for pretrained ones."""
    asked: list[bool] = []
    create = timm.create_model

    def watched(name: str, *, pretrained: bool = False, **arguments: Any) -> torch.nn.Module:
        asked.append(pretrained)
        return create(name, pretrained=pretrained, **arguments)

    monkeypatch.setattr("timm.create_model", watched)
    for family in FAMILIES:
        tiny(family).init_weights()
    assert asked == [False] * len(FAMILIES)


@pytest.mark.parametrize("pattern", LICENCES, ids=lambda pair: f"{pair[0]}.{pair[1]}")
def test_licence_table(pattern: tuple[str, str]) -> None:
    """Every weight file of a family has the licence our table and documentation state."""
    found = [
        name
        for name in timm.list_pretrained()
        if fnmatch.fnmatch(name.partition(".")[0], pattern[0])
        and fnmatch.fnmatch(name.partition(".")[2], pattern[1])
    ]
    assert found
    licences = {timm.get_pretrained_cfg(name).license for name in found}
    assert licences == {LICENCES[pattern]}
    assert LICENCES[pattern] in TERMS


def test_licence_values() -> None:
    """Tags decide; what timm does not know is said."""
    assert "no military use" in licence_of("vit_small_patch16_dinov3")
    assert licence_of("convnextv2_atto.fcmae").startswith("CC-BY-NC-4.0: NOT for commercial use")
    assert licence_of("regnety_320.seer") == "seer-license: read its terms before use"
    assert licence_of("dla60_res2net.in1k").startswith("unknown to timm")
    assert "\n" not in licence_line("vit_small_patch16_dinov3", "x.pth")


def test_normalisation() -> None:
    """ImageNet's constants for DINOv2, CLIP's for EVA-02."""
    imagenet = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    assert normalisation_of("vit_base_patch14_reg4_dinov2.lvd142m") == imagenet
    assert normalisation_of("eva02_base_patch14_224") == (
        (122.771, 116.746, 104.094),
        (68.501, 66.632, 70.323),
    )
    with pytest.raises(ValueError, match="timm states no normalisation for 'own_network'"):
        normalisation_of("own_network")
