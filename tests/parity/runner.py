"""Runs the checks of a family on the files of a folder and prints a line for each."""

from __future__ import annotations

import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tests.parity.families import FAMILIES, Family
from tests.parity.rows import Row, severity

UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def run(family: str, folder: Path, *, verbose: bool = False) -> int:
    """Print one line a file of `folder`; 0 if all agree, 1 otherwise.

    Args:
        family: Name of a family of `FAMILIES`.
        folder: Holds the files of the family, mostly `.npz`; folders below it are not searched.
        verbose: Print every comparison, not only the worst one of each file.
    """
    if family not in FAMILIES:
        return _refuse(f"no parity checks for {family!r}; built: {', '.join(sorted(FAMILIES))}.")
    if not folder.is_dir():
        return _refuse(f"no such folder: {folder.resolve()}. Give the folder of the .npz files.")
    pattern = FAMILIES[family].pattern
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not files:
        wanted = pattern.removeprefix("*")
        return _refuse(f"no {wanted} file in {folder.resolve()}, so nothing was checked.")
    good = [_report(path, FAMILIES[family], verbose=verbose) for path in files]
    return 0 if all(good) else 1


def _refuse(sentence: str) -> int:
    print(f"parity: {sentence}", file=sys.stderr)
    return 1


def _report(path: Path, family: Family, *, verbose: bool) -> bool:
    """Print the result of one file; True unless it failed."""
    trouble = unreadable(path)
    if trouble is not None:
        return _fail(path, f"cannot be read: {trouble}")
    issue = family.not_built(path.name)
    if issue is not None:
        _line("not built", path, f"(issue: {issue})")
        return True
    check = family.check(path.name)
    if check is None:
        return _fail(path, f"no check handles this name; known: {', '.join(family.known())}")
    try:
        rows = check(path)
    except Exception as error:  # whatever breaks on one file, the others are still to be run
        return _fail(path, f"{type(error).__name__}: {_first_line(error)}")
    if not rows:
        return _fail(path, "holds none of the arrays that its check compares")
    return _judge(path, rows, verbose=verbose)


def _judge(path: Path, rows: list[Row], *, verbose: bool) -> bool:
    worst = max(rows, key=severity)
    wrong = [row for row in rows if severity(row) > 1]
    more = f"  (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    _line("FAIL" if wrong else "ok", path, _shown(worst) + more)
    if verbose:
        for row in rows:
            print(f"    {'FAIL' if severity(row) > 1 else 'ok':<5}{_shown(row)}")
    return not wrong


def _shown(row: Row) -> str:
    what, error, limit = row
    return f"{what:<30}  {error:.1e}  {limit:.1e}"


def _fail(path: Path, reason: str) -> bool:
    _line("FAIL", path, reason)
    return False


def _line(result: str, path: Path, text: str) -> None:
    print(f"{result:<9}  {path.name:<24}  {text}", flush=True)


def _first_line(error: Exception) -> str:
    # str() of a KeyError puts its sentence in quotes
    told = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(told.split())[:300]


def unreadable(path: Path) -> str | None:
    """Why the arrays of a file cannot be read, or None if they can."""
    if path.suffix != ".npz":
        return None  # its check reads it, and what it says of it is reported
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return "a single array, not an .npz archive"
        with loaded as file:
            for name in file.files:
                file[name]
    except UNREADABLE as error:
        return f"{type(error).__name__}: {_first_line(error)}"
    return None
