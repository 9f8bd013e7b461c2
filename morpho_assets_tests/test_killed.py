"""Runs that are killed at random moments: the short form of what `make bench-reliability` does fifty times."""

import pytest

from morpho_assets.simulator import write_gallery
from morpho_assets_tests.killed import kill
from morpho_assets_tests.simulator.conftest import SMALL


@pytest.mark.slow
def test_whoever_is_killed_and_whenever_the_end_is_that_of_an_undisturbed_run(tmp_path):
    (tmp_path / "gallery").mkdir()
    plates = write_gallery(tmp_path / "gallery", SMALL.model_copy(update={"plates_per_batch": 2}), seed=3)
    found = kill(tmp_path, tmp_path / "gallery", plates, kills=2, each=2, seed=7)
    assert found.problems == []
    assert found.kills == 2
