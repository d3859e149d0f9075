"""Converting Mix Transformer weights by the tool, there and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from uda.commands.convert_checkpoint import run as main
from uda.models import MixTransformer


def test_round_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SegFormer's names to mmseg's, inside a larger network, and back: the same weights."""
    torch.manual_seed(0)
    encoder = MixTransformer(
        widths=[8, 8, 16, 16], depths=[1, 2, 1, 1], heads=[1, 1, 2, 2], sr_ratios=[8, 4, 2, 1]
    )
    state = encoder.state_dict()
    first, there, back = (tmp_path / name for name in ("mit.pth", "mmseg.pth", "back.pth"))
    torch.save({"state_dict": {f"backbone.{key}": value for key, value in state.items()}}, first)
    main([str(first), str(there), "--to", "mmseg"])
    renamed = torch.load(there, weights_only=True)
    assert "layers.0.0.projection.weight" in renamed
    assert f"{len(renamed)} tensors with mmseg names in {there}" in capsys.readouterr().out
    main([str(there), str(back)])
    found = torch.load(back, weights_only=True)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_errors(tmp_path: Path) -> None:
    """A missing file, and one of another network; nothing is written."""
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none.pth")):
        main([str(tmp_path / "none.pth"), str(tmp_path / "out.pth")])
    torch.save({"stem.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="Mix Transformer"):
        main([str(tmp_path / "other.pth"), str(tmp_path / "out.pth")])
    assert not (tmp_path / "out.pth").exists()
