"""Numbers and pictures of one plate, from a lake that holds only its masks."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.report.plate import cells_heatmap, cells_table


def test_cells_per_well_are_read_where_the_well_lies(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    wells = {"AA02": [9], "B10": [5], "A02": [3, 4], "B02": [0]}
    rows = [
        {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site, "Count_Cells": count}
        for well, counts in wells.items()
        for site, count in enumerate(counts, start=1)
    ]
    lake.write("masks", "P1", pl.DataFrame(rows), Provenance("masks", "1", "", {}))
    table = cells_table(lake, "P1")
    assert table.columns == ["row", "02", "10"]
    assert table.rows() == [("A", 7, None), ("B", 0, 5), ("AA", 9, None)]
    assert cells_heatmap(lake, "P1")[8:12] == b"WEBP"
