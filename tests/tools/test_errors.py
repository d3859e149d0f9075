"""Every tool that reads a config says what is wrong with it in one sentence, run as a user does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What stands behind the config on the command line.
TOOLS = {
    "train.py": [],
    "test.py": ["none.pth"],
    "generate_labels.py": ["none.pth", "--out", "none"],
    "train_rounds.py": ["--start", "none.pth"],
    "adapt.py": ["none.pth", "--stream", "none"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_missing_config_is_one_sentence(tool: str, tmp_path: Path) -> None:
    """No traceback, an exit status of 1, and the file that is not there."""
    config = tmp_path / "none.py"
    done = subprocess.run(
        [sys.executable, f"tools/{tool}", str(config), *TOOLS[tool]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"There is no config {config}." in done.stderr
    assert "Traceback" not in done.stderr
