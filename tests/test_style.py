"""Sizes and habits that a linter does not check."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[1]
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_TEXT_BYTES = 2**20
# Folders of the machine on which something was written once. Put together here, so that this file
# does not find itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.~$}-])/(?:" + "|".join(["work", "tmp", "root", "home"]) + r")/\S"
)


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below folders of the project."""
    return sorted(path for folder in folders for path in (PROJECT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    """Return a path as messages show it."""
    return path.relative_to(PROJECT).as_posix()


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the length of a function without its docstring, which may be as long as it needs."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def long_functions(tree: ast.AST) -> list[tuple[str, int]]:
    """Return name and length of the functions above the ceiling."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f.name, code_lines(f)) for f in functions if code_lines(f) > MAX_FUNCTION_LINES]


def project_files() -> list[Path]:
    """Return the files under version control, or all visible ones where git is not at hand."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout
        paths = [PROJECT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = list(PROJECT.rglob("*"))
    return [path for path in paths if path.is_file() and not is_environment(path)]


def is_environment(path: Path) -> bool:
    """Return whether a file lies in a virtual environment or a hidden cache of tools."""
    folders = path.relative_to(PROJECT).parts[:-1]
    return any(
        (PROJECT.joinpath(*folders[: depth + 1]) / "pyvenv.cfg").exists()
        or name in {".git", "__pycache__"}
        or name.endswith("_cache")
        for depth, name in enumerate(folders)
    )


def text_of(path: Path) -> str:
    """Return the text of a file, empty for binary and very large ones."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        return ""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


def test_functions_fit_on_a_screen() -> None:
    """No function of the package or the tools is longer than 60 lines, docstring aside."""
    found = [
        f"{relative(path)}: {name} has {lines} lines"
        for path in python_files("uda", "tools")
        for name, lines in long_functions(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_files_hold_one_idea() -> None:
    """No Python file is longer than 400 lines."""
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files("uda", "tools", "tests", "configs")
    }
    assert [f"{relative(p)}: {n} lines" for p, n in lengths.items() if n > MAX_FILE_LINES] == []


def test_no_assert_in_the_package() -> None:
    """`python -O` removes assertions: what must hold is checked with an exception."""
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in python_files("uda")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_no_machine_paths() -> None:
    """No text file names a folder of the machine it was written on."""
    found = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in project_files()
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_guards_find_what_they_look_for() -> None:
    """The checks themselves: a function one line too long, paths of a machine and innocent ones."""
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    assert long_functions(ast.parse(f"def f():\n{body}")) == [("f", MAX_FUNCTION_LINES + 1)]
    assert long_functions(ast.parse(f'def f():\n    """Doc."""\n{body[10:]}')) == []
    for folder in ("work", "tmp", "root", "home"):
        assert MACHINE_PATH.search(f'open("/{folder}/x.txt")')
        assert not MACHINE_PATH.search(f"data/{folder}/x.txt and ./{folder}/x and $DIR/{folder}/x")
    assert len(project_files()) > 10
