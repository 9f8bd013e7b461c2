"""The catalog: what is in it, that only what changed is read, and that nobody is misled, kept waiting or left half."""

import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError, LakeError
from morpho_assets.lake import catalog as catalogs
from morpho_assets.lake.catalog import (
    Published,
    is_published,
    publish_catalog,
    published_files,
    publishing,
    query_catalog,
)
from morpho_assets.lake.database import copy_file
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import TABLES
from morpho_assets_tests.factories import commit_tables, plate, study

P1 = "P1"
AREA, GOLGI = "Nuclei_AreaShape_Area", "Cells_Intensity_MeanIntensity_Golgi"


def cells(key: str, wells: tuple[str, ...] = ("A01",), **features: list[float]) -> pl.DataFrame:
    """Two cells in each well."""
    rows = pl.DataFrame({"Metadata_Well": wells, "Metadata_Site": 1}).join(
        pl.DataFrame({"ObjectNumber": [1, 2], **features}), how="cross"
    )
    return rows.with_columns(Metadata_Plate=pl.lit(key))


def profiles(key: str, area: float = 2.0, **features: float) -> pl.DataFrame:
    return pl.DataFrame({"Metadata_Plate": [key], "Metadata_Well": ["A01"], AREA: [area], **features})


def measure(lake: Lake, key: str, **features: list[float]) -> None:
    commit_tables(lake, "single_cells", plate(key), {"single_cells": cells(key, **(features or {AREA: [1.0, 2.0]}))})


def profile(lake: Lake, key: str, area: float = 2.0, **features: float) -> None:
    commit_tables(lake, "well_profiles", plate(key), {"normalized_profiles": profiles(key, area, **features)})


def publish(lake: Lake, catalog: str, **left_out: str) -> dict[str, int]:
    """Publish what was committed last, without the plates that are `left_out`; the tables that changed, how much."""
    state = lake.ledger.state()
    commits = [Published(commit, left_out.get(commit.partition.key)) for commit in state.commits.values()]
    changed = publish_catalog(lake, catalog, commits, state)
    return {name: number for name, number in changed.select("table", "changed").iter_rows() if number}


def ask(catalog: str, sql: str, lake: Lake | None = None) -> list[tuple]:
    return query_catalog(catalog, sql, lake).rows()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    measure(lake, P1)
    profile(lake, P1)
    return lake


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    return str(tmp_path / "morpho.duckdb")


# What is in it


def test_every_table_is_there_and_cells_embeddings_and_fingerprints_are_views(lake, catalog):
    publish(lake, catalog)
    tables = "information_schema.tables WHERE table_schema = 'main'"
    kinds = dict(ask(catalog, f"SELECT table_name, table_type FROM {tables}"))
    views = {name for name, kind in kinds.items() if kind == "VIEW"}
    assert kinds.keys() == {*TABLES, "partitions", "plate_checks", "verdicts", "features"}
    assert views == {
        "single_cells", "embeddings", "tile_embeddings", "predictions", "field_fingerprints", "montages",
        "set_profiles", "attributions",
    }  # fmt: skip
    assert ask(catalog, f"SELECT sum({AREA}) FROM single_cells") == [(3.0,)]
    assert ask(catalog, "SELECT count(*) FROM metrics") == [(0,)]


