"""Runs whose process was killed: Dagster does not know, and would keep what they hold, such as a pool's slot, for ever.

A run says which process it is in a tag. Whoever starts a run, and goes on with it, and a sensor end those whose
process is gone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg

from morpho_assets.lake.leases import machine

PROCESS = "morpho/process"
"""Run tag: the machine, the process and when that began, for a number is given to others later."""
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def this_process() -> str:
    """Names this process on this machine."""
    return f"{machine()} {os.getpid()} {_began(os.getpid())}"


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process on this machine is gone, and give back what they held; the ids of those ended. Of
    another machine's processes nobody here knows."""
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_AT_WORK)):
        run = record.dagster_run
        where, number, began = [*run.tags.get(PROCESS, "").split(), "", "", ""][:3]
        if where == machine() and _began(int(number)) != began:
            said = "Its process is gone: killed, or the machine was stopped. Finished sites are kept; run it again."
            with suppress(dg.DagsterInvariantViolationError):  # somebody else has ended it just now
                instance.report_run_failed(run, said)
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


@contextmanager
def dead_runs_ended(instance: dg.DagsterInstance, every: float = 10.0) -> Iterator[None]:
    """End dead runs now, and every so many seconds while the block runs: what it waits for may be held by one that is
    killed only later, and on a machine without a daemon nobody else would look."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(every):
            with suppress(Exception):  # a database that is busy is asked again at the next turn
                end_dead_runs(instance)

    end_dead_runs(instance)
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _began(process: int) -> str:
    """When a process began, to a hundredth of a second; empty for one that is gone."""
    import psutil

    try:
        found = psutil.Process(process)
        return "" if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
