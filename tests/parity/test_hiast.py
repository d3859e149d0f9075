"""The family `hiast`: the recorded arrays agree, altered ones are found, empty regions give 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.runner import run


@pytest.fixture
def recorded(shared: Path) -> Path:
    """Folder of the recorded files."""
    folder = shared / "fixtures" / "hiast"
    if not folder.is_dir():
        pytest.skip(f"no shared fixtures: {folder} does not exist")
    return folder


def arrays_of(path: Path) -> dict[str, Any]:
    """All arrays of a file."""
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def results(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and printed lines of a run."""
    capsys.readouterr()
    status = run("hiast", folder)
    return status, capsys.readouterr().out.splitlines()


def test_shared_parity(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file agrees."""
    status, lines = results(recorded, capsys)
    assert (status, len(lines)) == (0, len(list(recorded.glob("*.npz")))), "\n".join(lines)
    assert [line for line in lines if not line.startswith("ok ")] == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("adversarial_mse", "adv_grad_target_logits"),
        ("adversarial_mse", "D_loss"),
        ("adversarial_bce_entropy", "Dgrad_conv1_weight"),
        ("adversarial_bce_entropy", "minent_loss"),
        ("copy_paste_c7", "sampling_prob"),
        ("copy_paste_c7", "out_image"),
        ("copy_paste_c7", "chosen_bank_index"),
        ("copy_paste_c7", "kept_after_10pct_filter"),
        ("ema_lr_metric", "ema_w"),
        ("ema_lr_metric", "cosine_lr"),
        ("ema_lr_metric", "iast_cosine_lr"),
        ("ema_lr_metric", "intersection"),
        ("ema_lr_metric", "miou13"),
        ("ias_c7_clamp", "threshold"),
        ("ias_c7_clamp", "pseudo_label"),
        ("ias_c7_clamp", "class_mean_prob"),
        ("ias_c7_clamp", "image_class_count"),
        ("losses_c5_zero_teacher", "kld_confident"),
        ("losses_c5_zero_teacher", "entropy_ignored_grad"),
        ("losses_c5_zero_teacher", "cst_soft_ce_ignored"),
        ("losses_c5_zero_teacher", "total"),
    ],
)
def test_altered_array_fails(
    name: str, key: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One entry 0.1 % off, or one label or count another: the run fails and names the array."""
    arrays = arrays_of(recorded / f"{name}.npz")
    value = arrays[key].copy()
    place = np.unravel_index(np.abs(value.astype(float)).argmax(), value.shape)
    if value.dtype.kind == "f":
        value[place] *= 1.001
    else:
        value[place] = not value[place] if value.dtype == bool else value[place] - 1
    np.savez(tmp_path / f"{name}.npz", **{**arrays, key: value})
    status, lines = results(tmp_path, capsys)
    assert status == 1
    assert lines[0].startswith("FAIL")
    assert key in lines[0] or "more)" in lines[0]


def test_other_settings(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer steps, images and draws, and other names: the checks are tied to no file."""
    cuts = {
        "ias_c19_b2": ("ias_x", slice(0, 5)),
        "copy_paste_c19": ("copy_paste_x", slice(1, 4)),
    }
    for name, (new, part) in cuts.items():
        arrays = arrays_of(recorded / f"{name}.npz")
        length = {"ias_x": 12, "copy_paste_x": 5}[new]
        arrays = {k: v[part] if v.shape[:1] == (length,) else v for k, v in arrays.items()}
        if new == "ias_x":
            labels = arrays["pseudo_label"].reshape(-1, *arrays["pseudo_label"].shape[2:])
            counts = [[(label == k).sum() for label in labels] for k in range(19)]
            arrays["image_class_count"] = np.array(counts)
            arrays["class_pixel_count"] = np.array(counts).sum(1)
        np.savez(tmp_path / f"{new}.npz", **arrays)
    status, lines = results(tmp_path, capsys)
    assert status == 0, "\n".join(lines)


def test_empty_regions(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the released code records NaN for a region without a pixel, ours has to give 0."""
    arrays = arrays_of(recorded / "losses_c5_zero_teacher.npz")
    ignored = arrays["pseudo_label"] == 255
    arrays["pseudo_label"] = np.full_like(arrays["pseudo_label"], 255)
    nan = {"kld_confident", "seg_ce", "cst_soft_ce_confident", "part_kld", "part_target_seg"}
    for key in [*nan, "kld_confident_grad", "seg_ce_grad", "total", "total_grad"]:
        arrays[key] = np.full_like(arrays[key], np.nan)
    # of the ignored region, now everything
    for key in ("entropy_ignored", "cst_soft_ce_ignored", "cst_mse_ignored", "cst_kldiv_ignored"):
        arrays.pop(key)
        arrays.pop(f"{key}_grad", None)
    arrays["w_ent"] = arrays["w_cst"] = arrays["part_ent"] = arrays["part_cst"] = np.array(0.0)
    probs, logits = arrays["teacher_prob"], arrays["student_logits"]
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    arrays["cst_ignored_nonzero_elements"] = np.array(((probs * log_probs) != 0).sum())
    assert not ignored.all()
    np.savez(tmp_path / "losses_x.npz", **arrays)
    status, lines = results(tmp_path, capsys)
    assert status == 0, "\n".join(lines)
