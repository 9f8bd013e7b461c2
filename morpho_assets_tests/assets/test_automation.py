import shutil
from datetime import UTC, datetime, timedelta
from itertools import product

import dagster as dg
import pytest

from morpho_assets.assets.automation import backfill_schedule, choose, look_at_sources, new_plates, publish_commits
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.definitions import build_defs
from morpho_assets.errors import InputError
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.publication import is_behind, publish
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
    given = {"instance": instance, "scheduled_execution_time": when, "resources": {"workspace": workspace}}
    with dg.build_schedule_context(**given) as context:  # resources given to the call would leave an instance open
        return list(schedule(context))


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


def test_a_plate_that_failed_is_left_out_for_1_2_4_and_8_nights_and_a_changed_input_clears_it(
    tmp_path, project, workspace
):
    copy = tmp_path / "copy"
    shutil.copytree((project.folder / "data/gallery").resolve(), copy)
    (project.folder / "data/gallery").unlink()
    copy.rename(project.folder / "data/gallery")
    file = sorted((project.folder / "data/gallery").glob("**/platemap/*.txt"))[0]
    text = file.read_text()
    file.write_text("nonsense")
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001"])
        now = datetime.now(UTC)
        for number, nights in enumerate((1, 2, 4, 8, 8), start=1):
            with pytest.raises(InputError):
                make_stages(project.workspace, "SYN00000001", ["plate_manifest"])
            chosen = {
                night: bool(choose(project.workspace, ["SYN00000001"], set(), now + timedelta(days=night), 4)[0])
                for night in (0.2, nights - 0.6, nights)
            }
            assert chosen == {0.2: False, nights - 0.6: False, nights: True}, number
        assert "failed lately" in choose(project.workspace, ["SYN00000001"], set(), now, 4)[1]["SYN00000001"]
        file.write_text(text)
        project.workspace.plan(["SYN00000001"])  # somebody looks at the sources
        assert [r.partition_key for r in tick(instance, workspace)] == ["SYN00000001"]


def publish_tick(instance, workspace, cursor):
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        return publish_commits(context, workspace=workspace)


def test_every_plate_that_is_made_before_a_tick_reaches_sql(tmp_path, project, workspace):
    """Also one that is made while a publication is asked for but has not begun."""
    pending, cursor = False, ""
    with new_instance(tmp_path) as instance:
        plates = ["SYN00000001", "SYN00000002"]
        instance.add_dynamic_partitions("plate", plates)
        for plate, stage in product(plates, ("plate_manifest", "raw_images", "illumination")):
            make_stages(project.workspace, plate, [stage])
            sensed = publish_tick(instance, workspace, cursor)
            cursor = sensed.cursor
            if pending:
                publish(project.workspace)
            pending = bool(sensed.run_requests)
            assert pending or not is_behind(project.workspace)
        if pending:
            publish(project.workspace)
        assert not publish_tick(instance, workspace, cursor).run_requests
    made = query_catalog(project.workspace.settings.catalog, "SELECT count(*) AS n FROM partitions")
    assert made["n"].to_list() == [6]


def test_commits_made_elsewhere_are_told_to_dagster_once(tmp_path, project, workspace):
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001"])
        make_stages(project.workspace, "SYN00000001", ["plate_manifest", "raw_images"])
        first = publish_tick(instance, workspace, "")
        told = {(event.asset_key.to_user_string(), event.partition) for event in first.asset_events}
        assert told == {("plate_manifest", "SYN00000001"), ("raw_images", "SYN00000001")}
        for event in first.asset_events:
            instance.report_runless_asset_event(event)
        assert not publish_tick(instance, workspace, "").asset_events


def test_looking_at_the_sources_lets_the_schedule_see_a_corrected_platemap(tmp_path, project, workspace):
    copy = tmp_path / "copy"
    shutil.copytree((project.folder / "data/gallery").resolve(), copy)
    (project.folder / "data/gallery").unlink()
    copy.rename(project.folder / "data/gallery")
    with new_instance(tmp_path) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001"])
        make_stages(project.workspace, "SYN00000001")
        file = sorted((project.folder / "data/gallery").glob("**/platemap/*.txt"))[0]
        file.write_text(file.read_text() + "\n")
        [nothing] = tick(instance, workspace)
        assert isinstance(nothing, dg.SkipReason)
        with dg.build_sensor_context(instance=instance) as context:
            assert "looked at 1 of 1 plates" in look_at_sources(context, workspace=workspace).skip_message
        assert stages(tick(instance, workspace)[0])[0] == "plate_manifest"
