"""State of the code: which commit, and what was changed since."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

_SECONDS = 20
_OTHERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


def git_state(project: str | Path) -> dict[str, Any] | None:
    """The commit of a checkout and a digest of what is not committed.

    Args:
        project: Root of the checkout.

    Returns:
        `commit`; `dirty`, whether a tracked file is changed or a Python file is new; `changes`, a
        SHA-256 over these (None in a clean checkout). None for the whole where the folder is not
        the root of a checkout, git is not installed or it does not answer.
    """
    root = Path(project)
    # Not a folder somewhere inside another project's checkout. In a worktree `.git` is a file.
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD").decode("ascii").strip()
        changes = _git(root, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD")
        new = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py")
        names = sorted(name for name in new.split(b"\0") if name)
        found = hashlib.sha256(changes)
        for name in names:
            content = (root / os.fsdecode(name)).read_bytes()
            found.update(b"\0".join((b"", name, hashlib.sha256(content).digest())))
    except (OSError, subprocess.SubprocessError):
        return None
    dirty = bool(changes or names)
    return {"commit": commit, "dirty": dirty, "changes": found.hexdigest() if dirty else None}


def _git(root: Path, *arguments: str) -> bytes:
    # Another repository may be named where a hook of git started the run.
    environment = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    # Without optional locks: runs that start side by side do not wait for each other.
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=_SECONDS,
    ).stdout
