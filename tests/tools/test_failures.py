"""What a tool says of a fault that its user can mend: one sentence and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.tiny_run import PROJECT

ARGUMENTS = {
    "train.py": ["{config}"],
    "train_rounds.py": ["{config}"],
    "generate_labels.py": ["{config}", "{checkpoint}", "--out", "{out}"],
    "test.py": ["{config}", "{checkpoint}"],
    "adapt.py": ["{config}", "{checkpoint}", "--stream", "validation"],
}


@pytest.mark.parametrize("tool", ARGUMENTS)
def test_missing_config_is_one_sentence(tool: str, tmp_path: Path) -> None:
    """The tools that train or predict, started as a user does."""
    names = {"config": tmp_path / "gone.py", "checkpoint": tmp_path / "a.pth", "out": tmp_path}
    done = subprocess.run(
        [sys.executable, f"tools/{tool}", *(a.format(**names) for a in ARGUMENTS[tool])],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: There is no config {names['config']}."
    assert "Traceback" not in done.stderr
