"""Reading the tables that people, robots and spreadsheets write: text, workbooks and Parquet, with messages that help.

What a file is, its content says: a delimiter, an encoding, compression, a workbook or Parquet are recognised, whatever
the file is called. Every cell is text, so that a barcode keeps its zeros. Rows are numbered as an editor shows them:
the header is row 1.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import polars as pl

from morpho_assets.errors import InputError, MorphoError

ROW = "row in the file"
"""The column in which `read_table` numbers the rows."""
ENDINGS = (".txt", ".tsv", ".csv", ".xlsx")
"""What tables are called, in the order in which they are looked for."""

_DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
_READ = ("\t", ",")
_LINE_END = re.compile(r"\r\n|\n|\r")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

Rows = list[tuple[int, list[str]]]


def read_table(body: bytes, file: str, restore: str = "Restore the file.") -> pl.DataFrame:
    """A table as text: its columns, empty cells null, and `ROW`, the number of each row in the file.

    Tabs or commas between the cells, gzip or not, UTF-8 or marked UTF-16; the first sheet of a workbook; Parquet. Empty
    columns at the right edge are left out, as are a first column without a name (row numbers) and a second copy of a
    column. A quote within a cell is a character like others; around a cell it may hold the delimiter.

    Raises InputError for a file that is empty, has a header alone, another delimiter or encoding, two different columns
    of one name, a row of another length, a quote that opens a cell and does not close it in its row, or damage;
    `restore` says what to do about an empty one.
    """
    if body[:2] == b"\x1f\x8b":
        body = _unzip(body, file)
    if body and body.count(0) == len(body):
        found = f"{len(body)} zero bytes and nothing else"
        raise InputError(file, "", found, "a table", "It was never written whole: fetch or write it again.")
    if body[:4] == b"PAR1" or file.endswith(".parquet"):
        frame = _parquet(body, file)
    else:
        rows = _workbook(body, file) if body[:4] in _WORKBOOKS else _delimited(body, file)
        if not rows:
            raise InputError(file, "row 1", "an empty file", "a header with commas or tabs", restore)
        frame = _assemble(rows, file)
    if not frame.height:
        raise InputError(file, "row 2", "no rows", "at least one row below the header", restore)
    return frame


def require_columns(frame: pl.DataFrame, file: str, columns: Iterable[str]) -> None:
    """Raise InputError naming the columns that are missing and those that are there."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        there = [name for name in frame.columns if name != ROW]
        close = get_close_matches(missing[0], there, 1)
        todo = f"Rename {close[0]}, if that is it." if close else "Add or rename the columns."
        raise InputError(file, "row 1", f"the columns {listed(there)}", f"also {', '.join(missing)}", todo)


