"""Checks that a config passes before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from uda.engine.train import load_config, one_sentence, set_precision, start_gloo

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


def failing_worker(index: int) -> int:
    """As a data set that does not find its file."""
    raise FileNotFoundError(f"There is no label {index}: make it.")


def test_error_of_a_loader_process_is_one_sentence() -> None:
    dataset = type(
        "Data", (), {"__len__": lambda _: 1, "__getitem__": lambda _, i: failing_worker(i)}
    )
    with pytest.raises(FileNotFoundError) as error:
        next(iter(DataLoader(dataset(), num_workers=1)))
    assert "Traceback" in str(error.value)
    assert one_sentence(error.value) == "There is no label 0: make it."
    assert one_sentence(ValueError("Plain: as it is.")) == "Plain: as it is."
