"""The small screen, whose page several tests look at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from morpho_assets.gallery.store import Store
from morpho_assets.imaging.sites import plate_reader
from morpho_assets.lake.lake import Lake
from morpho_assets.report.study import study_page
from morpho_assets_tests.report.screen import Screen, results_of, write_screen


@pytest.fixture(scope="session")
def screen(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A small screen: what its report reads, its page, and the file with it."""
    folder: Path = tmp_path_factory.mktemp("screen")
    given = Screen()
    inputs = write_screen(Lake(str(folder / "lake")), given)
    results = results_of(inputs, given)
    readers = {name: plate_reader(inputs, Store(), name) for name in given.names}
    page = study_page(inputs, results, readers)
    (folder / "report.html").write_text(page)
    return SimpleNamespace(given=given, inputs=inputs, results=results, readers=readers, page=page,
                           file=folder / "report.html")  # fmt: skip
