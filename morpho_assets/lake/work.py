"""Working through the sites of a plate, each kept as it is finished, so that a killed run goes on where it was."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import polars as pl

from morpho_assets.compute import ComputeConfig, Progress, map_items, no_progress
from morpho_assets.errors import ImageError
from morpho_assets.lake.failures import write_failures
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance


class SiteLike(Protocol):
    """What is worked through: `key` names it within its plate, `place` holds its key columns, `channel_of` says which
    channel's fault a file is."""

    @property
    def key(self) -> str: ...
    @property
    def place(self) -> dict[str, Any]: ...
    def channel_of(self, path: str) -> str: ...


S = TypeVar("S", bound=SiteLike)


@dataclass(frozen=True)
class SiteWork:
    """One file per table and finished site, under the lake's `.work` folder.

    The folder's name holds the fingerprint of the work: results of other settings or inputs are never taken up.
    """

    lake: Lake
    stage: str
    plate: str
    fingerprint: str

    def finished(self, table: str) -> set[str]:
        """Keys of the sites whose rows of a table are there."""
        return {path.rsplit("/", 1)[-1].removesuffix(".arrow") for path in self.lake.files_in(self._folder(table))}

    def save(self, site: str, tables: Mapping[str, pl.DataFrame]) -> None:
        """Keep a site's rows; the site counts as finished once the last table is there."""
        for table, frame in tables.items():
            buffer = io.BytesIO()
            frame.write_ipc(
                buffer, compression="lz4"
            )  # thousands of columns: Parquet's footers cost more than the data
            self.lake.write_bytes(f"{self._folder(table)}/{site}.arrow", buffer.getvalue())

    def frames(self, table: str, sites: Iterable[str]) -> Iterator[pl.DataFrame]:
        """The rows of the finished ones among `sites`, in their order, one site at a time."""
        finished = self.finished(table)
        for site in sites:
            if site in finished:
                yield pl.read_ipc(self.lake.read_bytes(f"{self._folder(table)}/{site}.arrow"))

    def clear(self) -> None:
        """Forget the plate's finished sites, those of other fingerprints too: its partitions are published."""
        self.lake.remove(f".work/{self.stage}/{self.plate}")

    def _folder(self, table: str) -> str:
        return f".work/{self.stage}/{self.plate}/{self.fingerprint}/{table}"


@dataclass(frozen=True)
class Outcome:
    """What came of a stage of a plate: rows written, sites it had, sites that failed."""

    rows: int
    sites: int
    failed: int


def process_sites(
    lake: Lake,
    stage: str,
    plate: str,
    made: Provenance,
    sites: Sequence[S],
    function: Callable[[S], dict[str, pl.DataFrame]],
    compute: ComputeConfig,
    progress: Progress = no_progress,
    after: Callable[[S], None] = lambda site: None,
) -> tuple[SiteWork, int]:
    """Apply `function` to every site that no earlier run has finished; returns the work and how many sites failed.

    `function` gives a site's rows for each table, always the same tables, the last of which marks it as finished; it
    runs in a worker and must be picklable. A site that raises ImageError becomes a row of `site_failures`, and is tried
    again by the next run. `after` is called here for each site that is finished, also for those of earlier runs.
    """
    work = SiteWork(lake, stage, plate, made.fingerprint)
    tables = sorted({path.split("/")[-1] for path in lake.files_in(f".work/{stage}/{plate}/{made.fingerprint}")})
    finished = set.intersection(*(work.finished(table) for table in tables)) if tables else set()
    todo = [site for site in sites if site.key not in finished]
    for site in sites:
        if site.key in finished:
            after(site)
    failures = []
    for site, error in map_items(partial(_process, function, work), todo, compute, progress, stage):
        if isinstance(error, ImageError):
            channel = site.channel_of(error.path)
            failures.append({**site.place, "channel": channel, "error": error.reason, "path": error.path})
        else:
            after(site)
    write_failures(lake, plate, stage, failures, made)
    return work, len(failures)


def _process(function: Callable[[S], dict[str, pl.DataFrame]], work: SiteWork, site: S) -> None:
    work.save(site.key, function(site))
