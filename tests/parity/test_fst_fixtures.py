"""The families of look-ahead and of coupled groups: recordings agree, and alterations are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.runner import run

FAMILIES = ("fst", "dts")


def folder_of(shared: Path, family: str) -> Path:
    """The recordings of a family; the test is skipped where they are absent."""
    folder = shared / "fixtures" / family
    if not folder.is_dir():
        pytest.skip(f"no shared fixtures: {folder} does not exist")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_parity(family: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file agrees, with one line each."""
    folder = folder_of(shared, family)
    status = run(family, folder)
    lines = capsys.readouterr().out.splitlines()
    assert (status, len(lines)) == (0, len(list(folder.glob("*.npz")))), "\n".join(lines)
    assert all(line.startswith("ok ") for line in lines)


@pytest.mark.parametrize(
    ("family", "name", "key"),
    [
        ("fst", "fst_d_k2_adamw", "t1.v1.student.conv1.weight"),
        ("fst", "fst_d_k2_sgd", "t2.end.opt.momentum_buffer.conv2.bias"),
        ("fst", "fst_w_n2_adamw", "t2.ema0.teacher.bn.weight"),
        ("fst", "fst_w_n3_adamw", "t1.v2.loss_mix"),
        ("fst", "derived_deep_k3_adamw", "t2.end.student_buf.bn.running_mean"),
        ("fst", "derived_wide_n2_adamw", "t1.r.grad.conv1.weight"),
        ("fst", "derived_ssl_k3_adamw", "t2.ema4.teacher.conv2.weight"),
        ("fst", "ssl_unsup_loss_p80", "grad_predict"),
        ("dts", "dts_cross_adamw", "t2.g1.student.conv1.weight"),
        ("dts", "dts_cross_adamw", "t1.g2.loss_tt"),
        ("dts", "dts_mean_sgd", "t2.teacher1.prob_b"),
        ("dts", "dts_own_adamw", "t2.g1.target_share"),
        ("dts", "dts_cross_nosource_adamw", "t1.g2.grad.conv1.weight"),
    ],
    ids=lambda value: value.replace(".", "-"),
)
def test_altered_array_fails(
    family: str,
    name: str,
    key: str,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An array that is wrong in the sixth digit fails its file and is named."""
    with np.load(folder_of(shared, family) / f"{name}.npz", allow_pickle=False) as file:
        arrays = {k: file[k] for k in file.files}
    arrays[key] = arrays[key] * (1 + 1e-6) + 1e-9
    np.savez(tmp_path / f"{name}.npz", **arrays)
    assert run(family, tmp_path) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("FAIL")


def test_unknown_kind_fails(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kind of look-ahead that is not known is told by name."""
    with np.load(folder_of(shared, "fst") / "fst_d_k1_adamw.npz", allow_pickle=False) as file:
        arrays = {k: file[k] for k in file.files}
    arrays["kind"] = np.array("FST-X")
    np.savez(tmp_path / "fst_d_x.npz", **arrays)
    assert run("fst", tmp_path) == 1
    assert "kind is 'FST-X'; known: FST-D" in capsys.readouterr().out
