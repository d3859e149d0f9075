"""Commands that pages and configs print: each is parsed by the parser it is meant for."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from tests.test_docs import CONFIGS, PAGES, PROJECT, relative

# Where a command begins in a line: from a clone, installed, or under what starts several processes.
START = re.compile(
    r"^(?:\w+=\S* )*(?:(?:\S*/)?python tools/|uda |(?:torchrun|srun) .*?(?:tools/\w+\.py|\buda ))"
)
ENDS = ("&&", "||", ";", "|", ">", ">>", "2>", "&")
FENCE = re.compile(r"^```(\w*)")
UNDONE = ("...", "<")


def lines_of(file: Path) -> list[str]:
    """Code lines of a page, or the first comment of a config, continued ones as one line each."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        found = re.match(r"(?:#.*\n)*", text)
        code = [line.lstrip("# ") for line in (found[0] if found else "").splitlines()]
    else:
        code = code_lines(text)
    return "\n".join(code).replace("\\\n", " ").splitlines()


def code_lines(text: str) -> list[str]:
    """Lines of a page that are indented or fenced, Python blocks left out."""
    code, fence = [], None
    for line in text.splitlines():
        match = FENCE.match(line)
        if match:
            fence = match[1] or "text" if fence is None else None
        elif fence not in (None, "python") or (fence is None and line.startswith("    ")):
            code.append(line.strip())
    return code


def command_of(line: str) -> tuple[str, list[str]] | None:
    """Name and arguments of the command in a line; None where there is none, or it is shortened.

    >>> command_of("torchrun --nproc_per_node 2 tools/train.py CONFIG --seed S && ls")
    ('train', ['CONFIG', '--seed', '1'])
    """
    if not START.match(line) or any(word in line for word in UNDONE):
        return None
    words = shlex.split(line, comments=True)
    for position, word in enumerate(words):
        if re.fullmatch(r"tools/\w+\.py", word):
            name, rest = Path(word).stem, words[position + 1 :]
            break
        if word == "uda":
            name, rest = words[position + 1], words[position + 2 :]
            break
    else:
        return None
    end = next((i for i, word in enumerate(rest) if word in ENDS), len(rest))
    # A letter alone stands for a number.
    return name, ["1" if re.fullmatch("[A-Z]", word) else word for word in rest[:end]]


def complaint(name: str, arguments: list[str]) -> str | None:
    """What the command itself says of its arguments, or None."""
    module = import_module(f"uda.commands.{name}")
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            if hasattr(module, "parsed"):
                module.parsed(arguments)
            else:
                module.parser().parse_args(arguments)
        except SystemExit as stopped:
            return told.getvalue() if stopped.code else None
    return None


def complaints(lines: list[str]) -> list[str]:
    """What is wrong with the commands in lines."""
    found = []
    for line in lines:
        command = command_of(line)
        if command is None or command[0].startswith("-"):  # an option of uda itself
            continue
        name = command[0].replace("-", "_")
        if not (PROJECT / f"uda/commands/{name}.py").exists():
            found.append(f"{line}: there is no command {name}")
        elif told := complaint(name, command[1]):
            found.append(f"{line}: {told.strip().splitlines()[-1]}")
    return found


@pytest.mark.parametrize("file", [*PAGES, *CONFIGS], ids=relative)
def test_commands_parse(file: Path) -> None:
    """Every command of a page or a config's first comment would start."""
    assert complaints(lines_of(file)) == []


def test_pages_have_commands() -> None:
    """The check looks at something: dozens of commands on pages, one at least in each config."""
    assert sum(command_of(line) is not None for page in PAGES for line in lines_of(page)) > 50
    assert [c for c in CONFIGS if not any(map(command_of, lines_of(c)))] == []


def test_make_targets_exist() -> None:
    """What pages tell to make is in the Makefile."""
    targets = set(re.findall(r"^(\w[\w-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    told = {
        target
        for page in PAGES
        for line in code_lines(page.read_text(encoding="utf-8"))
        for target in re.findall(r"^make ([\w-]+)", line)
    }
    assert told
    assert told <= targets


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("python tools/train.py --seed 1", "arguments are required: config"),
        ("uda train a.py --sed 1", "unrecognized arguments"),
        ("uda trainn a.py", "there is no command trainn"),
        ("python tools/test.py a.py b.pth --stride 1 1", "give their size by --slide"),
        (
            "OMP_NUM_THREADS=4 torchrun --nproc_per_node 2 tools/train.py a.py --amp x",
            "choose from",
        ),
        ("python tools/benchmark.py step", "arguments are required: config"),
    ],
)
def test_guard_finds_wrong_commands(line: str, message: str) -> None:
    """The check itself: one fault each."""
    (found,) = complaints([line])
    assert message in found


def test_guard_leaves_the_rest_alone() -> None:
    """The check itself: right commands, shortened ones, and lines that are none."""
    page = "python tools/x.py\n\n    uda train a \\\n      --seed S && ls\n\n```python\nuda\n```"
    lines = "\n".join(code_lines(page)).replace("\\\n", " ").splitlines()
    assert command_of(lines[0]) == ("train", ["a", "--seed", "1"])
    assert complaints(lines) == []
    assert complaints(["python tools/train.py ... --gone", "uda completion bash > file"]) == []
    assert complaints(["uda --version", "uda train --help", "make demo"]) == []
