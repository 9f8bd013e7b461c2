import os
import stat

import duckdb
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.lake.catalog import Published, publish_catalog, query_catalog
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_tables, plate


def publish(lake, catalog, left_out=None):
    """Publish every last commit; those of plates in `left_out` are left out for the reason that stands there."""
    state = lake.ledger.state()
    commits = [Published(each, (left_out or {}).get(each.partition.key)) for each in state.commits.values()]
    return publish_catalog(lake, catalog, commits, state)


def cells(plate, **features):
    keys = {"Metadata_Plate": plate, "Metadata_Well": "A01", "Metadata_Site": 1, "ObjectNumber": [1, 2]}
    return pl.DataFrame({**keys, **features})


def profiles(plate):
    return pl.DataFrame({"Metadata_Plate": [plate], "Metadata_Well": ["A01"], "Cells_AreaShape_Area": [2.0]})


@pytest.fixture
def lake(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    commit_tables(lake, "single_cells", plate("P1"), {"single_cells": cells("P1", Nuclei_AreaShape_Area=[1.0, 2.0])})
    commit_tables(lake, "well_profiles", plate("P1"), {"normalized_profiles": profiles("P1")})
    return lake


@pytest.fixture
def catalog(tmp_path):
    return str(tmp_path / "morpho.duckdb")


def test_every_table_is_there_commented_and_single_cells_are_a_view(lake, catalog):
    published = publish(lake, catalog)
    kinds = dict(published.select("table", "kind").iter_rows())
    assert kinds["single_cells"] == "view"
    assert kinds["normalized_profiles"] == "table"
    assert query_catalog(catalog, "SELECT sum(Nuclei_AreaShape_Area) AS s FROM single_cells")["s"].to_list() == [3.0]
    assert query_catalog(catalog, "SELECT count(*) AS n FROM metrics")["n"].to_list() == [0]
    comments = query_catalog(catalog, "SELECT comment FROM duckdb_columns() WHERE table_name = 'normalized_profiles'")
    assert "plate barcode, unique in the registry" in comments["comment"].to_list()


def test_it_opens_from_any_directory_and_cannot_be_written(lake, catalog, tmp_path, monkeypatch):
    publish(lake, catalog)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with duckdb.connect(catalog, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM single_cells").fetchall() == [(2,)]
    assert not stat.S_IMODE(os.stat(catalog).st_mode) & 0o222


def test_the_file_is_of_a_version_that_duckdb_1_5_reads(lake, catalog):
    publish(lake, catalog)
    with open(catalog, "rb") as file:
        header = file.read(64)
    assert header[8:12] == b"DUCK"
    assert 64 <= int.from_bytes(header[12:20], "little") <= 68


def test_plates_of_other_settings_are_left_out_and_listed(lake, catalog):
    commit_tables(lake, "single_cells", plate("P2"), {"single_cells": cells("P2", Nuclei_AreaShape_Area=[5.0, 6.0])})
    publish(lake, catalog, {"P2": "made with other settings"})
    assert query_catalog(catalog, "SELECT DISTINCT Metadata_Plate AS p FROM single_cells")["p"].to_list() == ["P1"]
    stale = query_catalog(catalog, "SELECT key, stage, left_out_because FROM partitions WHERE NOT current")
    assert stale.rows() == [("P2", "single_cells", "made with other settings")]


def test_plates_with_other_channels_join_by_name(lake, catalog):
    other = cells("P2", Cells_Intensity_MeanIntensity_Golgi=[1.0, 2.0])
    commit_tables(lake, "single_cells", plate("P2"), {"single_cells": other})
    publish(lake, catalog)
    row = query_catalog(catalog, "SELECT count(*) AS n, count(Nuclei_AreaShape_Area) AS nuclei FROM single_cells")
    assert row.row(0) == (4, 2)


def test_an_open_reader_keeps_what_it_opened_and_a_new_one_sees_the_new(lake, catalog):
    publish(lake, catalog)
    with duckdb.connect(catalog, read_only=True) as reader:
        commit_tables(lake, "well_profiles", plate("P2"), {"normalized_profiles": profiles("P2")})
        publish(lake, catalog)
        assert reader.execute("SELECT count(*) FROM normalized_profiles").fetchall() == [(1,)]
    assert query_catalog(catalog, "SELECT count(*) AS n FROM normalized_profiles")["n"].to_list() == [2]


def test_an_empty_lake_gives_empty_tables(tmp_path, catalog):
    publish(Lake(str(tmp_path / "none")), catalog)
    assert query_catalog(catalog, "SELECT count(*) AS n FROM single_cells")["n"].to_list() == [0]


def test_wrong_sql_and_a_missing_catalog_are_told(lake, catalog):
    with pytest.raises(InputError, match="expected a published one"):
        query_catalog(catalog, "SELECT 1")
    publish(lake, catalog)
    with pytest.raises(InputError, match="SHOW TABLES"):
        query_catalog(catalog, "SELECT * FROM nothing_of_that_name")
