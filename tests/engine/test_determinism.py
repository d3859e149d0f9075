"""Repeatable runs: the switches, equal bits, and no operation that CUDA would refuse."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode

from uda.engine.determinism import (
    CUBLAS_VARIABLE,
    Determinism,
    choose_determinism,
    current_determinism,
    restore_determinism,
)
from uda.engine.train import build_runner, load_config
from uda.methods import PlainOptimiser
from uda.structures import Batch, Labelled, Unlabelled

from .test_resume import METHODS
from .test_run import assert_same_run
from .tiny_run import PROJECT, model_config, write_config

# What torch's documentation of `use_deterministic_algorithms` says is refused on CUDA, by the
# names of the operations that do it, as far as images and labels can meet them.
REFUSED = {
    "_adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d_backward",
    "fractional_max_pool2d_backward",
    "grid_sampler_2d_backward",
    "histc",
    "nll_loss2d_forward",
    "nll_loss_forward",
    "reflection_pad2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
}
ON = Determinism(
    algorithms=True,
    warn_only=False,
    cudnn_deterministic=True,
    cudnn_benchmark=False,
    cublas_workspace=":4096:8",
)


@pytest.fixture(autouse=True)
def switches() -> Iterator[Determinism]:
    """The switches as they were, put back after the test."""
    before = current_determinism()
    yield before
    restore_determinism(before)
    assert current_determinism() == before


def run(config: Path, work_dir: Path, *, deterministic: bool) -> Path:
    """The last checkpoint of a run."""
    loaded = load_config(config)
    loaded.experiment_name = work_dir.as_posix().replace("/", "-")
    build_runner(loaded, work_dir=work_dir, deterministic=deterministic).train()
    return work_dir / "iter_6.pth"


def test_deterministic_run_values(tmp_path: Path) -> None:
    """Two runs with the flag end in the same bits, with every switch on, also during training.

    On a CPU a run without the flag ends in these bits as well. It finds all switches as in a new
    process, though the runs before it had set them.
    """
    config = write_config(tmp_path)
    first = run(config, tmp_path / "first", deterministic=True)
    assert current_determinism() == ON
    torch.rand(7)  # whatever else the process draws
    second = run(config, tmp_path / "second", deterministic=True)
    assert_same_run(first, second)
    plain = run(config, tmp_path / "plain", deterministic=False)
    # The config of the runtime asks for the benchmark.
    off = replace(ON, algorithms=False, cudnn_deterministic=False, cudnn_benchmark=True)
    assert current_determinism() == off
    assert_same_run(first, plain)


def test_choose_determinism_values() -> None:
    """A config may ask for it as well; only what is needed changes in it."""
    asked = {"randomness": {"seed": 3, "deterministic": True}, "env_cfg": {"cudnn_benchmark": True}}
    for given, deterministic in ((asked, False), ({"randomness": {"seed": 3}}, True), ({}, True)):
        config = Config(given)
        choose_determinism(config, deterministic)
        assert config.randomness.deterministic is True
        assert config.randomness.get("seed") == given.get("randomness", {}).get("seed")
        assert config.env_cfg.cudnn_benchmark is False
    config = Config({"randomness": {"seed": 3}})
    choose_determinism(config, False)
    assert config.to_dict() == {"randomness": {"seed": 3}}


def test_choose_determinism_keeps_the_other_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two values that cuBLAS takes, the one in the environment stays."""
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")
    choose_determinism(Config({}), True)
    assert current_determinism().cublas_workspace == ":16:8"


