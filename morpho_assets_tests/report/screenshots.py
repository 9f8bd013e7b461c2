"""The pictures of a report in README and docs/report.md: `python -m morpho_assets_tests.report.screenshots REPORT`.

REPORT is the report.html of the demo. It needs playwright and a browser.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from morpho_assets_tests.project import ROOT
from morpho_assets_tests.report.test_browser import chromium

COLOURS = 256  # of a picture with a palette, which is half as large
FOLDER = ROOT / "docs" / "images"


def take(report: Path) -> None:
    """The top of the report, and the page of its surest hit with a dose series."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        _save(page.screenshot(), "report.png")
        page.get_by_role("combobox", name="Search").fill("aurora_inhibitor-2")
        page.keyboard.press("Enter")
        page.locator(".cells.drawn").wait_for()
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)
        box = page.locator(".block").nth(1).bounding_box()
        page.set_viewport_size({"width": 1280, "height": int(box["y"] + 190)})
        page.wait_for_timeout(300)
        _save(page.screenshot(), "treatment.png")
        browser.close()


def _save(png: bytes, name: str) -> None:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    # By coverage: the commonest colours alone would leave none to the few pixels of a stain's mark.
    palette = image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(FOLDER / name, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
