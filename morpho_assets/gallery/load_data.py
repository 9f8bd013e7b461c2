"""CellProfiler's load_data: which file holds which channel of which site.

Reads load_data and load_data_with_illum with any set of channels. An image is a `URL_` column, or `FileName_` and
`PathName_`, with or without `Orig` before the channel and `Image_` before all; `Illum` before the channel names the
gallery's own illumination function; `Series_` and `Frame_` the plane of a file that holds several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

import polars as pl

from morpho_assets.errors import InputError, raise_first
from morpho_assets.gallery.places import (
    KEYS,
    ColumnsConfig,
    chosen_rows,
    named_column,
    other_plates,
    same_plate,
    site_numbers,
    well_names,
)
from morpho_assets.gallery.text import ROW, listed, read_table, require_columns
from morpho_assets.gallery.zarr_planes import named_planes

SITES = {
    "Metadata_Plate": pl.String,
    "Metadata_Well": pl.String,
    "Metadata_Site": pl.Int32,
    "channel": pl.String,
    "uri": pl.String,
    "series": pl.Int32,
    "frame": pl.Int32,
    "illumination_uri": pl.String,
}
"""Columns of the images of a plate, as the lake's `sites` table has them."""

_RESTORE = "Restore it, or make it again from the images: `morpho samplesheet FOLDER --load-data --out FILE`."
_IMAGE = re.compile(r"(URL|FileName)_(.+)")


def read_load_data(
    body: bytes,
    file: str,
    plate: str,
    channels: Sequence[str] | None = None,
    columns: ColumnsConfig | None = None,
    rows: str | None = None,
) -> pl.DataFrame:
    """The images of one plate, one row per site and channel, as the lake's `sites` table has them.

    `channels` picks and orders channels (default: all of the file, in its order); `columns` names the columns of plate,
    well and site where they are not called as usual, and `rows` is a condition on the rows to use. Rows of other plates
    are passed over. A file without a column of plates is the plate's own; one without sites has one site a well.
    Raises InputError for every defect, with the row.
    """
    columns = columns or ColumnsConfig()
    frame = read_table(body, file, _RESTORE)
    plain = {name: name.removeprefix("Image_") for name in frame.columns}
    if len(set(plain.values())) == len(plain):
        frame = frame.rename(plain)
    chosen = _channels(frame, file, channels)
    mine = site_keys(chosen_rows(frame, file, rows), file, plate, columns)
    images = [_images(mine, file, name, stem) for name, stem in chosen.items()]
    return pl.concat(images).sort(*KEYS, maintain_order=True)


def site_keys(frame: pl.DataFrame, file: str, plate: str, columns: ColumnsConfig, each: str = "site") -> pl.DataFrame:
    """The rows of one plate with Metadata_Plate, Metadata_Well and Metadata_Site in their usual forms.

    Raises InputError for a plate that has none, an empty cell, a well or a site that is none, and one that comes twice
    (per channel, where `each` is "image").
    """
    barcodes = named_column(frame, file, "plate", columns.plate)
    if barcodes is not None:
        _require(frame.filter(pl.col(barcodes).is_null()), file, barcodes)
        mine = frame.filter(same_plate(pl.col(barcodes), plate))
        if not mine.height:
            found = f"rows of {other_plates(frame[barcodes], plate)} only"
            raise InputError(file, f"column {barcodes}", found, f"rows of {plate}", "Check the plate's barcode.")
        frame = mine
    site = named_column(frame, file, "site", columns.site)
    frame = frame.with_columns(
        pl.lit(plate).alias(KEYS[0]),
        well_names(frame, file, columns.well).alias(KEYS[1]),
        (pl.lit(1, pl.Int32) if site is None else site_numbers(frame, file, site)).alias(KEYS[2]),
    )
    keys = [*KEYS, "channel"] if each == "image" else list(KEYS)
    repeated = frame.filter(pl.struct(keys).is_duplicated())
    if repeated.height:
        first = repeated.row(0, named=True)
        same = repeated.filter(pl.all_horizontal(pl.col(key) == first[key] for key in keys))[ROW].to_list()
        name = ", ".join(f"{key.removeprefix('Metadata_').lower()} {first[key]}" for key in keys[1:])
        todo = "Keep one of the rows, or choose some with the source's `rows`"
        todo += "." if site is not None else "; without a column of sites each well has one (`columns.site`)."
        raise InputError(file, f"rows {listed(map(str, same))}", f"{name} more than once", f"each {each} once", todo)
    return frame


