from datetime import datetime

import dagster as dg
import pytest

from morpho_assets.assets.automation import backfill_schedule, new_plates
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.definitions import build_defs
from morpho_assets.settings import BackfillConfig
from morpho_assets_tests.project import make_project
from morpho_assets_tests.test_lineage import fill


@pytest.fixture
def project(tmp_path, tiny_gallery):
    return make_project(tmp_path, tiny_gallery)


@pytest.fixture
def workspace(project):
    return WorkspaceResource(file=str(project.folder / "morpho.yaml"))


def new_instance(folder):
    (folder / "instance").mkdir()
    return dg.DagsterInstance.local_temp(str(folder / "instance"))


def finish(project, plate):
    """Write every stage of a plate as if it had been made now."""
    fill(project.workspace.lake, project.workspace.settings, plate)


def sense(instance, workspace):
    with dg.build_sensor_context(instance=instance) as context:
        return new_plates(context, workspace=workspace)


def test_the_sensor_registers_plates_and_studies_once(tmp_path, workspace):
    with new_instance(tmp_path) as instance:
        found = sense(instance, workspace)
        keys = [key for request in found.dynamic_partitions_requests for key in request.partition_keys]
        assert {"SYN00000001", "SYN00000002", "demo"} <= set(keys)
        assert not found.run_requests
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        instance.add_dynamic_partitions("study", [key for key in keys if not key.startswith("SYN")])
        assert not sense(instance, workspace).dynamic_partitions_requests


def requests(instance, workspace, plates=4):
    schedule = backfill_schedule(BackfillConfig(plates=plates))
    when = datetime(2026, 1, 2, 2, 0)
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=when) as context:
        return schedule(context, workspace=workspace)


def test_the_schedule_starts_missing_plates_a_capped_number_a_night(tmp_path, workspace):
    with new_instance(tmp_path) as instance:
        assert requests(instance, workspace) == []
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        started = requests(instance, workspace, plates=1)
        assert [(r.partition_key, r.run_key) for r in started] == [("SYN00000001", "SYN00000001:2026-01-02")]
        assert len(requests(instance, workspace)) == 2


def test_the_schedule_leaves_finished_plates_and_takes_stale_ones(tmp_path, project, workspace):
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        finish(project, "SYN00000001")
        assert [r.partition_key for r in requests(instance, workspace)] == ["SYN00000002"]
        other = make_project(project.folder / "other", measurement="jump", lake=project.workspace.settings.lake)
        stale = WorkspaceResource(file=str(other.folder / "morpho.yaml"))
        assert [r.partition_key for r in requests(instance, stale)] == ["SYN00000001", "SYN00000002"]


def test_the_schedule_leaves_plates_in_flight_alone(tmp_path, project, workspace):
    job = build_defs(project.folder / "morpho.yaml").resolve_job_def("plate")
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        tags = {"dagster/partition": "SYN00000001"}
        instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert [r.partition_key for r in requests(instance, workspace)] == ["SYN00000002"]
