"""Jobs, the sensor that finds new plates and studies, and the schedule that back-fills plates a few a night."""

import dagster as dg

from morpho_assets.assets.partitions import PLATES, STUDIES
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.lineage import PLATE_STAGES, STUDY_STAGES, is_current
from morpho_assets.settings import BackfillConfig

PLATE_JOB = dg.define_asset_job("plate", list(PLATE_STAGES), description="One plate, from its manifest to its profiles")
STUDY_JOB = dg.define_asset_job(
    "study", [*STUDY_STAGES, "report"], description="One study, from encoders to its report"
)


@dg.sensor(minimum_interval_seconds=600, default_status=dg.DefaultSensorStatus.RUNNING)
def new_plates(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
    """Register the plates of the sources and the studies there are. Starts no run."""
    opened = workspace.open()
    plates = sorted(set(opened.plates()) - set(context.instance.get_dynamic_partitions("plate")))
    studies = sorted(set(opened.studies()) - set(context.instance.get_dynamic_partitions("study")))
    requests = [PLATES.build_add_request(plates)] if plates else []
    requests += [STUDIES.build_add_request(studies)] if studies else []
    return dg.SensorResult(dynamic_partitions_requests=requests)


def backfill_schedule(config: BackfillConfig) -> dg.ScheduleDefinition:
    """The schedule that starts missing and stale plates, at most `config.plates` at a time."""

    @dg.schedule(job=PLATE_JOB, cron_schedule=config.cron)
    def backfill_plates(context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource) -> list[dg.RunRequest]:
        """Registered plates whose profiles are missing or stale; those in flight are left alone."""
        opened = workspace.open()
        night = context.scheduled_execution_time.date().isoformat()
        running = dg.RunsFilter(
            job_name=PLATE_JOB.name, statuses=[s for s in dg.DagsterRunStatus if s.name in _IN_FLIGHT]
        )
        busy = {
            record.dagster_run.tags.get("dagster/partition") for record in context.instance.get_run_records(running)
        }
        requests: list[dg.RunRequest] = []
        for plate in context.instance.get_dynamic_partitions("plate"):
            if len(requests) == config.plates:
                break
            if plate not in busy and not is_current(opened.lake, "well_profiles", plate, opened.settings):
                requests.append(dg.RunRequest(run_key=f"{plate}:{night}", partition_key=plate))
        return requests

    return backfill_plates


_IN_FLIGHT = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