def address(column: str) -> pl.Expr:
    """Where an image lies, as a path or an address that a store reads: file:// and Windows paths become plain ones."""
    text = pl.col(column)
    windows = text.str.contains("\\", literal=True) & ~text.str.contains("://", literal=True)
    return (
        pl.when(text.str.contains("(?i)^file:"))
        .then(text.map_elements(_local_path, pl.String))
        .when(windows)
        .then(text.str.replace_all("\\", "/", literal=True))
        .otherwise(text)
    )


def _local_path(uri: str) -> str:
    """The path in `file:///a%20b`, `file:/a b` or `file://localhost/a b`."""
    return unquote(re.sub(r"^file:(//(localhost)?(?=/))?", "", uri, flags=re.IGNORECASE))


def plane_numbers(frame: pl.DataFrame, file: str, column: str) -> pl.Expr:
    """The numbers, from 0, of series or frames in a column; null where the table has no such column or cell."""
    if column not in frame.columns:
        return pl.lit(None, pl.Int32)
    wrong = frame.filter(~pl.col(column).str.contains(r"^[0-9]{1,6}(\.0*)?$"))
    if wrong.height:
        place = f"row {wrong[ROW][0]}, column {column}"
        raise InputError(file, place, repr(wrong[column][0]), "a number from 0 on", "Correct it or empty the cell.")
    return pl.col(column).cast(pl.Float64).cast(pl.Int32)


def _channels(frame: pl.DataFrame, file: str, wanted: Sequence[str] | None) -> dict[str, str]:
    """The channels to use, and what stands behind `URL_` or `FileName_` in the columns of each."""
    stems = dict.fromkeys(match[2] for name in frame.columns if (match := _IMAGE.fullmatch(name)))
    images = [stem for stem in stems if not stem.startswith("Illum")]
    raw = [stem for stem in images if stem.startswith("Orig")]
    found = {stem.removeprefix("Orig") or stem: stem for stem in raw or images}
    if not found:
        there = listed(name for name in frame.columns if name != ROW)
        expected = "URL_Orig<Channel>, or FileName_Orig<Channel> and PathName_Orig<Channel>, such as URL_OrigDNA"
        raise InputError(file, "row 1", f"no image columns, but {there}", expected, "Add them.")
    unknown = [channel for channel in wanted or () if channel not in found]
    if unknown:
        expected = f"the channel {unknown[0]}"
        raise InputError(
            file, "row 1", f"the channels {', '.join(found)}", expected, "Correct the source's `channels`."
        )
    return {channel: found[channel] for channel in wanted or found}


def _images(frame: pl.DataFrame, file: str, channel: str, stem: str) -> pl.DataFrame:
    uri = _location(frame, file, stem)
    used = next(name for name in (f"URL_{stem}", f"FileName_{stem}") if name in frame.columns)
    _require(frame.filter(uri.is_null()), file, used)
    illuminated = {f"URL_Illum{channel}", f"FileName_Illum{channel}"} & set(frame.columns)
    function = _location(frame, file, f"Illum{channel}") if illuminated else pl.lit(None, pl.String)
    images = frame.select(
        *KEYS,
        pl.lit(channel).alias("channel"),
        uri.alias("uri"),
        plane_numbers(frame, file, f"Series_{stem}").alias("series"),
        plane_numbers(frame, file, f"Frame_{stem}").alias("frame"),
        function.alias("illumination_uri"),
    ).cast(SITES)  # type: ignore[arg-type]
    return named_planes(images, file, frame[ROW].to_list())


def _location(frame: pl.DataFrame, file: str, stem: str) -> pl.Expr:
    """The address in `URL_`; where there is none, the file's name in its folder, or alone where it is a whole path."""
    url, name, path = (f"{kind}_{stem}" for kind in ("URL", "FileName", "PathName"))
    places = [address(url)] if url in frame.columns else []
    if name in frame.columns:
        whole = pl.col(name).str.contains(r"^/|^[A-Za-z][A-Za-z0-9+.-]*:")
        if path not in frame.columns and url not in frame.columns and not frame.select(whole.all()).item():
            require_columns(frame, file, (path,))
        places.append(pl.when(whole).then(address(name)))
        if path in frame.columns:
            places.append(address(path).str.strip_chars_end("/") + "/" + pl.col(name))
    return pl.coalesce(places)


def _require(without: pl.DataFrame, file: str, column: str) -> None:
    """Raise InputError where there are rows without a value in a column."""
    todo = "Fill it in or drop the row."
    places = [f"row {row}, column {column}" for row in without[ROW]]
    raise_first([InputError(file, place, "an empty cell", "a value", todo) for place in places])
