"""The report on the command line: what it writes and says, and wrong arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.report_runs import write_run
from uda.commands.report import main, parser


def test_it_writes_a_page_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Progress, the place of the page; its own file among the runs is passed over."""
    source = write_run(tmp_path, "source", source_only=True, score=30.0)
    run = write_run(tmp_path, "run", outcome="stopped", reason="SIGTERM")
    out = tmp_path / "report.html"
    arguments = [str(run), str(out), "--source-only", str(source), "--out", str(out)]
    assert main([*arguments, "--images", "1", "--network", "teacher"]) == 0
    printed = capsys.readouterr().out
    assert "student, image 1 of 1" in printed
    assert f"note: {run}: The run was stopped" in printed
    assert f"report in {out} (" in printed
    text = out.read_text(encoding="utf-8")
    assert "Confusion of daformer, teacher, in percent" in text
    assert "+20.0 points from source-only" in text


def test_wrong_arguments(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A folder that is no run is one sentence; no image at all is a wrong argument."""
    assert main([str(tmp_path / "none"), "--no-inference"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: There is no run folder ")
    assert told.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--images", "0"])
    assert ended.value.code == 2
    assert "--images is at least 1, not 0" in capsys.readouterr().err


def test_the_help_ends_with_an_example() -> None:
    told = " ".join(parser().format_help().split())
    assert told.endswith("--source-only work_dirs/toycity_source_only")
