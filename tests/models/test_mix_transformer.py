"""Mix Transformer: sizes, weights from files, agreement with mmseg's implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from uda.models import MixTransformer, mix_transformer
from uda.models.mit_keys import from_mmseg_names, to_mmseg_names, to_segformer_names
from uda.models.mix_transformer import EMBEDDING_EPS, VARIANTS

TINY: dict[str, Any] = {
    "widths": (8, 16, 20, 32),
    "depths": (2, 1, 2, 1),
    "drop_path_rate": 0.0,
}


def tiny(**changes: Any) -> MixTransformer:
    """A small encoder with all four kinds of spatial reduction."""
    return MixTransformer(**{**TINY, **changes})


def mmseg_twin(width: int = 32, depths: tuple[int, ...] = (2, 2, 2, 2)) -> Any:
    """The encoder of mmseg, by default of B0's size, with the two epsilons of the released code."""
    from mmseg.models.backbones import MixVisionTransformer

    twin = MixVisionTransformer(embed_dims=width, num_layers=depths, num_heads=[1, 2, 5, 8])
    for stage in twin.layers:
        stage[0].norm.eps = EMBEDDING_EPS
        for block in stage[1]:
            if block.attn.sr_ratio > 1:
                block.attn.norm.eps = EMBEDDING_EPS
    return twin.eval()


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_variants_parity(variant: str) -> None:
    """Names and shapes are those of mmseg's encoder of the same size."""
    size = VARIANTS[variant]
    with torch.device("meta"):
        ours = to_mmseg_names(MixTransformer(variant=variant).state_dict())
    twin = mmseg_twin(width=size.widths[0], depths=size.depths)
    wanted = {name: value.shape for name, value in twin.state_dict().items()}
    assert {name: value.shape for name, value in ours.items()} == wanted


def test_output_shapes() -> None:
    """Strides 4, 8, 16, 32; sides that are no multiple of 32 are rounded up by each stage."""
    maps = tiny()(torch.zeros(2, 3, 70, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, 8, 18, 24),
        (2, 16, 9, 12),
        (2, 20, 5, 6),
        (2, 32, 3, 3),
    ]


def test_drop_path_grows_linearly() -> None:
    """Six blocks at rate 0.1: 0, 0.02, ..., 0.1; the first has none at all."""
    encoder = tiny(drop_path_rate=0.1)
    rates = [
        getattr(block.drop_path, "drop_prob", 0.0)
        for stage in (1, 2, 3, 4)
        for block in getattr(encoder, f"block{stage}")
    ]
    assert rates == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])


def test_random_start_values() -> None:
    """Convolution deviation sqrt(2 / fan-out): 7x7 with 64 outputs, sqrt(2/3136) = 0.02525."""
    torch.manual_seed(0)
    encoder = MixTransformer(variant="b1")
    assert encoder.patch_embed1.proj.weight.std().item() == pytest.approx(0.02525, rel=0.05)
    assert encoder.block4[0].attn.q.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert encoder.block4[0].attn.q.bias.abs().max() == 0


