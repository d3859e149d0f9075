"""The demonstration, made small, and what it says when it cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from uda.data.toycity import write_toycity

ROOT = Path(__file__).parents[2]


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo inside a folder of its own."""
    command = [sys.executable, str(ROOT / "tools/demo.py"), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_demo_runs_anywhere(tmp_path: Path) -> None:
    """Two iterations on a few images, from a folder that is not the project's."""
    small = ("--iterations", "2", "--images", "24", "4", "2", "--data", "city")
    done = demo(tmp_path, *small)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "city" / "toycity.json").is_file()
    assert "DAFormer's student is" in done.stdout
    assert "DAFormer (teacher)" in done.stdout
    runs = tmp_path / "work_dirs/demo"
    assert {path.name for path in runs.iterdir()} == {
        "toycity_categories_source_only",
        "toycity_categories_daformer",
        "report.html",
    }
    assert "The report stands in work_dirs/demo/report.html; open it" in done.stdout


def test_other_data_is_one_sentence(tmp_path: Path) -> None:
    """A folder of other settings: which one it is, and what to do."""
    write_toycity(tmp_path / "city", num_source=1, num_target=1, num_val=1, workers=1)
    done = demo(tmp_path, "--data", "city", "--images", "2", "1", "1")
    assert done.returncode == 1
    assert "num_source 1 there, 2 wanted); delete the folder" in done.stderr
    assert f"the folder is {tmp_path / 'city'}; --data DIR names another" in done.stderr
    assert "Traceback" not in done.stderr


def test_impossible_numbers(tmp_path: Path) -> None:
    """No images, no iterations."""
    for options, message in (
        (
            ("--images", "0", "1", "1"),
            "--images has to be three numbers of at least 1, got [0, 1, 1",
        ),
        (("--iterations", "0"), "--iterations has to be at least 1, got 0"),
    ):
        done = demo(tmp_path, *options)
        assert done.returncode == 2
        assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
