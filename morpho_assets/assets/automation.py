"""Jobs; the sensors that find new plates, look at their sources, and publish; the schedule that back-fills at night.

All of them ask the ledger and its plan; what Dagster remembers decides nothing.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg

from morpho_assets.assets.dead_runs import end_dead_runs
from morpho_assets.assets.made import COMMIT, materialization
from morpho_assets.assets.partitions import PLATES, STUDIES
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.errors import MorphoError
from morpho_assets.lake.ledger import Partition, State, now
from morpho_assets.plan import Task, tries
from morpho_assets.publication import clean, is_behind
from morpho_assets.settings import BackfillConfig
from morpho_assets.stages import PLATE_STAGES, STUDY_STAGES
from morpho_assets.workspace import Workspace

TICK_SECONDS = 45.0  # Dagster ends a tick after 60
PARTITION = "dagster/partition"

PLATE_JOB = dg.define_asset_job(
    "plate", list(PLATE_STAGES), description="One plate, from its manifest to its profiles",
    executor_def=dg.in_process_executor,
)  # fmt: skip
STUDY_JOB = dg.define_asset_job(
    "study", list(STUDY_STAGES), description="One study, from encoders to its report",
    executor_def=dg.in_process_executor,
)  # fmt: skip
CATALOG_JOB = dg.define_asset_job("publish", ["catalog"], description="The catalog, brought up to date",
                                  executor_def=dg.in_process_executor)  # fmt: skip


@dg.sensor(minimum_interval_seconds=600, default_status=dg.DefaultSensorStatus.RUNNING)
def new_plates(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
    """Register the plates of the sources and the studies there are. Starts no run."""
    opened = workspace.open()
    plates = sorted(set(opened.plates()) - set(context.instance.get_dynamic_partitions("plate")))
    studies = sorted(set(opened.studies()) - set(context.instance.get_dynamic_partitions("study")))
    requests = [PLATES.build_add_request(plates)] if plates else []
    requests += [STUDIES.build_add_request(studies)] if studies else []
    return dg.SensorResult(dynamic_partitions_requests=requests)


@dg.sensor(minimum_interval_seconds=3600, default_status=dg.DefaultSensorStatus.RUNNING)
def look_at_sources(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SkipReason:
    """Look at the sources of plates, those first that nobody has looked at for longest, and record what is seen: the
    schedule then knows of corrected platemaps and restored images. Starts no run."""
    opened = workspace.open()
    began, looked, failed = time.monotonic(), 0, []
    state = opened.lake.ledger.state()
    plates = [own.key for name, own in state.commits if name == "plate_manifest"]
    for plate in sorted(plates, key=lambda plate: _seen_at(state, plate)):
        if time.monotonic() - began > TICK_SECONDS:
            break
        try:
            opened.observe([plate], state)
            looked += 1
        except MorphoError as error:
            failed.append(f"{plate}: {error}")
    return dg.SkipReason(f"looked at {looked} of {len(plates)} plates" + "".join(f"; {each}" for each in failed))


@dg.sensor(minimum_interval_seconds=86_400, default_status=dg.DefaultSensorStatus.RUNNING)
def sweep_files(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SkipReason:
    """Remove what nothing names any more and is older than a day: replaced tables, what killed runs left. Starts no
    run."""
    swept = clean(workspace.open())
    return dg.SkipReason(f"{swept.files} files removed, {swept.bytes / 1e6:.1f} MB; {swept.kept} files are in use")


@dg.sensor(job=CATALOG_JOB, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def publish_commits(
    context: dg.SensorEvaluationContext, workspace: WorkspaceResource
) -> dg.SkipReason | dg.SensorResult:
    """Publish the catalog when it is behind the ledger, all that is new at once; tell Dagster of commits that were made
    elsewhere, and of runs whose process was killed."""
    end_dead_runs(context.instance)
    opened = workspace.open()
    state = opened.lake.ledger.state()
    events = list(_made_elsewhere(context.instance, state, context.cursor or ""))
    # of a commit from a time to come, by a clock that was set back since, nothing after it is passed over
    newest = min(max((commit.at for commit in state.commits.values()), default=""), now())
    running = context.instance.get_run_records(dg.RunsFilter(job_name=CATALOG_JOB.name, statuses=_in_flight()))
    requests = [] if running or not state.commits or not is_behind(opened, state) else [dg.RunRequest()]
    return dg.SensorResult(run_requests=requests, asset_events=events, cursor=newest)


def backfill_schedule(config: BackfillConfig) -> dg.ScheduleDefinition:
    """The schedule that starts what is missing or stale of registered plates, at most `config.plates` at a time."""

    @dg.schedule(job=PLATE_JOB, cron_schedule=config.cron)
    def backfill_plates(
        context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """Stale stages of registered plates. Left out, and named in the tick's log: plates in flight by any job, plates
        behind a closed gate, and plates that failed lately (1, 2, 4, 8 nights; what changes an input clears it)."""
        opened = workspace.open()
        night = context.scheduled_execution_time
        registered = sorted(context.instance.get_dynamic_partitions("plate"))
        busy = in_flight(context.instance)
        requests, left_out = choose(opened, registered, busy, night, config.plates)
        for plate, reason in left_out.items():
            context.log.info(f"{plate} is left out: {reason}")
        for plate, tasks in requests.items():
            selection = [dg.AssetKey(task.stage) for task in tasks]
            tags = {"morpho/why": "; ".join(f"{task.stage}: {', '.join(task.reasons)}" for task in tasks)[:1000]}
            yield dg.RunRequest(f"{plate}:{night.date()}", partition_key=plate, asset_selection=selection, tags=tags)
        if not requests:
            reasons = "; ".join(f"{plate}: {reason}" for plate, reason in list(left_out.items())[:20])
            yield dg.SkipReason(f"nothing to do for {len(registered)} plates" + (f"; {reasons}" if reasons else ""))

    return backfill_plates


def choose(
    workspace: Workspace, plates: Sequence[str], busy: set[str], night: datetime, most: int
) -> tuple[dict[str, list[Task]], dict[str, str]]:
    """The stale stages of at most so many plates; and why each other plate with stale stages is not among them."""
    state = workspace.state(plates)
    chosen: dict[str, list[Task]] = {}
    left_out: dict[str, str] = {}
    by_plate: dict[str, list[Task]] = {}
    for plate in plates:
        try:
            by_plate[plate] = workspace.plan([plate], look=False, state=state)
        except MorphoError as error:
            left_out[plate] = str(error)
    for plate, tasks in by_plate.items():
        if not tasks:
            continue
        held = next((task.held for task in tasks if task.held), None)
        again = max((_again(state, task) for task in tasks if not task.waits), default=None)
        if plate in busy:
            left_out[plate] = "a run is at it"
        elif held is not None:
            left_out[plate] = held
        elif again is not None and again > night:
            left_out[plate] = f"failed lately; tried again from {again:%Y-%m-%d}"
        elif len(chosen) == most:
            left_out[plate] = f"only {most} plates a night (backfill.plates)"
        else:
            chosen[plate] = tasks
    return chosen, left_out


def in_flight(instance: dg.DagsterInstance) -> set[str]:
    """The partitions on which any run is at work or waits for its turn, whatever its job."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_in_flight()))
    return {tags[PARTITION] for tags in (record.dagster_run.tags for record in records) if PARTITION in tags}


