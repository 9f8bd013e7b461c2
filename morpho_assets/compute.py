"""Who maps a function over the sites of a plate: processes of this machine, one process, or a Dask cluster."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import cache, partial
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from morpho_assets import cluster
from morpho_assets.cluster import DaskConfig
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


_HERE = ""
"""The tag of this machine, which nobody has to name, and which no message names."""


def _kind(value: Any) -> str:
    kind = str(value.get("kind", "local") if isinstance(value, dict) else getattr(value, "kind", value))
    return _HERE if kind == "local" else kind


Compute = Annotated[
    Annotated[ComputeConfig, Tag(_HERE)] | Annotated[DaskConfig, Tag("dask")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message="`kind: local` or `kind: dask`"),
]
"""Who processes sites; without `kind` this machine."""


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    compute: ComputeConfig | DaskConfig,
    progress: Progress = no_progress,
    label: str = "",
) -> Iterator[tuple[Item, Result | ImageError]]:
    """Yield each item with its result as it is ready, in no given order.

    `function` and the items must be picklable. An ImageError of one item is yielded in the place of its result; any
    other error ends the work. A worker that the system kills raises MorphoError; on a cluster only one batch is done
    again for it, unless that batch ends worker after worker. A worker's libraries use one thread.
    """
    progress(label, 0, len(items))
    done = 0
    if isinstance(compute, DaskConfig):
        found = _on_cluster(function, items, compute, label)
    else:
        found = _on_this_machine(function, items, compute, label)
    for pairs in found:
        for pair in pairs:
            done += 1
            progress(label, done, len(items))
            yield pair


def require_reach(compute: ComputeConfig | DaskConfig, probe: Callable[[], str | None]) -> None:
    """Ask those who will work whether they see what they need, before any work: `probe` says what they do not. This
    machine does. Raises MorphoError."""
    if isinstance(compute, DaskConfig):
        cluster.require(compute, probe)


Pairs = list[tuple[Item, Result | ImageError]]


def _on_this_machine(
    function: Callable[[Item], Result], items: Sequence[Item], compute: ComputeConfig, label: str
) -> Iterator[Pairs[Item, Result]]:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    processes = min(compute.processes, max(len(items), 1))
    if processes == 1:
        yield from (_guarded(function, [item]) for item in items)
        return
    try:
        yield from _in_processes(function, items, processes)
    except TerminatedWorkerError as error:
        raise MorphoError(
            f"{label}: the system killed a worker process, most often because memory ran out. "
            f"Lower compute.workers (now {processes}) and run again: finished sites are kept."
        ) from error


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Pairs[Item, Result]]:
    """Results as they are ready, by the futures of joblib's workers: joblib itself asks for them every hundredth of a
    second, which takes this process a fortieth of the time that it has for a site."""
    from joblib.executor import get_memmapping_executor

    # A worker whose memory has grown is replaced, and what it was given goes to its successor: nobody need know.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)
    # joblib's, and not one of loky's own: a process has one set of workers, and joblib takes it to be made by it.
    pool = get_memmapping_executor(processes, timeout=_IDLE, env=dict.fromkeys(_THREADS, "1"), max_nbytes=None)
    left, given, whole = iter(items), set[Future[Pairs[Item, Result]]](), False
    try:
        while True:
            # Each worker has its next item before it has finished the last.
            given |= {pool.submit(_of_worker, function, [item]) for item in islice(left, 2 * processes - len(given))}
            if not given:
                break
            done, given = wait(given, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        whole = True
    finally:
        if not whole:  # nobody wants the rest
            pool.terminate(kill_workers=True)
        # A process that is itself a child, such as a step of a run, waits for its workers when it ends; elsewhere the
        # next stage takes them up again.
        elif multiprocessing.parent_process() is not None:
            pool.shutdown(wait=True)


_IDLE = 300  # seconds that workers wait for more work
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMBA_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")  # fmt: skip


def _on_cluster(
    function: Callable[[Item], Result], items: Sequence[Item], compute: DaskConfig, label: str
) -> Iterator[Pairs[Item, Result]]:
    batches = [list(items[start : start + compute.batch]) for start in range(0, len(items), compute.batch)]
    try:
        yield from cluster.results(compute, partial(_one_thread, function), batches, label)
    finally:
        if multiprocessing.parent_process() is not None:
            cluster.release()


def _one_thread(function: Callable[[Item], Result], items: Sequence[Item]) -> Pairs[Item, Result]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _of_worker(function, items)


def _of_worker(function: Callable[[Item], Result], items: Sequence[Item]) -> Pairs[Item, Result]:
    _keep_memory()
    return _guarded(function, items)


@cache
def _keep_memory() -> None:
    """Have this process keep most of a site's memory for the next: to get it from the system anew, page by page, takes
    a tenth of a worker's time. Where the C library is not glibc nothing changes."""
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 30_000_000)  # the most that it takes; a plane of 2160 x 2160 floats has 18 MB
        library.mallopt(_TRIM_THRESHOLD, 64 << 20)  # with more, idle workers hold what the publishing process needs


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def _guarded(function: Callable[[Item], Result], items: Sequence[Item]) -> Pairs[Item, Result]:
    pairs: Pairs[Item, Result] = []
    for item in items:
        try:
            pairs.append((item, function(item)))
        except ImageError as error:
            pairs.append((item, error))
    return pairs
