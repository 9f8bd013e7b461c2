"""Runs that the command line starts: in this process, and shown in the UI like any other."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from morpho_assets.assets.dead_runs import PROCESS, dead_runs_ended, this_process
from morpho_assets.assets.resources import ProgressTeller, settings_file
from morpho_assets.definitions import build_defs

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


_NO_LOGS = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
"""What a run prints is seen on the terminal. Dagster's capture would start two processes a step, which answer to Ctrl-C
with a traceback each."""


def open_instance(home: Path, state: Path) -> dg.DagsterInstance:
    """Dagster's instance. Processes take turns to open it: the first creates the tables, and two at once collide."""
    from dagster._core.instance import InstanceRef
    from filelock import FileLock

    with FileLock(state / "instance.lock"):
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides={"compute_logs": _NO_LOGS}))


def launch(
    instance: dg.DagsterInstance, progress: ProgressTeller, stages: Sequence[str], partition: str | None,
    tags: dict[str, str] | None = None,
) -> str | None:  # fmt: skip
    """Materialise stages of a plate or a study, or the catalog, as one run; what stopped it in one sentence, or None.

    Interrupted from the keyboard the run is told to be cancelled, and KeyboardInterrupt goes on.
    """
    job = build_defs(settings_file(), progress).resolve_implicit_global_asset_job_def()
    run_id = str(uuid.uuid4())
    try:
        with dead_runs_ended(instance):  # or this one waits for what they hold
            outcome = job.execute_in_process(
                asset_selection=[dg.AssetKey(name) for name in stages],
                run_config=_QUIET, instance=instance, partition_key=partition, raise_on_error=False, run_id=run_id,
                tags={"morpho/from": "command line", PROCESS: this_process(), **(tags or {})},
            )  # fmt: skip
    except KeyboardInterrupt:
        _cancelled(instance, run_id)
        raise
    if any(_was_interrupted(event) for event in outcome.all_events):
        _cancelled(instance, run_id)
        raise KeyboardInterrupt
    return None if outcome.success else _first_failure(outcome)


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    """Whether a step failed because of Ctrl-C, which Dagster turns into an error of its own."""
    error = event.step_failure_data.error if event.is_step_failure else None
    names = {each.cls_name for each in (error, error.cause if error else None) if each is not None}
    return bool(names & {"DagsterExecutionInterruptedError", "KeyboardInterrupt"})


def _cancelled(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.report_run_canceled(run, "interrupted from the keyboard")


def _first_failure(outcome: dg.ExecuteInProcessResult) -> str:
    """What stopped a run: the first stage that failed, or whose gate is closed, in its own words."""
    for event in outcome.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if check.blocking and not check.passed:
                return f"{check.asset_key.to_user_string()}: {check.description}"
        if event.is_step_failure:
            failure = event.step_failure_data
            told = failure.user_failure_data.description if failure.user_failure_data else None
            error = failure.error.cause if failure.error and failure.error.cause else failure.error
            return f"{event.step_key} failed: {told or (error.message.strip() if error else 'without a message')}"
    return "the run failed; the UI (`morpho ui`) shows where"
