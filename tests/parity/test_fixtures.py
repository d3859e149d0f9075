"""The parity runner: our parts agree with the recorded arrays, and disagreement is noticed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.daformer_optimisation import group_of, make_optimiser, module_of
from tests.parity.families import FAMILIES
from tests.parity.runner import run

PROJECT = Path(__file__).parents[2]
RECORDED = PROJECT / "tests" / "fixtures" / "daformer"

Alter = Callable[..., Path]


@pytest.fixture
def altered(tmp_path: Path) -> Alter:
    """Writes a recorded file with some arrays replaced, or left out where None is given."""

    def write(name: str, changes: dict[str, object], *, to: str | None = None) -> Path:
        with np.load(RECORDED / f"{name}.npz", allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        arrays.update(changes)
        kept = {key: value for key, value in arrays.items() if value is not None}
        np.savez(tmp_path / f"{to or name}.npz", **kept)
        return tmp_path

    return write


def recorded(name: str, key: str) -> np.ndarray:
    """One array of a recorded file."""
    with np.load(RECORDED / f"{name}.npz", allow_pickle=False) as file:
        return file[key]


def results(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and printed lines of a run."""
    capsys.readouterr()
    status = run("daformer", folder)
    return status, capsys.readouterr().out.splitlines()


def test_recorded_parity(capsys: pytest.CaptureFixture[str]) -> None:
    """Every committed file agrees, with one line each."""
    status, lines = results(RECORDED, capsys)
    assert (status, len(lines)) == (0, len(list(RECORDED.glob("*.npz")))), "\n".join(lines)
    assert all(line.startswith("ok ") for line in lines)


