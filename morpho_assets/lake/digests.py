"""Digests: of settings, of rows, of bytes. The same values give the same digest on any machine and any version."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel

LENGTH = 16
"""Hex digits of a digest that names something: 64 bits."""


def plain(value: object) -> Any:
    """A value as JSON holds it: models as their fields, tuples as lists."""

    def fields(item: object) -> object:
        if isinstance(item, BaseModel):
            return item.model_dump(mode="json")
        raise TypeError(f"cannot digest {type(item).__name__}")

    return json.loads(json.dumps(value, default=fields))


def digest(value: object) -> str:
    """Names anything that JSON can hold; pydantic models count as their fields, and keys in any order are the same."""
    return digest_bytes(json.dumps(plain(value), sort_keys=True, ensure_ascii=False).encode())


def digest_bytes(content: bytes) -> str:
    """Names a file's content."""
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def digest_rows(frame: pl.DataFrame) -> str:
    """Names the values of a frame, in the order of its rows: column names and types, then values and nulls.

    NaN counts as null, as everywhere in the lake. Columns of one numeric type are taken together, which is what makes
    it fast: some 500 MB a second.
    """
    found = hashlib.sha256(json.dumps([[name, str(kind)] for name, kind in frame.schema.items()]).encode())
    found.update(f"{frame.height}".encode())
    for kind in dict.fromkeys(frame.dtypes):
        part = frame.select(name for name, own in frame.schema.items() if own == kind)
        if kind.is_numeric():
            found.update(np.ascontiguousarray(_numbers(part, kind)).data)
        else:
            for column in part:
                found.update(_text(column))
    return found.hexdigest()[:LENGTH]


def _numbers(part: pl.DataFrame, kind: pl.DataType) -> np.ndarray:
    """(n, columns) values; nulls are NaN in floats, and marked in a column of their own beside integers."""
    if kind.is_float():
        return part.fill_null(float("nan")).to_numpy().astype(f"<f{4 if kind == pl.Float32 else 8}", copy=False)
    nulls = part.select(pl.all().is_null().cast(kind).name.suffix(" is null"))
    return part.fill_null(0).hstack(nulls).to_numpy().astype("<i8", copy=False)


def _text(column: pl.Series) -> bytes:
    """Values and nulls of a column that is no number, as JSON."""
    if column.dtype == pl.String:
        words = column.unique()
        if 8 * len(words) < len(column):  # each word is written once, and joined as often as it stands there
            written = [json.dumps(word, ensure_ascii=False) for word in words]
            return ("[" + str(column.replace_strict(words, written).str.join(", ")[0]) + "]").encode()
    return json.dumps(column.to_list(), ensure_ascii=False, default=str).encode()
