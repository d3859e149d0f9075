"""The family of foundation encoders: every recording agrees, or waits for what is not built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.runner import run


def test_shared_parity(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of the shared fixtures agrees or is listed as not built."""
    folder = shared / "fixtures" / "vfm"
    if not folder.is_dir():
        pytest.skip(f"no shared fixtures: {folder} does not exist")
    status = run("vfm", folder)
    lines = capsys.readouterr().out.splitlines()
    assert (status, len(lines)) == (0, len(list(folder.glob("*.npz")))), "\n".join(lines)
