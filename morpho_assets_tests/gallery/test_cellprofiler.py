"""The cells of an export in one file."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.cellprofiler import read_analysis, to_parquet
from morpho_assets.profiles.aggregate import aggregate
from morpho_assets_tests.gallery.exports import site


def test_sites_stream_into_one_parquet_file(tmp_path: Path) -> None:
    for number, cells in enumerate([2, 0, 3], start=1):
        site(tmp_path / "analysis" / f"PLATE-A01-{number}", cells)
    assert to_parquet(read_analysis(tmp_path / "analysis"), tmp_path / "cells.parquet") == 5
    profile = aggregate(pl.scan_parquet(tmp_path / "cells.parquet"))
    assert profile["Metadata_Count_Cells"].to_list() == [5]
    assert profile["Cells_AreaShape_Area"].to_list() == [20.0]


def test_frames_of_another_pipeline_are_named(tmp_path: Path) -> None:
    site(tmp_path / "one/P-A01-1")
    site(tmp_path / "two/P-A01-2", extra=",Texture_New")
    both = chain(read_analysis(tmp_path / "one"), read_analysis(tmp_path / "two"))
    with pytest.raises(InputError, match=r"P-A01-2.*Cells_Texture_New"):
        to_parquet(both, tmp_path / "cells.parquet")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]  # no half of the cells


def test_an_older_file_stays_until_all_sites_are_written(tmp_path: Path) -> None:
    site(tmp_path / "P-A01-1", 3)
    assert to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet") == 3
    (site(tmp_path / "P-A01-2") / "Cells.csv").write_text("ImageNumber,ObjectNumber\n7\n")
    with pytest.raises(InputError, match="found 1 cells; expected 2"):
        to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet")
    assert pl.read_parquet(tmp_path / "cells.parquet").height == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P-A01-1", "P-A01-2", "cells.parquet"]
