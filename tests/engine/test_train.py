"""Checks that a config passes before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from uda.engine.train import load_config, set_precision, start_gloo

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
