"""The page and its figures in a real browser: light and dark, wide and narrow, and on paper."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.report.colours import DARK, LIGHT
from proxybench.report.page import write_report
from tests.unit.report.browser import CHROMIUM, Tab, in_tab, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.results.folder import RunFolder

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")

PHONE, DESK, A4 = 390, 1280, 718  # pixels; paper of 210 mm with margins of 10 mm
OPEN = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CONTRASTS = """
(() => {
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  for (const element of document.querySelectorAll("p, td, th, small, caption, summary, dt, dd, li, h1, h2, h3")) {
    if (!element.innerText?.trim() || element.closest("svg")) continue;
    const [one, two] = [getComputedStyle(element).color, ground(element)].map(light).sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const name = element.tagName + "." + element.className;
    found[name] = Math.min(found[name] ?? 99, ratio);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("browser")) as address:
        yield address


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Path:
    return write_report(run.path)


def rgb(colour: str) -> str:
    return f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"


@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_nothing_is_wider_than_the_window_even_with_all_open(browser: str, page: Path, width: int) -> None:
    async def look(tab: Tab) -> tuple[int, int]:
        await tab.show(page, width)
        shut = await tab.ask(SIDEWAYS)
        await tab.ask(OPEN)
        return shut, await tab.ask(SIDEWAYS)

    assert in_tab(browser, look) == (0, 0)


def test_no_table_but_that_of_every_point_is_cut_on_a_desk(browser: str, page: Path) -> None:
    cut = (
        "[...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth"
        " && !each.querySelector('table.full')).map((each) => each.ariaLabel)"
    )

    async def look(tab: Tab) -> list[str]:
        await tab.show(page, DESK)
        await tab.ask(OPEN)
        found: list[str] = await tab.ask(cut)
        return found

    assert in_tab(browser, look) == []


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_letters_and_ground_follow_what_the_reader_likes(
    browser: str, page: Path, scheme: str, colours: dict[str, str]
) -> None:
    async def look(tab: Tab) -> tuple[Any, ...]:
        await tab.show(page, DESK, scheme=scheme)
        section = await tab.ask("getComputedStyle(document.querySelector('section')).backgroundColor")
        text = await tab.ask("getComputedStyle(document.querySelector('svg text[font-weight]')).fill")
        return section, text, await tab.ask(CONTRASTS)

    ground, ink, contrasts = in_tab(browser, look)
    assert (ground, ink) == (rgb(colours["ground"]), rgb(colours["ink"]))
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}  # WCAG 2.2, level AA


def test_paper_is_white_and_holds_the_tables_even_for_who_likes_it_dark(browser: str, page: Path) -> None:
    async def look(tab: Tab) -> tuple[Any, ...]:
        await tab.show(page, A4, scheme="dark", media="print")
        body = await tab.ask("getComputedStyle(document.body).backgroundColor")
        ink = await tab.ask("getComputedStyle(document.body).color")
        sideways = await tab.ask(SIDEWAYS)
        printed = await tab.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        return body, ink, sideways, base64.b64decode(printed["data"])

    body, ink, sideways, pdf = in_tab(browser, look)
    assert (body, ink, sideways) == ("rgb(255, 255, 255)", rgb(LIGHT["ink"]), 0)
    assert pdf.startswith(b"%PDF-")
    assert 2 < pdf.count(b"/Type /Page\n") < 40


def test_a_table_is_sorted_by_its_head_and_nothing_is_complained_of(browser: str, page: Path) -> None:
    async def look(tab: Tab) -> tuple[Any, ...]:
        await tab.show(page, DESK)
        column = (
            "[...document.querySelector('table.pivot').tBodies[0].rows].map((row) => Number(row.cells[2].dataset.sort))"
        )
        await tab.ask("document.querySelector('table.pivot').tHead.rows[0].cells[2].click()")
        return await tab.ask(column), tab.problems

    values, problems = in_tab(browser, look)
    assert values == sorted(values)
    assert problems == []


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_a_figure_is_a_picture_of_its_own(browser: str, page: Path, scheme: str, colours: dict[str, str]) -> None:
    async def look(tab: Tab) -> tuple[Any, ...]:
        await tab.show(page.parent / "figures" / "tax.svg", DESK, scheme=scheme)
        root = "document.documentElement"
        ground = await tab.ask(f"getComputedStyle({root}.querySelector('rect')).fill")
        outside = await tab.ask(
            f"(() => {{ const whole = {root}.getBBox(), box = {root}.viewBox.baseVal;"
            "return [whole.x < -0.5, whole.y < -0.5, whole.width > box.width + 1, whole.height > box.height + 1]; })()"
        )
        return ground, outside

    assert in_tab(browser, look) == (rgb(colours["ground"]), [False] * 4)
