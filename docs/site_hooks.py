"""What mkdocs does beyond its own: pages of the project outside docs/, and all commands' help.

Pages link to configs, tests and files at the top of the project, which a web server would not have.
Each such file becomes a page of the site below project/, and the links lead there.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
import sys
from importlib import import_module
from pathlib import Path
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\[[^\]]*\]\()([^)\s#]+)((?:#[^)]*)?\))")
ALWAYS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that a page links to, and the page of commands."""
    texts = {
        f"docs/{file.src_uri}": file.content_string
        for file in files
        if file.src_uri.endswith(".md")
    }
    wanted = [*ALWAYS, *(name for page, text in texts.items() for name in linked(page, text))]
    done: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in done or name.startswith("docs/") or not (PROJECT / name).exists():
            continue
        done.add(name)
        text = page_of(name)
        files.append(File.generated(config, site_path(name), content=text))
        if name.endswith(".md"):
            wanted += linked(name, text)
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave docs/ to the pages that were made of their targets."""
    here = page.file.src_uri
    source = {site_path(name): name for name in ALWAYS}.get(here)
    if source is None:
        source = f"docs/{here}" if not here.startswith("project/") else ""

    def led(match: re.Match[str]) -> str:
        target = resolved(source, match[2])
        if not source or target is None:
            return match[0]
        path = posixpath.relpath(site_path(target), posixpath.dirname(here) or ".")
        return f"{match[1]}{path}{match[3]}"

    return LINK.sub(led, markdown)


def linked(page: str, text: str) -> list[str]:
    """Files of the project that a page links to, as paths from its top."""
    found = [resolved(page, match[1]) for match in LINK.findall(text)]
    return [name for name in found if name is not None]


def resolved(page: str, link: str) -> str | None:
    """Where a relative link leads, as a path from the top of the project; None for addresses."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def site_path(name: str) -> str:
    """The page of the site for a file or folder of the project.

    `docs/mic.md` is `mic.md`; what lies elsewhere stands below project/. README becomes a page
    with a name in small letters, since mkdocs would take it for the index of its folder.
    """
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if name.endswith(".md"):
        return f"project/{name.lower()}"
    return f"project/{name}/index.md" if (PROJECT / name).is_dir() else f"project/{name}.md"


def page_of(name: str) -> str:
    """The text of the page for a file or folder outside docs/."""
    path = PROJECT / name
    if path.is_dir():
        listed = "\n".join(f"- `{entry.name}`" for entry in sorted(path.iterdir()))
        return f"# {name}\n\n{listed}\n"
    text = path.read_text(encoding="utf-8")
    if name.endswith(".md"):
        return text
    kind = "python" if name.endswith(".py") else "text"
    return f"# {name}\n\n````{kind}\n{text}````\n"


def commands_page() -> str:
    """The help of every command, as `uda NAME --help` prints it in a terminal of 80 columns."""
    from uda.commands._main import overview
    from uda.commands._table import summaries

    parts = [
        "# Commands",
        "From a clone each command is `python tools/<name>.py`; installed it is `uda <name>`.",
        f"```text\n{overview()}\n```",
    ]
    with mock.patch.object(sys, "argv", ["uda"]), mock.patch.dict("os.environ", COLUMNS="80"):
        for name in summaries():
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                import_module(f"uda.commands.{name}").parser().print_help()
            parts.append(f"## {name}\n\n```text\n{told.getvalue()}```")
    return "\n\n".join(parts) + "\n"
