"""Dask clusters: one that is there or one that is started here, and whether its workers can do what this process can.

Sites go to workers in batches. A worker that dies costs its batch: the scheduler gives it to another. Dask is an extra
(`pip install morpho-assets[dask]`), imported where it is used.
"""

from __future__ import annotations

import atexit
import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets import __version__
from morpho_assets.errors import MorphoError

Batch = TypeVar("Batch")
Done = TypeVar("Done")
SHARE = (
    "Mount the folders at the same paths on every machine, or keep the lake and the images in an object store "
    "(docs/deployment.md)."
)


class LocalClusterConfig(BaseModel):
    """Dask workers on this machine, started with the run and ended with it: to try a cluster out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"]
    workers: int = Field(2, ge=1, description="worker processes, of one thread each")


class SlurmClusterConfig(BaseModel):
    """Jobs of Slurm in which Dask workers run, by dask-jobqueue; started with the run and ended with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["slurm"]
    jobs: int = Field(1, ge=1, description="jobs that are submitted")
    cores: int = Field(8, ge=1, description="cores of a job, each with a worker process of one thread")
    memory: str = Field("32GB", description="memory of a job")
    walltime: str = Field("24:00:00", description="the longest that a job may take")
    queue: str | None = Field(None, description="the partition of Slurm; default: Slurm's own")
    account: str | None = Field(None, description="who pays")
    directives: tuple[str, ...] = Field((), description="further lines of #SBATCH, such as --constraint=avx512")
    prologue: tuple[str, ...] = Field((), description="lines of shell before a worker starts, such as module load …")
    python: str | None = Field(None, description="the interpreter on the nodes; default: the path of this one")
    interface: str | None = Field(None, description="network interface between nodes, such as ib0")
    shared: str | None = Field(
        None,
        description="folder that the jobs see, too, for the certificates of their "
        "connections; default: the working directory",
    )

    def script(self) -> dict[str, Any]:
        """What dask-jobqueue's SLURMCluster is given."""
        given = {
            "cores": self.cores,
            "processes": self.cores,
            "memory": self.memory,
            "walltime": self.walltime,
            "queue": self.queue,
            "account": self.account,
            "job_extra_directives": list(self.directives),
            "job_script_prologue": list(self.prologue),
            "python": self.python,
            "interface": self.interface,
            # between nodes everything is encrypted, and who has no certificate is refused: whoever reaches a scheduler
            # can run code
            "security": True,
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
            "shared_temp_directory": self.shared,
        }
        return {name: value for name, value in given.items() if value is not None}


class DaskConfig(BaseModel):
    """Sites are processed by Dask: on a cluster that is there (`scheduler`) or one that is started (`cluster`). Its
    workers must see the lake and the images where this machine does, or both lie in an object store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["dask"]
    scheduler: str | None = Field(None, description="address of a running scheduler, such as tcp://10.0.0.1:8786")
    cluster: Annotated[LocalClusterConfig | SlurmClusterConfig, Field(discriminator="kind")] | None = Field(
        None, description="a cluster that is started with the run: `kind: local` or `kind: slurm`"
    )
    batch: int = Field(16, ge=8, le=32, description="sites a worker is given at once; one that dies costs them")
    wait: float = Field(300, gt=0, description="seconds until the first worker must be there")

    @model_validator(mode="after")
    def _one_place(self) -> DaskConfig:
        if (self.scheduler is None) == (self.cluster is None):
            raise ValueError("name either `scheduler`, a cluster that is there, or `cluster`, one to start")
        return self

    @property
    def processes(self) -> int:
        """What this machine may use for what is no work of sites, such as drawing a gallery."""
        from joblib import cpu_count

        return int(cpu_count())


@lru_cache(maxsize=2)
def connected(config: DaskConfig) -> Any:
    """A client of the cluster, of which at least one worker is there; kept until this process ends.

    Raises MorphoError where dask is not installed, the scheduler does not answer or no worker comes.
    """
    try:
        from distributed import Client
    except ImportError:
        raise MorphoError("compute.kind is dask, which is not installed: pip install 'morpho-assets[dask]'") from None
    try:
        client = Client(config.scheduler or _started(config), timeout=10, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise MorphoError(
            f"compute.scheduler: {config.scheduler} does not answer ({error}). Start it (`dask scheduler`), or name "
            "another."
        ) from None
    _OPEN.append(client)
    try:
        client.wait_for_workers(1, timeout=config.wait)
    except TimeoutError:
        raise MorphoError(
            f"compute: no Dask worker came within {config.wait:g} s. Start some (`dask worker {config.scheduler}`), or "
            "see what the queue says (`squeue`)."
        ) from None
    return client


def require(config: DaskConfig, probe: Callable[[], str | None]) -> None:
    """Ask every worker whether it is like this process and sees what it needs. Raises MorphoError with the first
    complaint and what to do."""
    for asked, todo in ((_like(), "Its results would not be the same: install the same there."), (probe, SHARE)):
        for address, said in connected(config).run(asked).items():
            if said:
                raise MorphoError(f"the Dask worker at {address} {said}. {todo}")


def release() -> None:
    """End what was connected to or started. A process does so at its end, but for a child: it runs nothing then."""
    connected.cache_clear()
    while _OPEN:
        _OPEN.pop().close()


def results(
    config: DaskConfig, function: Callable[[Batch], Done], batches: Sequence[Batch], label: str
) -> Iterator[Done]:
    """What the function gives for each batch, as it is ready, in no given order; an error of it is raised here.

    By Dask's own futures: joblib's backend of Dask waits for ever for a batch that no worker survived (in joblib 1.6.0
    its callback hears of results alone). Raises MorphoError where a batch ends worker after worker, or the cluster is
    gone.
    """
    if not batches:
        return
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    client = connected(config)
    futures = [client.submit(function, batch, key=f"{label}-{uuid.uuid4().hex}", pure=False) for batch in batches]
    try:
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
            future.release()
    except KilledWorker as error:
        raise MorphoError(
            f"{label}: one batch of sites ended {error.allowed_failures + 1} Dask workers, most often because memory "
            f"ran out. Give workers more memory, or lower compute.batch (now {config.batch}), and run again: finished "
            "sites are kept."
        ) from error
    except (FutureCancelledError, CommClosedError) as error:
        raise MorphoError(
            f"{label}: the Dask cluster is gone ({error}). Start it, and run again: finished sites are kept."
        ) from error
    finally:
        for future in futures:
            future.release()  # what nobody waits for is not worked on


# Below: how

_OPEN: list[Any] = []
"""Clients and clusters, to be closed in the opposite order."""
atexit.register(release)
_PYTHON = ".".join(platform.python_version_tuple()[:2])


def _like() -> Callable[[], str | None]:
    return partial(_unlike, __version__, _PYTHON)


def _started(config: DaskConfig) -> Any:
    """A cluster that ends with this process."""
    cluster: Any
    if isinstance(config.cluster, SlurmClusterConfig):
        from dask_jobqueue import SLURMCluster

        cluster = SLURMCluster(**config.cluster.script())
        cluster.scale(jobs=config.cluster.jobs)
    else:
        from distributed import LocalCluster

        assert config.cluster is not None
        cluster = LocalCluster(
            n_workers=config.cluster.workers, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )  # fmt: skip
    _OPEN.append(cluster)
    return cluster


def _unlike(version: str, python: str) -> str | None:
    """On a worker: how its software differs from that of the run."""
    if __version__ != version:
        return f"has morpho-assets {__version__}, this run {version}"
    return None if python == _PYTHON else f"runs Python {_PYTHON}, this run {python}"
