"""Checkpoints with the layouts of DAFormer, HRDA, MIC, SegFormer and mmseg, drawn at random.

They are made with names written out by the rules of the released code, not with the code that reads
them: an encoder is named by SegFormer's scheme, heads by mmseg's modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import Tensor

from uda.commands.convert_checkpoint import main, run
from uda.models.mit_keys import to_mmseg_names
from uda.models.released_checkpoints import dataset_meta, held_networks, one_network

WIDTHS = [8, 8, 16, 16]
ENCODER = {
    "type": "MixTransformer",
    "widths": WIDTHS,
    "depths": [1, 2, 1, 1],
    "heads": [1, 1, 2, 2],
    "sr_ratios": [8, 4, 2, 1],
}
HEAD = {"type": "DAFormerHead", "in_channels": WIDTHS, "channels": 8, "num_classes": 3}
DAFORMER: dict[str, Any] = {
    "type": "mmseg.EncoderDecoder",
    "backbone": ENCODER,
    "decode_head": HEAD,
    "test_cfg": {"mode": "whole"},
}
HRDA = {
    **DAFORMER,
    "type": "HRDASegmentor",
    "attention_head": {**HEAD, "fusion": "conv1x1"},
    "detail_size": (64, 64),
}
RESNET = {
    "type": "mmseg.ResNetV1c", "depth": 18, "base_channels": 8, "stem_channels": 8,
    "norm_cfg": {"type": "BN"},
}  # fmt: skip
DEEPLAB = {
    **DAFORMER,
    "backbone": RESNET,
    "decode_head": {
        "type": "DeepLabV2Head", "in_channels": 64, "num_classes": 3, "dilations": (6, 12),
    },
}  # fmt: skip
META = {
    "CLASSES": ("road", "car", "sky"),
    "PALETTE": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    "mmseg_version": "0.16.0",
    "config": "uda = dict(...)",
    "iter": 40000,
}
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def built(config: Mapping[str, Any], seed: int = 0) -> Any:
    """A segmentor with drawn weights."""
    torch.manual_seed(seed)
    return MODELS.build(ConfigDict(config)).eval()


def released(state: Mapping[str, Tensor], *, hrda: bool = False) -> dict[str, Tensor]:
    """Our names as the released code has them: HRDA's two heads lie in one."""
    if not hrda:
        return dict(state)
    heads = {"decode_head.": "decode_head.head.", "attention_head.": "decode_head.scale_attention."}
    return {
        next((new + key[len(old) :] for old, new in heads.items() if key.startswith(old)), key): v
        for key, v in state.items()
    }


def write_released(file: Path, config: Mapping[str, Any], *, hrda: bool = False,
                   teacher: str = "ema_model.") -> dict[str, Any]:  # fmt: skip
    """A checkpoint of student, teacher and ImageNet model, and the three networks."""
    made = {"model.": built(config, 1), teacher: built(config, 2), "imnet_model.": built(config, 3)}
    state = {
        f"{prefix}{key}": value
        for prefix, network in made.items()
        for key, value in released(network.state_dict(), hrda=hrda).items()
    }
    optimizer = {"state": {}, "param_groups": [{"lr": 6e-5}]}
    torch.save({"meta": META, "state_dict": state, "optimizer": optimizer}, file)
    return {"student": made["model."], "teacher": made[teacher], "imagenet": made["imnet_model."]}


@pytest.mark.parametrize(
    ("config", "hrda", "teacher"),
    [
        pytest.param(DAFORMER, False, "ema_model.", id="daformer"),
        pytest.param(HRDA, True, "ema_model.", id="hrda"),
        pytest.param(HRDA, True, "mic.teacher.ema_model.", id="mic"),
    ],
)
@pytest.mark.parametrize("network", [None, "student", "teacher"])
def test_released_segmentor(
    config: dict[str, Any], hrda: bool, teacher: str, network: str | None, tmp_path: Path
) -> None:
    """The logits of the network that was asked for; classes and colours go along."""
    there, back = tmp_path / "released.pth", tmp_path / "ours.pth"
    networks = write_released(there, config, hrda=hrda, teacher=teacher)
    run([str(there), str(back), "--to", "uda", *(["--network", network] if network else [])])
    found = torch.load(back, weights_only=True)
    other = built(config, 9)
    other.load_state_dict(found["state_dict"], strict=True)
    with torch.no_grad():
        wanted = networks[network or "student"].encode_decode(IMAGE, [{"img_shape": (64, 64)}])
        assert torch.equal(other.encode_decode(IMAGE, [{"img_shape": (64, 64)}]), wanted)
    assert found["meta"] == {
        "dataset_meta": {"classes": list(META["CLASSES"]), "palette": META["PALETTE"]},
        "network": network or "student",
    }


