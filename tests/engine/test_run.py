"""A whole run: training, validation, restart to the bit, deployment."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from uda.engine.train import load_config

from .comparing import assert_same_run, differences, load
from .tiny_run import CLASSES, PROJECT, SIZE, make_runner, write_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runner]:
    """A folder with a finished run of six iterations in `run`, and its Runner."""
    folder = tmp_path_factory.mktemp("run")
    runner = make_runner(write_config(folder), folder / "run")
    runner.train()
    return folder, runner


def resume_from(folder: Path, run: str, config: Path, copy: str) -> Path:
    """Go on from `iter_3.pth` of a run in a folder of its own, as if it had been stopped there."""
    target = folder / copy
    target.mkdir()
    shutil.copy(folder / run / "iter_3.pth", target)
    (target / "last_checkpoint").write_text(str(target / "iter_3.pth"))
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(12345)  # whatever the new process has drawn until now
    make_runner(config, target, resume=True).train()
    return target / "iter_6.pth"


def test_run_values(trained: tuple[Path, Runner]) -> None:
    """Losses are logged every 2 of 6 iterations, as means; networks are evaluated every 3."""
    folder, runner = trained
    (scalars,) = (folder / "run").glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [2, 4, 6]
    names = {"source/ce", "source/feature_distance", "mixed/ce", "mixed/pseudo_weight", "lr"}
    assert names <= set(steps[0])
    for line in steps:
        total = line["source/ce"] + line["source/feature_distance"] + line["mixed/ce"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
    scores = [line for line in lines if any("mIoU" in name for name in line)]
    assert [line["step"] for line in scores] == [3, 6]
    for network in ("student", "teacher"):
        assert all(f"{network}/mIoU" in line for line in scores)
    assert runner.iter == 6


def test_teacher_is_saved_values(trained: tuple[Path, Runner]) -> None:
    """The checkpoint holds student, teacher with its count of updates, and the frozen encoder."""
    state = load(trained[0] / "run" / "iter_6.pth")["state_dict"]
    assert state["method.teacher.iteration"].item() == 6
    for prefix in ("method.student.", "method.teacher.network.", "method.terms.0.encoder."):
        assert any(name.startswith(prefix) for name in state)


def test_optimiser_values(trained: tuple[Path, Runner]) -> None:
    """The optimiser holds the student's parameters and no others."""
    model, wrapper = trained[1].model, trained[1].optim_wrapper
    held = {id(p) for group in wrapper.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.method.student.parameters()}


def test_run_resume(trained: tuple[Path, Runner]) -> None:
    """Six iterations at once equal three, a new Runner, and three more, to the bit.

    The straight run validates after the checkpoint of iteration 3, which the resumed one does not.
    """
    folder = trained[0]
    resumed = resume_from(folder, "run", folder / "config.py", "resumed")
    assert_same_run(folder / "run" / "iter_6.pth", resumed)


@pytest.mark.slow
def test_run_with_workers_resume(trained: tuple[Path, Runner]) -> None:
    """With two loader processes: the same run as without, and the same after a restart."""
    folder = trained[0]
    config = write_config(folder, workers=2)
    make_runner(config, folder / "workers").train()
    assert_same_run(folder / "run" / "iter_6.pth", folder / "workers" / "iter_6.pth")
    resumed = resume_from(folder, "workers", config, "workers_resumed")
    assert_same_run(folder / "run" / "iter_6.pth", resumed)


def test_resume_of_another_network_errors(trained: tuple[Path, Runner], tmp_path: Path) -> None:
    """Resuming with a changed network is refused instead of training on what fits."""
    folder = trained[0]
    shutil.copy(folder / "run" / "iter_3.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_3.pth"))
    config = load_config(folder / "config.py", {"model.network.decode_head.channels": 16})
    with pytest.raises(ValueError, match=r"iter_3.pth does not fit .* here and .* in the file"):
        make_runner(config, tmp_path, resume=True).train()


def test_deploy_parity(trained: tuple[Path, Runner]) -> None:
    """mmseg alone loads the deploy files and predicts what the networks predict."""
    from mmseg.apis import inference_model, init_model

    folder, runner = trained
    deploy = folder / "run" / "deploy"
    image = cv2.imread(str(folder / "data" / "val" / "images" / "0.png"))
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    runner.model.eval()
    for name, network in runner.model.method.networks().items():
        model = init_model(str(deploy / "config.py"), str(deploy / f"{name}.pth"), device="cpu")
        assert list(model.dataset_meta["classes"]) == CLASSES
        found = inference_model(model, image).pred_sem_seg.data.squeeze(0)
        with torch.no_grad():
            wanted = network((rgb - 127.5) / 60).logits.argmax(1).squeeze(0)
        assert found.shape == (SIZE, SIZE)
        assert torch.equal(found, wanted), name
    student, teacher = (load(deploy / f"{n}.pth")["state_dict"] for n in ("student", "teacher"))
    assert differences(student, teacher) != []


@pytest.mark.slow
def test_deploy_alone_values(trained: tuple[Path, Runner]) -> None:
    """A fresh interpreter that imports mmseg and nothing of this project gets a prediction."""
    deploy = trained[0] / "run" / "deploy"
    code = (
        "import sys, numpy as np\n"
        "from mmseg.apis import inference_model, init_model\n"
        "model = init_model(sys.argv[1], sys.argv[2], device='cpu')\n"
        "result = inference_model(model, np.zeros((64, 64, 3), np.uint8))\n"
        "print(tuple(result.pred_sem_seg.data.shape))\n"
    )
    command = [sys.executable, "-c", code, str(deploy / "config.py"), str(deploy / "student.pth")]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "(1, 64, 64)"
