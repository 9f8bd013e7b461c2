"""What people rejected, for whatever reads cells: nothing is learned from it, and no well is made of it."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.profiles.space import KEYS

PLACE = KEYS["site"]


def rejected_sites(inputs: Snapshot, plates: Iterable[str]) -> pl.DataFrame:
    """Metadata_Plate, _Well and _Site of the sites that people rejected, or whose well; none of a plate whose profiles
    are not among the inputs."""
    known = set(inputs.keys("rejected_sites"))
    there = [plate for plate in plates if plate in known]
    if not there:
        return table("rejected_sites").empty().select(PLACE)
    return inputs.scan("rejected_sites", there).select(PLACE).collect()
