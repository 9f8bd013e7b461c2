"""Single-cell Parquet as CytoTable writes it, in the columns of each of its presets.

Where it names the images but no site, the images of a well are numbered. Images without a cell, which some presets keep
as a row without objects, are sites with 0 cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account, as_numbers
from morpho_assets.gallery.compartments import PREFIXES
from morpho_assets.gallery.image_table import IMAGE_KEYS, SITE_KEYS, CellProfilerConfig, find_column, image_places
from morpho_assets.lake.tables import has_prefix

ROWS = 8_192
"""Cells of a Parquet file read at a time: some 200 MB of 3,000 features."""
_NUMBERS = (
    "Metadata_Cells_Number_Object_Number", "Cells_Number_Object_Number", "Metadata_Cells_ObjectNumber",
    "Cells_ObjectNumber", "Metadata_Cytoplasm_Parent_Cells", "Cytoplasm_Parent_Cells", "Metadata_ObjectNumber_cells",
    "Metadata_ObjectNumber", "Metadata_Nuclei_Number_Object_Number", "Nuclei_Number_Object_Number",
    "Metadata_Nuclei_ObjectNumber", "Nuclei_ObjectNumber", "ObjectNumber", "OBJECT ID",
)  # fmt: skip
"""Columns with the number of the cell in its image, the surest first."""
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises of a file that is none or damaged; it panics where pages are not what the footer says."""
_LINK = re.compile(r"_(Number_Object_Number|ObjectNumber\w*|ImageNumber|TableNumber|Parent_\w+)$")
_ROW = "__row"
_PLACED = {key: f"__{key}" for key in SITE_KEYS}
_IN_CARTA = {"Primary Target": "Nuclei", "Nuclei": "Nuclei", "Cells": "Cells", "Cytoplasm": "Cytoplasm"}
"""IN Carta's names of objects, as CytoTable leaves them: the compartment that they are here."""


@dataclass(frozen=True)
class _Plan:
    """How a file is read: `places` has the columns `where` as they are in the file, and under `_PLACED` the site keys;
    `number` is the column with the cell's number, if there is one; `features` are the measurements, by their column."""

    places: pl.DataFrame
    where: Sequence[str]
    number: str | None
    features: Mapping[str, str]
    keep: Sequence[str]


def scan_cytotable(path: str | Path, config: CellProfilerConfig | None = None) -> pl.LazyFrame:
    """The cells of a file (or of those that match a glob), lazily: site keys, ObjectNumber, `config.keep`, features.

    Features are Float64, null where there is no finite number. Cells without a number have their place in the file.
    InputError for a file that is not there or no Parquet, when plate or well cannot be found, and for a cell that comes
    twice.
    """
    scan = _scan(path)
    return _cells(scan.with_row_index(_ROW, 1), _plan(scan, config or CellProfilerConfig(), Account(), path))


