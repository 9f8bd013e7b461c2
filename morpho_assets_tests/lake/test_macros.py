"""The catalog's macros: answers worked out by hand, and catalogs that have nothing to answer from."""

import duckdb
import polars as pl
import pytest

from morpho_assets.lake.catalog import Published, publish_catalog, query_catalog
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.macros import macros
from morpho_assets_tests.factories import commit_tables, plate, study


def publish(lake: Lake, catalog: str) -> None:
    state = lake.ledger.state()
    publish_catalog(lake, catalog, [Published(commit) for commit in state.commits.values()], state)


@pytest.fixture
def catalog(tmp_path):
    """Three treatments in two dimensions, one of them at two doses; a plate of three wells; two hits."""
    lake = Lake(str(tmp_path / "lake"))
    consensus = pl.DataFrame({
        "study": "s", "space": "cells", "step": "selected", "treatment": ["A@1", "A@10", "AB", "C"],
        "Metadata_moa": "m", "Nuclei_AreaShape_Area": [1.0, 0.0, 2.0, 0.0],
        "Cells_AreaShape_Area": [0.0, 1.0, 2.0, -1.0],
    })  # fmt: skip
    other = pl.DataFrame({"study": "s", "space": "vae", "step": "selected", "treatment": ["A@1", "C"],
                          "Embedding_0": [1.0, 0.0]})  # fmt: skip
    rows = pl.concat([consensus, other], how="diagonal")
    commit_tables(lake, "treatment_profiles", study("s"), {"treatment_profiles": rows})
    wells = pl.DataFrame({"Metadata_Plate": "P1", "Metadata_Well": ["B01", "A02", "A01"], "Metadata_Row": [2, 1, 1],
                          "Metadata_Col": [1, 2, 1], "Metadata_Perturbation": ["C", "A@1", "A@10"],
                          "Metadata_Count_Cells": [5, 7, None], "Nuclei_AreaShape_Area": [1.5, None, 3.0]})  # fmt: skip
    commit_tables(lake, "well_profiles", plate("P1"), {"well_profiles": wells})
    scores = pl.DataFrame({"study": "s", "variant": ["cells", "cells", "cells", "vae"], "evaluator": "replicates",
                           "treatment": ["A@1", "AB", "C", "C"], "mAP": [0.9, 0.95, 0.1, 1.0],
                           "q_value": [0.01, 0.01, 0.9, 0.01], "retrieved": [True, True, False, True]})  # fmt: skip
    commit_tables(lake, "evaluation", study("s"), {"treatments": scores})
    path = str(tmp_path / "morpho.duckdb")
    publish(lake, path)
    return path


def test_nearest_treatments_are_by_cosine_within_a_space(catalog):
    rows = query_catalog(catalog, "FROM nearest('A@1')").rows()
    half = 0.5**0.5
    assert [(space, near, features) for _, space, _, near, _, features in rows] == [
        ("cells", "AB", 2), ("cells", "A@10", 2), ("cells", "C", 2), ("vae", "C", 1),
    ]  # fmt: skip
    assert [row[4] for row in rows] == pytest.approx([half, 0, 0, None])  # a profile of zeros has no direction


def test_a_compound_is_asked_for_at_all_its_doses_and_no_other_that_begins_alike(catalog):
    rows = query_catalog(catalog, "SELECT treatment, neighbour FROM nearest('A', 1) WHERE space = 'cells'").rows()
    assert rows == [("A@1", "AB"), ("A@10", "AB")]
    assert query_catalog(catalog, "FROM nearest('nobody')").height == 0


def test_a_plate_is_mapped_by_row_and_column(catalog):
    expected = [(1, 1, "A01", "A@10", 3.0), (1, 2, "A02", "A@1", None), (2, 1, "B01", "C", 1.5)]
    assert query_catalog(catalog, "FROM plate_map('Nuclei_AreaShape_Area', 'P1')").rows() == expected
    counts = query_catalog(catalog, "SELECT value FROM plate_map('Metadata_Count_Cells', 'P1')")["value"].to_list()
    assert counts == [None, 7.0, 5.0]
    assert query_catalog(catalog, "FROM plate_map('Metadata_Count_Cells', 'P9')").height == 0


def test_hits_are_those_retrieved_in_one_space_best_first(catalog):
    assert query_catalog(catalog, "SELECT treatment FROM hits('cells')")["treatment"].to_list() == ["AB", "A@1"]
    assert query_catalog(catalog, "FROM hits('nothing')").height == 0


def test_every_macro_says_what_it_gives_and_answers_where_there_is_nothing(tmp_path):
    lake, path = Lake(str(tmp_path / "lake")), str(tmp_path / "empty.duckdb")
    publish(lake, path)
    said = dict(query_catalog(path, "SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal").rows())
    for macro in macros(has_features=True):
        assert said[macro.name] == macro.about
    assert query_catalog(path, "FROM nearest('A')").height == 0
    assert query_catalog(path, "FROM hits('cells')").height == 0
    assert query_catalog(path, "FROM plate_map('Metadata_Count_Cells', 'P1')").height == 0


def test_an_attached_catalog_is_used_first(catalog):
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{catalog}' AS beside (READ_ONLY)")
        connection.execute("USE beside")
        assert len(connection.execute("FROM hits('cells')").fetchall()) == 2
