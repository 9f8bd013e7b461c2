"""Which columns of a table say the plate, the well and the site; found by the names that are usual, or by settings."""

from __future__ import annotations

import re
from collections.abc import Callable

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError, raise_first
from morpho_assets.gallery.text import ROW, listed, require_columns
from morpho_assets.gallery.wells import row_number, well_name, well_position

KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")

_USUAL = {
    "plate": ("plate", "assayplatebarcode", "platebarcode", "barcode", "plateid", "platename"),
    "well": ("well", "wellposition", "cpdwellposition", "wellname", "wellid"),
    "site": ("site", "field", "fieldid", "fov", "siteid"),
    "row": ("row", "wellrow", "platerow"),
    "column": ("col", "column", "wellcol", "wellcolumn", "platecol", "platecolumn"),
}
"""Names of columns without case, punctuation and the prefixes Image_ and Metadata_, in order of preference."""
_SITE = re.compile(r"(?:site|field|fov|f|s)?[ _-]*([0-9]+)(?:\.0*)?", re.IGNORECASE)


class ColumnsConfig(BaseModel):
    """Columns of a table by name, where they are not called as usual (Metadata_Well, well_position, Well, …)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plate: str | None = Field(None, description="column with the plate's barcode")
    well: str | None = Field(None, description="column with the well")
    site: str | None = Field(None, description="column with the site (field of view)")


def find_column(frame: pl.DataFrame, what: str) -> str | None:
    """The column that is usually called so: `plate`, `well`, `site`, `row` or `column`; None where there is none."""
    plain = {name: re.sub(r"[^a-z0-9]", "", _bare(name)) for name in frame.columns if name != ROW}
    return next((name for usual in _USUAL[what] for name, bare in plain.items() if bare == usual), None)


def named_column(frame: pl.DataFrame, file: str, what: str, name: str | None) -> str | None:
    """The column of that name, or the usual one. Raises InputError for a name that the table lacks."""
    if name is not None:
        require_columns(frame, file, (name,))
    return name or find_column(frame, what)


def well_names(frame: pl.DataFrame, file: str, name: str | None = None) -> pl.Series:
    """Metadata_Well of each row, as A01 … AF48: from a column with the well, or from its row and column.

    Raises InputError for a table without these, an empty cell, and a well that is none.
    """
    column = named_column(frame, file, "well", name)
    if column is not None:
        return pl.Series(_parsed(frame, file, (column,), _well, "a well"), dtype=pl.String)
    places = find_column(frame, "row"), find_column(frame, "column")
    if places[0] is None or places[1] is None:
        there = [name for name in frame.columns if name != ROW]
        expected = "also well_position, Metadata_Well or Well, or a row and a column"
        todo = "Rename the column of the wells, or name it in the source's `columns.well`."
        raise InputError(file, "row 1", f"the columns {listed(there)}", expected, todo)
    names = _parsed(frame, file, (places[0], places[1]), _well_at, "a well's row and column")
    return pl.Series(names, dtype=pl.String)


def site_numbers(frame: pl.DataFrame, file: str, column: str) -> pl.Series:
    """Metadata_Site of each row: the number in `1`, `1.0`, `s1` or `F001`. Raises InputError for anything else."""
    return pl.Series(_parsed(frame, file, (column,), _site, "a number such as 1"), dtype=pl.Int32)


def chosen_rows(frame: pl.DataFrame, file: str, condition: str | None) -> pl.DataFrame:
    """The rows where an SQL condition holds; all without one. Raises InputError for one that cannot be asked."""
    if condition is None:
        return frame
    try:
        chosen = frame.select(pl.sql_expr(condition).alias("chosen")).to_series()
        if chosen.dtype != pl.Boolean or len(chosen) not in (1, frame.height):
            raise pl.exceptions.SchemaError(f"values of type {chosen.dtype}, which are no condition")
    except (pl.exceptions.PolarsError, BaseExceptionGroup) as error:
        there = listed(name for name in frame.columns if name != ROW)
        todo = "Correct the source's `rows`; values are text: \"Metadata_PlaneID = '1'\"."
        raise InputError("rows", repr(condition), str(error).splitlines()[0], f"a condition on {there}", todo) from None
    kept = frame.filter(chosen.fill_null(False) if len(chosen) == frame.height else bool(chosen[0]))
    if not kept.height:
        raise InputError(file, "", f"no row where {condition}", "some", "Correct the source's `rows`.")
    return kept


def same_plate(column: pl.Expr, plate: str) -> pl.Expr:
    """Whether a barcode is the plate's: itself, or the microscope's longer name, `<barcode>__<date>-Measurement1`."""
    return (column == plate) | column.str.starts_with(f"{plate}__")


def other_plates(found: pl.Series, plate: str) -> str:
    """What a message says of the barcodes found in a plate's stead; one that lost its zeros is pointed out."""
    names = found.drop_nulls().unique().sort().to_list()
    text = listed(names, 5)
    if any(name.lstrip("0") == plate.lstrip("0") for name in names):
        text += " (a spreadsheet takes leading zeros away)"
    return text


def _bare(name: str) -> str:
    return name.lower().removeprefix("image_").removeprefix("metadata_")


def _well(name: str) -> str:
    return well_name(*well_position(name))


def _well_at(row: str, column: str) -> str:
    if re.fullmatch(r"[0-9]+(\.0*)?", column) is None:
        raise ValueError(f"{column!r} is no column such as 1")
    return _well(well_name(row_number(row), int(float(column))))


def _site(text: str) -> int:
    match = _SITE.fullmatch(text)
    if match is None or int(match[1]) > 2**31 - 1:
        raise ValueError(repr(text))
    return int(match[1])


def _parsed(
    frame: pl.DataFrame, file: str, columns: tuple[str, ...], parse: Callable[..., object], expected: str
) -> list[object]:
    """The cells of each row parsed. Raises InputError for those that are empty or not understood: the first row's."""
    values, faults = [], []
    for row, *cells in frame.select(ROW, *columns).iter_rows():
        place = f"row {row}, column {' and '.join(columns)}"
        if None in cells:
            faults.append(InputError(file, place, "an empty cell", expected, "Fill it in."))
            continue
        try:
            values.append(parse(*cells))
        except ValueError as error:
            faults.append(InputError(file, place, str(error), expected, "Correct it."))
    raise_first(faults)
    return values
