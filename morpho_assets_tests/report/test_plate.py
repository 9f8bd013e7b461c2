"""Numbers and pictures of one plate."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.report.plate import cells_grid, cells_heatmap, cells_per_well
from morpho_assets_tests.factories import commit_tables, plate


def _tables(folder: Path, counts: dict[str, int | None]) -> Snapshot:
    lake = Lake(str(folder))
    rows = [{"Metadata_Plate": "P1", "Metadata_Well": w, "Metadata_Count_Cells": n} for w, n in counts.items()]
    return lake.snapshot([commit_tables(lake, "well_profiles", plate("P1"), {"well_profiles": pl.DataFrame(rows)})])


def test_cells_per_well_are_read_where_the_well_lies(tmp_path: Path) -> None:
    wells = cells_per_well(_tables(tmp_path, {"AA02": 9, "B10": 5, "A02": 7, "B02": 0}), "P1")
    table = cells_grid(wells)
    assert table.columns == ["row", "02", "10"]
    assert table.rows() == [("A", 7, None), ("B", 0, 5), ("AA", 9, None)]
    assert cells_heatmap(wells, "P1")[8:12] == b"WEBP"


def test_profiles_that_nobody_counted_have_no_cells_to_show(tmp_path: Path) -> None:
    assert cells_per_well(_tables(tmp_path, {"A01": None, "A02": None}), "P1").is_empty()
