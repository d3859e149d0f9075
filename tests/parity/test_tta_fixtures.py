"""Test-time adaptation agrees with the recorded steps, and disagreement is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.runner import run


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    """The shared recordings; the test is skipped where they are absent."""
    found = shared / "fixtures" / "tta"
    if not found.is_dir():
        pytest.skip(f"no shared fixtures: {found} does not exist")
    return found


def results(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and printed lines of a run, one thread as the recordings were made."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    capsys.readouterr()
    status = run("tta", folder)
    torch.set_num_threads(threads)
    return status, capsys.readouterr().out.splitlines()


def test_shared_parity(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file agrees, with one line each."""
    status, lines = results(folder, capsys)
    assert (status, len(lines)) == (0, len(list(folder.glob("*.npz")))), "\n".join(lines)
    assert all(line.startswith("ok ") for line in lines)


def altered(source: Path, target: Path, key: str) -> None:
    """Write a recording with the first entry of one array changed, or one of its settings."""
    with np.load(source, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if key.startswith("meta/"):
        meta = json.loads(str(arrays["meta"]))
        name = key.removeprefix("meta/")
        meta[name] = meta[name][1:] if isinstance(meta[name], list) else meta[name] * 1.01
        arrays["meta"] = np.array(json.dumps(meta))
    else:
        value = arrays[key].copy()
        value.flat[0] += 1e-7 if value.dtype.kind == "f" else 1
        arrays[key] = value
    np.savez(target / source.name, **arrays)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("bn_adapt_conv_bn", "out/prior_0.500000"),
        ("bn_adapt_seg_bn", "cumulative_final/bn2.running_var"),
        ("cotta_cifar_aug_conv_bn", "teacher_final/fc.bias"),
        ("cotta_imagenet_vit_ln", "out"),
        ("cotta_seg_bn", "pseudo_label"),
        ("deyo_patch_vit_ln", "counts_entropy_then_plpd"),
        ("eata_conv_bn", "fisher/bn1.bias"),
        ("eata_vit_ln", "meta/fisher_alpha"),
        ("eta_conv_bn", "moving_probs"),
        ("lame", "out/kNN_sym"),
        ("rotta_parts", "mem_ids_after"),
        ("rotta_parts", "robustbn_out_eval_last"),
        ("sar_vit_ln", "meta/rho"),
        ("sar_vit_ln", "meta/adapted"),
        ("sar_vit_ln_reset", "reset_at_step"),
        ("sl_rpl_seg_bn", "loss"),
        ("sl_soft_conv_bn", "final_stats/bn1.running_mean"),
        ("tent_conv_bn_adam", "step2/bn1.weight"),
        ("tent_conv_gn_sgd", "meta/lr"),
        ("vida_adapter_linear", "hka_uncertainty"),
        ("vida_cifar_vit_ln", "lambda_high"),
        ("vida_imagenet_vit_ln", "final/head.bias"),
    ],
    ids=lambda value: value.replace("/", "-"),
)
def test_altered_array_fails(
    name: str, key: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever array or setting differs, the run fails."""
    altered(folder / f"{name}.npz", tmp_path, key)
    status, lines = results(tmp_path, capsys)
    assert status == 1
    assert lines[0].startswith("FAIL")
