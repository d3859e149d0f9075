"""Checks that a config passes before anything is built."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.utils.dl_utils import set_multi_processing

from uda.engine.config_values import HIGHEST_SEED
from uda.engine.train import (
    check_unused,
    fix_seed,
    load_config,
    set_precision,
    set_threads,
    start_gloo,
)

from .tiny_run import write_config

CONFIG = Path(__file__).parents[2] / "configs/source_only/toycity_source_only.py"


def test_class_count_mismatch_names_head_and_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"decode_head.*num_classes=11, the data set has 19"):
        load_config(CONFIG, {"model.network.decode_head.num_classes": 11})


def test_class_lists_of_source_and_validation_have_to_agree() -> None:
    with pytest.raises(ValueError, match=r"the validation set \['a', 'b'\]; give all sets one"):
        load_config(CONFIG, {"val_dataloader.dataset.classes": ["a", "b"]})


def test_fp16_without_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="--amp fp16 needs a CUDA device; on a CPU use --amp bf16"):
        set_precision(load_config(CONFIG), "fp16")


def test_gloo_without_torchrun_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="torchrun --nproc_per_node 2"):
        start_gloo("pytorch")


def test_fix_seed_values(tmp_path: Path) -> None:
    """A resumed run goes on with its own seed; a run without one draws it, and keeps it."""
    config = load_config(write_config(tmp_path))
    checkpoint = tmp_path / "iter_3.pth"
    torch.save({"meta": {"seed": 7}, "state_dict": {}}, checkpoint)
    fix_seed(config, checkpoint, asked=None)
    assert config.randomness.seed == 7
    fix_seed(config, checkpoint, asked=7)
    with pytest.raises(ValueError, match=r"iter_3\.pth is of a run with seed 7; with --seed 5 it"):
        fix_seed(config, checkpoint, asked=5)
    config.randomness = {"seed": None}
    with pytest.raises(ValueError, match="several processes need a seed in common; give --seed"):
        fix_seed(config, None, asked=None, launcher="pytorch")
    fix_seed(config, None, asked=None)
    drawn = config.randomness["seed"]
    fix_seed(config, None, asked=None)
    assert config.randomness["seed"] == drawn
    assert 0 <= drawn <= HIGHEST_SEED


def test_check_unused_errors(tmp_path: Path) -> None:
    """A folder with checkpoints is not begun anew; an empty or missing one may be."""
    check_unused(tmp_path / "missing")
    check_unused(tmp_path)
    (tmp_path / "iter_12.pth").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"an earlier run \(iter_12\.pth\)\. Go on with it by --res"
    ):
        check_unused(tmp_path)


def test_threads_of_several_processes_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set without a warning in each process, as mmengine would; what is set already stays."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pytest.warns(UserWarning, match="MKL_NUM_THREADS"):
        set_multi_processing(distributed=True)
    monkeypatch.delenv("MKL_NUM_THREADS")
    set_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_multi_processing(distributed=True)
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", "1")
