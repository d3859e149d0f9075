"""The report in a real browser: both widths, both colour schemes, by keyboard, on paper."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.browser import Browser, chromium
from uda.engine.run_report.gather import Wishes, gather
from uda.engine.run_report.page import report_page
from uda.reports import write_page

from .report_runs import three_runs, write_run

pytestmark = [
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium here; `apt-get install chromium` brings one"
    ),
]

# Text and what is behind it, where their contrast is below that of WCAG 2.2, level AA.
FAINT = """(() => {
  const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const parts = [r, g, b].map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const node of document.body.querySelectorAll('*')) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !node.checkVisibility() || node.tagName === 'title') continue;
    const style = getComputedStyle(node);
    const ink = rgba(node.tagName === 'text' ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push([node.tagName, node.textContent.slice(0, 30), ratio]);
  }
  return found;
})()"""
# Lines of charts and marks of notices need 3:1.
FAINT_LINES = """(() => {
  const style = getComputedStyle(document.documentElement);
  const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = name => {
    context.fillStyle = style.getPropertyValue(name);
    context.fillRect(0, 0, 1, 1);
    const parts = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const paper = light('--paper');
  return [...Array(8).keys()].map(n => `--c${n}`).filter(name => {
    const [a, b] = [light(name), paper].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 3;
  });
})()"""
# What sticks out of the window, other than inside a part that scrolls by itself.
OUTSIDE = """(() => [...document.body.querySelectorAll('*')].filter(node => {
  if (node.closest('.scroll, .chart') && !node.matches('.scroll, .chart')) return false;
  if (node.matches('.skip')) return false;
  const box = node.getBoundingClientRect();
  return box.width > 0 && box.right > document.documentElement.clientWidth + 1;
}).map(node => node.outerHTML.slice(0, 80)))()"""
FOCUSABLE = (
    "[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
    ".filter(node => node.checkVisibility())"
)
ACTIVE = f"""(() => {{
  const node = document.activeElement, style = getComputedStyle(node);
  const box = node.getBoundingClientRect();
  return [{FOCUSABLE}.indexOf(node), style.outlineStyle, parseFloat(style.outlineWidth),
    box.right > 0 && box.bottom > 0 && box.top < innerHeight];
}})()"""
OPEN_ALL = "document.querySelectorAll('details').forEach(node => { node.open = true; })"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with something in every part, and a problem."""
    folder = tmp_path_factory.mktemp("page")
    runs = [*three_runs(folder).values()]
    runs.append(write_run(folder, "third", seed=2, outcome="failed", reason="no", networks=False))
    file = folder / "report.html"
    write_page(report_page(gather(runs, Wishes(), say=lambda text: None)), file)
    return file


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off_or_faint(tab: Browser, page: Path, width: int, dark: bool) -> None:
    """No sideways scrolling, contrast of level AA, also in what is folded away at first."""
    tab.open(page, width=width, dark=dark)
    shade = tab.ask("getComputedStyle(document.body).backgroundColor")
    assert shade == ("rgb(18, 22, 28)" if dark else "rgb(255, 255, 255)")
    for _ in range(2):
        assert tab.ask("document.documentElement.scrollWidth") <= width
        assert tab.ask(OUTSIDE) == []
        assert tab.ask(FAINT) == []
        tab.ask(OPEN_ALL)
    assert tab.ask(FAINT_LINES) == []


def test_nothing_is_fetched_or_complained_of(tab: Browser, page: Path) -> None:
    """One request, the page's own; no word in the console."""
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(page)
    assert tab.requests == [page.resolve().as_uri()]
    assert tab.complaints == []
    assert tab.ask("document.compatMode") == "CSS1Compat"


def test_the_keyboard_reaches_everything_in_order(tab: Browser, page: Path) -> None:
    """Tab visits links, folds and scrolling tables in reading order, and one sees where it is."""
    tab.open(page)
    count = tab.ask(f"{FOCUSABLE}.length")
    assert count > 20
    for number in range(count):
        tab.press("Tab")
        if number == 0:
            time.sleep(0.1)
        place, outline, thickness, seen = tab.ask(ACTIVE)
        assert (place, outline, seen) == (number, "solid", True)
        assert thickness >= 2
    tab.press("Tab", shift=True)
    assert tab.ask(ACTIVE)[0] == count - 2


def test_the_skip_link_and_folds_work(tab: Browser, page: Path) -> None:
    """Enter on the first link leads to the content; Enter on a fold opens it."""
    tab.open(page)
    tab.press("Tab")
    assert tab.ask("document.activeElement.textContent") == "Skip to the content"
    tab.press("Enter")
    assert tab.ask("document.activeElement.tagName") == "MAIN"
    tab.ask("document.querySelector('summary').focus()")
    tab.press("Enter")
    assert tab.ask("document.querySelector('details').open") is True


def test_a_reader_finds_its_way(tab: Browser, page: Path) -> None:
    """Landmarks, headings in order, names of charts, pictures and scrolling parts."""
    tab.open(page)
    one = ["header", "main", "nav[aria-label]", "h1", "html[lang]", "title"]
    assert [tab.ask(f"document.querySelectorAll({name!r}).length") for name in one[:5]] == [1] * 5
    assert tab.ask("document.title").startswith("Training report")
    levels = tab.ask("[...document.querySelectorAll('h1,h2,h3')].map(n => +n.tagName[1])")
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    for unnamed in (
        "img:not([alt]), img[alt='']",
        "svg:not([aria-label]):not([aria-hidden])",
        "[role=region]:not([aria-label])",
        "th:not([scope])",
        "table:not(:has(caption)):not([aria-label] table)",
    ):
        assert tab.ask(f'document.querySelectorAll("{unnamed}").length') == 0, unnamed
    ids = tab.ask("[...document.querySelectorAll('[id]')].map(n => n.id)")
    assert len(ids) == len(set(ids))
    loose = "[...document.querySelectorAll('a')].filter(n => !document.querySelector("
    assert tab.ask(f"{loose}n.getAttribute('href'))).length") == 0


def test_it_can_be_printed(tab: Browser, page: Path) -> None:
    """On paper: light, without navigation, no table cut at the edge of its box."""
    tab.open(page, width=800, dark=True)
    tab.media("print", prefers_color_scheme="dark")
    assert tab.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert tab.ask("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert tab.ask(FAINT) == []
    tables = "[...document.querySelectorAll('table')].filter(node => node.checkVisibility())"
    tab.resize(760, 1000)  # what remains of a sheet of A4 beside its margins
    assert tab.ask(f"{tables}.every(n => n.getBoundingClientRect().right <= innerWidth)")
    printed = tab.printed()
    assert printed[:5] == b"%PDF-"
    assert len(printed) > 10_000
    tab.media()
