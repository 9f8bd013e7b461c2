"""Well profiles that somebody published: CSV, Parquet or AnnData, of CellProfiler's features or of embeddings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.account import Account, as_numbers
from morpho_assets.gallery.csv_text import read_csv
from morpho_assets.gallery.cytotable import UNREADABLE, unreadable_parquet
from morpho_assets.gallery.h5ad import read_h5ad
from morpho_assets.gallery.image_table import CellProfilerConfig, find_column, named, numbered_plate
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.wells import well_name, well_position
from morpho_assets.lake.tables import FEATURES, has_prefix

KNOWN = tuple(family.prefix for family in FEATURES)
EMBEDDING = "Embedding_"
_METADATA = re.compile(r"^(Image_)?Metadata_")
_WHOLE = r"^-?(0|[1-9]\d{0,17})$"
_DECIMAL = r"^-?(0|[1-9]\d*)(\.\d+)?$"
_DIMENSION = re.compile(r"^(?P<stem>.*?\D)(?P<number>\d+)$")


def read_wells(
    file: str | Path,
    store: Store | None = None,
    config: CellProfilerConfig | None = None,
    features: Sequence[str] = (),
    account: Account | None = None,
    rename: Mapping[str, str] | None = None,
    plate: str | None = None,
) -> pl.DataFrame:
    """Well profiles, a row per well: Metadata_Plate and Metadata_Well (A1 is A01), other metadata, features as Float64
    (null where there is no finite number, also throughout).

    Features are those that start with one of `features`, else CellProfiler's, `Embedding_` and `PC_` columns, else
    columns that only differ in a number which counts on (efficientnet_0, efficientnet_1 …). What has no known start
    becomes an embedding: Embedding_efficientnet_0. Plate and well are named as in a table of images (`config`;
    Image_Metadata_Well is found too) and are text; other metadata of a CSV are numbers where all of a column are
    written as numbers are (not 0042 or 1E5). The account says which columns of numbers were left out; `rename` what
    columns are called here; of a table of many plates `plate` is the one whose rows are read. Raises InputError for a
    file without features, plate or well, for a well that is none and one that comes twice, and for a column to rename
    that is not there.
    """
    file, config, account = str(file), config or CellProfilerConfig(), account or Account()
    frame = _renamed(_read(file, store), rename or {}, file)
    if plate is not None:
        column = find_column(frame.columns, config.plate)
        frame = frame if column is None else frame.filter(pl.Series(_texts(frame[column])) == plate)
    places = _places(frame, config, file)
    names = feature_names(frame, features)
    if not names:
        shown = ", ".join(frame.columns[:8])
        wanted = f"features that start with {', '.join((*features, *KNOWN))}"
        raise InputError(file, "header", f"the columns {shown}", wanted, "Name their start in `features`.")
    measured, odd = as_numbers(frame, list(names))
    account.text.update({names[name]: text for name, text in odd.items()})
    metadata = {name: name.removeprefix("Image_") for name in frame.columns if _METADATA.match(name)}
    others = [name for name in frame.columns if name and name not in {**names, **metadata} and _numeric(frame[name])]
    account.left_out.update(dict.fromkeys(others, "no feature"))
    kept = {to: _typed(frame[name]).alias(to) for name, to in metadata.items() if to not in places.columns}
    wells = pl.concat([places, pl.DataFrame(list(kept.values())), measured.rename(names)], how="horizontal")
    _refuse_twice(wells, file)
    return wells


def plates_in(file: str, store: Store, config: CellProfilerConfig, rename: Mapping[str, str]) -> list[str]:
    """The plates of a table of many, sorted. InputError for a table that does not name them."""
    frame = _renamed(_read(file, store), rename, file)
    column = find_column(frame.columns, config.plate)
    if column is None:
        todo = "Name the column in `cellprofiler.plate`, or give a file per plate with {plate} in `files`."
        raise InputError(file, "header", f"no {config.plate}", "the plate of each well", todo)
    return sorted({text for text in _texts(frame[column]) if text is not None})


def _renamed(frame: pl.DataFrame, rename: Mapping[str, str], file: str) -> pl.DataFrame:
    absent = [name for name in rename if name not in frame.columns]
    if absent:
        shown = ", ".join(frame.columns[:8])
        raise InputError(file, "header", f"no {absent[0]}", "the columns of `rename`", f"There are {shown}.")
    return frame.rename(dict(rename))


def feature_names(frame: pl.DataFrame, starts: Sequence[str] = ()) -> dict[str, str]:
    """The features of published profiles by their column: the name that they have here. See `read_wells`."""
    known = dict.fromkeys(name for name in frame.columns if has_prefix(name, KNOWN))
    asked = [name for name in frame.columns if starts and name.startswith(tuple(starts))]
    found = asked or list(known) or _dimensions(frame)
    return {name: name if name in known else f"{EMBEDDING}{name}" for name in found}


def _dimensions(frame: pl.DataFrame) -> list[str]:
    """Columns of numbers whose names are a common start and 0, 1, 2 … or 1, 2, 3 …, at least three of them."""
    stems: dict[str, dict[int, str]] = {}
    for name in frame.columns:
        if (match := _DIMENSION.match(name)) and not name.startswith(("Metadata_", "Image_")) and _numeric(frame[name]):
            stems.setdefault(match["stem"], {})[int(match["number"])] = name
    series = [
        [numbers[k] for k in sorted(numbers)] for numbers in stems.values()
        if len(numbers) > 2 and sorted(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))
    ]  # fmt: skip
    return [name for one in series for name in one]


def _numeric(column: pl.Series) -> bool:
    """Whether a column holds numbers, as its type or its text says."""
    if column.dtype != pl.String:
        return column.dtype.is_numeric()
    values, odd = as_numbers(column.to_frame(), [column.name])
    return not odd and values[column.name].null_count() < len(column)


def _read(file: str, store: Store | None) -> pl.DataFrame:
    """The file's table: text of a CSV, typed columns of Parquet and AnnData."""
    if file.endswith((".parquet", ".h5ad")):
        try:
            with (store or Store()).local(file) as path:
                return read_h5ad(path, file) if file.endswith(".h5ad") else _parquet(path, file)
        except ImageError as error:
            raise InputError(error.path, "", f"a file that {error.reason}", "a table", "Check `files`.") from None
    above, frame = read_csv(file, store)
    if above:
        raise InputError(file, "row 1", "a row above the header", "a row per well below one header", "Remove it.")
    return frame


