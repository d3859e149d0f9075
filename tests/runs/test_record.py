"""The record: written, read, continued; damaged and foreign files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from uda.runs.record import (
    continued,
    first_facts,
    move_aside,
    new_record,
    new_session,
    read_record,
    write_record,
)

from .folders import facts, session


def test_record_values(tmp_path: Path) -> None:
    """What is written is read, from the folder and from the file; text is readable as it is."""
    record = new_record(facts(config__file="straße.py"), session(reason="ended: \udce9"))
    write_record(tmp_path, record)
    found = read_record(tmp_path)
    assert found == read_record(tmp_path / "run.json")
    assert found["config"] == record["config"]
    assert found["sessions"][0]["reason"] == "ended: ?"  # not expressible in UTF-8
    assert "straße" in (tmp_path / "run.json").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_new_session_values() -> None:
    """A session that has just started, in UTC."""
    found = new_session(command=["a", "b"], log="x", max_iterations=5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["started"])
    assert (found["outcome"], found["ended"], found["from_iteration"]) == ("running", None, None)


def test_continued_values() -> None:
    """Each restart names what is not as it was at the first start; the given record is left."""
    record = new_record(facts(), session())
    again = continued(record, facts(), session("second", from_iteration=3))
    changed = facts(hardware__threads=2, versions={"numpy": "2.4"})
    third = continued(again, changed, session("third", from_iteration=5))
    fourth = continued(third, facts(seed=1), session("fourth", from_iteration=6))
    assert [each["changes"] for each in fourth["sessions"]] == [
        [],
        [],
        [
            {"name": "versions.torch", "before": "2.14.1", "after": None},
            {"name": "versions.numpy", "before": None, "after": "2.4"},
            {"name": "hardware.threads", "before": 1, "after": 2},
        ],
        [{"name": "seed", "before": 0, "after": 1}],
    ]
    assert [each["log"] for each in fourth["sessions"]] == ["log", "second", "third", "fourth"]
    assert first_facts(fourth) == facts()
    assert len(record["sessions"]) == 1


def test_read_record_errors(tmp_path: Path) -> None:
    """No file, half a file, another program's, another version's, sessions without an end."""
    file = tmp_path / "run.json"
    with pytest.raises(FileNotFoundError, match=rf"no record {file}; tools/train.py writes one"):
        read_record(tmp_path)
    whole = new_record(facts(), session())
    half = json.dumps(whole)[:100]
    cases: list[tuple[Any, str]] = [
        (half, rf"The record {file} is damaged: it is not JSON \("),
        ("[1]", rf"{file} is not the record of a run: its 'kind' is not 'uda run'"),
        (json.dumps({"name": "x"}), "is not the record of a run"),
        (json.dumps({**whole, "format": 2}), "has format 2, this version reads 1; use the version"),
        (json.dumps({**whole, "sessions": []}), "is damaged: its sessions are incomplete"),
        (json.dumps({**whole, "sessions": [{"started": "x"}]}), "its sessions are incomplete"),
        (json.dumps({**whole, "sessions": None}), "its sessions are incomplete"),
    ]
    for text, message in cases:
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_record(tmp_path)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is damaged: it is not JSON"):
        read_record(tmp_path)


def test_move_aside_values(tmp_path: Path) -> None:
    """The first free number; nothing is overwritten."""
    for content, wanted in (("a", "run.1.json"), ("b", "run.2.json")):
        (tmp_path / "run.json").write_text(content)
        aside = move_aside(tmp_path / "run.json")
        assert (aside.name, aside.read_text()) == (wanted, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.1.json", "run.2.json"]
