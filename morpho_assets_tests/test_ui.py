"""The user's day in a real browser: a plate turns green, a bad one is found, the schedule is on, SQL has the new ones.

Dagster's own UI is started by `morpho ui`, and everything is clicked. With MORPHO_SCREENSHOTS=docs/images the
README's picture of a plate is made anew.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from morpho_assets.simulator import write_gallery
from morpho_assets.stages import STAGES
from morpho_assets_tests.killed import project_over
from morpho_assets_tests.project import ROOT, Project
from morpho_assets_tests.report.test_browser import chromium
from morpho_assets_tests.simulator.conftest import SMALL

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: `make test` installs it")
pytestmark = pytest.mark.slow

GOOD, BAD, OTHERS = "SYN00000001", "SYN00000003", ("SYN00000002", "SYN00000004")
LONG = 600.0  # seconds for a run on a machine that is busy with others


@contextmanager
def started(project: Project) -> Iterator[str]:
    """`morpho ui` until the block ends; its address. Nothing that it started is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {"DAGSTER_HOME": str(project.folder), "MORPHO_STATE_DIR": str(project.folder / "data/dagster"),
              "MORPHO_SETTINGS": str(project.folder / "morpho.yaml"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    with (project.folder / "ui.log").open("wb") as log:  # a pipe that nobody reads fills up, and then runs wait
        process = subprocess.Popen([sys.executable, "-m", "morpho_assets.cli", "ui", "--port", str(port)],
                                   cwd=project.folder, env={**os.environ, **places}, stdout=log, stderr=log,
                                   start_new_session=True)  # fmt: skip
    try:
        until(lambda: answers(f"{address}/server_info"), "the webserver answers")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def until(holds: Callable[[], bool], what: str, seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(1)


@dataclass(frozen=True)
class Person:
    """Somebody at the browser."""

    page: Any
    address: str

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def sees(self, text: str) -> Any:
        """What is shown with this text; waits for it."""
        found = self.page.get_by_text(text).locator("visible=true").first
        found.wait_for()
        return found

    def shows(self, path: str, text: str) -> bool:
        """Whether a page says so; it is loaded anew and given a moment."""
        self.go(path)
        try:
            self.page.get_by_text(text).locator("visible=true").first.wait_for(timeout=8000)
        except playwright.TimeoutError:
            return False
        return True

    def materialises(self, *plates: str) -> None:
        """Choose plates of the job `plate`, and launch."""
        self.go("/locations/morpho_assets.definitions/jobs/plate")
        self.page.get_by_role("button", name="Materialize all").first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Select a partition or create one").click()
        for plate in plates:
            self.page.get_by_text(plate).locator("visible=true").last.click()
        dialog.get_by_text("Launch runs to materialize").click()  # closes the list
        dialog.get_by_text(f"{len(plates)} partition").wait_for()
        dialog.get_by_role("button", name="Launch").click()
        self.sees("Launched run" if len(plates) == 1 else "Created backfill")

    def keeps(self, name: str, **part: Any) -> None:
        """A picture of the README, by the name of its file, where pictures are wanted; all of the page, or a part."""
        if folder := os.environ.get("MORPHO_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(5000)  # colours come after names
            self.page.screenshot(path=f"{folder}/{name}.png", **part)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Four plates, of one of which load_data has lost its wells."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "gallery").mkdir()
    write_gallery(folder / "gallery", SMALL.model_copy(update={"plates_per_batch": 4}), seed=3)
    for file in folder.rglob(f"{BAD}/load_data*.csv"):
        file.write_text(file.read_text().replace("Metadata_Well", "Vessel").replace("Metadata_Row", "Shelf"))
    return project_over(folder / "project", folder / "gallery")


@pytest.fixture(scope="module")
def person(project: Project) -> Iterator[Person]:
    with playwright.sync_playwright() as opened:
        path = chromium()
        if path is None and not Path(opened.chromium.executable_path).exists():
            pytest.skip("needs a browser: apt-get install chromium, or `playwright install chromium`")
        with started(project) as address:
            browser = opened.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(60_000)
            until(lambda: Person(page, address).shows("/assets/masks?view=partitions", GOOD), "plates are registered")
            yield Person(page, address)
            browser.close()


def test_a_day(person: Person, project: Project) -> None:
    # What is there: groups and descriptions.
    person.go("/asset-groups")
    for group in sorted({stage.group for stage in STAGES.values()}):
        person.sees(group)
    person.go("/assets")
    person.sees("every table of every plate and study, for SQL")
    # One plate, until it is green.
    assert not person.shows("/assets/well_profiles?view=partitions", "Materialized (1)")
    person.materialises(GOOD)
    until(lambda: person.shows("/assets/well_profiles?view=partitions", "Materialized (1)"), "the plate is green")
    # The graph of all that can be made.
    person.page.set_viewport_size({"width": 2300, "height": 1500})
    groups = sorted({stage.group for stage in STAGES.values()} | {"catalog"})
    expanded = ",".join(f"global%40global%3A{group}" for group in groups)
    person.go(f"/asset-groups~not%20group%3A%22exports%22?expanded={expanded}")
    for asset in ("plate_manifest", "well_profiles", "sets", "report"):
        person.sees(asset)
    person.keeps("assets", clip={"x": 545, "y": 150, "width": 1755, "height": 1180})
    person.page.set_viewport_size({"width": 1280, "height": 900})
    # Its thumbnail and checks.
    person.go(f"/assets/masks?view=partitions&partition={GOOD}")
    person.sees("outlines in")
    person.keeps("plate")
    person.page.get_by_text("Show Markdown").last.click()
    picture = person.page.get_by_role("dialog").locator("img").first
    picture.wait_for()
    assert picture.evaluate("each => each.naturalWidth") >= 64
    person.go("/assets/masks?view=checks")
    person.sees("0 of 8 sites failed (limit 10%)")
    # A back-fill of three of which one is bad: its sentence is found without opening a log.
    person.materialises(*OTHERS, BAD)
    until(lambda: person.shows("/assets/plate_manifest?view=partitions", "Failed (1)"), "the bad plate has failed")
    person.page.get_by_role("tab", name="Events").or_(person.page.get_by_role("link", name="Events")).first.click()
    person.sees(BAD).click()
    person.sees("Rename the column of the wells, or name it in the source")
    until(lambda: person.shows("/assets/well_profiles?view=partitions", "Materialized (3)"), "the others are green")
    # The schedule is off until somebody switches it on.
    person.go("/automation")
    switch = person.page.locator("[data-index]", has_text="backfill_plates").last.locator("input[type=checkbox]").last
    switch.wait_for(state="attached")
    assert not switch.is_checked()

    def switched_on() -> bool:
        """A click before the page has heard whether the schedule may be switched does nothing."""
        switch.evaluate("each => each.click()")
        person.page.wait_for_timeout(5000)
        return bool(switch.is_checked())

    until(switched_on, "the schedule is on", 120)
    person.go("/automation")
    until(switch.is_checked, "the schedule is still on", 60)
    # The catalog follows by itself, and SQL has the new plates.
    query = "SELECT DISTINCT Metadata_Plate FROM normalized_profiles ORDER BY 1"
    until(lambda: all(plate in project.run("sql", query) for plate in (GOOD, *OTHERS)), "SQL has the new plates")
    assert BAD not in project.run("sql", query)
