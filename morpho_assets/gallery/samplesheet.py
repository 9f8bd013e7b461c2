"""A plain samplesheet for images from one's own microscope: one row per image, as nf-core/cellpainting has it too.

Columns channel, path, plate, well and site; source, batch, row, col, series and frame may be left out. Further columns
that start with `Metadata_` annotate the well (perturbation, control type, …). A path is absolute, s3://… or relative to
the samplesheet.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import KEYS, SITES, address, plane_numbers, site_keys
from morpho_assets.gallery.places import ColumnsConfig, chosen_rows, named_column
from morpho_assets.gallery.text import ROW, listed, read_table, require_columns, require_values
from morpho_assets.gallery.wells import well_position
from morpho_assets.gallery.zarr_planes import named_planes

COLUMNS = ("channel", "path", "plate")


def read_samplesheet(
    body: bytes, file: str, columns: ColumnsConfig | None = None, rows: str | None = None
) -> pl.DataFrame:
    """The samplesheet as text, with the barcode in column `plate`; `rows` is a condition on the rows to use.

    Raises InputError for missing columns and values.
    """
    columns = columns or ColumnsConfig()
    frame = read_table(body, file)
    plate = named_column(frame, file, "plate", columns.plate)
    if plate not in (None, "plate"):
        frame = frame.drop("plate", strict=False).rename({str(plate): "plate"})
    require_columns(frame, file, COLUMNS)
    require_values(frame, file, COLUMNS)
    return chosen_rows(frame, file, rows)


def plate_rows(sheet: pl.DataFrame, file: str, plate: str, columns: ColumnsConfig | None = None) -> pl.DataFrame:
    """The rows of one plate, with Metadata_Plate, Metadata_Well and Metadata_Site.

    Raises InputError for a plate that the sheet lacks, a well or a site that is none, an image that comes twice, and a
    row or col that contradicts the well.
    """
    columns = (columns or ColumnsConfig()).model_copy(update={"plate": "plate"})
    mine = site_keys(sheet, file, plate, columns, each="image")
    for column, index in (("row", 0), ("col", 1)):
        if column in mine.columns:
            for row, well, value in mine.select(ROW, KEYS[1], column).drop_nulls().iter_rows():
                expected = well_position(well)[index]
                if value not in (str(expected), f"{expected}.0", well[:-2]):
                    found = f"{expected}, as well {well} says"
                    raise InputError(file, f"row {row}, column {column}", value, found, "Correct one of them.")
    return mine


def plate_sites(mine: pl.DataFrame, file: str, channels: Sequence[str] | None = None) -> pl.DataFrame:
    """The images in the rows of a plate, as the lake's `sites` table has them.

    Raises InputError for a channel that is not among `channels`, and a site that lacks one that other sites have.
    """
    order = list(channels or mine["channel"].unique(maintain_order=True))
    unknown = mine.filter(~pl.col("channel").is_in(order))
    if unknown.height:
        place, found = f"row {unknown[ROW][0]}, column channel", repr(unknown["channel"][0])
        todo = "Correct it, list it in `channels`, or leave its rows out with `rows`."
        raise InputError(file, place, found, f"one of {', '.join(order)}", todo)
    _check_complete(mine, file, order)
    uri = address("path")
    absolute = uri.str.contains(r"^/|^[A-Za-z][A-Za-z0-9+.-]*:")
    folder = file.rsplit("/", 1)[0] if "/" in file else "."
    mine = mine.sort(*KEYS, pl.col("channel").replace_strict(order, range(len(order)), return_dtype=pl.Int32))
    sites = mine.select(
        *KEYS,
        "channel",
        pl.when(absolute).then(uri).otherwise(pl.lit(f"{folder}/") + uri).alias("uri"),
        plane_numbers(mine, file, "series").alias("series"),
        plane_numbers(mine, file, "frame").alias("frame"),
        pl.lit(None, pl.String).alias("illumination_uri"),
    ).cast(SITES)  # type: ignore[arg-type]
    return named_planes(sites, file, mine[ROW].to_list())


def plate_wells(mine: pl.DataFrame, file: str) -> pl.DataFrame:
    """Annotation of the wells in the rows of a plate: Metadata_Well and every `Metadata_` column of the samplesheet.

    Raises InputError where two rows of a well contradict each other.
    """
    annotation = [name for name in mine.columns if name.startswith("Metadata_") and name not in KEYS]
    wells = mine.select(ROW, "Metadata_Well", *annotation)
    wells = wells.unique(["Metadata_Well", *annotation], keep="first", maintain_order=True)
    twice = wells.filter(pl.col("Metadata_Well").is_duplicated())
    if twice.height:
        same = twice.filter(Metadata_Well=twice["Metadata_Well"][0])
        found = f"two annotations of well {same['Metadata_Well'][0]}"
        raise InputError(file, f"rows {listed(map(str, same[ROW]))}", found, "one", "Make the rows of the well agree.")
    return wells.drop(ROW)


def _check_complete(frame: pl.DataFrame, file: str, channels: list[str]) -> None:
    for key, site in frame.group_by(KEYS, maintain_order=True):
        missing = [channel for channel in channels if channel not in set(site["channel"])]
        if missing:
            found = f"well {key[1]}, site {key[2]} without channel {missing[0]}"
            expected = f"the channels {', '.join(channels)}"
            raise InputError(file, f"row {site[ROW][0]}", found, expected, "Add the image or drop the site's rows.")
