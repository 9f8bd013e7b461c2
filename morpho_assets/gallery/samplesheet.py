"""A plain samplesheet for images from one's own microscope: one row per image.

Columns channel, path, source, batch, plate, well, site, row, col; row and col may be left out. Further columns that
start with `Metadata_` annotate the well (perturbation, control type, …). A path is absolute, s3://… or relative to
the samplesheet.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import KEYS, SITES, normalize_sites
from morpho_assets.gallery.text import read_table, require_columns, require_values
from morpho_assets.gallery.wells import well_position

COLUMNS = ("channel", "path", "source", "batch", "plate", "well", "site")


def read_samplesheet(body: bytes, file: str) -> pl.DataFrame:
    """The samplesheet as strings, with `row` the row in the file. Raises InputError for missing columns and values."""
    frame = read_table(body, file, separator="\t" if file.endswith((".tsv", ".txt")) else ",")
    require_columns(frame, file, COLUMNS)
    require_values(frame, file, COLUMNS)
    return frame.rename({"row": "well_row"}, strict=False).with_row_index("row", offset=2)


def plate_sites(sheet: pl.DataFrame, file: str, plate: str, channels: Sequence[str] | None = None) -> pl.DataFrame:
    """The images of one plate as the lake's `sites` table has them.

    Raises InputError for a channel that is not among `channels`, a site that comes twice or lacks a channel that other
    sites have, a well that is none, and a row or col that contradicts the well.
    """
    mine = sheet.filter(pl.col("plate") == plate)
    mine = mine.rename({"plate": KEYS[0], "well": KEYS[1], "site": KEYS[2]})
    if channels is not None:
        unknown = mine.filter(~pl.col("channel").is_in(list(channels)))
        if unknown.height:
            place, found = f"row {unknown['row'][0]}, column channel", repr(unknown["channel"][0])
            raise InputError(
                file, place, found, f"one of {', '.join(channels)}", "Correct it or list it in `channels`."
            )
    mine = normalize_sites(mine, file)
    _check_positions(mine, file)
    _check_complete(mine, file, list(channels or mine["channel"].unique(maintain_order=True)))
    folder = file.rsplit("/", 1)[0] if "/" in file else "."
    absolute = pl.col("path").str.starts_with("/") | pl.col("path").str.contains("://", literal=True)
    uri = pl.when(absolute).then(pl.col("path")).otherwise(pl.lit(folder + "/") + pl.col("path"))
    order = list(channels or mine["channel"].unique(maintain_order=True))
    mine = mine.sort(*KEYS, pl.col("channel").replace_strict(order, range(len(order)), return_dtype=pl.Int32))
    columns = [*KEYS, "channel", uri.alias("uri"), pl.lit(None, pl.String).alias("illumination_uri")]
    return mine.select(columns).cast(SITES)  # type: ignore[arg-type]


def plate_wells(sheet: pl.DataFrame, file: str, plate: str) -> pl.DataFrame:
    """Annotation of the plate's wells: Metadata_Well and every `Metadata_` column of the samplesheet.

    Raises InputError where two rows of a well contradict each other.
    """
    annotation = [name for name in sheet.columns if name.startswith("Metadata_") and name not in KEYS]
    mine = sheet.filter(pl.col("plate") == plate).select("row", pl.col("well").alias("Metadata_Well"), *annotation)
    wells = mine.unique(["Metadata_Well", *annotation], keep="first", maintain_order=True)
    twice = wells.filter(pl.col("Metadata_Well").is_duplicated())
    if twice.height:
        place = f"rows {', '.join(map(str, twice['row'][:2]))}"
        found = f"two annotations of well {twice['Metadata_Well'][0]}"
        raise InputError(file, place, found, "one", "Make the rows of the well agree.")
    return wells.drop("row")


def _check_positions(frame: pl.DataFrame, file: str) -> None:
    for column, index in (("well_row", 0), ("col", 1)):
        if column in frame.columns:
            for row, well, value in frame.select("row", "Metadata_Well", column).iter_rows():
                expected = well_position(well)[index]
                if value is not None and value != str(expected):
                    name = column.removeprefix("well_")
                    place = f"row {row}, column {name}"
                    raise InputError(file, place, value, f"{expected}, as well {well} says", "Correct one of them.")


def _check_complete(frame: pl.DataFrame, file: str, channels: list[str]) -> None:
    for key, site in frame.group_by(KEYS, maintain_order=True):
        missing = [channel for channel in channels if channel not in set(site["channel"])]
        if missing:
            found = f"well {key[1]}, site {key[2]} without channel {missing[0]}"
            expected = f"the channels {', '.join(channels)}"
            raise InputError(file, f"row {site['row'][0]}", found, expected, "Add the image or drop the site's rows.")
