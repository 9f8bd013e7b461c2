"""Who maps a function over the sites of a plate: a pool of processes on this machine, or one process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import ImageError, MorphoError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called with a label, how many are done and how many there are."""


def no_progress(label: str, done: int, total: int) -> None:
    """Say nothing: the default of every function that can report its progress."""


class ComputeConfig(BaseModel):
    """Where sites are processed and by how many workers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = Field("local", description="a pool of processes on this machine")
    workers: int = Field(0, ge=0, description="processes; 0 takes one for each core; 1 stays in this process")

    @property
    def processes(self) -> int:
        """How many work side by side; by default as many as this process may use, whatever the machine has."""
        from joblib import cpu_count  # affinity, and the limits of a container

        return self.workers or int(cpu_count())


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    compute: ComputeConfig,
    progress: Progress = no_progress,
    label: str = "",
) -> Iterator[tuple[Item, Result | ImageError]]:
    """Yield each item with its result as it is ready, in no given order.

    `function` and the items must be picklable. An ImageError of one item is yielded in the place of its result; any
    other error ends the work. A worker that the system kills raises MorphoError. A worker's libraries use one thread.
    """
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    processes = min(compute.processes, max(len(items), 1))
    backend = {"backend": "loky", "inner_max_num_threads": 1} if processes > 1 else {"backend": "sequential"}
    with joblib.parallel_config(**backend):
        pool: Any = joblib.Parallel(n_jobs=processes, return_as="generator_unordered", batch_size=1, max_nbytes=None)
    progress(label, 0, len(items))
    try:
        for done, pair in enumerate(pool(joblib.delayed(_guarded)(function, item) for item in items), start=1):
            progress(label, done, len(items))
            yield pair
    except TerminatedWorkerError as error:
        raise MorphoError(
            f"{label}: the system killed a worker process, most often because memory ran out. "
            f"Lower compute.workers (now {processes}) and run again: finished sites are kept."
        ) from error
    finally:
        # Workers wait five minutes for more work. A process that is itself a child, such as a step of a run, waits for
        # them when it ends; elsewhere the next stage takes them up again.
        if processes > 1 and multiprocessing.parent_process() is not None:
            get_reusable_executor().shutdown(wait=True)


def _guarded(function: Callable[[Item], Result], item: Item) -> tuple[Item, Result | ImageError]:
    try:
        return item, function(item)
    except ImageError as error:
        return item, error
