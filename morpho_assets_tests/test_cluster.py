"""Sites on a Dask cluster: two worker processes on loopback give what this machine gives, also where one is killed."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from pydantic import ValidationError

from morpho_assets import cluster
from morpho_assets.cluster import DaskConfig
from morpho_assets.compute import ComputeConfig, map_items
from morpho_assets.errors import ImageError, MorphoError
from morpho_assets.lake.ledger import Partition
from morpho_assets.runs import Run
from morpho_assets.simulator import write_gallery
from morpho_assets_tests.killed import SOURCE
from morpho_assets_tests.project import ROOT, make_project
from morpho_assets_tests.simulator.conftest import SMALL
from morpho_assets_tests.stormy import project_in, put_gallery
from morpho_assets_tests.test_compute import die, square

pytest.importorskip("distributed", reason="needs dask: `make test` installs it")
PLATE = Partition("plate", "SYN00000001")
STAGES = ("plate_manifest", "raw_images", "illumination", "image_quality", "masks", "single_cells", "well_profiles")


def config(scheduler, **settings):
    return DaskConfig(kind="dask", scheduler=scheduler, batch=8, **settings)


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler and two workers as `dask scheduler` and `dask worker` start them; its address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "morpho_assets_tests.two_workers"], env=environment, stdout=subprocess.PIPE,
        stdin=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        yield process.stdout.readline().strip()
        cluster.release()
        process.stdin.close()


def test_one_place_is_named_and_batches_are_of_8_to_32_sites():
    for wrong in ({}, {"scheduler": "tcp://a:1", "cluster": {"kind": "local"}}, {"scheduler": "tcp://a:1", "batch": 4}):
        with pytest.raises(ValidationError):
            DaskConfig(kind="dask", **wrong)


@pytest.mark.slow
def test_results_are_those_of_this_machine(scheduler):
    told = []
    items = list(range(20))
    found = dict(map_items(square, items, config(scheduler), lambda *now: told.append(now), "squares"))
    expected = dict(map_items(square, items, ComputeConfig(workers=1)))
    assert isinstance(found.pop(3), ImageError)
    assert isinstance(expected.pop(3), ImageError)
    assert found == expected
    assert told == [("squares", done, 20) for done in range(21)]
    assert list(map_items(square, [], config(scheduler))) == []


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_told():
    with pytest.raises(MorphoError, match=r"tcp://127.0.0.1:9 does not answer .*dask scheduler"):
        list(map_items(square, [1], config("tcp://127.0.0.1:9")))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A plate of 24 sites: three batches."""
    root = tmp_path_factory.mktemp("gallery")
    write_gallery(root, SMALL.model_copy(update={"rows": 4, "columns": 6}), seed=3)
    return root


@pytest.mark.slow
def test_a_plate_on_a_cluster_of_which_a_worker_is_killed_has_the_same_bytes(
    tmp_path, gallery, scheduler, object_store
):
    put_gallery(object_store, "clustered", gallery)
    compute = {"kind": "dask", "scheduler": scheduler, "batch": 8}
    project = project_in(object_store, tmp_path / "cluster", "clustered", compute=compute, images={"policy": "stream"})
    killed = []

    def strike(label, done, total):
        if label == "single_cells" and done == 8 and not killed:
            workers = cluster.connected(config(scheduler)).run(os.getpid)
            killed.append(next(iter(workers.values())))
            os.kill(killed[0], signal.SIGKILL)

    run = Run(project.workspace, strike)
    commits = {stage: run.make(stage, PLATE) for stage in STAGES}
    assert killed
    assert commits["single_cells"].sites.failed == {}
    assert commits["single_cells"].sites.total == 24
    (tmp_path / "here").mkdir()
    source = {**SOURCE, "root": str(gallery)}
    here = Run(make_project(tmp_path / "here", sources=[source]).workspace)
    for stage in STAGES:
        expected = here.make(stage, PLATE)
        for name, output in expected.outputs.items():
            if name not in ("sites", "image_files"):  # they say where images lie
                assert commits[stage].outputs[name].digest == output.digest, name
    assert not (project.folder / "data/lake").exists()


@pytest.mark.slow
def test_workers_that_do_not_see_the_lake_are_told_before_any_work(tmp_path, gallery, scheduler, monkeypatch):
    """Both name the same path, which is another folder for each."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)
    compute = {"kind": "dask", "scheduler": scheduler}
    source = {**SOURCE, "root": str(gallery)}
    project = make_project(tmp_path / "project", sources=[source], lake="/proc/self/cwd/lake", compute=compute)
    run = Run(project.workspace)
    for stage in ("plate_manifest", "raw_images"):
        run.make(stage, PLATE)
    with pytest.raises(MorphoError, match=r"does not see the lake /proc/self/cwd/lake .* object store"):
        run.make("image_quality", PLATE)
    assert not list((tmp_path / "lake/.work").rglob("*.arrow"))


@pytest.mark.slow
def test_a_batch_that_ends_worker_after_worker_ends_the_run_with_what_to_do(scheduler):
    with pytest.raises(MorphoError, match=r"one batch of sites ended 2 Dask workers, .*compute.batch \(now 8\)"):
        list(map_items(die, [1, 2], config(scheduler), label="masks"))


@pytest.mark.slow
def test_a_cluster_of_this_machine_begins_and_ends_with_the_run():
    local = DaskConfig(kind="dask", cluster={"kind": "local", "workers": 1}, batch=8)
    try:
        found = dict(map_items(partial(pow, 2), [1, 2], local))
        workers = list(cluster.connected(local).run(os.getpid).values())
    finally:
        cluster.release()
    assert found == {1: 2, 2: 4}
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{worker}") for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(os.path.exists(f"/proc/{worker}") for worker in workers)
