"""`site_failures`: what a stage could not use, one part of the table per stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.tables import table


def write_failures(lake: Lake, plate: str, stage: str, rows: Sequence[dict[str, Any]], made: Provenance) -> None:
    """Replace a stage's failures of a plate; none is written too, so that what has been mended is forgotten.

    A row has the keys Metadata_Well, Metadata_Site, error and path, and channel where it is one image's fault.
    """
    names = ("Metadata_Well", "Metadata_Site", "channel", "error", "path")
    plain = [{name: row.get(name, "*" if name == "channel" else None) for name in names} for row in rows]
    frame = (
        pl.DataFrame(plain, schema_overrides={"Metadata_Site": pl.Int32}) if plain else table("site_failures").empty()
    )
    frame = frame.with_columns(Metadata_Plate=pl.lit(plate), stage=pl.lit(stage))
    lake.write("site_failures", plate, frame, made, part=stage)


def failed_sites(lake: Lake, plate: str) -> pl.DataFrame:
    """Metadata_Well and Metadata_Site of the sites of a plate that failed in any stage, each once."""
    if not lake.parts("site_failures", plate):
        return table("site_failures").empty().select("Metadata_Well", "Metadata_Site")
    return lake.read("site_failures", plate).select("Metadata_Well", "Metadata_Site").unique(maintain_order=True)
