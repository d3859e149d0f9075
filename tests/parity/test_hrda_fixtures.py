"""The check of `hrda_*.npz` finds what is wrong: each altered array fails by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.hrda import check_hrda
from tests.parity.rows import severity


@pytest.fixture
def recorded(shared: Path) -> dict[str, np.ndarray]:
    """A file of the released code's arrays."""
    files = sorted((shared / "fixtures" / "daformer").glob("hrda_*.npz"))
    if not files:
        pytest.skip("no hrda_*.npz among the shared fixtures")
    with np.load(files[0], allow_pickle=False) as file:
        return dict(file)


def failing(folder: Path, arrays: dict[str, np.ndarray]) -> set[str]:
    """Names of the comparisons that fail."""
    file = folder / "hrda_x.npz"
    np.savez(file, **arrays)
    return {row[0] for row in check_hrda(file) if severity(row) > 1}


def test_altered_arrays_fail(tmp_path: Path, recorded: dict[str, np.ndarray]) -> None:
    """One pass over a file in which several independent arrays are off."""
    losses = recorded["loss_values"] * np.where(
        recorded["loss_names"] == "decode.hr.loss_seg", 2, 1
    )
    changed = {
        "infer_fused_os4": recorded["infer_fused_os4"] * 1.01,
        "slide_logits_s4": recorded["slide_logits_s4"] + 0.01,
        "crop_offsets_seen_y": recorded["crop_offsets_seen_y"][:-1],
        "loss_values": losses,
    }
    name = next(key for key in recorded if key.startswith("gnorm/"))
    changed[name] = recorded[name] * 1.1
    found = failing(tmp_path, {**recorded, **changed})
    wanted = {"infer_fused_os4", "slide_logits_s4", "decode.hr.loss_seg", name}
    assert {one for one in found if not one.startswith("crop_offsets_seen_y")} == wanted
    assert any(one.startswith("crop_offsets_seen_y") for one in found)


def test_another_box_fails(tmp_path: Path, recorded: dict[str, np.ndarray]) -> None:
    """The training pass depends on where the detail lies."""
    moved = recorded["crop_box_y1y2x1x2"].copy()
    moved[:2] += 8 if moved[0] == 0 else -8
    found = failing(tmp_path, {**recorded, "crop_box_y1y2x1x2": moved})
    assert {"train_fused", "train_hr", "decode.loss_seg", "decode.hr.loss_seg"} <= found
    assert not any(name.startswith(("infer", "slide")) for name in found)
