"""SQLite files of CellProfiler's ExportToDatabase (Per_Image, Per_Cells …, any prefix) and of the Gallery's backend
(Image, Cells …), read one image at a time."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.analysis_csv import split_objects
from morpho_assets.gallery.compartments import NUMBERS, align, expected_features, in_order, link_objects
from morpho_assets.gallery.image_table import IMAGE_KEYS, CellProfilerConfig, image_places, require_different
from morpho_assets.lake.tables import MODULES

_IMAGE = re.compile(r"^(?P<prefix>.*?)(Per_)?Image$", re.IGNORECASE)
_ALL_OBJECTS = "Object"
"""What the table of all objects together is called."""
_KIND = re.compile(rf"^(\w+?)_(?:{'|'.join((*NUMBERS, 'Parent', *MODULES))})(?:_|$)")


@dataclass(frozen=True)
class _Tables:
    """The tables of one export: the Image table, and those of objects by the objects' name, with their columns."""

    image: str
    objects: Mapping[str, str]
    columns: Mapping[str, Sequence[str]]


def read_sqlite(
    path: str | Path, config: CellProfilerConfig | None = None, account: Account | None = None
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields (image key, cells) of every image of an SQLite file, in the order of their keys; see
    `compartments.link_objects`. All frames have the same columns.

    InputError for a file that is no SQLite or is damaged, without an Image table, with several (`config.prefix`
    chooses), and where objects cannot be linked.
    """
    config, account = config or CellProfilerConfig(), account or Account()
    if not Path(path).is_file():
        raise InputError(path, "", "no such file", "an SQLite file", "Check the path.")
    _require_whole(Path(path))
    with closing(sqlite3.connect(f"file:{Path(path).resolve()}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            yield from _read(connection, _find_tables(connection, config, path), config, account, path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise InputError(path, "", str(error), "an SQLite file", "Fetch the file again.") from error


def _require_whole(path: Path) -> None:
    """Raise InputError for a file that has lost its end: SQLite reads what is left of it without a word.

    Bytes 16 and 28 of the header hold the size of a page and their number, which is valid where bytes 24 and 92 agree
    (the file format, section 1.3, https://www.sqlite.org/fileformat.html).
    """
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0") or header[24:28] != header[92:96]:
        return
    page = int.from_bytes(header[16:18], "big")
    whole = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if path.stat().st_size < whole:
        raise InputError(path, "", f"{path.stat().st_size:,} bytes", f"{whole:,}, as its header says: it is cut off",
                         "Fetch the file again.")  # fmt: skip


def _read(
    connection: sqlite3.Connection, tables: _Tables, config: CellProfilerConfig, account: Account, path: str | Path
) -> Iterator[tuple[str, pl.DataFrame]]:
    images = image_places(_query(connection, f'SELECT * FROM "{tables.image}"'), config, config.defaults, path)
    require_different(images, path)
    account.place(images, path, Path(path).name)
    keys = [
        key for key in IMAGE_KEYS
        if key in images.columns and all(key in tables.columns[table] for table in tables.objects.values())
    ]  # fmt: skip
    headers = {name: tables.columns[table] for name, table in tables.objects.items()}
    if set(headers) == {_ALL_OBJECTS}:
        headers = {name: each.columns for name, each in _split(pl.DataFrame(schema=headers[_ALL_OBJECTS])).items()}
    expected = expected_features(headers, config)
    features = [feature for name in in_order(expected) for feature in expected[name]]
    for index, row in enumerate(images.select(keys).iter_rows()):
        # A key is a number in one table and text in another: either is asked for.
        spellings = [[key, int(key)] if key.isdigit() else [key] for key in row]
        where = " AND ".join(f'"{key}" IN ({", ".join("?" * len(s))})' for key, s in zip(keys, spellings, strict=True))
        values = [value for spelling in spellings for value in spelling]
        found = {
            name: _query(connection, f'SELECT * FROM "{table}" WHERE {where or "TRUE"}', values)
            for name, table in tables.objects.items()
        }
        if set(found) == {_ALL_OBJECTS}:
            found = _split(found[_ALL_OBJECTS])
        yield "-".join(row), align(link_objects(images[index], found, config, account, path), features, account)


def _find_tables(connection: sqlite3.Connection, config: CellProfilerConfig, path: str | Path) -> _Tables:
    asked = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    columns = {
        name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
        for (name,) in connection.execute(asked).fetchall()
    }
    images = {
        name: match["prefix"] for name in columns if (match := _IMAGE.match(name)) and "ImageNumber" in columns[name]
    }
    wanted = {name: prefix for name, prefix in images.items() if config.prefix in (None, prefix)}
    if len(wanted) != 1:
        shown = ", ".join(wanted or list(columns)[:8]) or "no table"
        todo = "Name one in `prefix`." if wanted else "Give a file of ExportToDatabase or of the Gallery's backend."
        raise InputError(
            path, "table Image", f"tables {shown}", f"one table {config.prefix or ''}Per_Image or Image", todo
        )
    [(image, prefix)] = wanted.items()
    others = tuple(other for other in images.values() if other.startswith(prefix) and other != prefix)
    kind = re.compile(rf"^{re.escape(prefix)}(?:Per_)?(?P<kind>.+)$", re.IGNORECASE)
    objects = {
        match["kind"]: name
        for name in columns
        if (match := kind.match(name)) and not name.startswith(others) and name not in images
        and "ImageNumber" in columns[name]
        and any(column.removeprefix(f"{match['kind']}_") in NUMBERS for column in columns[name])
    }  # fmt: skip
    if len(objects) > 1:  # a view of them all
        objects.pop(_ALL_OBJECTS, None)
    if not objects:
        found = f"the tables {', '.join(columns)}"
        raise InputError(path, "", found, f"tables of objects, such as {prefix}Per_Cells", "Export the objects too.")
    return _Tables(image, objects, columns)


def _split(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The table of all objects together, a row for those of one number, as tables of each kind."""
    kinds = {name: match[1] for name in frame.columns if (match := _KIND.match(name)) and name not in NUMBERS}
    names = {name: f"{kind}\t{name.removeprefix(f'{kind}_')}" for name, kind in kinds.items()}
    there = frame.select(name for name in frame.columns if name in names or name in (*IMAGE_KEYS, *NUMBERS))
    above = [kinds.get(name, "Image") for name in there.columns]
    return split_objects(above, there.rename({name: names.get(name, f"Image\t{name}") for name in there.columns}), "")


def _query(connection: sqlite3.Connection, statement: str, values: Sequence[Any] = ()) -> pl.DataFrame:
    """A query's rows. Columns are integers, floats, or text where some value is neither; null where there is none."""
    cursor = connection.execute(statement, values)
    names = [column[0] for column in cursor.description]
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(names)
    return pl.DataFrame([_series(name, column) for name, column in zip(names, columns, strict=True)])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {int}:
        return pl.Series(name, values, dtype=pl.Int64 if kinds else pl.Null)
    if kinds <= {int, float}:
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    texts = [value if value is None or isinstance(value, str) else str(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)
