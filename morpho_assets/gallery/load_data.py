"""CellProfiler's load_data: which file holds which channel of which site.

Reads load_data and load_data_with_illum, as CSV or Parquet, with any set of channels: `FileName_Orig<Channel>` and
`PathName_Orig<Channel>` for the images, `FileName_Illum<Channel>` and `PathName_Illum<Channel>` for the gallery's own
illumination functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import read_table, require_columns, require_values
from morpho_assets.gallery.wells import well_name, well_position

KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
SITES = {
    "Metadata_Plate": pl.String,
    "Metadata_Well": pl.String,
    "Metadata_Site": pl.Int32,
    "channel": pl.String,
    "uri": pl.String,
    "illumination_uri": pl.String,
}


def read_load_data(body: bytes, file: str, plate: str, channels: Sequence[str] | None = None) -> pl.DataFrame:
    """The images of one plate, one row per site and channel, as the lake's `sites` table has them.

    `channels` picks and orders channels (default: all of the file, in its order). Rows of other plates are passed over.
    Raises InputError for every defect, with the row.
    """
    frame = read_table(body, file)
    require_columns(frame, file, KEYS)
    require_values(frame, file, KEYS)
    chosen = _channels(frame, file, channels)
    frame = frame.with_row_index("row", offset=2)
    mine = frame.filter(pl.col("Metadata_Plate") == plate)
    if not mine.height:
        plates = frame["Metadata_Plate"].unique().sort().to_list()
        found = f"rows of {', '.join(plates[:5])} only"
        raise InputError(file, "column Metadata_Plate", found, f"rows of {plate}", "Check the plate's barcode.")
    mine = normalize_sites(mine, file)
    images = [_images(mine, file, channel) for channel in chosen]
    return pl.concat(images).sort(*KEYS, maintain_order=True)


def normalize_sites(frame: pl.DataFrame, file: str) -> pl.DataFrame:
    """Well names in their usual form and sites as numbers; `row` is the row in the file.

    Raises InputError for a well that is none, a site that is no number, and a site that comes twice.
    """
    wells = []
    for row, well, site in frame.select("row", "Metadata_Well", "Metadata_Site").iter_rows():
        try:
            wells.append(well_name(*well_position(well)))
        except ValueError as error:
            place = f"row {row}, column Metadata_Well"
            raise InputError(file, place, str(error), "a well", "Correct the well's name.") from None
        if not site.isdigit():
            place = f"row {row}, column Metadata_Site"
            raise InputError(file, place, repr(site), "a number such as 1", "Correct the site.")
    frame = frame.with_columns(pl.Series("Metadata_Well", wells), pl.col("Metadata_Site").cast(pl.Int32))
    keys = [key for key in (*KEYS, "channel") if key in frame.columns]
    repeated = frame.filter(pl.struct(keys).is_duplicated())
    if repeated.height:
        first = repeated.row(0, named=True)
        same = repeated.filter(pl.all_horizontal(pl.col(key) == first[key] for key in keys))["row"].to_list()
        name = f"well {first['Metadata_Well']}, site {first['Metadata_Site']}"
        place = f"rows {', '.join(map(str, same))}"
        raise InputError(file, place, f"{name} more than once", "each site once", "Keep one of the rows.")
    return frame


def _channels(frame: pl.DataFrame, file: str, wanted: Sequence[str] | None) -> list[str]:
    found = [name.removeprefix("FileName_Orig") for name in frame.columns if name.startswith("FileName_Orig")]
    if not found:
        raise InputError(
            file, "row 1", "no image columns", "FileName_Orig<Channel>, such as FileName_OrigDNA", "Add them."
        )
    unknown = [channel for channel in wanted or () if channel not in found]
    if unknown:
        expected = f"the channel {unknown[0]}"
        raise InputError(
            file, "row 1", f"the channels {', '.join(found)}", expected, "Correct the source's `channels`."
        )
    return list(wanted or found)


def _images(frame: pl.DataFrame, file: str, channel: str) -> pl.DataFrame:
    name, path = f"FileName_Orig{channel}", f"PathName_Orig{channel}"
    require_columns(frame.drop("row"), file, (name, path))
    for column in (name, path):
        empty = frame.filter(pl.col(column).is_null())
        if empty.height:
            place = f"row {empty['row'][0]}, column {column}"
            raise InputError(file, place, "an empty cell", "the image's name and folder", "Fill it in or drop the row.")
    illumination = pl.lit(None, pl.String)
    if f"FileName_Illum{channel}" in frame.columns and f"PathName_Illum{channel}" in frame.columns:
        illumination = _joined(f"PathName_Illum{channel}", f"FileName_Illum{channel}")
    columns = [*KEYS, pl.lit(channel).alias("channel"), _joined(path, name).alias("uri")]
    return frame.select(*columns, illumination.alias("illumination_uri")).cast(SITES)  # type: ignore[arg-type]


def _joined(folder: str, name: str) -> pl.Expr:
    return pl.col(folder).str.strip_chars_end("/") + "/" + pl.col(name)
