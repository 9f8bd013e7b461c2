"""One piece of work: a stage of one partition, from its pinned inputs to its outputs; a plate's site by site.

The function of a stage gets a `Work` and nothing else. Finished sites are kept, so that a killed run goes on where it
was; sites whose inputs have not changed since the last commit are taken from it, so that a repair costs its sites only.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar

import polars as pl

from morpho_assets.cluster import DaskConfig
from morpho_assets.compute import ComputeConfig, Progress, map_items, no_progress, require_reach
from morpho_assets.errors import ImageError, LakeError
from morpho_assets.lake.digests import digest
from morpho_assets.lake.files import quoted
from morpho_assets.lake.lake import GROUP_BYTES, Lake, Snapshot, table_files
from morpho_assets.lake.ledger import Commit, Output, Partition, Sites
from morpho_assets.lake.packing import join, pack, unpack
from morpho_assets.lake.tables import table

SITE = ["Metadata_Well", "Metadata_Site"]
_SITES_AT_ONCE = 32  # of those that are taken from an earlier commit


class SiteLike(Protocol):
    """What is worked through: `key` names it within its plate, `place` holds its key columns, `files` are those of a
    local folder that its worker reads, `channel_of` says which channel's fault a file is."""

    @property
    def key(self) -> str: ...
    @property
    def place(self) -> dict[str, Any]: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    def channel_of(self, path: str) -> str: ...


S = TypeVar("S", bound=SiteLike)


