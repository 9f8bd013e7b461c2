from datetime import UTC, datetime

import dagster as dg
import pytest

from morpho_assets.assets.automation import backfill_schedule, new_plates
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.definitions import build_defs
from morpho_assets.settings import BackfillConfig
from morpho_assets.stages import PLATE_STAGES
from morpho_assets_tests.factories import make_stages, write_settings
from morpho_assets_tests.project import make_project

pytestmark = pytest.mark.usefixtures("quick_stages")


@pytest.fixture
def project(tmp_path, tiny_gallery):
    return make_project(tmp_path, tiny_gallery)


@pytest.fixture
def workspace(project):
    return WorkspaceResource(file=str(project.folder / "morpho.yaml"))


def new_instance(folder):
    (folder / "instance").mkdir()
    return dg.DagsterInstance.local_temp(str(folder / "instance"))


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


def tick(instance, workspace, plates=4):
    """What the schedule yields one night: requests, or why there is none."""
    schedule = backfill_schedule(BackfillConfig(plates=plates))
    when = datetime(2026, 1, 2, 2, 0, tzinfo=UTC)
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=when) as context:
        return list(schedule(context, workspace=workspace))


def stages(request):
    return [key.to_user_string() for key in request.asset_selection]


def test_the_schedule_starts_missing_plates_a_capped_number_a_night(tmp_path, workspace):
    with new_instance(tmp_path) as instance:
        [nothing] = tick(instance, workspace)
        assert nothing.skip_message == "nothing to do for 0 plates"
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        started = tick(instance, workspace, plates=1)
        assert [(r.partition_key, r.run_key) for r in started] == [("SYN00000001", "SYN00000001:2026-01-02")]
        assert stages(started[0]) == list(PLATE_STAGES)
        assert len(tick(instance, workspace)) == 2


def test_the_schedule_leaves_finished_plates_and_takes_stale_ones(tmp_path, project, workspace):
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        make_stages(project.workspace, "SYN00000001")
        assert [r.partition_key for r in tick(instance, workspace)] == ["SYN00000002"]
        write_settings(project.folder, measurement="jump")
        requested = {r.partition_key: stages(r) for r in tick(instance, workspace)}
        assert requested == {"SYN00000001": ["single_cells", "well_profiles"], "SYN00000002": list(PLATE_STAGES)}


@pytest.mark.parametrize("job", ["plate", "__ASSET_JOB"])
def test_the_schedule_leaves_plates_in_flight_alone(tmp_path, project, workspace, job):
    definition = build_defs(project.folder / "morpho.yaml").resolve_job_def(job)
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001", "SYN00000002"])
        tags = {"dagster/partition": "SYN00000001"}
        instance.create_run_for_job(definition, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert [r.partition_key for r in tick(instance, workspace)] == ["SYN00000002"]