@pytest.mark.parametrize("network", ["student", "teacher", "imagenet"])
@pytest.mark.parametrize("names", ["segformer", "mmseg"])
def test_encoder_of_a_released_checkpoint(network: str, names: str, tmp_path: Path) -> None:
    """The Mix Transformer of one of three, with either kind of names."""
    networks = write_released(tmp_path / "a.pth", HRDA, hrda=True)
    out = tmp_path / "encoder.pth"
    run([str(tmp_path / "a.pth"), str(out), "--network", network, "--to", names])
    own = networks[network].backbone.state_dict()
    wanted = own if names == "segformer" else to_mmseg_names(own)
    found = torch.load(out, weights_only=True)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_deeplab_branches(tmp_path: Path) -> None:
    """The released DLV2Head: mmcv's modules in a list, no classifier; a ResNet keeps its names."""
    network = built(DEEPLAB, 1)
    theirs = {
        f"model.{key}".replace(".branches.0.", ".aspp_modules.0.conv.").replace(
            ".branches.1.", ".aspp_modules.1.conv."
        ): value
        for key, value in network.state_dict().items()
    }
    assert "model.decode_head.aspp_modules.1.conv.bias" in theirs
    torch.save({"state_dict": theirs, "meta": META}, tmp_path / "a.pth")
    run([str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--to", "uda"])
    found = torch.load(tmp_path / "b.pth", weights_only=True)["state_dict"]
    own = network.state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)


def test_mmseg_segmentor(tmp_path: Path) -> None:
    """mmseg 1.x with its own Mix Transformer: the encoder is renamed, all else stays."""
    network = built(DAFORMER, 1)
    own = network.state_dict()
    encoder = {k.removeprefix("backbone."): v for k, v in own.items() if k.startswith("backbone.")}
    theirs = {f"backbone.{key}": value for key, value in to_mmseg_names(encoder).items()}
    theirs |= {key: value for key, value in own.items() if not key.startswith("backbone.")}
    assert "backbone.layers.1.1.1.attn.attn.in_proj_weight" in theirs
    meta = {"dataset_meta": {"classes": ["a", "b", "c"], "palette": META["PALETTE"]}, "epoch": 1}
    torch.save({"state_dict": theirs, "meta": meta, "message_hub": {}}, tmp_path / "a.pth")
    run([str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--to", "uda"])
    found = torch.load(tmp_path / "b.pth", weights_only=True)
    assert found["state_dict"].keys() == own.keys()
    assert all(torch.equal(found["state_dict"][key], own[key]) for key in own)
    assert found["meta"] == {"dataset_meta": meta["dataset_meta"]}


def test_segformer_file(tmp_path: Path) -> None:
    """`mit_b*.pth`: a plain state dict with the classifier of ImageNet, which is left out."""
    own = built(DAFORMER).backbone.state_dict()
    classifier = {"head.weight": torch.ones(5, 16), "head.bias": torch.ones(5)}
    torch.save({**own, **classifier}, tmp_path / "mit.pth")
    run([str(tmp_path / "mit.pth"), str(tmp_path / "b.pth")])
    found = torch.load(tmp_path / "b.pth", weights_only=True)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that is not held, one network only, an encoder alone, the unused head, code."""
    student = {"model.backbone.a": torch.ones(1), "model.decode_head.b": torch.ones(1)}
    with pytest.raises(ValueError, match=r"a\.pth holds no teacher; it holds: student"):
        one_network(student, "teacher", origin="a.pth")
    with pytest.raises(ValueError, match=r"a\.pth holds one network, .* leave out --network"):
        one_network({"backbone.a": torch.ones(1)}, "student", origin="a.pth")
    out = tmp_path / "out.pth"
    torch.save({"patch_embed1.proj.weight": torch.ones(1)}, tmp_path / "mit.pth")
    with pytest.raises(ValueError, match=r"whole segmentor .* begin with patch_embed1\."):
        run([str(tmp_path / "mit.pth"), str(out), "--to", "uda"])
    write_released(tmp_path / "a.pth", DAFORMER)
    with pytest.raises(ValueError, match="the encoder alone was ever used"):
        run([str(tmp_path / "a.pth"), str(out), "--to", "uda", "--network", "imagenet"])
    torch.save({"state_dict": student, "meta": {"hook": Harmful()}}, tmp_path / "code.pth")
    assert main([str(tmp_path / "code.pth"), str(out), "--to", "uda"]) == 1
    assert "cannot be read as one (Unsupported global" in capsys.readouterr().err
    assert not out.exists()


class Harmful:
    """What a weights-only load must not rebuild."""


def test_held_networks() -> None:
    """Our own runs and single networks are none of the released layout."""
    names = ("method.student.segmentor.backbone.a", "backbone.a", "model.a")
    assert all(held_networks({name: torch.ones(1)}) == {} for name in names)
    assert dataset_meta({"dataset_meta": None, "iter": 1}) == {}
