"""Plates materialise at the same time in processes of their own, and nobody who reads notices."""

import duckdb
import pytest

from morpho_assets.publication import publish
from morpho_assets.simulator import write_gallery
from morpho_assets_tests.crowd import gather
from morpho_assets_tests.killed import project_over
from morpho_assets_tests.project import make_project
from morpho_assets_tests.simulator.conftest import SMALL

pytestmark = pytest.mark.slow
PLATES = ("SYN00000001", "SYN00000002")


def test_processes_that_open_a_new_instance_at_the_same_time_wait_for_each_other(tmp_path, tiny_gallery):
    project = make_project(tmp_path / "project", tiny_gallery)
    runs = [project.start("plates", "add", plate) for plate in PLATES * 3]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 6, "\n".join(outputs)
    assert "not registered" not in project.run("plates", "list")


def test_readers_never_wait_never_fail_and_see_what_was_published_while_two_plates_are_written(tmp_path):
    """The short form of what `make bench-reliability` does for minutes."""
    (tmp_path / "gallery").mkdir()
    plates = write_gallery(tmp_path / "gallery", SMALL.model_copy(update={"plates_per_batch": 2}), seed=3)
    project = project_over(tmp_path / "project", tmp_path / "gallery")
    publish(project.workspace)
    met = gather(project, plates, readers=3, seconds=8)
    assert (met.errors, met.refused, met.stale, met.moved, met.failed) == ([], 0, [], [], [])
    assert met.reads > 10
    assert met.runs >= 2
    with duckdb.connect(project.workspace.settings.catalog, read_only=True) as connection:
        found = connection.execute("SELECT DISTINCT Metadata_Plate FROM normalized_profiles ORDER BY 1").fetchall()
    assert [plate for (plate,) in found] == plates