@dataclass
class Work:
    """What a stage's function works with.

    `inputs` are the commits it was started from, `settings` its part of the settings, `method` names its code and
    settings, `options` are settings that change no value. `source` is where a plate comes from, `previous` the last
    commit, whose sites may be taken. What the function writes goes into `outputs`, and `basis` is kept beside the
    commit for the next; nothing of it is seen by anybody before the commit.
    """

    stage: str
    partition: Partition
    lake: Lake
    inputs: Snapshot
    settings: Any
    method: str
    options: Any = None
    compute: ComputeConfig | DaskConfig = field(default_factory=ComputeConfig)
    progress: Progress = no_progress
    source: Any = None
    previous: Commit | None = None
    outputs: dict[str, Output] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    named_files: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    basis: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The plate or the study."""
        return self.partition.key

    # Inputs: the tables of the work's own plate or study

    def read(self, name: str) -> pl.DataFrame:
        return self.inputs.read(name, self.key)

    def scan(self, name: str) -> pl.LazyFrame:
        return self.inputs.scan(name, [self.key])

    # Outputs

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Write one of the stage's tables."""
        self.write_stream(name, [frame])

    def write_stream(self, name: str, frames: Iterable[pl.DataFrame]) -> int:
        """Write one of the stage's tables from frames that come one after the other; returns the rows."""

        def noted() -> Iterator[pl.DataFrame]:
            for frame in frames:
                self.named_files.update(table_files(table(name), frame))
                yield frame

        self.outputs[name] = self.lake.write_stream(self.stage, self.partition, name, noted())
        return self.outputs[name].rows

    def write_file(self, folder: str, name: str, content: bytes) -> str:
        """Put a file beside the tables, and return its path."""
        path = self.lake.write_named(f"{folder}/{self.partition.folder}", name, content)
        self.named_files.add(path)
        return path

    def write_failures(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the stage's `site_failures`: none too, so that what has been mended is forgotten.

        A row has Metadata_Well, Metadata_Site, error and path, and channel where it is one image's fault.
        """
        names = ("Metadata_Well", "Metadata_Site", "channel", "error", "path")
        plain = [{name: row.get(name, "*" if name == "channel" else None) for name in names} for row in rows]
        schema = {"Metadata_Site": pl.Int32}
        frame = pl.DataFrame(plain, schema_overrides=schema) if plain else table("site_failures").empty()
        place = {"Metadata_Plate": pl.lit(self.key), "stage": pl.lit(self.stage)}
        self.write("site_failures", frame.with_columns(**place))
        for row in rows:
            self.failed.setdefault(f"{row['Metadata_Well']}-{row['Metadata_Site']}", str(row["error"]))

    def keep(self, name: str, content: bytes) -> None:
        """Put aside how far the work is; forgotten with the commit."""
        self.lake.files.write(f"{_folder(self)}/{name}", content)

    def kept(self, name: str) -> bytes | None:
        """What was put aside under this name by a run that did not come to its commit."""
        path = f"{_folder(self)}/{name}"
        return self.lake.read_bytes(path) if path in self.lake.files.find(_folder(self)) else None

    def take_over(self, commit: Commit) -> None:
        """Take the outputs of an earlier commit as this work's own."""
        self.outputs = dict(commit.outputs)
        self.named_files = set(self.lake.ledger.keys(commit)["files"])
        self.basis = self.earlier.get("basis", {})

    @property
    def earlier(self) -> dict[str, Any]:
        """What the last commit kept of its sites, files and basis."""
        return self.lake.ledger.keys(self.previous) if self.previous is not None else {}

    def covered(self) -> Sites:
        """The sites for the commit: all that were to be done, and those that failed. Raises LakeError for one that
        failed and was not to be done."""
        strange = self.failed.keys() - self.sites.keys()
        if strange:
            raise LakeError(f"{self.stage} of {self.partition}: site {min(strange)} failed, but is none of its sites")
        return Sites(total=len(self.sites), digest=digest(sorted(self.sites)), failed=dict(sorted(self.failed.items())))

    def clear(self) -> None:
        """Forget the sites that were kept on the way: they are committed."""
        for path in self.lake.files.find(_folder(self)):
            self.lake.files.remove(path)


@dataclass(frozen=True)
class Finished:
    """The sites of a plate that are done, in order: kept by this recipe's work, or taken from an earlier commit."""

    work: Work
    keys: Mapping[str, tuple[str, dict[str, Any]]]
    taken: frozenset[str]

    def frames(self, name: str) -> Iterator[pl.DataFrame]:
        """The rows of a table as the lake keeps them, some sites at a time. Raises LakeError for a site that is done
        and whose rows are gone."""
        for taken, group in groupby(self.keys, key=self.taken.__contains__):
            keys = list(group)
            if taken:
                for start in range(0, len(keys), _SITES_AT_ONCE):
                    yield from self._earlier(name, keys[start : start + _SITES_AT_ONCE])
            else:
                yield from self._put_aside(name, keys)

    def _put_aside(self, name: str, keys: Sequence[str]) -> Iterator[pl.DataFrame]:
        pending, size = [], 0
        for key in keys:
            path = _site_path(self.work, name, key, self.keys[key][0])
            try:
                pending.append(unpack(self.work.lake.read_bytes(path)))
            except LakeError as error:
                what = f"{self.work.stage} of {self.work.partition}"
                place = f"Delete {path} of the lake, if it is there, and run again."
                raise LakeError(f"{what}: site {key} is done, but {error}. {place}") from None
            size += pending[-1].nbytes
            if size >= GROUP_BYTES or key == keys[-1]:
                frame = table(name).cast(join(pending))
                pending, size = [], 0  # before the rows are worked on: they are as large
                yield frame

    def _earlier(self, name: str, keys: Sequence[str]) -> Iterator[pl.DataFrame]:
        assert self.work.previous is not None
        places = {tuple(self.keys[key][1][column] for column in SITE) for key in keys}
        rows = self.work.lake.snapshot([self.work.previous]).scan(name, [self.work.key])
        wanted = pl.DataFrame(sorted(places), schema={SITE[0]: pl.String, SITE[1]: pl.Int32}, orient="row")
        wells = pl.col(SITE[0]).is_in(sorted({well for well, _ in places}))
        found = rows.filter(wells).collect().join(wanted, on=SITE, how="semi", maintain_order="left")
        by_site = found.partition_by(SITE, as_dict=True, maintain_order=True)
        for key in keys:
            place = tuple(self.keys[key][1][column] for column in SITE)
            if place in by_site:
                yield by_site[place]


def process_sites(
    work: Work,
    sites: Sequence[S],
    function: Callable[[S], dict[str, pl.DataFrame]],
    tables: Sequence[str],
    made_from: Callable[[S], object],
    after: Callable[[S], None] = lambda site: None,
) -> Finished:
    """Apply `function` to every site that is not done already; failures go to `site_failures`.

    `function` gives a site's rows for each of the `tables`; it runs in a worker and must be picklable. `made_from` says
    what a site's rows come from beside code and settings (digests of its images, …): a site that was done from the same
    is not done again. A site that raises ImageError is a row of `site_failures`. `after` is called here for each site
    that is done.
    """
    recipes = {site.key: digest([work.method, made_from(site)]) for site in sites}
    if len(recipes) != len(sites):
        raise LakeError(f"{work.stage} of {work.partition}: two sites share a key")
    taken = _taken(work, recipes, tables)
    kept = _kept(work, recipes, tables)
    todo = [site for site in sites if site.key not in taken | kept]
    for site in sites:
        if site.key in taken | kept:
            after(site)
    failures = []
    items = [(site, recipes[site.key]) for site in todo]
    task = partial(_process, function, tuple(tables), work.lake, _folder(work))
    work.notes["sites worked on"] = len(todo)
    if todo and isinstance(work.compute, DaskConfig):
        written = uuid.uuid4().hex
        work.keep(_SIGHT, written.encode())
        probe = partial(_unseen, work.lake, f"{_folder(work)}/{_SIGHT}", written, todo[0].files)
        require_reach(work.compute, probe)
    for (site, _), error in map_items(task, items, work.compute, work.progress, work.stage):
        if isinstance(error, ImageError):
            channel = site.channel_of(error.path)
            failures.append({**site.place, "channel": channel, "error": error.reason, "path": error.path})
        else:
            after(site)
    order = {site.key: number for number, site in enumerate(sites)}
    failures.sort(key=lambda row: order[f"{row['Metadata_Well']}-{row['Metadata_Site']}"])
    work.sites = recipes
    work.write_failures(failures)
    done = {site.key: (recipes[site.key], site.place) for site in sites if site.key not in work.failed}
    return Finished(work, done, frozenset(taken))


def _process(
    function: Callable[[S], dict[str, pl.DataFrame]], tables: tuple[str, ...], lake: Lake, folder: str,
    item: tuple[S, str],
) -> None:  # fmt: skip
    """Do one site and keep its rows, as their tables declare them; it is done once all its files are there."""
    site, recipe = item
    found = function(site)
    if set(found) != set(tables):
        raise LakeError(f"site {site.key} gave the tables {sorted(found)}, expected {sorted(tables)}")
    for name in tables:
        lake.files.write(f"{folder}/{name}/{quoted(site.key)}.{recipe}.arrow", pack(table(name).fit(found[name])))


_SIGHT = "sight"
"""A file that every worker must see, with what is written in it now."""


def _unseen(lake: Lake, path: str, wanted: str, files: tuple[str, ...]) -> str | None:
    """What a worker lacks of what it will read, in words."""
    try:
        found = lake.files.read(path).decode()
    except Exception as error:  # whatever it is, the worker cannot work
        return f"does not see the lake {lake.root} ({type(error).__name__}: {error})"
    if found != wanted:
        return f"sees another lake at {lake.root}"
    absent = next((file for file in files if not os.path.exists(file)), None)
    return f"does not see the image {absent}" if absent else None


def _folder(work: Work) -> str:
    return f".work/{work.stage}/{work.partition.folder}"


def _site_path(work: Work, name: str, key: str, recipe: str) -> str:
    return f"{_folder(work)}/{name}/{quoted(key)}.{recipe}.arrow"


def _kept(work: Work, recipes: Mapping[str, str], tables: Sequence[str]) -> set[str]:
    """The sites of which every table's rows were kept by a run that did not come to its commit."""
    there = {path for path, entry in work.lake.files.find(_folder(work)).items() if entry.size}
    return {
        key for key, recipe in recipes.items() if all(_site_path(work, name, key, recipe) in there for name in tables)
    }


def _taken(work: Work, recipes: Mapping[str, str], tables: Sequence[str]) -> set[str]:
    """The sites that the last commit did from the same, if all its files are whole."""
    before = work.previous
    if before is None or any(name not in before.outputs for name in tables) or work.lake.damage(before, deep=True):
        return set()
    done = work.lake.ledger.keys(before)["sites"]
    return {key for key, recipe in recipes.items() if done.get(key) == recipe and key not in before.sites.failed}