def test_mmseg_parity() -> None:
    """With renamed weights the outputs equal those of mmseg's encoder, and names go both ways."""
    torch.manual_seed(1)
    twin = mmseg_twin()
    twin.init_weights()
    encoder = MixTransformer(variant="b0").eval()
    encoder.load_state_dict(from_mmseg_names(twin.state_dict()), strict=True)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(encoder(image), twin(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    back = to_mmseg_names(encoder.state_dict())
    assert back.keys() == twin.state_dict().keys()
    for name, value in twin.state_dict().items():
        assert torch.equal(back[name], value), name


@pytest.mark.parametrize("kind", ["segformer", "mmseg", "mmengine"])
def test_init_weights_reads_files(kind: str, tmp_path: Path) -> None:
    """SegFormer's file with classifier, mmseg's names, a training checkpoint of a segmentor."""
    torch.manual_seed(2)
    state = tiny().state_dict()
    file = tmp_path / "weights.pth"
    if kind == "segformer":
        torch.save(
            {**state, "head.weight": torch.zeros(10, 32), "head.bias": torch.zeros(10)}, file
        )
    elif kind == "mmseg":
        torch.save(to_mmseg_names(state), file)
    else:
        history = HistoryBuffer(np.array([1.5, 2.5]), np.array([1, 1]))
        inner = {f"module.backbone.{name}": value for name, value in state.items()}
        inner["module.decode_head.conv_seg.bias"] = torch.zeros(3)
        torch.save(
            {"meta": {"iter": 3}, "message_hub": {"loss": history}, "state_dict": inner}, file
        )
    encoder = tiny(weights=file)
    encoder.init_weights()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_licence_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown where weights are loaded, once, with the name of the file."""
    told: list[str] = []
    monkeypatch.setattr(mix_transformer, "print_log", lambda line, logger: told.append(line))
    file = tmp_path / "weights.pth"
    torch.save(tiny().state_dict(), file)
    encoder = tiny(weights=file)
    encoder.init_weights()
    encoder.init_weights()
    tiny().init_weights()
    assert len(told) == 1
    assert told[0].startswith("weights.pth: licence of SegFormer")
    assert "NOT for commercial use" in told[0]


def test_init_weights_twice_keeps_training(tmp_path: Path) -> None:
    """A second call must not undo what was learnt in between."""
    file = tmp_path / "weights.pth"
    torch.save(tiny().state_dict(), file)
    encoder = tiny(weights=file)
    encoder.init_weights()
    torch.nn.init.constant_(encoder.norm1.bias, 7.0)
    encoder.init_weights()
    assert encoder.norm1.bias.eq(7).all()


def test_init_weights_errors(tmp_path: Path) -> None:
    """Each message says what is wrong and names the file."""
    missing = tmp_path / "none.pth"
    with pytest.raises(FileNotFoundError, match=r"Weights not found: .*none\.pth.*weights=None"):
        tiny(weights=missing).init_weights()
    wider = tmp_path / "wider.pth"
    torch.save(MixTransformer(**{**TINY, "widths": (16, 16, 20, 32)}).state_dict(), wider)
    with pytest.raises(
        ValueError, match=r"wider\.pth do not fit MixTransformer: patch_embed1\."
    ) as e:
        tiny(weights=wider).init_weights()
    assert "(8, 3, 7, 7) here and (16, 3, 7, 7) in the file" in str(e.value)
    deeper = tmp_path / "deeper.pth"
    torch.save(tiny(depths=(2, 1, 2, 2)).state_dict(), deeper)
    with pytest.raises(ValueError, match=r"block4\.1\.\S+ is only in the file.*more"):
        tiny(weights=deeper).init_weights()


def test_mit_keys_errors() -> None:
    """No encoder, two encoders, foreign names."""
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="begin with conv1.weight"):
        to_segformer_names({"conv1.weight": one})
    two = {"student.patch_embed1.proj.weight": one, "teacher.patch_embed1.proj.weight": one}
    with pytest.raises(ValueError, match=r"found 2 \(prefixes 'student\.', 'teacher\.'\)"):
        to_segformer_names(two)
    with pytest.raises(ValueError, match="'stem.weight' is not a name in mmseg's"):
        from_mmseg_names({"stem.weight": one})
    with pytest.raises(ValueError, match="'stem.weight' is not a name in SegFormer's"):
        to_mmseg_names({"stem.weight": one})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "b9"}, "Unknown Mix Transformer 'b9'; there are b0, b1"),
        ({"widths": (8, 16, 20)}, r"`widths` needs 4 whole numbers .* got \(8, 16, 20\)"),
        ({"depths": (1, 0, 1, 1)}, "`depths` needs 4 whole numbers of at least 1"),
        ({"widths": (8, 15, 20, 32)}, "15 is not one of 2"),
        ({"drop_path_rate": 1.0}, r"probability in \[0, 1\); got 1.0"),
    ],
)
def test_settings_errors(settings: dict[str, Any], message: str) -> None:
    """Settings that cannot be built are refused in words."""
    with pytest.raises(ValueError, match=message):
        MixTransformer(**settings)
