"""The lake: tables as Parquet partitions, and the files beside them, in a local folder or an object store.

A partition is `<root>/<table>/plate=<plate>/part-<part>.parquet` (or `study=`). It is written aside and moved into
place in one step, so that any number of processes read and write without locks and a reader sees the old file or
the new one, never half. What made it is in the file itself (`lake/provenance.py`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from morpho_assets.errors import LakeError
from morpho_assets.lake.provenance import KEY, Provenance
from morpho_assets.lake.tables import table as declared

ROWS_PER_GROUP = 16_384  # 16 K cells of 3,500 floats are 230 MB in memory and keep the file's footer small


@dataclass(frozen=True)
class Lake:
    """The tables under `root`: an absolute local folder, or `s3://bucket/prefix` with fsspec's `options` for it."""

    root: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def files(self) -> Any:
        """The fsspec file system of the root."""
        import fsspec

        return fsspec.filesystem(self.root.partition("://")[0] if self.remote else "file", **self.options)

    @property
    def remote(self) -> bool:
        return "://" in self.root

    def path(self, *parts: str) -> str:
        """The absolute path of something in the lake; a stored relative path is joined the same way."""
        return "/".join([self.root.rstrip("/"), *parts])

    # Tables

    def write(self, table: str, partition: str, frame: pl.DataFrame, made: Provenance, part: str = "0") -> None:
        """Replace one part of a partition; casts to the table's declaration and refuses what does not fit it."""
        frame = declared(table).cast(frame)
        with self._aside(self._part(table, partition, part)) as aside:
            frame.write_parquet(aside, compression="zstd", metadata={KEY: made.to_json()})

    def write_stream(self, table: str, partition: str, frames: Iterable[pl.DataFrame], made: Provenance) -> int:
        """Replace a partition by frames that come one after the other, never all in memory; returns the rows.

        All frames must have the same columns; keys are checked within each group of rows that is written together.
        """
        import pyarrow.parquet as pq

        rows, writer = 0, None
        with self._aside(self._part(table, partition, "0")) as aside:
            for group in _row_groups(declared(table).empty(), frames):
                arrow = declared(table).cast(group).to_arrow()
                if writer is None:
                    schema = arrow.schema.with_metadata({KEY: made.to_json()})
                    writer = pq.ParquetWriter(aside, schema, compression="zstd")
                writer.write_table(arrow.cast(writer.schema))
                rows += arrow.num_rows
            assert writer is not None
            writer.close()
        return rows

    def scan(self, table: str, partitions: Iterable[str] | None = None, part: str = "*") -> pl.LazyFrame:
        """Lazily, the rows of a table: of the named partitions, or of all. No partition gives no rows.

        Raises LakeError for a named partition that does not exist.
        """
        paths = []
        for partition in self.partitions(table) if partitions is None else partitions:
            found = self.parts(table, partition) if part == "*" else [self._part(table, partition, part)]
            if not found or not self.files.exists(found[0]):
                raise LakeError(f"table {table} has no partition {partition!r}; materialise it first")
            paths += found
        if not paths:
            return declared(table).empty().lazy()
        if self.remote:
            import pyarrow.dataset as ds

            dataset = [ds.dataset(path.partition("://")[2], filesystem=self.files, format="parquet") for path in paths]
            scans = [pl.scan_pyarrow_dataset(each) for each in dataset]
        else:
            scans = [pl.scan_parquet(path, hive_partitioning=False, glob=False) for path in paths]
        return pl.concat(scans, how="diagonal") if len(scans) > 1 else scans[0]

    def read(self, table: str, partition: str, part: str = "*") -> pl.DataFrame:
        """One partition, whole."""
        return self.scan(table, [partition], part).collect()

    def partitions(self, table: str) -> list[str]:
        """The partitions a table has, sorted."""
        key = declared(table).partition
        folders = self._glob(self.path(table, f"{key}=*", "part-*.parquet"))
        return sorted({path.rsplit("/", 2)[-2].removeprefix(f"{key}=") for path in folders})

    def parts(self, table: str, partition: str) -> list[str]:
        """The files of one partition, sorted; empty where there is none."""
        return self._glob(self._part(table, partition, "*"))

    def provenance(self, table: str, partition: str, part: str = "0") -> Provenance | None:
        """What made a partition, or None where there is none."""
        import pyarrow.parquet as pq

        path = self._part(table, partition, part)
        try:
            with self.files.open(path, "rb") as file:
                metadata = pq.read_metadata(file).metadata or {}
        except FileNotFoundError:
            return None
        if KEY.encode() not in metadata:
            raise LakeError(f"{path} does not say what made it; delete it and materialise the partition again")
        return Provenance.from_json(metadata[KEY.encode()].decode())

    # Files

    def write_bytes(self, path: str, content: bytes) -> None:
        """Put a file at a path relative to the root, in one step."""
        with self._aside(self.path(path)) as aside, open(aside, "wb") as file:
            file.write(content)

    def read_bytes(self, path: str) -> bytes:
        """A file at a path relative to the root. Raises LakeError where there is none."""
        try:
            return bytes(self.files.cat_file(self.path(path)))
        except FileNotFoundError as error:
            raise LakeError(f"{self.path(path)} does not exist; materialise what makes it") from error

    def files_in(self, folder: str) -> list[str]:
        """Paths, relative to the root, of the finished files in a folder; sorted, empty where there is none."""
        found = self._glob(self.path(folder, "*"))
        return [path.removeprefix(self.path("")) for path in found if not path.rsplit("/", 1)[-1].startswith(".")]

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        if self.files.exists(self.path(folder)):
            self.files.rm(self.path(folder), recursive=True)

    # Below: how

    def _part(self, table: str, partition: str, part: str) -> str:
        return self.path(table, f"{declared(table).partition}={partition}", f"part-{part}.parquet")

    def _glob(self, pattern: str) -> list[str]:
        prefix = self.root.partition("://")[0] + "://" if self.remote else ""
        return sorted(prefix + str(path) for path in self.files.glob(pattern))

    @contextmanager
    def _aside(self, path: str) -> Iterator[str]:
        """A local file to write to, moved to `path` in one step when the block ends well, else removed."""
        if self.remote:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                aside = os.path.join(folder, "file")
                yield aside
                self.files.put_file(aside, path)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        aside = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.aside")
        try:
            yield aside
            os.replace(aside, path)
        finally:
            if os.path.exists(aside):
                os.remove(aside)


def _row_groups(empty: pl.DataFrame, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames joined to groups of at least ROWS_PER_GROUP rows; `empty` where there is no frame at all."""
    pending: list[pl.DataFrame] = []
    none = True
    for frame in frames:
        pending.append(frame)
        if sum(each.height for each in pending) >= ROWS_PER_GROUP:
            yield pl.concat(pending, rechunk=True)
            pending, none = [], False
    if pending or none:
        yield pl.concat(pending, rechunk=True) if pending else empty
