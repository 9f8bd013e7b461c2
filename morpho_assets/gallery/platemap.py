"""What was done to each well: the table of barcodes, the platemap it names, and metadata of the perturbations."""

from __future__ import annotations

import re

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.places import find_column, other_plates, same_plate, well_names
from morpho_assets.gallery.text import ENDINGS, ROW, listed, read_table

DESCRIBED = "described"

_MAPS = ("platemapname", "platemap", "platemapfile", "platelayout", "layout")
_MISSING = ("NA", "N/A", "#N/A", "nan", "NaN", "NULL")


def platemap_name(body: bytes, file: str, plate: str) -> str:
    """The platemap of a plate, from the table of barcodes, without the ending of a table.

    The columns are Assay_Plate_Barcode and Plate_Map_Name, or what is clearly the same (plate and platemap). Raises
    InputError for a plate with no map or with two.
    """
    frame = read_table(body, file)
    barcode = find_column(frame, "plate")
    plain = {name: re.sub(r"[^a-z]", "", name.lower().removeprefix("metadata_")) for name in frame.columns}
    name = next((name for usual in _MAPS for name, bare in plain.items() if bare == usual), None)
    if barcode is None or name is None:
        there = listed(name for name in frame.columns if name != ROW)
        expected = "Assay_Plate_Barcode and Plate_Map_Name"
        raise InputError(file, "row 1", f"the columns {there}", expected, "Rename the columns.")
    mine = frame.filter(same_plate(pl.col(barcode), plate))
    names = list(dict.fromkeys(_without_ending(text) for text in mine[name].drop_nulls()))
    if len(names) != 1:
        found = f"{len(names)} platemaps of {plate}" if names else f"no row of {plate}"
        if not mine.height:
            found += f", but of {other_plates(frame[barcode], plate)}"
        raise InputError(file, f"column {barcode}", found, f"one row of {plate}", "Add it, or keep one of them.")
    return names[0]


def find_table(paths: list[str], name: str) -> str | None:
    """Of the files of a folder the one that is called so, with the ending of a table; the first ending there is."""
    wanted = [name, *(name + ending for ending in ENDINGS)]
    there = {path.rsplit("/", 1)[-1].lower(): path for path in paths}
    return next((there[text.lower()] for text in wanted if text.lower() in there), None)


def read_platemap(body: bytes, file: str, well: str | None = None) -> pl.DataFrame:
    """One row per well: Metadata_Well and the platemap's other columns under their names, as text; NA is null.

    `well` names the column of the wells, where it is not called as usual. Raises InputError for a well that is none and
    for a well that comes twice.
    """
    frame = read_table(body, file)
    wells = well_names(frame, file, well if well in frame.columns else None)
    twice = frame.filter(wells.is_duplicated()).select(ROW, well=wells.filter(wells.is_duplicated()))
    if twice.height:
        name = twice["well"][0]
        rows = " and ".join(map(str, twice.filter(well=name)[ROW]))
        raise InputError(file, f"rows {rows}", f"well {name} twice", "each well once", "Keep one of the rows.")
    used = {well, find_column(frame, "well"), ROW}
    kept = frame.select(name for name in frame.columns if name not in used)
    return _without_missing(kept).insert_column(0, wells.alias("Metadata_Well"))


def join_metadata(platemap: pl.DataFrame, files: dict[str, bytes]) -> tuple[pl.DataFrame, str | None]:
    """The platemap with the columns of the external metadata that knows its perturbations; and that file's name.

    Column `described` says which perturbations the file has a row for: null for a well without any.

    Of several files the one that covers most wells is taken, then the one with more columns. An empty key joins an
    empty key: that is how the Gallery describes its DMSO wells. Raises InputError for a key that comes twice.
    """
    best: tuple[float, int, str] | None = None
    tables = {}
    for file in sorted(files):
        table = _without_missing(read_table(files[file], file).drop(ROW))
        shared = [name for name in platemap.columns if name in table.columns]
        keys = platemap[shared[0]].drop_nulls() if shared else pl.Series([], dtype=pl.String)
        covered = keys.is_in(table[shared[0]].drop_nulls().to_list()).mean() if len(keys) else None
        if covered:
            tables[file] = (table, shared[0])
            best = max(best or (0.0, 0, ""), (float(covered), table.width, file))  # type: ignore[arg-type]
    if best is None:
        return platemap, None
    file = best[2]
    table, key = tables[file]
    repeated = table.filter(pl.col(key).is_duplicated())
    if repeated.height:
        raise InputError(file, f"column {key}", f"{repeated[key][0]} twice", "each once", "Keep one of the rows.")
    extra = [name for name in table.columns if name == key or name not in platemap.columns]
    table = table.select(extra).with_columns(pl.lit(True).alias(DESCRIBED))
    joined = platemap.join(table, on=key, how="left", nulls_equal=True, maintain_order="left")
    known = pl.when(pl.col(key).is_not_null()).then(pl.col(DESCRIBED).fill_null(False))
    return joined.with_columns(known.alias(DESCRIBED)), file


def _without_ending(name: str) -> str:
    return next((name[: -len(ending)] for ending in ENDINGS if name.lower().endswith(ending)), name)


def _without_missing(frame: pl.DataFrame) -> pl.DataFrame:
    """Cells that say in words that they are empty, as R and pandas write them, are."""
    text = pl.col(pl.String)
    return frame.with_columns(pl.when(~text.is_in(_MISSING)).then(text).name.keep())