def _parquet(path: str, file: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except UNREADABLE as error:
        raise unreadable_parquet(file, error) from None


def _places(frame: pl.DataFrame, config: CellProfilerConfig, file: str) -> pl.DataFrame:
    """Metadata_Plate and Metadata_Well of every row."""
    columns = {word: find_column(frame.columns, getattr(config, word)) for word in ("plate", "well")}
    absent = [word for word, name in columns.items() if name is None and word not in config.defaults]
    if absent:
        missing = ", ".join(getattr(config, word) for word in absent)
        todo = f"Give files with one row per well, or name the column in `cellprofiler.{absent[0]}`."
        raise InputError(file, "header", f"no {missing}", "well profiles", todo)
    said = {
        word: _texts(frame[name]) if name else [None] * frame.height for word, name in columns.items()
    }  # fmt: skip
    rows = []
    for row, (plate, well) in enumerate(zip(said["plate"], said["well"], strict=True), start=2):
        plate, well = plate or named(config.defaults.get("plate")), well or named(config.defaults.get("well"))
        if columns["plate"] and frame.schema[columns["plate"]].is_numeric() and plate:
            plate = numbered_plate(plate, config.defaults.get("plate"))
        try:
            rows.append((plate, well_name(*well_position(well or ""))))
        except ValueError as error:
            where = f"row {row}, column {columns['well'] or config.well}"
            raise InputError(file, where, str(error), "a well", "Correct the well's name.") from None
    return pl.DataFrame(rows, schema={"Metadata_Plate": pl.String, "Metadata_Well": pl.String}, orient="row")


def _texts(column: pl.Series) -> list[str | None]:
    """Values as text; whole numbers without a point, null where nothing is said."""
    return [named(value) for value in column.to_list()]


def _typed(column: pl.Series) -> pl.Series:
    """Text as numbers, where it is written as numbers are: what a zero in front or an exponent names stays text."""
    if column.dtype != pl.String or column.null_count() == len(column):
        return column
    for pattern, dtype in ((_WHOLE, pl.Int64), (_DECIMAL, pl.Float64)):
        if column.str.contains(pattern).all():
            return column.cast(dtype)
    return column


def _refuse_twice(wells: pl.DataFrame, file: str) -> None:
    repeated = wells.filter(wells.select("Metadata_Plate", "Metadata_Well").is_duplicated())
    if repeated.height:
        found = f"{repeated.height} rows of wells that come twice"
        todo = "Give profiles of wells, not of sites or treatments."
        raise InputError(file, f"well {repeated['Metadata_Well'][0]}", found, "one row per well", todo)
