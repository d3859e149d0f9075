"""The state of the code, in checkouts made for the test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from uda.runs.git import git_state

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's own settings."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of one file."""
    folder = tmp_path / "project"
    (folder / "uda").mkdir(parents=True)
    (folder / "uda" / "a.py").write_text("x = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@needs_git
def test_git_state_values(checkout: Path) -> None:
    """Clean, changed, changed differently, with a new module; each change has its own digest."""
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout) == {"commit": commit, "dirty": False, "changes": None}
    found = []
    for text in ("x = 2\n", "x = 3\n"):
        (checkout / "uda" / "a.py").write_text(text)
        found.append(git_state(checkout))
    (checkout / "uda" / "b.py").write_text("y = 1\n")
    found.append(git_state(checkout))
    (checkout / "uda" / "b.py").write_text("y = 2\n")
    found.append(git_state(checkout))
    assert all(state and state["commit"] == commit and state["dirty"] for state in found)
    assert len({state["changes"] for state in found if state}) == 4
    (checkout / "notes.txt").write_text("no code")
    assert git_state(checkout) == found[-1]
    (checkout / "uda" / "b.py").unlink()
    git(checkout, "checkout", "-q", ".")
    clean = git_state(checkout)
    assert clean is not None
    assert not clean["dirty"]


@needs_git
def test_git_state_inside_a_hook(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git started the run for another repository, this one is asked all the same."""
    wanted = git_state(checkout)
    monkeypatch.setenv("GIT_DIR", str(checkout.with_name("other") / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(checkout.with_name("other") / "index"))
    assert git_state(checkout) == wanted


@needs_git
def test_git_state_of_a_worktree(checkout: Path) -> None:
    """A second worktree of the checkout, where `.git` is a file."""
    git(checkout, "worktree", "add", "-q", "../second")
    assert git_state(checkout.with_name("second")) == git_state(checkout)


@needs_git
def test_git_state_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkout, a folder inside another's checkout, no git, an unborn branch: None."""
    assert git_state(checkout.parent) is None
    assert git_state(checkout / "uda") is None
    unborn = checkout.with_name("unborn")
    unborn.mkdir()
    git(unborn, "init", "-q")
    assert git_state(unborn) is None
    monkeypatch.setenv("PATH", str(checkout))
    assert git_state(checkout) is None
