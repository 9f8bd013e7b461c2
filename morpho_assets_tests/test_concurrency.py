"""Plates materialise at the same time in processes of their own, and nobody who reads notices."""

import time

import duckdb
import pytest

from morpho_assets.publication import publish
from morpho_assets_tests.project import make_project

pytestmark = pytest.mark.slow
PLATES = ("SYN00000001", "SYN00000002")


def test_processes_that_open_a_new_instance_at_the_same_time_wait_for_each_other(tmp_path, tiny_gallery):
    project = make_project(tmp_path / "project", tiny_gallery)
    runs = [project.start("plates", "add", plate) for plate in PLATES * 3]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 6, "\n".join(outputs)
    assert "not registered" not in project.run("plates", "list")


def test_two_plates_at_once_while_a_third_process_reads_the_catalog(tmp_path, tiny_gallery):
    project = make_project(tmp_path / "project", tiny_gallery)
    catalog = project.workspace.settings.catalog
    publish(project.workspace)
    runs = [project.start("run", "--plate", plate) for plate in PLATES]
    reads, seen = 0, set()
    while any(run.poll() is None for run in runs):
        with duckdb.connect(catalog, read_only=True) as connection:  # any error here fails the test
            rows = connection.execute("SELECT Metadata_Plate, count(*) FROM single_cells GROUP BY 1").fetchall()
            wells = connection.execute("SELECT DISTINCT Metadata_Plate FROM normalized_profiles").fetchall()
        assert {plate for plate, _ in rows} <= set(PLATES)
        seen |= {plate for (plate,) in wells}
        reads += 1
        time.sleep(0.01)
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    assert reads > 20
    with duckdb.connect(catalog, read_only=True) as connection:
        plates = connection.execute("SELECT DISTINCT Metadata_Plate FROM normalized_profiles ORDER BY 1").fetchall()
    assert [plate for (plate,) in plates] == list(PLATES)
