"""The page in a browser, as a person uses it: from the first page to a hit's cells, by mouse and keys, in the dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from morpho_assets_tests.report.screen import EVIL

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: `make test` installs it")
pytestmark = pytest.mark.slow

WIDTHS = (390, 820, 1280)
CONTRAST = """() => {
  const linear = (part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest('svg, script, style, noscript') || !element.getClientRects().length) continue;
    const one = light(numbers(getComputedStyle(element).color)), other = light(behind(element));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.push([element.tagName, element.className, element.textContent.slice(0, 30), ratio]);
  }
  return found;
}"""
"""Texts with less contrast than 4.5 to 1, which is WCAG 2.2's level AA."""
NAMELESS = """() => [...document.querySelectorAll('img, canvas, svg, button, input, select, a')].filter((element) => {
  const name = element.getAttribute('alt') || element.getAttribute('aria-label') || element.textContent.trim();
  return !element.closest('[hidden]') && !name && !element.closest('label')?.textContent.trim();
}).map((element) => element.outerHTML.slice(0, 80))"""
"""Pictures and things to press that a screen reader has no name for."""
CUT = """() => [...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth + 1)
  .map((each) => each.getAttribute('aria-label'))"""
LIGHT = """(at) => {
  const canvas = document.querySelectorAll('.strip canvas')[at];
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.reduce((sum, part) => sum + part, 0);
}"""


def chromium() -> str | None:
    """The browser: the one that MORPHO_CHROMIUM names, the system's, or None for playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("MORPHO_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        path = chromium()
        if path is None and not Path(started.chromium.executable_path).exists():
            pytest.skip(
                "needs a browser: apt-get install chromium, or `playwright install chromium`, or MORPHO_CHROMIUM"
            )
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Any, screen: SimpleNamespace) -> Iterator[Any]:
    """The report of the screen, at 1,280 px; a message in the console, an error or a request fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light", accept_downloads=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or said.append(request.url))
    page.goto(screen.file.as_uri())
    yield page
    page.close()
    assert said == []


def rows(page: Any, caption: str) -> list[list[str]]:
    table = page.locator(".table", has_text=caption).first
    return [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]


def test_from_the_first_page_to_the_cells_of_a_hit(opened: Any, tmp_path: Path) -> None:
    page = opened
    # Sorted by name, filtered, taken along.
    table = page.locator(".table", has_text="The treatments, the surest first").first
    table.get_by_role("button", name="treatment").click()
    names = [row[0] for row in rows(page, "The treatments, the surest first")]
    assert names[:2] == [f"{EVIL}, {dose} µM" for dose in (1, 10)]
    assert names[2:6] == ["drug-0, 1 µM", "drug-0, 10 µM", "drug-2, 1 µM", "drug-2, 10 µM"]
    table.get_by_role("searchbox").fill("gene2")
    assert [row[0] for row in rows(page, "The treatments, the surest first")] == ["drug-2, 1 µM", "drug-2, 10 µM"]
    assert table.locator(".count").inner_text() == "2 of 12 rows"
    with page.expect_download() as saved:
        table.get_by_role("button", name="Download CSV").click()
    saved.value.save_as(tmp_path / "hits.csv")
    lines = (tmp_path / "hits.csv").read_text("utf-8-sig").splitlines()
    assert lines[0].startswith("treatment,id,target,mAP")
    assert len(lines) == 3
    assert lines[1].startswith('"drug-2, 1 µM",BRD-00002@1,GENE2,0.2')
    # Found by its id, opened with the keyboard alone.
    page.keyboard.press("Home")
    page.get_by_role("combobox", name="Search").fill("brd-00000@10")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="drug-0, 10 µM", level=1).wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.locator(".strip").count() == 2  # its cells, and those of the controls of their plate
    page.locator(".cells.drawn").wait_for()
    plain = page.evaluate(LIGHT, 0)
    assert plain > 255 * 8 * 24 * 24  # not black: alpha alone is that
    page.get_by_label("Outlines").check()
    assert page.evaluate(LIGHT, 0) > plain
    # To a neighbour, and back to the report.
    page.locator(".block", has_text="Nearest treatments").locator("a").first.click()
    page.locator("#treatment h1").wait_for()
    page.get_by_role("link", name="Report", exact=True).click()
    page.get_by_role("heading", name="A screen", level=1).wait_for()


def test_a_treatment_that_does_not_act_has_its_dose_response_and_wells(opened: Any) -> None:
    page = opened
    page.get_by_role("combobox", name="Search").fill("drug-3 10")
    page.keyboard.press("Enter")
    chart = page.locator("svg.dose")
    assert "in SD of the controls: 1: 1; 10: 2" in chart.get_attribute("aria-label")
    assert page.locator("#treatment .plate canvas").count() == 2


def test_plates_and_maps_say_the_name_under_the_pointer_and_by_the_arrow_keys(opened: Any) -> None:
    page = opened
    plate = page.locator("[data-widget=plates] canvas").first
    plate.scroll_into_view_if_needed()
    plate.hover(position={"x": 5, "y": 5})
    assert page.locator("#tip").inner_text() == "plate 001 A01: DMSO"
    plate.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("plate 001 A02: drug-0, 1 µM")
    page.get_by_label("What the plate maps show").select_option(label="cells")
    page.keyboard.press("Tab")
    plate.hover(position={"x": 5, "y": 5})
    assert "cells: " in page.locator("#tip").inner_text()
    chart = page.locator("canvas.map")
    for colour in ("batch", "kind of well", "target or mechanism", "cells"):
        page.get_by_label("What colours the map").select_option(label=colour)
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("plate 001 A02: drug-0")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="drug-0, 1 µM", level=1).wait_for()


def test_light_and_dark_can_be_read(opened: Any) -> None:
    page = opened
    for theme in ("light", "dark"):
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate(CONTRAST) == []
        page.goto(page.url.partition("#")[0] + "#t=0")
        page.locator("#treatment h1").wait_for()
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate(NAMELESS) == []
        page.goto(page.url.partition("#")[0] + "#top")
        page.locator("#theme").click()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_at_any_width(browser: Any, screen: SimpleNamespace, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    for place in ("", "#t=0"):
        page.goto(screen.file.as_uri() + place)
        page.wait_for_timeout(200)  # observers of sizes
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(NAMELESS) == []
        if width == 1280:
            assert page.evaluate(CUT) == []
    page.close()


def test_a_hostile_name_runs_nothing(opened: Any) -> None:
    page = opened
    page.get_by_role("combobox", name="Search").fill("onerror")
    page.keyboard.press("Enter")
    assert page.locator("#treatment h1").inner_text() == f"{EVIL}, 1 µM"
    assert page.title() == f"{EVIL}, 1 µM – A screen"
    assert page.locator("img[src=x]").count() == 0


def test_numbers_are_written_in_the_browser_as_in_the_page(opened: Any, screen: SimpleNamespace) -> None:
    from morpho_assets.report.page import number

    for value in (0, 1, -0.25, 12345, 12345.6, 0.7, 12.34, 123.4, 999.6, 0.00012, 1e-12, -3, 0.0234):
        assert opened.evaluate("(value) => shown(value)", value) == number(value), value
