"""CytoTable's Parquet, read back by our own reader, by pycytominer and by DuckDB."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from morpho_assets.errors import LakeError
from morpho_assets.export import plate as plates
from morpho_assets.export.cytotable import export_cytotable
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.cellprofiler import scan_cytotable
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table
from morpho_assets_tests.export.conftest import opened
from morpho_assets_tests.factories import commit_tables, plate


@pytest.fixture
def file(p1: Plate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plates, "ROWS", 3)  # several parts
    with Written.opened(tmp_path) as out:
        return tmp_path / export_cytotable(p1, out)


def test_our_own_reader_gives_the_same_cells(file: Path, p1: Plate) -> None:
    expected = p1.tables.read("single_cells", "P1")
    found = scan_cytotable(file).collect()
    assert found.columns == expected.columns
    assert_frame_equal(found.cast(dict(expected.schema)), expected)


@pytest.mark.filterwarnings("ignore")  # of pycytominer, which sets options that pandas 3 has no more
def test_pycytominer_takes_medians_of_wells_from_it(file: Path, p1: Plate) -> None:
    from pycytominer import aggregate

    strata = ["Image_Metadata_Plate", "Image_Metadata_Well"]
    found = aggregate(pl.read_parquet(file).to_pandas(), strata=strata, features="infer", operation="median")
    assert found["Image_Metadata_Well"].tolist() == ["A01"]
    assert found["Cells_AreaShape_Area"].tolist() == [576.5]
    assert [name for name in found.columns if name not in strata] == p1.features


def test_duckdb_reads_it_and_the_file_says_what_is_known(file: Path) -> None:
    rows = duckdb.sql(f"SELECT Metadata_ImageNumber, count(*) FROM '{file}' GROUP BY ALL ORDER BY ALL").fetchall()
    assert rows == [(1, 2), (2, 2)]
    known = json.loads(pq.read_schema(file).metadata[b"morpho"])
    assert (known["pixel_size_um"], known["licence"]) == (0.5, "CC0-1.0")


def test_it_is_kept(file: Path, p1: Plate) -> None:
    with Written.opened(file.parent) as out:
        export_cytotable(p1, out)
        assert (out.made, out.kept) == (0, 1)


def test_a_plate_without_cells_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    commit_tables(lake, "single_cells", plate("P1"), {"single_cells": table("single_cells").empty()})
    with Written.opened(tmp_path / "out") as out, pytest.raises(LakeError, match="no cells"):
        export_cytotable(opened(lake), out)