def test_every_table_and_column_says_what_it_means_features_in_a_table_of_their_own(lake, catalog):
    publish(lake, catalog)
    assert ask(catalog, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' AND comment IS NULL") == []
    assert ask(catalog, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL") == []
    said = dict(ask(catalog, "SELECT table_name || '.' || column_name, comment FROM duckdb_columns() "
                             "WHERE NOT internal AND schema_name = 'main'"))  # fmt: skip
    features = {
        (name, table) for name, tables in ask(catalog, "SELECT feature, tables FROM features") for table in tables
    }
    assert {name for name, comment in said.items() if not comment} == {f"{table}.{name}" for name, table in features}
    assert said["single_cells.Metadata_Plate"] == "plate barcode, unique in the registry"
    assert {(AREA, "single_cells"), (AREA, "normalized_profiles")} <= features
    assert ask(catalog, f"SELECT compartment, module, measurement, meaning FROM features WHERE feature = '{AREA}'") == [
        ("Nuclei", "AreaShape", "Area", "CellProfiler measurement of the nuclei; docs/measurements.md")
    ]


def test_a_feature_that_a_new_plate_brings_is_told(lake, catalog):
    publish(lake, catalog)
    measure(lake, "P2")
    profile(lake, "P2", **{GOLGI: 1.0})
    publish(lake, catalog)
    assert ask(catalog, f"SELECT tables FROM features WHERE feature = '{GOLGI}'") == [(["normalized_profiles"],)]
    assert len(ask(catalog, "SELECT feature FROM features")) == len(
        ask(catalog, "SELECT DISTINCT feature FROM features")
    )


def test_comments_stay_when_a_plate_is_added(lake, catalog):
    publish(lake, catalog)
    commented = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE comment IS NOT NULL ORDER BY ALL"
    before = ask(catalog, commented)
    measure(lake, "P2")
    publish(lake, catalog)
    assert ask(catalog, commented) == before


def test_it_opens_from_any_directory_and_cannot_be_written(lake, catalog, tmp_path, monkeypatch):
    publish(lake, catalog)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with duckdb.connect(catalog, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM single_cells").fetchall() == [(2,)]
    assert not stat.S_IMODE(os.stat(catalog).st_mode) & 0o222


def test_the_file_is_of_a_version_that_duckdb_1_5_reads(lake, catalog):
    publish(lake, catalog)
    publish(lake, catalog, P1="a reason")  # a copy that is written on
    with open(catalog, "rb") as file:
        header = file.read(64)
    assert header[8:12] == b"DUCK"
    assert 64 <= int.from_bytes(header[12:20], "little") <= 68


def test_a_plate_is_text_whatever_its_name_looks_like(tmp_path, catalog):
    keys = ["0042", "1e5", "2026-01-01", "P 1", "P[1]", "it's", "ä", "50%", "a=b", "..", "true", "NULL"]
    lake = Lake(str(tmp_path / "lake"))
    for key in keys:
        measure(lake, key)
        profile(lake, key)
    publish(lake, catalog)
    for table in ("single_cells", "normalized_profiles"):
        found = query_catalog(catalog, f"SELECT DISTINCT Metadata_Plate FROM {table}")
        assert found.schema["Metadata_Plate"] == pl.String
        assert sorted(found["Metadata_Plate"]) == sorted(keys)
    assert ask(catalog, "SELECT count(*) FROM single_cells WHERE Metadata_Plate = 'it''s'") == [(2,)]


@pytest.mark.parametrize("root", ["a b", "[lab]*", "it's", "lab=x/run=1"])
def test_a_lake_and_a_catalog_may_lie_anywhere(tmp_path, root):
    lake, catalog = Lake(str(tmp_path / root / "lake")), str(tmp_path / root / "morpho.duckdb")
    (tmp_path / "l/lake/single_cells/Metadata_Plate=P1").mkdir(parents=True)  # what [lab]* would match, too
    measure(lake, P1)
    profile(lake, P1)
    publish(lake, catalog)
    found = query_catalog(catalog, "FROM single_cells")
    assert found.columns[:2] == ["Metadata_Plate", "Metadata_Well"]
    assert not {"lab", "run"} & set(found.columns)
    assert found.height == 2
    assert ask(catalog, f"SELECT {AREA} FROM normalized_profiles") == [(2.0,)]


def test_the_cells_of_a_plate_are_found_without_opening_those_of_others(lake, catalog):
    for number in range(2, 6):
        measure(lake, f"P{number}", **({GOLGI: [1.0, 2.0]} if number > 3 else {AREA: [1.0, 2.0]}))
    publish(lake, catalog)
    plan = ask(catalog, "EXPLAIN ANALYZE SELECT count(*) FROM single_cells WHERE Metadata_Plate = 'P2'")[0][1]
    assert plan.count("Scanning Files: 1/3") == 1, plan  # of those with the same columns
    assert plan.count("Scanning Files: 0/2") + plan.count("EMPTY_RESULT") == 1, plan


def test_plates_with_other_columns_join_by_name_and_what_no_plate_has_any_more_goes(lake, catalog):
    measure(lake, "P2", **{GOLGI: [1.0, 2.0]})
    profile(lake, "P2", **{GOLGI: 5.0})
    publish(lake, catalog)
    assert ask(catalog, f"SELECT count(*), count({AREA}), count({GOLGI}) FROM single_cells") == [(4, 2, 2)]
    rows = f"SELECT Metadata_Plate, {AREA}, {GOLGI} FROM normalized_profiles ORDER BY 1"
    assert ask(catalog, rows) == [(P1, 2.0, None), ("P2", 2.0, 5.0)]
    measure(lake, "P2")
    profile(lake, "P2", 3.0)
    assert publish(lake, catalog) == {"single_cells": 1, "normalized_profiles": 1}
    for table in ("single_cells", "normalized_profiles"):
        assert GOLGI not in query_catalog(catalog, f"FROM {table}").columns
    rows = f"SELECT Metadata_Plate, {AREA} FROM normalized_profiles ORDER BY 1"
    assert ask(catalog, rows) == [(P1, 2.0), ("P2", 3.0)]


def test_plates_that_are_left_out_are_in_no_table_and_partitions_says_why(lake, catalog):
    measure(lake, "P2")
    profile(lake, "P2")
    publish(lake, catalog)
    assert publish(lake, catalog, P2="made with other settings") == {"single_cells": 1, "normalized_profiles": 1}
    for table in ("single_cells", "normalized_profiles"):
        assert ask(catalog, f"SELECT DISTINCT Metadata_Plate FROM {table}") == [(P1,)]
    assert ask(catalog, "SELECT DISTINCT key, left_out_because FROM partitions WHERE NOT published") == [
        ("P2", "made with other settings")
    ]
    publish(lake, catalog)
    assert ask(catalog, "SELECT count(DISTINCT Metadata_Plate) FROM single_cells") == [(2,)]


def test_all_parts_of_a_plate_are_in_a_table_and_so_are_all_stages_of_a_study(lake, catalog):
    keys = {"study": "demo", "Metadata_Plate": P1, "Metadata_Well": "A01", "Metadata_Site": 1, "ObjectNumber": [1, 2]}
    for encoder in ("vae", "byol"):
        frame = pl.DataFrame({**keys, "encoder": encoder, "embedding": [[1.0], [2.0]]})
        commit_tables(lake, "embeddings", plate(P1, f"demo/{encoder}"), {"embeddings": frame})
    for stage, step in (("feature_space", "selected"), ("corrected_profiles", "sphering")):
        labels = {"study": pl.lit("demo"), "space": pl.lit("cells"), "step": pl.lit(step)}
        commit_tables(lake, stage, study("demo"), {"profiles": profiles(P1).with_columns(**labels)})
    publish(lake, catalog)
    assert ask(catalog, "SELECT encoder, count(*) FROM embeddings GROUP BY 1 ORDER BY 1") == [("byol", 2), ("vae", 2)]
    assert ask(catalog, "SELECT step FROM profiles ORDER BY 1") == [("selected",), ("sphering",)]


def test_an_empty_lake_and_a_plate_without_a_cell_give_empty_tables(tmp_path, catalog):
    lake = Lake(str(tmp_path / "none"))
    publish(lake, catalog)
    assert ask(catalog, "SELECT count(*) FROM single_cells") == [(0,)]
    commit_tables(lake, "single_cells", plate(P1), {"single_cells": cells(P1).clear()})
    publish(lake, catalog)
    assert ask(catalog, "SELECT count(*) FROM single_cells") == [(0,)]
    measure(lake, P1)
    publish(lake, catalog)
    assert ask(catalog, f"SELECT count({AREA}) FROM single_cells") == [(2,)]


# What is read and written


def test_only_what_changed_is_read_again(lake, catalog, monkeypatch):
    profile(lake, "P2")
    assert publish(lake, catalog) == {"single_cells": 1, "normalized_profiles": 2}
    shutil.rmtree(Path(lake.root) / "normalized_profiles/Metadata_Plate=P1")
    profile(lake, "P2", 7.0)
    profile(lake, "P3", 8.0)
    assert publish(lake, catalog) == {"normalized_profiles": 2}
    rows = f"SELECT Metadata_Plate, {AREA} FROM normalized_profiles ORDER BY 1"
    assert ask(catalog, rows) == [(P1, 2.0), ("P2", 7.0), ("P3", 8.0)]


def test_where_nothing_changed_the_file_stays_and_a_waiver_is_a_change(lake, catalog):
    publish(lake, catalog)
    before = os.stat(catalog).st_ino
    assert publish(lake, catalog) == {}
    assert os.stat(catalog).st_ino == before
    state = lake.ledger.state()
    commits = [Published(commit) for commit in state.commits.values()]
    assert is_published(lake, catalog, commits, state)
    assert not is_published(lake, catalog, commits[:1], state)
    assert not is_published(lake, catalog, [Published(commits[0].commit, "a reason"), *commits[1:]], state)
    waived = state.__class__(state.commits, {}, frozenset({("masks", plate(P1), 1, "few_failed_sites")}), {})
    assert not is_published(lake, catalog, commits, waived)


@pytest.mark.slow
def test_fifty_publications_of_one_plate_leave_a_file_no_larger_than_half_as_much_again(tmp_path, catalog):
    lake, rng = Lake(str(tmp_path / "lake")), np.random.default_rng(0)
    names = [f"Cells_Intensity_{number}" for number in range(60)]

    def wells(key: str) -> pl.DataFrame:
        keys = pl.DataFrame({"Metadata_Plate": key, "Metadata_Well": [f"A{n:02d}" for n in range(1, 97)]})
        return keys.hstack(pl.DataFrame(rng.standard_normal((96, 60)), schema=names))

    for number in range(10):
        commit_tables(lake, "well_profiles", plate(f"P{number}"), {"normalized_profiles": wells(f"P{number}")})
    publish(lake, catalog)
    for _ in range(50):
        commit_tables(lake, "well_profiles", plate("P3"), {"normalized_profiles": wells("P3")})
        publish(lake, catalog)
    publish(lake, fresh := f"{catalog}.fresh")
    assert os.path.getsize(catalog) <= 1.5 * os.path.getsize(fresh)
    for path in (catalog, fresh):
        assert ask(path, "SELECT count(*), count(DISTINCT Metadata_Plate) FROM normalized_profiles") == [(960, 10)]


def test_a_database_that_has_grown_too_large_is_written_anew_and_keeps_its_comments(lake, catalog, monkeypatch):
    publish(lake, catalog)
    compacted = []
    compact = catalogs.Draft.compact
    monkeypatch.setattr(catalogs.Draft, "compact", lambda draft, path: (compacted.append(path), compact(draft, path)))
    monkeypatch.setattr(catalogs, "BLOATED", 0.0)
    profile(lake, P1, 9.0)
    publish(lake, catalog)
    assert len(compacted) == 1
    assert ask(catalog, f"SELECT {AREA} FROM normalized_profiles") == [(9.0,)]
    assert ask(catalog, "SELECT count(*) FROM single_cells") == [(2,)]
    uncommented = "FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main' AND comment IS NULL"
    assert ask(catalog, f"{uncommented} AND column_name NOT IN (SELECT feature FROM features)") == []
    assert os.listdir(os.path.dirname(catalog)).count("morpho.duckdb") == 1
    assert not [name for name in os.listdir(os.path.dirname(catalog)) if "aside" in name]


@pytest.mark.parametrize("size", [0, 1, 4096, 8 * 2**20, 8 * 2**20 + 4096, 17 * 2**20 + 5])
def test_a_file_is_copied_whole(tmp_path, size):
    (tmp_path / "a").write_bytes(np.random.default_rng(0).bytes(size))
    copy_file(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# Who reads meanwhile, and who dies


def test_an_open_reader_keeps_what_it_opened_and_a_new_one_sees_the_new(lake, catalog):
    publish(lake, catalog)
    with duckdb.connect(catalog, read_only=True) as reader:
        profile(lake, "P2")
        measure(lake, "P2")
        publish(lake, catalog)
        assert reader.execute("SELECT count(*) FROM normalized_profiles").fetchall() == [(1,)]
        assert reader.execute("SELECT count(*) FROM single_cells").fetchall() == [(2,)]
        assert ask(catalog, "SELECT count(*) FROM normalized_profiles") == [(2,)]  # of the same process, too


def test_a_publication_that_fails_or_is_killed_leaves_the_catalog_and_nothing_beside_it(lake, catalog, monkeypatch):
    publish(lake, catalog)
    beside = set(os.listdir(os.path.dirname(catalog)))
    profile(lake, "P2")
    os.truncate(next(Path(lake.root).glob("normalized_profiles/Metadata_Plate=P2/*")), 20)
    with pytest.raises(LakeError, match="could not be published"):
        publish(lake, catalog)
    assert set(os.listdir(os.path.dirname(catalog))) == beside
    assert ask(catalog, "SELECT count(*) FROM normalized_profiles") == [(1,)]


KILLED = """
import os, sys
from morpho_assets.lake import catalog, database
from morpho_assets_tests.lake.test_catalog import publish
from morpho_assets.lake.lake import Lake

def die(*arguments): os._exit(9)

places = {"copied": (database, "lend_files"), "exchanged": (database.Draft, "comment"), "written": (catalog, "_sync"),
          "swapping": (os, "replace")}
kind, name = places[sys.argv[3]]
setattr(kind, name, die)
publish(Lake(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("where", ["copied", "exchanged", "written", "swapping"])
def test_what_a_killed_publication_left_aside_the_next_removes(lake, catalog, where):
    publish(lake, catalog)
    beside = set(os.listdir(os.path.dirname(catalog)))
    profile(lake, "P2")
    killed = subprocess.run([sys.executable, "-c", KILLED, lake.root, catalog, where], env=os.environ, check=False)
    assert killed.returncode == 9
    assert [name for name in os.listdir(os.path.dirname(catalog)) if name.endswith(".aside")]
    assert ask(catalog, "SELECT count(*) FROM normalized_profiles") == [(1,)]
    publish(lake, catalog)
    assert set(os.listdir(os.path.dirname(catalog))) == beside
    assert ask(catalog, "SELECT count(*) FROM normalized_profiles") == [(2,)]


def test_publications_take_turns(lake, catalog):
    order = []

    def other() -> None:
        with publishing(catalog):
            order.append("second")

    with publishing(catalog):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# Moved, copied, foreign


def test_a_copy_says_so_and_never_reads_the_old_folder(lake, catalog, tmp_path):
    publish(lake, catalog)
    copy = shutil.copy(catalog, tmp_path / "copy.duckdb")
    with pytest.raises(InputError, match=r"published as .*morpho\.duckdb, and moved or copied since"):
        query_catalog(copy, "SELECT 1")
    with duckdb.connect(copy, read_only=True) as connection:
        for sql in ("FROM single_cells", "SELECT count(*) FROM single_cells", f"SELECT max({AREA}) FROM single_cells",
                    "SELECT 1 FROM single_cells WHERE Metadata_Plate = 'P1' LIMIT 1"):  # fmt: skip
            with pytest.raises(duckdb.Error, match="This catalog was moved or copied"):
                connection.execute(sql).fetchall()


def test_a_catalog_that_moved_with_its_lake_is_mended_by_publishing_again(lake, catalog, tmp_path):
    publish(lake, catalog)
    (tmp_path / "there").mkdir()
    moved = Lake(str(shutil.move(lake.root, tmp_path / "there/lake")))
    there = str(shutil.move(catalog, tmp_path / "there/morpho.duckdb"))
    with pytest.raises(InputError, match="moved or copied"):
        query_catalog(there, "SELECT 1", moved)
    assert publish(moved, there) == {"single_cells": 1, "normalized_profiles": 1}
    assert ask(there, "SELECT count(*) FROM single_cells", moved) == [(2,)]


def test_it_is_the_same_through_a_link_and_while_attached(lake, catalog, tmp_path):
    publish(lake, catalog)
    (tmp_path / "link").symlink_to(tmp_path)
    assert ask(str(tmp_path / "link/morpho.duckdb"), "SELECT count(*) FROM single_cells") == [(2,)]
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path}/link/morpho.duckdb' AS lab (READ_ONLY)")
        assert connection.execute("SELECT count(*) FROM lab.single_cells").fetchall() == [(2,)]


def test_a_catalog_of_another_lake_or_of_an_older_form_is_made_anew(lake, catalog, tmp_path):
    with duckdb.connect(catalog) as connection:
        connection.execute("CREATE TABLE single_cells (a INTEGER); CREATE TABLE mine (a INTEGER)")
    with pytest.raises(InputError, match="no catalog of this version"):
        query_catalog(catalog, "SELECT 1")
    publish(lake, catalog)
    assert ask(catalog, "SELECT count(*) FROM single_cells") == [(2,)]
    other = Lake(str(tmp_path / "other"))
    with pytest.raises(InputError, match="a catalog of the lake"):
        query_catalog(catalog, "SELECT 1", other)
    measure(other, "P7")
    publish(other, catalog)
    assert ask(catalog, "SELECT DISTINCT Metadata_Plate FROM single_cells", other) == [("P7",)]
    assert ask(catalog, "SELECT count(*) FROM normalized_profiles") == [(0,)]
    assert ask(catalog, "SELECT table_name FROM information_schema.tables WHERE table_name = 'mine'") == []


def test_a_catalog_that_is_no_database_is_made_anew(lake, catalog):
    Path(catalog).write_bytes(b"nonsense")
    publish(lake, catalog)
    assert ask(catalog, "SELECT count(*) FROM single_cells") == [(2,)]


def test_it_says_which_files_its_views_need(lake, catalog):
    assert published_files(catalog) == set()
    publish(lake, catalog)
    assert {path.split("/")[0] for path in published_files(catalog)} == {"single_cells", "normalized_profiles"}
    assert published_files(catalog) <= {path for table in TABLES for path in lake.files.find(table)}


def test_wrong_sql_and_a_missing_catalog_are_told(lake, catalog):
    with pytest.raises(InputError, match="expected a published one"):
        query_catalog(catalog, "SELECT 1")
    publish(lake, catalog)
    with pytest.raises(InputError, match="SHOW TABLES"):
        query_catalog(catalog, "SELECT * FROM nothing_of_that_name")


# An object store


@pytest.fixture
def remote(object_store, request) -> Lake:
    lake = Lake(f"s3://bucket/{request.node.name}", object_store.options)
    measure(lake, P1)
    profile(lake, P1)
    return lake


def test_a_lake_in_an_object_store_is_published_and_queried(remote, catalog):
    publish(remote, catalog)
    assert ask(catalog, f"SELECT {AREA} FROM normalized_profiles", remote) == [(2.0,)]
    measure(remote, "0042")
    assert publish(remote, catalog) == {"single_cells": 1}
    query = "SELECT Metadata_Plate, count(*) FROM single_cells GROUP BY 1 ORDER BY 1"
    assert ask(catalog, query, remote) == [("0042", 2), (P1, 2)]
    assert ask(catalog, "SELECT count(*) FROM single_cells WHERE Metadata_Plate = '0042'", remote) == [(2,)]


def test_a_glitch_of_the_object_store_is_waited_out(remote, catalog, object_store):
    with object_store.network.spoil("refused", "reset", "slow down", "truncated"):
        publish(remote, catalog)
    with object_store.network.spoil("refused", "reset", "truncated"):
        assert ask(catalog, "SELECT count(*) FROM single_cells", remote) == [(2,)]


def test_the_cells_of_one_plate_of_an_object_store_are_found_without_asking_for_others(remote, catalog, object_store):
    for key in ("P2", "P3", "P4"):
        measure(remote, key)
    publish(remote, catalog)
    fresh = Lake(remote.root, remote.options)
    with object_store.network.spoil() as requests:
        assert ask(catalog, "SELECT count(*) FROM single_cells WHERE Metadata_Plate = 'P3'", fresh) == [(2,)]
    plates = {path.split("Metadata_Plate=")[1].split("/")[0] for _, path in requests}
    assert plates <= {"P1", "P3"}  # the first says which columns there are
    assert len(requests) <= 6
