"""What the documentation says is there: links, files, options, examples, first comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_style import project_files

PROJECT = Path(__file__).parents[1]
PAGES = sorted(path for path in project_files() if path.suffix == ".md")
CONFIGS = sorted(p for p in (PROJECT / "configs").rglob("*.py") if "_base_" not in p.parts)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Files that prose and commands name; placeholders are written in capitals or as <name>.
FILE = re.compile(r"(?<![\w/.-])((?:tools|configs|uda|tests|docs)/[\w/]+\.(?:py|md))\b")
# What the commands of a page write: configs for own folders.
WRITTEN = "configs/mine/"
COMMAND = re.compile(r"(tools/\w+\.py)((?:\\\n|[^\n])*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# What becomes of a Python block is said by a comment on the line before it: run; slow (run, in a
# test marked so); config (loaded and checked as one); not run, and why.
BLOCK = re.compile(
    r"(?:<!-- (run|slow|config|not run: [^\n]+) -->\n)?```python\n(.*?)```", re.DOTALL
)
COST_WORDS = ("Expected", "Cost")


@dataclass(frozen=True)
class Example:
    """A Python block of a page.

    Attributes:
        name: Page and number, for messages.
        code: The block, moved down so that line numbers are those of the page.
        mark: What the comment before it says, None where there is none.
    """

    name: str
    code: str
    mark: str | None


def relative(path: Path) -> str:
    """Return a path as messages show it."""
    return path.relative_to(PROJECT).as_posix()


def examples(page: Path) -> list[Example]:
    """Return all Python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Example(
            f"{relative(page)}-{number}",
            "\n" * text[: match.start(2)].count("\n") + match.group(2),
            match.group(1),
        )
        for number, match in enumerate(BLOCK.finditer(text), start=1)
    ]


def broken_links(text: str, folder: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    targets = [link.split("#")[0] for link in LINK.findall(text) if "://" not in link]
    return [target for target in targets if target and not (folder / target).exists()]


def missing_files(text: str) -> list[str]:
    """Return the files of the project that a text names and that are not there."""
    named = {name for name in FILE.findall(text) if not name.startswith(WRITTEN)}
    return sorted(name for name in named if not (PROJECT / name).exists())


def unknown_options(text: str) -> list[str]:
    """Return the options in a text's commands that the named tool does not have."""
    found = []
    for tool, rest in COMMAND.findall(text):
        source = (PROJECT / "uda/commands" / Path(tool).name).read_text(encoding="utf-8")
        # Prose may go on after a command in backquotes.
        for option in OPTION.findall(rest.split("`")[0]):
            if f'"{option}"' not in source:
                found.append(f"{tool} {option}")
    return found


def comment_gaps(config: Path, text: str) -> list[str]:
    """Return what the first comment of a config does not say."""
    lines = text.splitlines()
    length = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = "\n".join(lines[:length])
    wanted = (f"python tools/train.py {relative(config)}", *COST_WORDS)
    return [words for words in wanted if words not in comment]


EXAMPLES = [example for page in PAGES for example in examples(page)]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file or folder."""
    assert broken_links(page.read_text(encoding="utf-8"), page.parent) == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_named_files_exist(page: Path) -> None:
    """Every tool, config and module that a page names is there, and so are the tools' options."""
    text = page.read_text(encoding="utf-8")
    assert missing_files(text) == []
    assert unknown_options(text) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_compile(example: Example) -> None:
    """Every Python block is Python."""
    compile(example.code, example.name, "exec")


def test_examples_say_what_becomes_of_them() -> None:
    """A block nobody runs has a reason: `<!-- not run: it needs a trained network -->`."""
    assert [example.name for example in EXAMPLES if example.mark is None] == []


RUN = [
    pytest.param(example, marks=[pytest.mark.slow] if example.mark == "slow" else [])
    for example in EXAMPLES
    if example.mark in ("run", "slow")
]


@pytest.mark.parametrize("example", RUN, ids=lambda example: example.name)
def test_examples_run(example: Example) -> None:
    """Blocks marked `<!-- run -->` run as they stand."""
    exec(compile(example.code, example.name, "exec"), {"__name__": "example"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if example.mark == "config"],
    ids=lambda example: example.name,
)
def test_examples_are_configs(example: Example, tmp_path: Path) -> None:
    """Blocks marked `<!-- config -->` are configs of a folder in configs/, with keys that exist."""
    from uda.engine.train import load_config

    file = tmp_path / "example.py"
    file.write_text(example.code.replace('"../', f'"{PROJECT.as_posix()}/configs/'))
    assert load_config(str(file)).model.method.type


def test_readme_has_an_example_that_runs() -> None:
    """The parts in one's own loop, at least."""
    assert any(e.name.startswith("README.md") and e.mark == "run" for e in EXAMPLES)


@pytest.mark.parametrize("config", CONFIGS, ids=relative)
def test_configs_say_command_expectation_and_cost(config: Path) -> None:
    """The first comment of a config is enough to decide whether to start it."""
    assert comment_gaps(config, config.read_text(encoding="utf-8")) == []


def test_guards_find_what_they_look_for(tmp_path: Path) -> None:
    """The checks themselves, on texts with one fault each and on faultless ones."""
    (tmp_path / "there.md").touch()
    links = "[a](there.md) [b](there.md#part) [c](https://example.org/x) [d](gone.md)"
    assert broken_links(links, tmp_path) == ["gone.md"]
    assert missing_files("configs/mine/a.py") == []
    assert missing_files("tools/train.py, `tools/gone.py`, data/x.py, uda/<name>.py") == [
        "tools/gone.py"
    ]
    text = "python tools/train.py CONFIG --seed 1 \\\n  --gone 2\nother --option"
    assert unknown_options(text) == ["tools/train.py --gone"]
    assert unknown_options("`tools/test.py --on day` and --gone") == []
    config = PROJECT / "configs/a.py"
    first = "# python tools/train.py configs/a.py\n# Expected: x\n"
    assert comment_gaps(config, f"{first}# Cost: y\n_base_ = []\n") == []
    assert comment_gaps(config, f"{first}_base_ = []  # Cost: y\n") == ["Cost"]
