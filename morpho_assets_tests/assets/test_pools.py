"""A run that waits for its turn of a pool sleeps, and has its turn when the other is done."""

import threading
import time

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from morpho_assets.assets.pools import sleep_while_waiting


@dg.op(pool="cpu")
def work():
    pass


@dg.job
def one():
    work()


def test_a_run_that_waits_takes_no_processor(tmp_path, monkeypatch):
    sleep_while_waiting()
    asked, seconds = [], InstanceConcurrencyContext.interval_to_next_pending_claim_check
    monkeypatch.setattr(
        InstanceConcurrencyContext, "interval_to_next_pending_claim_check",
        lambda waiting: asked.append(seconds(waiting)) or asked[-1],
    )  # fmt: skip
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("cpu", 1)
        assert storage.claim_concurrency_slot("cpu", "another run", "its step").is_claimed
        free = threading.Timer(4, storage.free_concurrency_slot_for_step, ["another run", "its step"])
        free.start()
        began = time.monotonic()
        assert one.execute_in_process(instance=instance).success
        waited = time.monotonic() - began
        free.join()
    assert waited > 4
    assert len(asked) < 100  # thousands where it does not sleep


CASES = {
    "nobody waits": ({}, 0, 0),
    "one": ({"a": 50}, 40, 50),
    "the first of two": ({"a": 900, "b": 50}, 40, 50),
    "one that may ask": ({"a": -3}, 0, 0),
}


@pytest.mark.parametrize(("timeouts", "least", "most"), CASES.values(), ids=CASES)
def test_seconds_until_the_first_may_ask(timeouts, least, most):
    sleep_while_waiting()
    waiting = InstanceConcurrencyContext.__new__(InstanceConcurrencyContext)
    now = time.time()
    waiting._pending_timeouts = {step: now + seconds for step, seconds in timeouts.items()}
    waiting._pending_claims = set(timeouts)
    assert least <= waiting.interval_to_next_pending_claim_check() <= most
