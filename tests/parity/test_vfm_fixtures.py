"""The family of foundation encoders: recordings agree, and alterations are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.runner import run


def folder_of(shared: Path) -> Path:
    """The recordings of the family; the test is skipped where they are absent."""
    folder = shared / "fixtures" / "vfm"
    if not folder.is_dir():
        pytest.skip(f"no shared fixtures: {folder} does not exist")
    return folder


def test_shared_parity(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of the shared fixtures agrees or is listed as not built."""
    folder = folder_of(shared)
    status = run("vfm", folder)
    lines = capsys.readouterr().out.splitlines()
    assert (status, len(lines)) == (0, len(list(folder.glob("*.npz")))), "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        ("block_mask_a", "c2/mask_packed", "flip"),
        ("block_mask_a", "c1/noise", "scale"),
        ("token_mask_a", "c0/out", "scale"),
        ("token_mask_a", "c1/mask_token", "scale"),
        ("deform_attn_a", "out", "scale"),
        ("deform_attn_a", "grad_query", "scale"),
        ("deform_attn_a", "reference_xy", "scale"),
        ("lightweight_head_a", "logits_s8", "scale"),
        ("lightweight_head_a", "feat_masked", "scale"),
        ("lightweight_head_a", "sd/encoder.pos_embed", "scale"),
        ("pyramid_head_a", "out_train", "scale"),
        ("pyramid_head_a", "norm1_running_var_after", "scale"),
        ("vit_adapter_a", "f1_s8", "scale"),
        ("vit_adapter_a", "f4_train", "scale"),
        ("vit_adapter_a", "pos_embed_16x16", "scale"),
        ("slide_coords_a", "c3/coords_y1y2x1x2", "flip"),
        ("slide_coords_a", "c1/resized_hw", "flip"),
    ],
    ids=lambda value: value.replace("/", "-"),
)
def test_altered_array_fails(
    name: str,
    key: str,
    change: str,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An array that is wrong in one entry, or by a thousandth, fails its file."""
    with np.load(folder_of(shared) / f"{name}.npz", allow_pickle=False) as file:
        arrays = {k: file[k] for k in file.files}
    if change == "flip":
        arrays[key] = arrays[key].copy()
        arrays[key].flat[0] = arrays[key].flat[0] == 0
    else:
        arrays[key] = (arrays[key] * 1.001 + 1e-4).astype(arrays[key].dtype)
    np.savez(tmp_path / f"{name}.npz", **arrays)
    assert run("vfm", tmp_path) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("FAIL")
