"""Pictures of one plate from the lake: cells per well, and outlines on a typical site."""

from __future__ import annotations

import polars as pl

from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.imaging.sites import SiteReader, complete_sites
from morpho_assets.lake.lake import Snapshot
from morpho_assets.report.figures import mask_overlay, plate_heatmap


def cells_per_well(inputs: Snapshot, plate: str) -> pl.DataFrame:
    """Metadata_Well and Metadata_Count_Cells of a plate; no rows where nobody counted, as in published profiles."""
    wells = inputs.read("well_profiles", plate).select("Metadata_Well", "Metadata_Count_Cells")
    return wells.drop_nulls().sort("Metadata_Well")


def cells_heatmap(wells: pl.DataFrame, plate: str) -> bytes:
    """The plate as a picture of `cells_per_well`."""
    names, counts = (wells[name].to_list() for name in ("Metadata_Well", "Metadata_Count_Cells"))
    return plate_heatmap(names, counts, f"{plate}: cells", "cells")


def cells_grid(wells: pl.DataFrame) -> pl.DataFrame:
    """The same numbers to read: a row per row of the plate, a column per column, null where nothing was imaged."""
    name = pl.col("Metadata_Well").str
    row, column = name.extract(r"^([A-Z]+)").alias("row"), name.extract(r"(\d+)$").alias("column")
    grid = wells.select(row, column, "Metadata_Count_Cells").sort("column")
    grid = grid.pivot("column", index="row", values="Metadata_Count_Cells")
    return grid.sort(pl.col("row").str.len_bytes(), "row")


def typical_site(inputs: Snapshot, reader: SiteReader, plate: str) -> tuple[str, bytes, float | None] | None:
    """Name and picture, with outlines, of the site with the median number of cells, and the width of a pixel in µm
    where the image says it; None for a plate without sites."""
    sites = inputs.read("masks", plate).sort("Count_Cells", "Metadata_Well", "Metadata_Site")
    if not sites.height:
        return None
    row = sites.row(sites.height // 2, named=True)
    place = (row["Metadata_Well"], row["Metadata_Site"])
    site = next(site for site in complete_sites(inputs, plate) if (site.well, site.site) == place)
    nuclei, cells = (read_labels(inputs.lake.read_bytes(row[name]), name=row[name]) for name in ("nuclei", "cells"))
    picture = mask_overlay(reader.read(site), site.channels, nuclei, cells)
    return site.key, picture, pixel_size(reader.content(site, 0))
