"""The documentation as a site: anchors, navigation, and a strict build without the network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.test_docs import LINK, PAGES, PROJECT, relative

HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def plain(heading: str) -> str:
    """A heading without its marks: links as their text, no backquotes and stars."""
    return re.sub(r"[`*]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))


def anchors(page: str) -> set[str]:
    """Anchors that both the site and a repository's viewer give the headings of a page.

    >>> sorted(anchors("# One: two\\n\\n## `A` b"))
    ['a-b', 'one-two']
    """
    found = set()
    for heading in HEADING.findall(FENCED.sub("", page)):
        text = plain(heading).lower()
        ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_text).strip())
        viewer = re.sub(r"[^\w\s-]", "", text).strip().replace(" ", "-")
        if site == viewer:
            found.add(viewer)
    return found


def broken_anchors(text: str, page: Path) -> list[str]:
    """Links of a page whose part behind # is no heading of the page they lead to."""
    found = []
    for link in LINK.findall(text):
        target, sharp, anchor = link.partition("#")
        if not sharp or "://" in link:
            continue
        other = page if not target else page.parent / target
        if other.suffix == ".md" and anchor not in anchors(other.read_text(encoding="utf-8")):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_anchors_resolve(page: Path) -> None:
    """A link to a part of a page leads to a heading."""
    assert broken_anchors(page.read_text(encoding="utf-8"), page) == []


def test_guard_finds_broken_anchors(tmp_path: Path) -> None:
    """The check itself."""
    page = tmp_path / "page.md"
    page.write_text("# One: two\n\n## `Code` and *more*\n\n```\n# three\n```\n")
    links = "[a](page.md#one-two) [b](#code-and-more) [c](#three) [d](page.md#gone) [e](x.py#L1)"
    assert broken_anchors(links, page) == ["#three", "page.md#gone"]


def test_every_page_is_in_the_navigation() -> None:
    """Nothing is written that no reader finds."""
    listed = set(re.findall(r": ([\w/]+\.md)$", (PROJECT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {page.relative_to(PROJECT / "docs").as_posix() for page in PAGES
             if page.is_relative_to(PROJECT / "docs")}  # fmt: skip
    assert pages - listed == set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    program = Path(sys.executable).with_name("mkdocs")
    if shutil.which(program) is None:
        pytest.skip("mkdocs is not installed: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [program, "build", "--strict", "--quiet", "--site-dir", out],
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_site_needs_no_network(site: Path) -> None:
    """No page asks another machine for fonts, scripts or pictures."""
    asked = re.compile(r'(?:src|href)="(https?:)?//[^"]*\.(?:js|css|woff2?|png|svg|jpg)')
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [p.name for p in pages if asked.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_site_has_files_that_pages_link_to(site: Path) -> None:
    """Configs and tests are pages, and all commands with their help."""
    assert (site / "project/configs/daformer/gta2cityscapes_daformer_mitb5.py.html").is_file()
    assert (site / "project/readme.html").is_file()
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert "usage: uda train [options] config" in commands
    daformer = (site / "methods/daformer.html").read_text(encoding="utf-8")
    assert "../project/configs/daformer/gta2cityscapes_daformer_mitb5.py.html" in daformer
