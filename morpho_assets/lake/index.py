"""The ledger's index: the bodies of its small files in one, so that thousands of partitions are read at once.

It is never the truth: what there is says the listing; a file that the index lacks, or has with another stamp, is read
itself. Anybody may delete it. Many new files are folded into it by whoever meets them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from morpho_assets.lake.files import Entry, Files
from morpho_assets.retry import faults, forgiven

PATH = "ledger/index.parquet"
FOLD = 256
"""New files from which on the index is written anew."""
_READERS = 16
_SCHEMA = {"path": pl.String, "stamp": pl.String, "body": pl.Binary}


def read_bodies(files: Files, listed: Mapping[str, Entry], fold: bool) -> dict[str, bytes]:
    """The bodies of the listed files, from the index where it has them; one that is gone by now is left out.

    With `fold` the index is read, and written where it lacks many: for a reader of everything.
    """
    known = _index(files) if fold else {}
    bodies = {path: known[path][1] for path, entry in listed.items() if known.get(path, ("",))[0] == entry.stamp}
    absent = [path for path in listed if path not in bodies]
    with ThreadPoolExecutor(_READERS if files.remote else 4) as threads:
        found = dict(zip(absent, threads.map(lambda path: _read(files, path), absent), strict=True))
    bodies |= {path: body for path, body in found.items() if body is not None}
    if fold and len(absent) >= FOLD:
        _write(files, listed, bodies)
    return bodies


def _index(files: Files) -> dict[str, tuple[str, bytes]]:
    """Path to stamp and body; empty where there is no index, or one that cannot be read."""
    try:
        frame = pl.read_parquet(io.BytesIO(files.read(PATH)))
        return {path: (stamp, body) for path, stamp, body in frame.select(*_SCHEMA).iter_rows()}
    except faults(files.remote):
        return {}
    except pl.exceptions.PolarsError:
        return {}


def _write(files: Files, listed: Mapping[str, Entry], bodies: Mapping[str, bytes]) -> None:
    rows = [(path, listed[path].stamp, body) for path, body in bodies.items()]
    buffer = io.BytesIO()
    pl.DataFrame(rows, schema=_SCHEMA, orient="row").write_parquet(buffer, compression="zstd", statistics=False)
    with forgiven(files.remote):  # who may only read a lake reads it all the same
        files.write(PATH, buffer.getvalue())


def _read(files: Files, path: str) -> bytes | None:
    try:
        return files.read(path)
    except FileNotFoundError:
        return None
