"""Bad input of every kind: found before a run by `tools/check_data.py`, and one sentence in it.

Each case of the tables has the exact sentence that training stops with, or is legitimate input,
which has to work; and exactly what the check finds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader

from tests.bad_input.cases import (
    DataCase,
    StepCase,
    checked,
    forbid,
    toy_config,
    train_reads,
)
from tests.bad_input.config_table import CONFIGS
from tests.bad_input.folder_table import FOLDERS, SETS
from tests.bad_input.image_table import IMAGES, LABELS
from tests.bad_input.step_table import STEPS
from tests.engine.tiny_run import PROJECT, write_data
from uda.engine.failures import one_sentence

DATA_CASES = [*IMAGES, *LABELS, *FOLDERS, *SETS]
STEP_CASES = [*CONFIGS, *STEPS]


@pytest.mark.parametrize("case", DATA_CASES, ids=lambda case: case.name)
def test_bad_data(case: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training stops with the sentence, or works; the check finds it, and nothing else."""
    data = write_data(tmp_path / "data")
    case.spoil(data)
    config = toy_config(tmp_path, case.options)
    if case.forbidden:
        forbid(monkeypatch, data / case.forbidden)
    report = checked(config)
    assert sorted((f.kind, f.dataset, len(f.files)) for f in report.findings) == sorted(case.found)
    assert (report.count("error") > 0) == (bool(case.error) or case.spoils)
    if not case.error:
        train_reads(config)
        return
    with pytest.raises((OSError, ValueError)) as stopped:
        train_reads(config)
    assert str(stopped.value) == case.error.format(data=data)


@pytest.mark.parametrize("case", STEP_CASES, ids=lambda case: case.name)
def test_bad_step(case: StepCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config, a preparation, a batch or a checkpoint: stops with the sentence, or works."""
    if not case.error:
        case.run(tmp_path, monkeypatch)
        return
    with pytest.raises((OSError, ValueError)) as stopped:
        case.run(tmp_path, monkeypatch)
    assert str(stopped.value) == case.error.format(root=tmp_path, project=PROJECT)


@pytest.mark.parametrize("name", ["image of zero bytes", "label of zero bytes"])
def test_sentence_comes_out_of_a_loader_process(name: str, tmp_path: Path) -> None:
    """The tools print the same sentence where a loader's worker process read the file."""
    case = next(case for case in DATA_CASES if case.name == name)
    data = write_data(tmp_path / "data")
    case.spoil(data)
    pairs = DATASETS.build(toy_config(tmp_path, {}).train_dataloader.dataset)
    draws = [(0, draw) for draw in range(4)]
    loader = DataLoader(pairs, sampler=draws, num_workers=1, collate_fn=pseudo_collate)
    with pytest.raises((OSError, ValueError)) as stopped:
        list(loader)
    assert "in DataLoader worker process" in str(stopped.value)
    assert one_sentence(stopped.value) == case.error.format(data=data)
