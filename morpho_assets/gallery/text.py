"""Reading the tables that people and robots write by hand: CSV, TSV and Parquet, with messages that help.

Rows are numbered as an editor shows them: the header is row 1.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import polars as pl

from morpho_assets.errors import InputError

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def read_table(body: bytes, file: str, separator: str = ",") -> pl.DataFrame:
    """A delimited table (or Parquet, by the file's name) as strings; empty cells are null.

    Raises InputError for an empty file, a header alone, another delimiter, a repeated column or a row that is too long.
    """
    if file.endswith(".parquet"):
        try:
            return pl.read_parquet(io.BytesIO(body)).cast(pl.String)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(file, "", f"no readable Parquet ({error})", "a Parquet file", "Write it again.") from None
    text = _decode(body, file)
    header = text.splitlines()[0] if text.strip() else ""
    if not header.strip():
        raise InputError(file, "row 1", "an empty file", f"a header with {_DELIMITERS[separator]}", "Restore the file.")
    _check_delimiter(header, file, separator)
    names = [name.strip().strip('"') for name in header.split(separator)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(file, "row 1", f"the column {repeated[0]!r} twice", "each column once", "Remove one of them.")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.count(separator) + 1
        if line.strip() and '"' not in line and cells != len(names):
            raise InputError(
                file, f"row {number}", f"{cells} cells", f"{len(names)}, as in the header", "Mend the row."
            )
    frame = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
    frame = frame.rename({name: name.strip() for name in frame.columns}).with_columns(pl.all().str.strip_chars())
    frame = frame.with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if not frame.height:
        raise InputError(file, "row 2", "no rows", "at least one row below the header", "Restore the file.")
    return frame


def require_columns(frame: pl.DataFrame, file: str, columns: Iterable[str]) -> None:
    """Raise InputError naming the columns that are missing and those that are there."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        shown = ", ".join(frame.columns[:12]) + (" …" if frame.width > 12 else "")
        raise InputError(
            file, "row 1", f"the columns {shown}", f"also {', '.join(missing)}", "Add or rename the columns."
        )


def require_values(frame: pl.DataFrame, file: str, columns: Iterable[str]) -> None:
    """Raise InputError for the first empty cell of these columns."""
    for name in columns:
        empty = frame[name].is_null().arg_true()
        if len(empty):
            raise InputError(file, f"row {empty[0] + 2}, column {name}", "an empty cell", "a value", "Fill it in.")


def _decode(body: bytes, file: str) -> str:
    if body[:2] == b"\x1f\x8b":
        import gzip

        body = gzip.decompress(body)
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(file, f"byte {error.start}", "a byte that is not UTF-8", "text", "Save it as UTF-8.") from None


def _check_delimiter(header: str, file: str, separator: str) -> None:
    if separator in header:
        return
    others = [name for mark, name in _DELIMITERS.items() if mark in header]
    if others:
        wanted = _DELIMITERS[separator]
        raise InputError(file, "row 1", f"{others[0]} between the columns", wanted, f"Save the file with {wanted}.")
