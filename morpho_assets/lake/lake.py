"""The lake: tables as Parquet files that never change, in a local folder or an object store, and the ledger over them.

A file lies at `<table>/Metadata_Plate=<plate>/<stage>-<digest>.parquet` (or `study=`), named by what is in it. What
is in the lake is what commits name (`lake/ledger.py`); a `Snapshot` reads the tables of the commits that it holds.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from morpho_assets.errors import LakeError
from morpho_assets.lake.digests import digest, digest_bytes, digest_rows
from morpho_assets.lake.files import Files, open_files, quoted
from morpho_assets.lake.ledger import Commit, DataFile, Ledger, Output, Partition, stem_of
from morpho_assets.lake.tables import Table
from morpho_assets.lake.tables import table as declared
from morpho_assets.retry import UNKNOWN_REQUEST, answer_of

GROUP_BYTES = 64 * 2**20
"""Bytes of a row group in memory: what writing and reading a stream takes, whatever the number of columns."""
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Lake:
    """The tables under `root`: an absolute local folder, or `s3://bucket/prefix` with fsspec's `options` for it."""

    root: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @cached_property
    def files(self) -> Files:
        return open_files(self.root, self.options)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.files)

    def check_format(self) -> None:
        """Raise LakeError for a lake of the form before the ledger."""
        if self.files.holds("wells") and not self.files.holds("ledger"):
            raise LakeError(
                f"{self.root} was written before the ledger (it holds `wells`, and no `ledger`): this version cannot "
                "tell what made it. Set `lake` to another folder and run the plates again, or move the old folder away."
            )

    def check_store(self) -> None:
        """Raise LakeError for a store in which a name can be taken twice, or that cannot say: two runs would commit
        the same number, and one of them be lost."""
        if not self._takes_names_once:
            needed = "honours `If-None-Match: *`" if self.files.remote else "knows hard links"
            raise LakeError(
                f"{self.root} lies where nothing prevents that one run overwrites what another committed: it needs a "
                f"store that {needed}. Set `lake` to another folder or object store."
            )

    @cached_property
    def _takes_names_once(self) -> bool:
        try:
            self.files.create("ledger/once", b"")
            return not self.files.create("ledger/once", b"")
        except OSError as error:
            answer = answer_of(error)
            if error.errno in _NO_LINKS or (answer is not None and answer.status == UNKNOWN_REQUEST):
                return False
            raise

    # Tables

    def write(self, stage: str, partition: Partition, name: str, frame: pl.DataFrame) -> Output:
        """Write one table of a stage; casts to the table's declaration and refuses what does not fit it."""
        return self.write_stream(stage, partition, name, [frame])

    def write_stream(self, stage: str, partition: Partition, name: str, frames: Iterable[pl.DataFrame]) -> Output:
        """Write one table of a stage from frames that come one after the other, never all in memory.

        All frames must have the same columns; keys are checked within each group of rows that is written together.
        """
        import pyarrow.parquet as pq

        table = declared(name)
        folder = f"{name}/{table.folder(partition.key)}"
        aside = self.files.aside(f"{folder}/-")
        digests, columns, rows, writer = [], "", 0, None
        try:
            for group in _row_groups(table.empty(), frames):
                group = table.cast(group)
                digests.append(digest_rows(_sorted(group, table.keys)))
                columns = columns or digest([[name, str(kind)] for name, kind in group.schema.items()])
                arrow = group.to_arrow()
                if writer is None:
                    # numbers that were measured hardly repeat: a dictionary of them is made in vain
                    repeated = [name for name, kind in group.schema.items() if not kind.is_float()]
                    writer = pq.ParquetWriter(aside, arrow.schema, compression="zstd", use_dictionary=repeated)
                writer.write_table(arrow.cast(writer.schema))
                rows += arrow.num_rows
            assert writer is not None
            writer.close()
            content = digest(digests)
            size = os.path.getsize(aside)
            path = f"{folder}/{stem_of(stage, partition)}-{content}.parquet"
            self.files.put(path, aside)
        finally:
            if os.path.exists(aside):
                os.remove(aside)
        return Output(digest=content, columns=columns, files=(DataFile(path=path, bytes=size, rows=rows),))

    def scan_files(self, paths: Sequence[str]) -> pl.LazyFrame:
        """Lazily, the rows of Parquet files; columns that some of them lack are null there."""
        if self.files.remote:
            import pyarrow.dataset as ds

            system = self.files.system  # type: ignore[attr-defined]
            places = [self.files.url(path).partition("://")[2] for path in paths]
            datasets = [ds.dataset(place, filesystem=system, format="parquet") for place in places]
            scans = [pl.scan_pyarrow_dataset(each) for each in datasets]
        else:
            scans = [pl.scan_parquet(self.files.url(path), hive_partitioning=False, glob=False) for path in paths]
        return pl.concat(scans, how="diagonal") if len(scans) > 1 else scans[0]

    # Files

    def write_named(self, folder: str, name: str, content: bytes) -> str:
        """Put a file of a stage into a folder, its digest in its name, and return its path: `A01-1_cells-<digest>.tif`.

        Written once: equal content has the same path, and a path never another content.
        """
        stem, suffix = os.path.splitext(name)
        path = f"{folder}/{quoted(stem)}-{digest_bytes(content)}{suffix}"
        self.files.write(path, content)
        return path

    def read_bytes(self, path: str) -> bytes:
        """A file at a path relative to the root. Raises LakeError where there is none."""
        try:
            return self.files.read(path)
        except FileNotFoundError as error:
            raise LakeError(f"{self.files.url(path)} does not exist; materialise what makes it") from error

    # Commits

    def snapshot(self, commits: Iterable[Commit]) -> Snapshot:
        return Snapshot(self, {(commit.stage, commit.partition): commit for commit in commits})

    def latest(self, stages: Iterable[str], partitions: Iterable[Partition]) -> Snapshot:
        """The last commits of these stages of these partitions, as far as there are any."""
        partitions = list(partitions)
        found = (self.ledger.latest(stage, partition) for stage in stages for partition in partitions)
        return self.snapshot(commit for commit in found if commit is not None)

    def damage(self, commit: Commit, sizes: Mapping[str, int] | None = None, deep: bool = False) -> str | None:
        """What is wrong with the files of a commit, in words; None where all are there with their sizes.

        `sizes` are those of all files where they were listed already. `deep` looks at every file that a stage wrote
        beside its tables, such as label images, too.
        """
        wanted = {file.path: file.bytes for output in commit.outputs.values() for file in output.files}
        if deep and commit.files:
            try:
                wanted |= self.ledger.keys(commit)["files"]
            except (FileNotFoundError, ValueError):
                return f"{commit.files} is gone or cannot be read"
        found = self.sizes(wanted) if sizes is None else sizes
        for path, size in wanted.items():
            if path not in found:
                return f"{path} is gone"
            if found[path] != size:
                return f"{path} has {found[path]} bytes where {size} were written"
        return None

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """The bytes of those of the files that are there; of many in one folder by a listing."""
        folders: dict[str, list[str]] = {}
        for path in paths:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
        sizes: dict[str, int] = {}
        for folder, mine in folders.items():
            entries = self.files.find(folder) if len(mine) > 4 else {path: self.files.entry(path) for path in mine}
            sizes |= {path: entry.size for path in mine if (entry := entries.get(path)) is not None}
        return sizes


