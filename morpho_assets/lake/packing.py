"""A site's rows as bytes, put aside until its plate is published: thousands of columns of measurements as one.

To read a column costs the same whether it has a hundred rows or a million, and a site has thousands of columns of a
hundred rows: one by one they would cost more than all else that publishing does.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from morpho_assets.errors import LakeError

_VALUES, _COLUMNS, _CHECKSUM = "", b"columns", 4


def pack(frame: pl.DataFrame) -> bytes:
    """An Arrow file of the rows, and its checksum: all that is Float32 as one list column without a name, beside the
    others.

    One column at least is no Float32. What is null in a Float32 comes back as NaN: tables of the lake know no other.
    """
    packed = [name for name, kind in zip(frame.columns, frame.dtypes, strict=True) if kind == pl.Float32]
    rows = frame.drop(packed).to_arrow()
    if packed:
        values = np.ascontiguousarray(frame[packed].to_numpy())
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), len(packed))
        rows = rows.append_column(_VALUES, lists)
    rows = rows.replace_schema_metadata({_COLUMNS: json.dumps(frame.columns)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as file:
        file.write_table(rows)
    content = sink.getvalue().to_pybytes()
    return content + _checksum(content)


def unpack(content: bytes) -> pa.Table:
    """What `pack` gave, for `join`; nothing is copied. Raises LakeError for bytes that are not as they were given:
    Arrow itself reads what is damaged, and what reads that then ends the process."""
    rows = memoryview(content)[:-_CHECKSUM]
    if content[-_CHECKSUM:] != _checksum(rows):
        raise LakeError("what was put aside of it is damaged")
    return pa.ipc.open_file(rows).read_all()


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "little")


def join(sites: Sequence[pa.Table]) -> pl.DataFrame:
    """The rows of one or more sites, one after the other. Raises LakeError where they have not the same columns."""
    described = sites[0].schema.metadata
    if any(site.schema.metadata != described for site in sites):
        raise LakeError("the sites of a table have not all the same columns")
    rows = pa.concat_tables(sites)
    columns = json.loads(described[_COLUMNS])
    beside = set(rows.column_names)
    packed = [name for name in columns if name not in beside]
    if not packed:
        return pl.DataFrame(rows)
    values = np.empty((len(packed), rows.num_rows), np.float32)
    begin = 0
    for site in rows[_VALUES].chunks:
        end = begin + len(site)
        values[:, begin:end] = site.flatten().to_numpy().reshape(len(site), len(packed)).T
        begin = end
    measured = [pl.Series(name, column) for name, column in zip(packed, values, strict=True)]
    return pl.DataFrame(rows.drop_columns(_VALUES)).hstack(measured)[columns]
