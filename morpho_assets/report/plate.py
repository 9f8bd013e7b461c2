"""Pictures of one plate from the lake: cells per well, and outlines on a typical site."""

from __future__ import annotations

from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.sites import SiteReader, complete_sites
from morpho_assets.lake.lake import Lake
from morpho_assets.report.figures import mask_overlay, plate_heatmap


def cells_heatmap(lake: Lake, plate: str) -> bytes | None:
    """Cells behind each well of a plate; None where nobody counted them, as in published profiles."""
    wells = lake.read("well_profiles", plate)
    counts = wells["Metadata_Count_Cells"]
    if counts.null_count() == wells.height:
        return None
    return plate_heatmap(wells["Metadata_Well"].to_list(), counts.to_list(), f"{plate}: cells", "cells")


def cells_table(lake: Lake, plate: str) -> pl.DataFrame:
    """The same numbers to read: a row per row of the plate, a column per column, null where nothing was imaged."""
    wells = lake.read("masks", plate).group_by("Metadata_Well").agg(pl.col("Count_Cells").sum())
    name = pl.col("Metadata_Well").str
    placed = wells.select(
        name.extract(r"^([A-Z]+)").alias("row"), name.extract(r"(\d+)$").alias("column"), pl.col("Count_Cells")
    )
    grid = placed.sort("column").pivot("column", index="row", values="Count_Cells")
    return grid.sort(pl.col("row").str.len_bytes(), "row")


def typical_site(lake: Lake, reader: SiteReader, plate: str) -> tuple[str, bytes] | None:
    """Name and picture, with outlines, of the site with the median number of cells; None for a plate without sites."""
    sites = lake.read("masks", plate).sort("Count_Cells", "Metadata_Well", "Metadata_Site")
    if not sites.height:
        return None
    row = sites.row(sites.height // 2, named=True)
    place = (row["Metadata_Well"], row["Metadata_Site"])
    site = next(site for site in complete_sites(lake, plate) if (site.well, site.site) == place)
    nuclei, cells = (read_labels(lake.read_bytes(row[name]), name=row[name]) for name in ("nuclei", "cells"))
    return site.key, mask_overlay(reader.read(site), site.channels, nuclei, cells)
