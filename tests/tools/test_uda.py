"""The console command `uda`: its table, the help of every command, completion in real shells."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from uda.commands._main import main, overview
from uda.commands._parser import _WholeFormatter
from uda.commands._status import exit_status
from uda.commands._table import GROUPS, ONLY_INSTALLED, summaries
from uda.commands.completion import SHELLS

PROJECT = Path(__file__).parents[2]
COMMANDS = sorted(p.stem for p in (PROJECT / "uda/commands").glob("[!_]*.py"))
SCREEN = (40, 80)
WRAPPER = """
import sys

from uda.commands.{name} import main

if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the console command had been started, in a terminal of 80 columns."""
    monkeypatch.setattr(sys, "argv", ["bin/uda"])
    monkeypatch.setenv("COLUMNS", str(SCREEN[1]))


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    return import_module(f"uda.commands.{name}").parser()


def with_inner(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its own commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from with_inner(inner)


def test_every_command_is_in_the_table_and_has_its_tool() -> None:
    """A module of uda/commands is a line of the table and a file of tools/, and nothing else is."""
    assert sorted(summaries()) == COMMANDS
    assert sum(map(len, GROUPS.values())) == len(summaries())
    tools = sorted(path.stem for path in (PROJECT / "tools").glob("*.py"))
    assert tools == sorted({*COMMANDS} - ONLY_INSTALLED)


@pytest.mark.parametrize("name", sorted({*COMMANDS} - ONLY_INSTALLED))
def test_tools_only_start_their_command(name: str) -> None:
    """A docstring, and the same lines everywhere."""
    text = (PROJECT / f"tools/{name}.py").read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert text.endswith(WRAPPER.format(name=name))
    assert text.count("\n") == text[: text.index('"""', 3)].count("\n") + 1 + WRAPPER.count("\n")


def test_overview_fits_a_screen() -> None:
    """All commands, and an example in the last line."""
    lines = overview().splitlines()
    assert len(lines) <= SCREEN[0]
    assert max(map(len, lines)) <= SCREEN[1]
    assert lines[-1].startswith("example: uda ")
    assert [name for name in summaries() if f"\n  {name} " not in overview()] == []


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_ends_with_an_example(name: str) -> None:
    """At most 40 lines of 80 characters, under the name it was started by; the example parses."""
    parser = parser_of(name)
    for each in with_inner(parser):
        lines = each.format_help().splitlines()
        assert len(lines) <= SCREEN[0], each.prog
        assert lines[0].startswith(f"usage: uda {name}")
        assert [a.dest for a in each._actions if a.help is None] == [], each.prog
    *_, last = parser.format_help().strip().split("\n\n")
    start = f"example: uda {name} "
    assert " ".join(last.split()).startswith(start)
    words = shlex.split((parser.epilog or "").removeprefix(start).partition(" > ")[0])
    parser.parse_args(words)


@pytest.mark.usefixtures("installed")
def test_help_all_shows_further_options(capsys: pytest.CaptureFixture[str]) -> None:
    """What `--help` leaves out for want of room."""
    assert "--max-pixels" not in parser_of("adapt").format_help()
    with pytest.raises(SystemExit) as stopped:
        main(["adapt", "--help-all"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert "further options:" in told
    assert "--max-pixels N" in told
    parser = parser_of("adapt")
    parser.formatter_class = _WholeFormatter
    assert [a.dest for a in parser._actions if a.option_strings[-1:] and a.option_strings[-1]
            not in told] == []  # fmt: skip


def test_help_of_a_tool_names_the_tool(capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """From a clone the usage and the example are those of tools/."""
    monkeypatch.setattr(sys, "argv", ["tools/train.py", "--help"])
    with pytest.raises(SystemExit):
        import_module("uda.commands.train").main()
    told = capsys.readouterr().out
    assert told.startswith("usage: python tools/train.py [options] config\n")
    assert "example: python tools/train.py configs/" in told


def test_uda_imports_what_it_needs_alone() -> None:
    """`uda --help` and `uda compare_runs` wait for no framework."""
    code = (
        "import sys; from uda.commands._main import main; "
        "main(['--help']); main(['compare-runs', 'a', 'b']); "
        "print({'torch', 'mmengine', 'numpy', 'shtab', 'uda.commands.train'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"
    assert done.stderr.startswith("error: There is no run folder")


def test_words_that_are_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, a mistyped word, another one, a command's own status, and the version."""
    assert main([]) == 2
    assert capsys.readouterr().out.strip() == overview()
    assert main(["trainn"]) == 2
    assert "no command trainn; did you mean train? uda --help" in capsys.readouterr().err
    assert main(["xyzzy"]) == 2
    assert capsys.readouterr().err == "uda: there is no command xyzzy; uda --help lists all\n"
    assert main(["compare-runs", "a", "b"]) == 2
    assert "There is no run folder" in capsys.readouterr().err
    assert main(["help"]) == 0


def test_exit_status_of_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence and a status for the user's faults; a traceback for those of the program."""

    def failing(error: Exception) -> int:
        def run(argv: object) -> None:
            raise error

        return exit_status(run, [], failed=3)

    assert failing(FileNotFoundError("no file x")) == 3
    assert capsys.readouterr().err == "error: no file x\n"
    with pytest.raises(KeyError):
        failing(KeyError("x"))
    assert exit_status(lambda argv: 4, []) == 4
    assert exit_status(lambda argv: None, []) == 0


ASKED = {
    "uda tra": ["train", "train_rounds"],
    "uda train --am": ["--amp"],
    "uda train --amp ": ["bf16", "fp16", "off"],
    "uda train READ": ["README.md"],
    "uda benchmark mem": ["memory"],
}


@pytest.fixture(scope="module", params=SHELLS)
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The completion script of a shell that is here."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    code = "import sys; from uda.commands._main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "completion", shell], cwd=PROJECT,
                          capture_output=True, text=True, check=True)  # fmt: skip
    file = tmp_path_factory.mktemp(shell) / "_uda"
    file.write_text(done.stdout, encoding="utf-8")
    return file


def asked(shell: str, script: Path, line: str) -> list[str]:
    """What a shell proposes at the end of a line."""
    if shell == "bash":
        words = shlex.split(line) + ([""] if line.endswith(" ") else [])
        listed = " ".join(shlex.quote(word) for word in words)
        code = (
            f"source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
            '_shtab_uda; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = ["bash", "--norc", "-c", code]
    else:
        command = ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return sorted(text.partition("\t")[0] for text in done.stdout.splitlines() if text)


def test_completion(script: Path) -> None:
    """Commands, options, choices, files and inner commands; zsh: the script loads for uda."""
    shell = script.parent.name.rstrip("0123456789")
    if shell == "zsh":
        code = f"fpath=({script.parent} $fpath); autoload -Uz compinit; compinit -u -D"
        done = subprocess.run(["zsh", "-fc", f"{code}; print $_comps[uda]; autoload +X _uda"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert (done.stdout.strip(), done.stderr) == ("_uda", "")
        subprocess.run(["zsh", "-n", str(script)], check=True)
        return
    assert {line: asked(shell, script, line) for line in ASKED} == ASKED


def test_completion_names_every_option(script: Path) -> None:
    """Of every command, in every shell."""
    text = script.read_text(encoding="utf-8")
    missing = [
        f"{name} {action.option_strings[-1]}"
        for name in COMMANDS
        for parser in with_inner(parser_of(name))
        for action in parser._actions
        if action.option_strings and action.help != argparse.SUPPRESS
        and action.option_strings[-1].lstrip("-") not in text
    ]  # fmt: skip
    assert missing == []
