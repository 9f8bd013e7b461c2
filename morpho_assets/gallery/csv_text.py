"""The CSV files of CellProfiler and of published profiles: thousands of columns of numbers, read as text.

What a value means is decided by who reads it, so that a barcode 0042 is not 42 and one word does not spoil a column.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib

import polars as pl

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.store import Store

_START = 1 << 18
"""Bytes that hold a header, most times."""


def read_csv(file: str, store: Store | None = None) -> tuple[list[str], pl.DataFrame]:
    """The row above the header, with a name for each column (empty where there is none), and the table as text.

    With a row above, columns are named `above<tab>column`. Empty cells are null. Commas or tabs; plain or gzipped;
    UTF-8, UTF-16 or Windows' Latin. InputError for a file that is empty or cut off, has other separators, or a column
    twice.
    """
    text = _text(_body(file, store), file).strip("\n")
    above, names, separator = _named(text, file)
    rows = text.split("\n")[2 if above else 1 :]
    for row, line in enumerate(rows, start=3 if above else 2):
        cells = line.count(separator) + 1
        if cells != len(names) and line and '"' not in line:
            todo = "Fetch the file again: it is cut off." if cells < len(names) else "Mend the row."
            raise InputError(file, f"row {row}", f"{cells} cells", f"{len(names)}, as in the header", todo)
    if above:
        names = [f"{kind}\t{name}" for kind, name in zip(above, names, strict=True)]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(file, "header", f"the column {repeated!r} twice", "each column once", "Remove one of them.")
    if not rows:
        return above, pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    body = io.BytesIO("\n".join(rows).encode())
    try:
        frame = pl.read_csv(body, separator=separator, has_header=False, new_columns=names, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        found = str(error).splitlines()[0]
        raise InputError(file, "", found, "a CSV table with a header", "Fetch the file again.") from None
    return above, frame


def harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """A table for a CSV file: a text that a spreadsheet would run as a formula begins with an apostrophe, and stays a
    text. https://owasp.org/www-community/attacks/CSV_Injection"""
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        pl.when(text.str.contains(r"^(?:[=@\t\r]|[+\-].)") & text.cast(pl.Float64, strict=False).is_null())
        .then("'" + text)
        .otherwise(text)
        .name.keep()
        for text in texts
    )


def read_header(file: str, store: Store | None = None) -> tuple[list[str], list[str]]:
    """The row above the header (empty where there is none) and the names of the columns, from the start of the file."""
    store, size = store or Store(), _START
    while True:
        try:
            body = store.start(file, size)
        except ImageError as error:
            raise _unreadable(error) from None
        whole = len(body) < size
        text = _text(body, file, whole)
        if whole or text.count("\n") > 1:
            return _named(text.strip("\n"), file)[:2]
        size *= 8


def _named(text: str, file: str) -> tuple[list[str], list[str], str]:
    """The row above the header, the header, and what separates their cells."""
    first, _, rest = text.partition("\n")
    if not first.strip():
        raise InputError(file, "row 1", "an empty file", "a header", "Fetch the file again.")
    separator = _separator(first, file)
    names, below = (_cells(line, separator) for line in (first, rest.partition("\n")[0]))
    if "ImageNumber" in below and "ImageNumber" not in names and len(names) == len(below):
        return names, below, separator
    return [], names, separator


def _cells(line: str, separator: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]


def _separator(header: str, file: str) -> str:
    for mark in (",", "\t"):
        if mark in header:
            return mark
    if ";" in header:
        todo = "Save the file with commas, and numbers with points."
        raise InputError(file, "row 1", "semicolons between the columns", "commas or tabs", todo)
    return ","


def _body(file: str, store: Store | None) -> bytes:
    try:
        return (store or Store()).read(file).body
    except ImageError as error:
        raise _unreadable(error) from None


def _unreadable(error: ImageError) -> InputError:
    todo = "Check that the folder is complete."
    return InputError(error.path, "", f"a file that {error.reason}", "a table", todo)


def _text(body: bytes, file: str, whole: bool = True) -> str:
    """The text of a file, or of its start; lines end with a newline."""
    if body.startswith(b"\x1f\x8b"):
        try:
            body = gzip.decompress(body) if whole else zlib.decompressobj(31).decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            todo = "Fetch the file again."
            raise InputError(file, "", str(error), "a CSV table with a header, whole", todo) from None
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = body[: len(body) // 2 * 2].decode("utf-16", errors="replace")
    else:
        try:
            text = codecs.getincrementaldecoder("utf-8-sig")().decode(body, final=whole)
        except UnicodeDecodeError:  # CellProfiler on Windows writes paths in the machine's own code page
            text = body.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")
