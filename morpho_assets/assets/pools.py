"""Runs that wait for their turn of a pool: they sleep meanwhile, which Dagster 1.13 means to do and does not.

`InstanceConcurrencyContext.interval_to_next_pending_claim_check` gives the least of nought and the seconds that are
left, so that a run that waits asks without pause, and takes a core from the run that it waits for.
"""

from __future__ import annotations

import time

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def sleep_while_waiting() -> None:
    """Let runs of this process sleep until they may ask again. Does nothing where Dagster has no such method."""
    if hasattr(InstanceConcurrencyContext, "interval_to_next_pending_claim_check"):
        InstanceConcurrencyContext.interval_to_next_pending_claim_check = _seconds  # type: ignore[method-assign, assignment]


def _seconds(waiting: InstanceConcurrencyContext) -> float:
    """Seconds until the first of the claims that wait may be made again; 0 where none waits."""
    return max(0.0, min(waiting._pending_timeouts.values(), default=0.0) - time.time())