def test_shared_parity(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of the shared fixtures agrees."""
    folder = shared / "fixtures" / "daformer"
    if not folder.is_dir():
        pytest.skip(f"no shared fixtures: {folder} does not exist")
    status, lines = results(folder, capsys)
    assert (status, len(lines)) == (0, len(list(folder.glob("*.npz")))), "\n".join(lines)
    assert not [line for line in lines if line.startswith("not built")]


def scaled(name: str, key: str, factor: float) -> dict[str, object]:
    return {key: recorded(name, key) * factor}


def flipped(name: str, key: str) -> dict[str, object]:
    """The array with its first entry 1 higher."""
    value = recorded(name, key).copy()
    value.flat[0] += 1
    return {key: value}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("classmix_a", flipped("classmix_a", "pseudo_label")),
        ("classmix_a", flipped("classmix_a", "mixed_img")),
        ("classmix_a", scaled("classmix_a", "quality", 1.001)),
        ("ema_a", scaled("ema_a", "teacher_w", 1.0001)),
        ("ema_a", flipped("ema_a", "teacher_bn.running_mean")),
        ("fd_a", scaled("fd_a", "grad_student", 1.001)),
        ("fd_allclasses", scaled("fd_allclasses", "loss", 1.001)),
        ("fd_empty", flipped("fd_empty", "grad_student")),
        ("lr_short", scaled("lr_short", "lr_backbone_head", 1.00001)),
        ("lr_short", flipped("lr_short", "weight_decay")),
        ("mit_daformer_a", scaled("mit_daformer_a", "loss_seg", 1.001)),
        ("mit_daformer_a", scaled("mit_daformer_a", "gnorm/decode_head.conv_seg.bias", 1.001)),
        ("mic_mask_a", flipped("mic_mask_a", "c1/mask")),
        ("mic_mask_a", scaled("mic_mask_a", "c2/rand", 0.5)),
        ("rcs_a", flipped("rcs_a", "sim_target_index")),
        ("strong_aug_a", scaled("strong_aug_a", "jittered", 1.001)),
        ("strong_aug_a", flipped("strong_aug_a", "kernel_table_kernel")),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_altered_array_fails(
    name: str, changes: dict[str, object], altered: Alter, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever array of whatever file disagrees, the run fails and names it."""
    status, lines = results(altered(name, changes), capsys)
    assert status == 1
    assert lines[0].startswith("FAIL")
    assert next(iter(changes)).partition("/")[0] in lines[0]


def test_altered_iterations_fail(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """A loss 0.1 % too high and gradient norms are found, and nothing else is blamed."""
    logs = recorded("uda_iter_a", "logs")[:1].copy()
    logs[0, 0] *= 1.001
    gradients = recorded("uda_iter_a", "grad_norm_src_fd") * 1.1
    folder = altered("uda_iter_a", {**one_iteration(), "logs": logs, "grad_norm_src_fd": gradients})
    assert run("daformer", folder, verbose=True) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    assert any("decode.loss_seg" in line for line in failed)
    assert any("grad_norm_src_fd" in line for line in failed)
    assert len(failed) == 3  # the file's line, and the two comparisons


def test_altered_masked_pass_fails(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever of the masked pass disagrees is found: mask, label, weight, loss, mode, weight."""
    label = recorded("mic_iter_a", "it0/masked_label").copy()
    label.reshape(-1)[:10] = 18 - label.reshape(-1)[:10].clip(max=18)
    label.reshape(-1)[:10] += label.reshape(-1)[:10] == 9
    changes: dict[str, tuple[object, str]] = {
        "it0/masked_label": (label, "masked_label"),
        "it0/masked_weight": (1.1 * recorded("mic_iter_a", "it0/masked_weight"), "masked_weight"),
        "it0/mic_block_mask": (1 - recorded("mic_iter_a", "it0/mic_block_mask"), "masked.decode"),
        "cfg_mask_lambda": (np.float64(1.1), "masked.decode.loss_seg"),
        "cfg_mode": (np.array("separate"), "masked.decode.loss_seg"),
    }
    for key, (value, named) in changes.items():
        folder = altered("mic_iter_a", {key: value})
        capsys.readouterr()
        assert run("daformer", folder, verbose=True) == 1, key
        failed = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
        assert any(named in line for line in failed), (key, failed)


def test_other_masked_modes(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """The other modes against what the recorded one lets us derive: labels and weights.

    `separate` masks the first source and the first target image; the losses, recorded with the
    mode `separatetrg`, cannot be derived and are left out. `separatesrc` has no weights.
    """
    source, target, weight = (
        recorded("mic_iter_a", f"it0/{name}")
        for name in ("label_src", "masked_label", "masked_weight")
    )
    kept = [0, 1, 3, 4, 5]
    common = {
        "log_names": recorded("mic_iter_a", "log_names")[kept],
        "logs": recorded("mic_iter_a", "logs")[:, kept],
        "grad_norm_total": None,
    }
    first = target.reshape(source.shape)[:1]
    cases = {
        "separate": (
            np.concatenate([source[:1], first]),
            np.concatenate([np.ones_like(weight[:1]), weight[:1]]),
        ),
        "separatesrcaug": (source, None),
    }
    for mode, (label, weights) in cases.items():
        changes = {**common, "cfg_mode": np.array(mode), "it0/masked_label": label}
        folder = altered("mic_iter_a", {**changes, "it0/masked_weight": weights})
        status, lines = results(folder, capsys)
        assert status == 0, lines


def one_iteration() -> dict[str, object]:
    """The recorded iterations cut to the first one, without what only the last one knows."""
    with np.load(RECORDED / "uda_iter_a.npz", allow_pickle=False) as file:
        late = [k for k in file.files if k.startswith(("it1/", "it2/", "final/", "ema/"))]
    return {**dict.fromkeys(late), "logs": recorded("uda_iter_a", "logs")[:1]}


def test_other_iterations(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """One iteration, a recorded mixed image, optional arrays left out: still a whole check."""
    source, target = (recorded("uda_iter_a", f"it0/img_{side}_u8") for side in ("src", "trg"))
    mask = recorded("uda_iter_a", "it0/mix_mask").astype(bool)
    mean, std = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
    mixed = np.where(mask[:, 0, ..., None], source, target)
    image = ((mixed.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
    left_out = dict.fromkeys(["it0/fd_mask", "it0/quality", "grad_norm_src", "lr_backbone_head"])
    changes = {**one_iteration(), **left_out, "it0/mixed_img": image}
    status, lines = results(altered("uda_iter_a", changes, to="uda_iter_aug"), capsys)
    assert status == 0, lines
    # and the recorded image is what the student sees
    changes["it0/mixed_img"] = image * 0.9
    status, lines = results(altered("uda_iter_a", changes, to="uda_iter_aug"), capsys)
    assert status == 1, lines


def test_without_feature_distance(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without the frozen encoder: the other terms are compared as they are."""
    with np.load(RECORDED / "uda_iter_a.npz", allow_pickle=False) as file:
        encoder = [k for k in file.files if k.startswith("imnet/")]
    kept = [0, 1, 3, 4]
    changes = {
        **one_iteration(),
        **dict.fromkeys([*encoder, "it0/fd_mask", "grad_norm_src_fd", "grad_norm_total"]),
        **dict.fromkeys(["param_norm_after_step"]),
        "log_names": recorded("uda_iter_a", "log_names")[kept],
        "logs": recorded("uda_iter_a", "logs")[:1, kept],
    }
    status, lines = results(altered("uda_iter_a", changes), capsys)
    assert status == 0, lines


def test_other_numbers_of_images(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """Two images, one of which no jitter was drawn for: it stays as it was."""
    image = recorded("strong_aug_a", "img_u8")[:2]
    mean, std = (
        np.float32(v).reshape(3, 1, 1) for v in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    )
    jittered = recorded("strong_aug_a", "jittered")[:2].copy()
    jittered[1] = (image[1] - mean) / std
    factors = [f"jitter_{k}_factor" for k in ("brightness", "contrast", "saturation", "hue")]
    changes = {
        **{key: recorded("strong_aug_a", key)[:2] for key in [*factors, "jitter_order", "sigma"]},
        "img_u8": image,
        "jittered": jittered,
        "blurred": recorded("strong_aug_a", "blurred")[:2],
        "jitter_batch_prob": np.array([[True], [False]]),
        "kernel_table_size": None,
    }
    status, lines = results(altered("strong_aug_a", changes), capsys)
    assert status == 0, lines


def test_configured_optimiser() -> None:
    """The 40k schedule itself, nothing overridden, has the recorded rates, decays and betas."""
    names = [str(name) for name in recorded("lr_short", "param_names")]
    model = module_of({name: torch.zeros(1) for name in names})
    groups = group_of(model, make_optimiser(model))
    for key, field in (("base_lr", "lr"), ("weight_decay", "weight_decay")):
        ours = [groups[name][field] for name in names]
        np.testing.assert_allclose(ours, recorded("lr_short", key), rtol=1e-9)
    assert all(group["betas"] == tuple(recorded("lr_short", "betas")) for group in groups.values())
    assert all(group["eps"] == recorded("lr_short", "eps") for group in groups.values())


def test_unknown_file_fails(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no check handles is a failure, not a skip; the others are run."""
    altered("ema_a", {}, to="surprise_a")
    status, lines = results(altered("ema_a", {}), capsys)
    assert status == 1
    assert lines[0].startswith("ok ")
    assert "surprise_a.npz" in lines[1]
    assert "no check handles this name; known: classmix_*" in lines[1]


def test_waiting_files_pass(
    altered: Alter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of methods that wait for their issue are listed, and fail nothing."""
    waiting = dataclasses.replace(FAMILIES["daformer"], waiting={"later": "LATER"})
    monkeypatch.setitem(FAMILIES, "daformer", waiting)
    status, lines = results(altered("ema_a", {}, to="later_x"), capsys)
    assert status == 0
    assert [line.split() for line in lines] == [
        ["not", "built", "later_x.npz", "(issue:", "LATER)"]
    ]


def test_unreadable_file_fails(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """A truncated archive, one of text and an array without archive get a line each."""
    folder = altered("ema_a", {})
    whole = (RECORDED / "fd_a.npz").read_bytes()
    (folder / "fd_half.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "hrda_text.npz").write_text("no arrays here", encoding="utf-8")
    with (folder / "lr_array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    status, lines = results(folder, capsys)
    assert status == 1
    assert [line.split()[0] for line in lines] == ["ok", "FAIL", "FAIL", "FAIL"]
    assert all("cannot be read" in line for line in lines[1:])


def test_missing_array_fails(altered: Alter, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the array that the file lacks."""
    status, lines = results(altered("classmix_a", {"mix_mask": None}), capsys)
    assert status == 1
    assert "classmix_a.npz has no array 'mix_mask'" in lines[0]


def test_empty_and_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to check is no success."""
    assert run("daformer", tmp_path) == 1
    assert f"no .npz file in {tmp_path.resolve()}" in capsys.readouterr().err
    assert run("daformer", tmp_path / "absent") == 1
    assert f"no such folder: {(tmp_path / 'absent').resolve()}" in capsys.readouterr().err


def test_command_line() -> None:
    """The command itself, with a family that is not built: one sentence, status 1."""
    command = [sys.executable, "-m", "tests.parity", "nothing", str(RECORDED)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    built = ", ".join(sorted(FAMILIES))
    assert f"no parity checks for 'nothing'; built: {built}." in done.stderr
    assert done.stdout == ""
