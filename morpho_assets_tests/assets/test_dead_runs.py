"""Runs whose process was killed are ended, and what they held is given back; no other run is."""

import subprocess
import sys
import time

import dagster as dg
import pytest

from morpho_assets.assets.dead_runs import PROCESS, dead_runs_ended, end_dead_runs, this_process


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        opened.event_log_storage.set_concurrency_slots("cpu", 1)
        yield opened


def started(instance, tag):
    """A run that Dagster takes to be at work, with this tag."""
    job = dg.GraphDefinition("work", node_defs=[]).to_job()
    run = instance.create_run_for_job(job, tags={PROCESS: tag} if tag else {})
    instance.report_engine_event("begun", run)
    instance.handle_new_event(_event(run))
    return run.run_id


def _event(run):
    from dagster._core.events.log import EventLogEntry

    event = dg.DagsterEvent("PIPELINE_START", "work", message="begun")
    return EventLogEntry(None, 10, "begun", run.run_id, 0.0, job_name="work", dagster_event=event)


@pytest.fixture
def gone():
    """The tag of a process that is gone."""
    said = subprocess.run([sys.executable, "-c", "from morpho_assets.assets.dead_runs import this_process; "
                           "print(this_process())"], capture_output=True, text=True, check=True)  # fmt: skip
    return said.stdout.strip()


def status(instance, run_id):
    return instance.get_run_by_id(run_id).status


def test_a_run_whose_process_is_gone_is_ended_and_gives_back_its_slot(instance, gone):
    run_id = started(instance, gone)
    assert status(instance, run_id) == dg.DagsterRunStatus.STARTED
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("cpu", run_id, "masks").is_claimed
    assert not storage.claim_concurrency_slot("cpu", "another", "masks").is_claimed
    assert end_dead_runs(instance) == [run_id]
    assert status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert storage.get_concurrency_info("cpu").active_run_ids.isdisjoint({run_id})
    assert end_dead_runs(instance) == []


@pytest.mark.parametrize("whose", ["own", "nobody's", "another machine's"])
def test_no_other_run_is_touched(instance, whose):
    own = this_process()
    tag = {"own": own, "nobody's": "", "another machine's": f"elsewhere {own.partition(' ')[2]}"}[whose]
    run_id = started(instance, tag)
    assert end_dead_runs(instance) == []
    assert status(instance, run_id) == dg.DagsterRunStatus.STARTED


def test_a_number_that_another_process_has_now_is_no_life(instance):
    machine, number, _ = this_process().split()
    run_id = started(instance, f"{machine} {number} 1.00")
    assert end_dead_runs(instance) == [run_id]


def test_who_waits_for_a_run_that_is_killed_only_then_has_its_slot(instance):
    tag = this_process().rsplit(" ", 1)[0]
    storage = instance.event_log_storage
    with dead_runs_ended(instance, every=0.05):
        run_id = started(instance, f"{tag} 1.00")  # another process had this number
        assert storage.claim_concurrency_slot("cpu", run_id, "masks").is_claimed
        deadline = time.monotonic() + 30
        while not storage.claim_concurrency_slot("cpu", "another", "masks").is_claimed:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert status(instance, run_id) == dg.DagsterRunStatus.FAILURE


def test_dead_runs_are_ended_before_the_block(instance, gone):
    run_id = started(instance, gone)
    with dead_runs_ended(instance):
        assert status(instance, run_id) == dg.DagsterRunStatus.FAILURE
