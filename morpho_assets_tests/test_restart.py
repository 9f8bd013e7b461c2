"""A run that is killed goes on where it was, and ends as if nothing had happened."""

import time

import pytest

from morpho_assets.measure.plate import measure_plate
from morpho_assets_tests.project import kill, make_project

pytestmark = pytest.mark.slow
PLATE = "SYN00000001"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_killed_while_measuring_does_not_measure_finished_sites_twice(tmp_path, tiny_gallery, workers):
    project = make_project(tmp_path / "killed", tiny_gallery, compute={"workers": workers}, measurement="jump")
    work = project.folder / f"data/lake/.work/single_cells/{PLATE}"
    run = project.start("run", "--plate", PLATE)
    while run.poll() is None and len(list(work.rglob("*.arrow"))) < 3:
        time.sleep(0.02)
    kill(run)
    workspace = project.workspace
    assert not workspace.lake.parts("single_cells", PLATE)
    finished = {path.name: path.stat().st_mtime_ns for path in work.rglob("*.arrow")}
    sites = workspace.lake.read("masks", PLATE).height
    assert 3 <= len(finished) < sites

    told = []
    outcome = measure_plate(
        workspace.lake,
        PLATE,
        workspace.provenance("single_cells", PLATE),
        workspace.settings.measurement,
        workspace.reader(PLATE),
        workspace.settings.compute,
        lambda label, done, total: told.append((done, total)),
    )
    assert outcome.sites == sites
    assert told[-1] == (sites - len(finished), sites - len(finished))
    assert not list(work.rglob("*.arrow"))

    undisturbed = make_project(tmp_path / "undisturbed", tiny_gallery, measurement="jump")
    undisturbed.run("run", "--plate", PLATE)
    expected = undisturbed.workspace.lake
    assert workspace.lake.read("single_cells", PLATE).equals(expected.read("single_cells", PLATE))
    assert workspace.lake.provenance("single_cells", PLATE) == expected.provenance("single_cells", PLATE)
