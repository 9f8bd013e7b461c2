"""A run that is killed goes on where it was, and ends as if nothing had happened."""

import time

import pytest

from morpho_assets.lake.ledger import Partition
from morpho_assets.runs import Run
from morpho_assets_tests.project import kill, make_project

pytestmark = pytest.mark.slow
PLATE = "SYN00000001"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_killed_while_measuring_does_not_measure_finished_sites_twice(tmp_path, tiny_gallery, workers):
    project = make_project(tmp_path / "killed", tiny_gallery, compute={"workers": workers}, measurement="jump")
    work = project.folder / f"data/lake/.work/single_cells/plate={PLATE}"
    run = project.start("run", "--plate", PLATE)
    while run.poll() is None and len(list(work.rglob("*.arrow"))) < 3:
        time.sleep(0.02)
    kill(run)
    assert project.commit("single_cells", PLATE) is None
    finished = list(work.rglob("*.arrow"))
    sites = project.read("masks", PLATE).height
    assert 3 <= len(finished) < sites

    told = []
    again = Run(project.workspace, lambda label, done, total: told.append((done, total)))
    commit = again.make("single_cells", Partition("plate", PLATE))
    assert (commit.sites.total, commit.sites.failed) == (sites, {})
    assert commit.notes["sites worked on"] == sites - len(finished)
    assert told[-1] == (sites - len(finished), sites - len(finished))
    assert not list(work.rglob("*.arrow"))

    undisturbed = make_project(tmp_path / "undisturbed", tiny_gallery, measurement="jump")
    undisturbed.run("run", "--plate", PLATE)
    assert project.read("single_cells", PLATE).equals(undisturbed.read("single_cells", PLATE))
    expected = undisturbed.commit("single_cells", PLATE)
    assert commit.content == expected.content  # the recipes name where each project's images lie