def read_cytotable(
    path: str | Path, config: CellProfilerConfig | None = None, account: Account | None = None
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields (rows, cells), `ROWS` at a time, all with the same columns; see `scan_cytotable`."""
    config, account = config or CellProfilerConfig(), account or Account()
    scan = _scan(path)
    plan = _plan(scan, config, account, path)
    account.place(
        plan.places.select(_PLACED.values()).rename({to: key for key, to in _PLACED.items()}), path, Path(path).name
    )
    texts = [name for name, kind in scan.collect_schema().items() if name in plan.features and kind == pl.String]
    total = int(_collect(scan.select(pl.len()), path).item())
    for start in range(0, total, ROWS):
        part = scan.slice(start, ROWS)
        if texts:
            _, odd = as_numbers(_collect(part.select(texts), path), texts)
            account.text.update({plan.features[name]: text for name, text in odd.items()})
        cells = _collect(_cells(part.with_row_index(_ROW, start + 1), plan), path)
        account.count(cells, list(plan.features.values()))
        yield f"rows {start + 1} to {min(start + ROWS, total)}", cells


def _scan(path: str | Path) -> pl.LazyFrame:
    try:
        scan = pl.scan_parquet(path)
        scan.collect_schema()
    except UNREADABLE as error:
        raise unreadable_parquet(path, error) from None
    return scan


def _collect(rows: pl.LazyFrame, path: str | Path) -> pl.DataFrame:
    try:
        return rows.collect()
    except UNREADABLE as error:
        raise unreadable_parquet(path, error) from None


def unreadable_parquet(path: object, error: BaseException) -> InputError:
    """What to say of a file that polars cannot read."""
    found = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(path, "", found, "a Parquet file", "Check the path, or fetch the file again.")


def _plan(scan: pl.LazyFrame, config: CellProfilerConfig, account: Account, path: str | Path) -> _Plan:
    schema = scan.collect_schema()
    in_carta = {"OBJECT ID", "WELL LABEL"} <= set(schema.names())
    if in_carta:
        config = config.model_copy(update={"well": "WELL LABEL", "site": "FOV"})
    asked = [config.plate, config.well, config.site, *IMAGE_KEYS]
    where = list(dict.fromkeys(name for word in asked if (name := find_column(schema.names(), word))))
    images = _collect(scan.select(where).unique(maintain_order=True), path) if where else pl.DataFrame({"__": [None]})
    images = images.with_row_index(_ROW)
    kept = config.model_copy(update={"keep": (_ROW,)})
    placed = image_places(images, kept, config.defaults, path).select(_ROW, *SITE_KEYS).rename(_PLACED)
    places = placed.join(images.select(_ROW, *where), on=_ROW, how="left", maintain_order="left")
    number = next((name for name in _NUMBERS if name in schema), None)
    features = _features(schema, config, in_carta)
    other = [name for name, kind in schema.items() if kind.is_numeric() and name not in features]
    ours = re.compile(r"^(Metadata|Image)_")
    account.left_out.update({name: "no measurement of a module of CellProfiler's" for name in other
                             if not ours.match(name) and not _LINK.search(name) and name != number})  # fmt: skip
    plan = _Plan(places.drop(_ROW), where, number, features, [name for name in config.keep if name in schema])
    _refuse_twice(scan, plan, path)
    return plan


def _features(schema: pl.Schema, config: CellProfilerConfig, in_carta: bool) -> dict[str, str]:
    """The measurements by their column. IN Carta's `Cells Area wv1` is Cells_Area_wv1."""
    if not in_carta:
        return {name: name for name in schema if has_prefix(name, PREFIXES) and not _LINK.search(name)}
    objects = {**_IN_CARTA, **config.compartments}
    named = {
        name: f"{to}_{re.sub(r'[^A-Za-z0-9]+', '_', name.removeprefix(f'{kind} ')).strip('_')}"
        for kind, to in objects.items()
        for name, dtype in schema.items()
        if to is not None and name.startswith(f"{kind} ") and dtype.is_numeric()
    }
    return {name: to for name, to in named.items() if has_prefix(to, PREFIXES)}


def _cells(scan: pl.LazyFrame, plan: _Plan) -> pl.LazyFrame:
    """The rows of a scan with a row number that are cells, in our columns."""
    schema = scan.collect_schema()
    number = pl.col(plan.number) if plan.number else pl.col(_ROW)
    if plan.number:
        scan = scan.filter(number.is_not_null())
    if plan.where:
        scan = scan.join(plan.places.lazy(), on=plan.where, how="left", nulls_equal=True, maintain_order="left")
    else:
        scan = scan.join(plan.places.lazy(), how="cross", maintain_order="left")
    values = [(pl.col(name).str.strip_chars() if schema[name] == pl.String else pl.col(name), to)
              for name, to in plan.features.items()]  # fmt: skip
    numbers = [value.cast(pl.Float64, strict=False).alias(to) for value, to in values]
    features = list(plan.features.values())
    kept = [name for name in plan.keep if name not in SITE_KEYS]
    places = [pl.col(placed).alias(key) for key, placed in _PLACED.items()]
    cells = scan.select(*places, number.cast(pl.Int64).alias("ObjectNumber"), *kept, *numbers)
    return cells.with_columns(pl.when(pl.col(features).is_finite()).then(pl.col(features)).name.keep())


def _refuse_twice(scan: pl.LazyFrame, plan: _Plan, path: str | Path) -> None:
    """Raise InputError for a cell that comes twice: images taken for one site, or rows that were joined wrongly."""
    if plan.number is None:
        return
    keys = scan.select(*plan.where, plan.number).drop_nulls(plan.number)
    twice = _collect(keys.filter(pl.struct(pl.all()).is_duplicated()).head(1), path)
    if twice.height:
        found = ", ".join(f"{name} {value}" for name, value in twice.row(0, named=True).items())
        todo = "Name the columns that tell images apart: `site`, or keep Metadata_ImageNumber and Metadata_TableNumber."
        raise InputError(path, "", f"two cells with {found}", "every cell once", todo)