def require_values(frame: pl.DataFrame, file: str, columns: Iterable[str]) -> None:
    """Raise InputError for the first empty cell of these columns."""
    for name in columns:
        empty = frame.filter(pl.col(name).is_null())
        if empty.height:
            raise InputError(file, f"row {empty[ROW][0]}, column {name}", "an empty cell", "a value", "Fill it in.")


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names with commas between, as many as a message can hold."""
    names = list(names)
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")


@contextmanager
def decoding(file: str, what: str, do: str) -> Iterator[None]:
    """Whatever a decoder raises at a broken byte, a panic of its Rust code too, becomes an InputError: no `what`."""
    try:
        yield
    except MorphoError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(file, "", f"no readable {what} ({reason[0]})", f"a {what}", do) from None


def _unzip(body: bytes, file: str) -> bytes:
    """All of a gzip file. Raises InputError for one that is cut off or damaged."""
    with decoding(file, "gzip file", "It is cut off or damaged: fetch it again."):
        out = bytearray()
        while body[:2] == b"\x1f\x8b":
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            out += member.decompress(body)
            if not member.eof:
                raise EOFError("its end is missing")
            body = member.unused_data
        if body.strip(b"\0"):
            raise ValueError(f"{len(body)} bytes after its end")
        return bytes(out)


def _parquet(body: bytes, file: str) -> pl.DataFrame:
    """A Parquet file as text; whole numbers that a spreadsheet made floats (42.0) are whole numbers again."""
    with decoding(file, "Parquet file", "Write or fetch it again."):
        frame = pl.read_parquet(io.BytesIO(body))
        plain = [name for name, kind in frame.schema.items() if not kind.is_nested() and kind != pl.Binary]
        frame = frame.select(plain).with_columns(pl.selectors.float().fill_nan(None))
        whole = [
            series.name
            for series in frame.select(pl.selectors.float())
            if ((series % 1 == 0) & (series.abs() < 2**53)).all()
        ]
        frame = frame.with_columns(pl.col(whole).cast(pl.Int64)).cast(pl.String)
        return _tidy(frame.with_columns(pl.int_range(2, frame.height + 2, dtype=pl.Int64).alias(ROW)))


def _workbook(body: bytes, file: str) -> Rows:
    import fastexcel

    with decoding(file, "workbook", "Save it again, without a password, or as .csv."):
        sheet = fastexcel.read_excel(body).load_sheet(0, header_row=None, dtypes="string")
        cells = [[value or "" for value in row] for row in sheet.to_polars().rows()]
    return [(number, row) for number, row in enumerate(cells, start=1) if any(cell.strip() for cell in row)]


def _delimited(body: bytes, file: str) -> Rows:
    lines = [(n, line) for n, line in enumerate(_LINE_END.split(_decode(body, file)), start=1) if line.strip()]
    header = lines[0][1] if lines else ""
    delimiter = next((mark for mark in _READ if mark in header), None)
    if delimiter is None:
        others = [name for mark, name in _DELIMITERS.items() if mark in header]
        if others:
            todo = "Save the file with commas or tabs."
            raise InputError(file, "row 1", f"{others[0]} between the columns", "commas or tabs", todo)
    return [(number, _split(line, delimiter or ",", file, number)) for number, line in lines]


def _split(line: str, delimiter: str, file: str, number: int) -> list[str]:
    """The cells of one row. A cell that spans rows is refused: as often as not it is a quote that somebody forgot."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        found = f"a quote that opens a cell and does not close it ({error})"
        todo = 'Take out the quote or the line break, or write "" for a quote inside quotes.'
        raise InputError(file, f"row {number}", found, "cells that end in their row", todo) from None


def _assemble(rows: Rows, file: str) -> pl.DataFrame:
    """A header and rows of cells as a frame. Raises InputError for rows of another length, and for columns in doubt."""
    names = [name.strip() for name in rows[0][1]]
    while names and not names[-1]:
        names.pop()
    width = len(names)
    for number, cells in rows[1:]:
        used = len(cells)
        while used > width and not cells[used - 1].strip():
            used -= 1
        if used != width and not (used < width and not any(cell.strip() for cell in cells)):
            raise InputError(file, f"row {number}", f"{used} cells", f"{width}, as in the header", "Mend the row.")
    data = [(number, cells[:width]) for number, cells in rows[1:] if any(cell.strip() for cell in cells)]
    columns: dict[str, list[str]] = {}
    for index, name in enumerate(names):
        values = [cells[index].strip() for _, cells in data]
        if not name and (index == 0 or not any(values)):
            continue
        if not name:
            found = f"column {index + 1} without a name, with values such as {next(filter(None, values))!r}"
            raise InputError(file, "row 1", found, "a name for each column", "Name the column or empty it.")
        if columns.setdefault(name, values) != values:
            found = f"the column {name!r} twice, with different values"
            raise InputError(file, "row 1", found, "each column once", "Remove one of them.")
    if ROW in columns:
        raise InputError(file, "row 1", f"the column {ROW!r}", "another name", "Rename the column.")
    numbers = pl.Series(ROW, [number for number, _ in data], dtype=pl.Int64)
    return _tidy(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_columns(numbers))


def _tidy(frame: pl.DataFrame) -> pl.DataFrame:
    """Cells trimmed and empty ones null; rows without any value left out."""
    text = pl.col(pl.String)
    frame = frame.with_columns(text.str.strip_chars()).with_columns(pl.when(text != "").then(text).name.keep())
    names = [name for name in frame.columns if name != ROW]
    return frame.filter(~pl.all_horizontal(pl.col(names).is_null())) if names else frame.clear()


def _decode(body: bytes, file: str) -> str:
    encoding = "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        byte = body[error.start : error.start + 1].decode("latin-1")
        found = "a byte that is not UTF-8" + (f" (in Latin-1 it is {byte!r})" if encoding != "utf-16" else " or UTF-16")
        raise InputError(file, f"byte {error.start}", found, "UTF-8", "Save it as UTF-8 text.") from None
    if "\0" in text:
        found = f"a zero byte in row {text.count(chr(10), 0, text.index(chr(0))) + 1}"
        raise InputError(file, "", found, "text", "Save it as UTF-8 (this may be UTF-16 without its mark, or damage).")
    return text