@dataclass(frozen=True)
class Snapshot:
    """Tables as some commits have them, whatever is committed meanwhile."""

    lake: Lake
    commits: Mapping[tuple[str, Partition], Commit]

    def scan(self, name: str, keys: Iterable[str] | None = None) -> pl.LazyFrame:
        """Lazily, the rows of a table: of the named plates or studies, or of all. No file gives no rows.

        Raises LakeError for a named one whose commits do not have the table.
        """
        outputs = self._outputs(name)
        if keys is not None:
            keys = list(keys)
            absent = [key for key in keys if key not in outputs]
            if absent:
                raise LakeError(
                    f"table {name} of {declared(name).partition} {absent[0]} is not there; materialise it first"
                )
        chosen = sorted(outputs) if keys is None else keys
        paths = [file.path for key in chosen for output in outputs[key] for file in output.files if file.rows]
        paths = paths or [file.path for key in chosen for output in outputs[key] for file in output.files][:1]
        return self.lake.scan_files(paths) if paths else declared(name).empty().lazy()

    def read(self, name: str, key: str) -> pl.DataFrame:
        """The rows of one plate or study. Raises LakeError where a file is gone or broken."""
        try:
            return self.scan(name, [key]).collect()
        except (FileNotFoundError, pl.exceptions.PolarsError, ValueError) as error:
            raise LakeError(f"table {name} of {declared(name).partition} {key} cannot be read ({error}); "
                            "materialise it again") from None  # fmt: skip

    def has(self, name: str, key: str) -> bool:
        return key in self._outputs(name)

    def keys(self, name: str) -> list[str]:
        """The plates or studies that have a table, sorted."""
        return sorted(self._outputs(name))

    def paths(self, name: str, key: str) -> list[str]:
        """The files of one plate's or study's rows. Raises LakeError where the commits do not have the table."""
        outputs = self._outputs(name)
        if key not in outputs:
            raise LakeError(f"table {name} of {declared(name).partition} {key} is not there; materialise it first")
        return [file.path for output in outputs[key] for file in output.files]

    def commit(self, stage: str, partition: Partition) -> Commit:
        """The commit of a stage. Raises LakeError where there is none."""
        try:
            return self.commits[stage, partition]
        except KeyError:
            raise LakeError(f"{stage} of {partition} is not there; materialise it first") from None

    def adding(self, *commits: Commit) -> Snapshot:
        """The same with further commits, in the place of others of their stage and partition."""
        return Snapshot(self.lake, {**self.commits, **{(each.stage, each.partition): each for each in commits}})

    def _outputs(self, name: str) -> dict[str, list[Output]]:
        """The table's outputs by plate or study."""
        kind = declared(name).partition
        found: dict[str, list[Output]] = {}
        for (_, partition), commit in self.commits.items():
            if partition.kind == kind and name in commit.outputs:
                found.setdefault(partition.key, []).append(commit.outputs[name])
        return found


def table_files(table: Table, frame: pl.DataFrame) -> list[str]:
    """The files that rows of a table name, each once."""
    names = [column.name for column in table.columns if column.is_file and column.name in frame.columns]
    return sorted({path for name in names for path in frame[name].drop_nulls()})


def _sorted(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rows in the order of their keys: the frame itself, and no copy, where they are."""
    order = frame.select(pl.arg_sort_by(list(keys)))[:, 0]
    return frame if order.is_sorted() else frame[order]


def _row_groups(empty: pl.DataFrame, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames joined to groups of at least GROUP_BYTES; `empty` where there is no frame at all."""
    pending: list[pl.DataFrame] = []
    none, size, row = True, 0, 0
    for frame in frames:
        row = row or sum(4 if kind == pl.Float32 else 8 for kind in frame.dtypes)  # of one row: all have its columns
        pending.append(frame)
        size += frame.height * row
        if size >= GROUP_BYTES:
            group = pl.concat(pending, rechunk=True)
            pending, none, size = [], False, 0  # before the group is worked on: its parts are as large as it is
            yield group
    if pending or none:
        yield pl.concat(pending, rechunk=True) if pending else empty
