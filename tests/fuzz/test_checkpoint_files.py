"""Checkpoint files with any damage: found out, the one before is taken, nothing in them runs."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.engine import checkpoint_files
from uda.engine.checkpoint_files import (
    WholeFiles,
    damage,
    digest_file,
    newest_checkpoint,
    read_checkpoint,
)

from .bounded import bounded, spoiled


class Harmful:
    """A pickle that writes a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"open({str(self.file)!r}, 'w').close()",)


def saved(number: int) -> bytes:
    """A checkpoint of a few tensors and plain values."""
    buffer = io.BytesIO()
    state = {"weight": torch.arange(12.0) + number, "count": torch.tensor(number)}
    torch.save({"state_dict": state, "meta": {"iter": number}}, buffer)
    return buffer.getvalue()


CONTENTS = {number: saved(number) for number in (100, 200)}
LINE = len("0" * 64 + "  iter_200.pth\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run; warnings go nowhere."""
    monkeypatch.setattr(checkpoint_files, "print_log", lambda *_, **__: None)
    return tmp_path


def write(folder: Path) -> dict[int, Path]:
    """Two checkpoints as a run leaves them, without its waiting for the disk."""
    paths = {number: folder / f"iter_{number}.pth" for number in CONTENTS}
    for number, path in paths.items():
        path.write_bytes(CONTENTS[number])
        digest = hashlib.sha256(CONTENTS[number]).hexdigest()
        digest_file(path).write_text(f"{digest}  {path.name}\n")
    (folder / "last_checkpoint").write_text(str(paths[200]))
    return paths


def holds(checkpoint: dict[str, Any], number: int) -> bool:
    """Whether a checkpoint is the one that was saved."""
    weight = checkpoint["state_dict"]["weight"]
    return torch.equal(weight, torch.arange(12.0) + number) and checkpoint["meta"] == {
        "iter": number
    }


@bounded(60)
@given(content=spoiled(CONTENTS[200]))
def test_any_damage_is_found_properties(folder: Path, content: bytes) -> None:
    """A flipped bit, another byte or a missing end: the one before is resumed from."""
    paths = write(folder)
    paths[200].write_bytes(content)
    if content == CONTENTS[200]:  # a byte was exchanged for itself
        assert damage(paths[200]) is None
        return
    assert damage(paths[200]) == "its digest is another"
    assert newest_checkpoint(folder) == paths[100]
    assert holds(read_checkpoint(paths[100]), 100)


@bounded(40)
@given(data=st.data())
def test_any_damage_of_a_digest_properties(folder: Path, data: st.DataObject) -> None:
    """A digest that is not the file's counts as damage; the name after it does not matter."""
    paths = write(folder)
    line = digest_file(paths[200]).read_bytes()
    assert len(line) == LINE
    changed = data.draw(spoiled(line))
    digest_file(paths[200]).write_bytes(changed)
    same = changed.split()[:1] == line.split()[:1]
    assert newest_checkpoint(folder) == paths[200 if same else 100]


@bounded(60)
@given(content=spoiled(CONTENTS[200]))
def test_damage_without_a_digest_properties(folder: Path, content: bytes) -> None:
    """The sums of torch's format: what passes is read as it was saved, or refused by name."""
    paths = write(folder)
    paths[200].write_bytes(content)
    digest_file(paths[200]).unlink()
    found = damage(paths[200])
    assert newest_checkpoint(folder) == paths[200 if found is None else 100]
    try:
        checkpoint = read_checkpoint(paths[200])
    except ValueError as error:
        assert str(paths[200]) in str(error)  # noqa: PT017
    else:
        assert found is not None or holds(checkpoint, 200)


@bounded(40)
@given(content=st.binary(max_size=60) | spoiled(b"work_dirs/run/iter_200.pth"))
def test_any_last_checkpoint_properties(folder: Path, content: bytes) -> None:
    """Whatever `last_checkpoint` says, one of the run's whole checkpoints is taken."""
    paths = write(folder)
    (folder / "last_checkpoint").write_bytes(content)
    assert newest_checkpoint(folder) in paths.values()


HOSTILE: dict[str, Callable[[Any, Path], object]] = {
    "torch": lambda bomb, path: torch.save({"state_dict": {}, "meta": bomb}, path),
    "torch_key": lambda bomb, path: torch.save({"state_dict": {"a": [1, (bomb,)]}}, path),
    "torch_old": lambda bomb, path: torch.save(
        {"state_dict": bomb}, path, _use_new_zipfile_serialization=False
    ),
    "pickle": lambda bomb, path: path.write_bytes(pickle.dumps({"state_dict": bomb}, 2)),
    "alone": torch.save,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("digest", [True, False])
def test_hostile_files_errors(folder: Path, kind: str, digest: bool) -> None:
    """A file that would write another one is refused, with a digest and without; nothing runs."""
    paths, made = write(folder), folder / "made"
    HOSTILE[kind](Harmful(made), paths[200])
    digest_file(paths[200]).unlink()
    if digest:
        WholeFiles().put(paths[200].read_bytes(), paths[200])
    newest_checkpoint(folder)
    with pytest.raises(ValueError, match=r"iter_200\.pth"):
        read_checkpoint(paths[200])
    assert not made.exists()
    pickle.loads(pickle.dumps(Harmful(made)))  # the bomb is one
    assert made.exists()


@bounded(60)
@given(data=st.data())
def test_damaged_hostile_files_properties(folder: Path, data: st.DataObject) -> None:
    """Damage does not get a bomb past the check either."""
    path, made = folder / "iter_300.pth", folder / "made"
    HOSTILE[data.draw(st.sampled_from(sorted(HOSTILE)))](Harmful(made), path)
    path.write_bytes(data.draw(spoiled(path.read_bytes())))
    damage(path)
    try:
        read_checkpoint(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
    assert not made.exists()
