"""A plate as the UI runs it: every step a process of its own."""

import os
import subprocess
import sys

import dagster as dg
import pytest

from morpho_assets_tests.project import ROOT, make_project

PLATE = "SYN00000001"


@pytest.mark.slow
def test_the_plate_job_runs_step_by_step_in_processes(tmp_path, tiny_gallery, monkeypatch):
    project = make_project(tmp_path, tiny_gallery, compute={"workers": 2})
    state = {"DAGSTER_HOME": str(tmp_path), "MORPHO_STATE_DIR": str(tmp_path / "data/dagster")}
    (tmp_path / "data/dagster").mkdir(parents=True)
    for name, value in {**state, "MORPHO_SETTINGS": str(tmp_path / "morpho.yaml")}.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("plate", [PLATE])
    tags = f'{{"dagster/partition": "{PLATE}"}}'
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "morpho_assets.definitions", "-j", "plate"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([*command, "--tags", tags], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert project.read("normalized_profiles", PLATE).height == 18
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("well_profiles")) == {PLATE}