def test_choose_determinism_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace with which cuBLAS is not repeatable is refused."""
    monkeypatch.setenv(CUBLAS_VARIABLE, ":0:0")
    with pytest.raises(ValueError, match=r"CUBLAS_WORKSPACE_CONFIG to be :4096:8 or .* ':0:0'"):
        choose_determinism(Config({}), True)


class Operations(TorchDispatchMode):
    """Remembers the names of all operations, those of backward passes among them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Note the name and go on."""
        self.names.add(function._schema.name.partition("::")[2])
        return function(*args, **(kwargs or {}))


def operations_of_a_step(model: dict[str, Any]) -> set[str]:
    """What a training step calls on a device that is no CPU.

    On the device "meta" nothing is computed, but torch takes the ways it takes on CUDA where it
    asks only whether a tensor lies on the CPU, as for bilinear resizing.
    """
    init_default_scope("mmseg")
    built: Any = MODELS.build(model)
    built.train()
    built.method.initialise()
    built.to("meta")
    image = torch.zeros(2, 3, 64, 64, device="meta")
    label = torch.zeros(2, 64, 64, dtype=torch.int64, device="meta")
    opponents = {
        name: PlainOptimiser(torch.optim.Adam(network.parameters()))
        for name, network in built.method.opponents().items()
    }
    student = torch.optim.AdamW(built.method.trained().parameters())
    optimiser = PlainOptimiser(student, opponents=opponents)
    with Operations() as operations:
        built.method.training_step(Batch(Labelled(image, label), Unlabelled(image)), optimiser)
    return operations.names


def every_part(selector: str, head: str = "LightHead") -> dict[str, Any]:
    """A model with all terms and a view that always acts."""
    model = model_config()
    model["network"]["decode_head"]["type"] = head
    method = model["method"]
    method["selector"] = {"type": selector}
    method["view"] = {"type": "ColorJitterBlur", "jitter_probability": 1.0, "blur_probability": 1.0}
    method["terms"].append({"type": "EntropyMinimisation"})
    return model


def published(name: str) -> dict[str, Any]:
    """The model of a config, without a file of weights."""
    model: dict[str, Any] = load_config(PROJECT / "configs" / name).model.to_dict()
    model["network"]["backbone"]["weights"] = None
    model["method"]["selector"].pop("ignore_rows", None)
    return model


def changed(**parts: Any) -> dict[str, Any]:
    """The tiny model with other parts in its method."""
    model = model_config()
    model["method"].update(parts)
    return model


def resumable(name: str) -> dict[str, Any]:
    """The tiny model with a method of `test_resume.py`."""
    return model_config(method=copy.deepcopy(METHODS[name]))


# A new method, and a new part by itself or in a method of `test_resume.py`, joins here;
# `test_tables.py` tells what is missing.
MODELS_TO_STEP: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"method {name}": partial(resumable, name) for name in METHODS},
    "entropy percentile": lambda: changed(selector={"type": "EntropyPercentile"}),
    "entropy weight": lambda: changed(selector={"type": "EntropyWeight"}),
    "divergence": lambda: changed(
        teacher={"type": "TeacherPair"}, selector={"type": "TeacherDivergence"}
    ),
    "no view": lambda: changed(view={"type": "NoView"}),
    "torchvision": lambda: changed(
        view={"type": "TorchvisionView", "transforms": [{"type": "RandomInvert", "p": 1.0}]}
    ),
    "confidence share": lambda: every_part("ConfidenceShare"),
    "confidence threshold": lambda: every_part("ConfidenceThreshold"),
    "class-balanced": lambda: every_part("ClassBalancedThreshold"),
    "DAFormer's head": lambda: every_part("ConfidenceShare", head="DAFormerHead"),
    "toycity": lambda: published("daformer/toycity_daformer.py"),
    "deeplabv2": lambda: published("daformer/gta2cityscapes_daformer_deeplabv2_r101.py"),
}


@pytest.mark.parametrize("name", MODELS_TO_STEP)
def test_no_step_calls_what_cuda_refuses(name: str) -> None:
    """With the flag, no training step calls an operation that torch would refuse on CUDA."""
    torch.use_deterministic_algorithms(True)
    found = operations_of_a_step(MODELS_TO_STEP[name]())
    assert found & REFUSED == set()
    assert "_log_softmax_backward_data" in found  # backward passes are seen


def test_refused_operations_are_found() -> None:
    """The check itself: without the flag the same step calls two of them."""
    torch.use_deterministic_algorithms(False)
    found = operations_of_a_step(every_part("ConfidenceShare"))
    assert found & REFUSED == {"nll_loss2d_forward", "upsample_bilinear2d_backward"}


@pytest.mark.slow
def test_deterministic_processes_values(tmp_path: Path) -> None:
    """Two processes, with other hash seeds end in the same bits and log the same digits."""
    config = write_config(tmp_path)
    runs = [tmp_path / "first", tmp_path / "second"]
    for seed, work_dir in enumerate(runs):
        command = [sys.executable, "tools/train.py", str(config), "--deterministic"]
        command += ["--work-dir", str(work_dir)]
        call(command, PYTHONHASHSEED=str(seed))
    assert_same_run(runs[0] / "iter_6.pth", runs[1] / "iter_6.pth")
    done = call([sys.executable, "tools/compare_runs.py", *map(str, runs)], expected=1)
    told = done.stdout.splitlines()
    assert told[0] == "First difference: setting environment.PYTHONHASHSEED is 0 in A and 1 in B."
    assert sum(line.startswith("|") for line in told) == 2  # head of the table, and this one row


def call(
    command: list[str], *, expected: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a tool of the project."""
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, done.stdout[-2000:] + done.stderr[-2000:]
    return done
