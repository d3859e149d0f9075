"""A long run holds on to nothing: memory, files, loader processes and disk stay as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .soak import FIELDS, Notes, growth, read_notes
from .tiny_run import PROJECT, write_config

ITERATIONS = 10_000
KEPT = 2
# The first 2,000 iterations warm up: allocators, the first validations, checkpoints and pictures.
EARLY = (2000, 3000)
LATE = [(7000, 8000), (8000, 9000), (9000, 10_000)]
# KiB between medians that are 5,000 to 7,000 iterations apart. Memory: 0.8 KiB an iteration would
# be found; single pages come and go. Checkpoints: they hold up to 1,000 values of each scalar.
TOLERANCES = {"memory": 4096, "worker_memory": 4096, "stored": 256}
SETTINGS = """
custom_imports["imports"].append("tests.engine.soak")
train_dataloader["dataset"]["sampling"] = dict(type="RareClassSampling")
for side in ("source", "target"):
    train_dataloader["dataset"][side]["pipeline"][-3]["crop_size"] = (32, 32)
model["data_preprocessor"]["size"] = (32, 32)
default_hooks["checkpoint"] = dict(interval=200, max_keep_ckpts={kept})
default_hooks["logger"] = dict(interval=50)
custom_hooks = [
    dict(type="RandomState"),
    dict(type="Preemption"),
    dict(type="PictureLog", interval=500),
    dict(type="DeployCheckpoint"),
    dict(type="TargetStatistics", images=4),
    dict(type="Watch", file={notes!r}, interval=50),
]
"""


def write_soak(folder: Path, notes: Path, iterations: int) -> Path:
    """A run with two loader processes, rare classes, validation, checkpoints and pictures."""
    file = write_config(folder, iterations=iterations, val_interval=1000, workers=2)
    text = file.read_text(encoding="utf-8")
    # A base's list cannot be appended to: the config's own stands for it.
    imports = "custom_imports = dict(imports=['uda.engine'], allow_failed_imports=False)\n"
    settings = SETTINGS.format(kept=KEPT, notes=str(notes))
    file.write_text(text + imports + settings, encoding="utf-8")
    return file


def train(config: Path, work_dir: Path, log: Path, seconds: float) -> int:
    """Exit status of `tools/train.py`, and proof that no process of the job outlives it."""
    command = [sys.executable, "tools/train.py", str(config), "--work-dir", str(work_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = process.wait(seconds)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return status


def leaks(notes: Notes) -> list[str]:
    """What grew, in words; nothing where all stayed as it was."""
    found = []
    for field, tolerance in TOLERANCES.items():
        for late in LATE:
            grown = growth(notes, field, EARLY, late)
            if grown > tolerance:
                found.append(f"{field}: {grown:.0f} KiB more in {late} than in {EARLY}")
    warm = [note for note in notes if note["iteration"] > EARLY[0]]
    for field in ("files", "worker_files", "workers"):
        seen = sorted({note[field] for note in warm})
        if len(seen) > 1:
            found.append(f"{field}: {seen}")
    most = max(note["saved"] for note in notes)
    if most > KEPT:
        found.append(f"saved: {most} checkpoints")
    return found


def test_leaks_values() -> None:
    """The judgement itself: a flat run passes, and each kind of leak is found.

    One KiB an iteration makes 5,000 KiB between the middles of (2000, 3000) and (7000, 8000).
    """
    flat = dict(zip(FIELDS, (0, 600_000, 1_200_000, 60, 70, 4, 2, 1600), strict=True))
    notes = [{**flat, "iteration": i} for i in range(50, ITERATIONS + 1, 50)]
    assert leaks(notes) == []
    for field, size in (("memory", 1), ("worker_memory", 1), ("stored", 0.1)):
        growing = [{**note, field: note[field] + int(size * note["iteration"])} for note in notes]
        assert leaks(growing)[0] == (
            f"{field}: {5000 * size:.0f} KiB more in (7000, 8000) than in (2000, 3000)"
        )
    for field, kind in (("files", "files"), ("worker_files", "worker_files"), ("saved", "saved")):
        (found,) = leaks([*notes[:-1], {**notes[-1], field: flat[field] + 1}])
        assert found.startswith(kind)
    (found,) = leaks([*notes[:-1], {**notes[-1], "workers": 3}])
    assert found == "workers: [3, 4]"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads Linux's /proc")
def test_soak(tmp_path: Path) -> None:
    """10,000 iterations of `tools/train.py`, 10 validations, 50 checkpoints."""
    notes, work_dir, log = tmp_path / "notes.csv", tmp_path / "run", tmp_path / "log"
    config = write_soak(tmp_path, notes, ITERATIONS)
    assert train(config, work_dir, log, 3000) == 0, log.read_text()[-3000:]
    found = read_notes(notes)
    assert [note["iteration"] for note in found] == list(range(50, ITERATIONS + 1, 50))
    assert {note["workers"] for note in found if note["iteration"] > 1000} == {4}
    assert leaks(found) == []
    kept = [ITERATIONS - 200, ITERATIONS]
    assert sorted(path.name for path in work_dir.glob("iter_*")) == sorted(
        f"iter_{number}.pth{end}" for number in kept for end in ("", ".sha256")
    )