def _again(state: State, task: Task) -> datetime:
    """When a task that failed may be tried again: after 1, 2, 4, 8, … nights, counted for its present recipe."""
    number, last = tries(state, task)
    if last is None:
        return datetime.min.replace(tzinfo=datetime.now().astimezone().tzinfo)
    half_a_day = timedelta(hours=12)  # the next night is a little less than a day after a run that ended late
    return datetime.fromisoformat(last) + timedelta(days=2 ** min(number - 1, 3)) - half_a_day


def _seen_at(state: State, plate: str) -> str:
    observation = state.observations.get(Partition("plate", plate))
    return observation.at if observation else ""


def _made_elsewhere(instance: dg.DagsterInstance, state: State, since: str) -> Iterator[dg.AssetMaterialization]:
    """Commits after `since` that Dagster has not heard of."""
    registered = {kind: set(instance.get_dynamic_partitions(kind)) for kind in ("plate", "study")}
    for (stage, partition), commit in state.commits.items():
        if commit.at <= since or partition.key not in registered[partition.kind]:
            continue
        heard = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(stage), asset_partitions=[partition.key]), limit=1
        ).records
        event = heard[0].asset_materialization if heard else None
        tags: Mapping[str, str] = (event.tags or {}) if event else {}
        if int(tags.get(COMMIT, 0)) < commit.number:
            yield materialization(commit)


def _in_flight() -> list[dg.DagsterRunStatus]:
    names = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
    return [dg.DagsterRunStatus[name] for name in names]
