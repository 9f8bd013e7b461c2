from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from morpho_assets.evaluate.hierarchy import HierarchyConfig, hierarchy, tree_of
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


def test_a_tree_by_hand() -> None:
    """a and b are 1 apart, c 4 from a and 6 from b: it joins at the mean, 5. The distances 1, 4, 6 and what the tree
    tells of them, 1, 5, 5, have the correlation 96 / sqrt(114 * 96)."""
    tree = tree_of(np.array([[0, 1, 4], [1, 0, 6], [4, 6, 0.0]]), HierarchyConfig())
    assert tree.merges[:, 2].tolist() == [1, 5]
    assert tree.cophenetic == pytest.approx(np.sqrt(96 / 114))
    assert tree.clusters[0] == tree.clusters[1] != tree.clusters[2]


def test_planted_mechanisms_are_clusters_that_lie_side_by_side() -> None:
    frame = screen(3, treatments=24)
    found = hierarchy(frame, feature_columns(frame))
    assert value(found.metrics, "clusters") == 4
    assert value(found.metrics, "adjusted_rand") == 1
    assert value(found.metrics, "adjusted_rand", "p_value") == pytest.approx(0.01)
    assert value(found.metrics, "cophenetic") > value(found.metrics, "cophenetic", "chance") + 0.1
    table = found.details["clusters"]
    assert table["place"].to_list() == list(range(1, 25))
    assert (table["cluster"].diff().drop_nulls() >= 0).all()  # from the first leaf to the last
    moa = table.join(frame.unique("Metadata_Perturbation"), on="Metadata_Perturbation", maintain_order="left")
    assert adjusted_rand_score(moa["Metadata_moa"], moa["cluster"]) == 1


def test_where_nothing_is_a_tree_is_drawn_all_the_same() -> None:
    frame = screen(0, treatments=24)
    found = hierarchy(frame, feature_columns(frame)).metrics
    assert value(found, "cophenetic") == pytest.approx(value(found, "cophenetic", "chance"), abs=0.15)
    assert abs(value(found, "adjusted_rand")) < 0.2


@pytest.mark.parametrize("treatments", [0, 1, 2])
def test_few_treatments_are_nothing_to_ask(treatments: int) -> None:
    frame = screen(treatments=3).filter(
        pl.col("Metadata_Perturbation").is_in([f"t{i:02d}" for i in range(treatments)] + ["DMSO"])
    )
    assert hierarchy(frame, feature_columns(frame)).metrics["n"].to_list() == [0, 0, 0]


def test_equal_profiles_and_a_number_of_clusters() -> None:
    frame = screen(treatments=6).with_columns(pl.col("^Cells_.*$") * 0 + 1)
    found = hierarchy(frame, feature_columns(frame), HierarchyConfig(clusters=3, label=None)).metrics
    assert found["metric"].to_list() == ["cophenetic", "clusters"]
    strong = screen(3, treatments=24)
    asked = hierarchy(strong, feature_columns(strong), HierarchyConfig(clusters=2)).metrics
    assert value(asked, "clusters") == 2
