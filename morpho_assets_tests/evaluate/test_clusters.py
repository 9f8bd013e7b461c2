"""Clusters of treatments: what was planted is found and described, and disorder is told from it."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import fisher_exact
from sklearn.metrics import adjusted_rand_score

from morpho_assets.evaluate.clustering import kmeans_clusters, leiden_clusters, numbered, tree_clusters
from morpho_assets.evaluate.clusters import DESCRIPTIONS, ClustersConfig, clusters, describe_values
from morpho_assets.evaluate.evaluators import evaluate
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

METHODS = ("kmeans", "hierarchical", "leiden")
QUICK = {"shuffles": 3}


@pytest.mark.parametrize("method", METHODS)
def test_mechanisms_are_found_and_described(method):
    frame = screen(3, treatments=24)
    found = clusters(frame, feature_columns(frame), ClustersConfig(method=method, **QUICK))
    assert value(found.metrics, "clusters") == 4
    assert value(found.metrics, "adjusted_rand") == 1
    assert value(found.metrics, "silhouette") > value(found.metrics, "silhouette", "chance") + 0.2
    assert value(found.metrics, "described") == 1
    told = found.details["cluster_descriptions"].filter(kind="value", inside=6, outside=0)
    assert sorted(told["value"]) == ["m0", "m1", "m2", "m3"]
    assert (told["q_value"] < 0.001).all()
    members = found.details["clusters"]
    assert members["place"].to_list() == list(range(1, 25))
    assert members["cluster"].to_list() == sorted(members["cluster"])


@pytest.mark.parametrize("method", METHODS)
def test_disorder_is_not_described(method):
    frame = screen(0, treatments=24)
    found = clusters(frame, feature_columns(frame), ClustersConfig(method=method, **QUICK))
    assert value(found.metrics, "described") == 0
    assert abs(value(found.metrics, "adjusted_rand")) < 0.2
    assert value(found.metrics, "silhouette") < value(found.metrics, "silhouette", "chance") + 0.15
    assert found.details["cluster_descriptions"].filter(kind="feature")["p_value"].null_count() > 0  # circular


def test_features_that_the_clusters_were_not_made_from_have_p_values():
    frame = screen(3, treatments=24)
    rng = np.random.default_rng(0)
    number = frame["Metadata_moa"].fill_null("m9").str.slice(1).cast(pl.Int64).to_numpy()
    frame = frame.with_columns(
        Nuclei_told=pl.Series(5.0 * (number == 2) + rng.normal(size=len(number))),
        Nuclei_noise=pl.Series(rng.normal(size=len(number))),
    )
    config = ClustersConfig(made_from=("Cells_",), features=1, **QUICK)
    found = clusters(frame, [*feature_columns(frame)], config).details["cluster_descriptions"]
    features = found.filter(kind="feature").sort("q_value")
    assert features.select("name", "effect").row(0) == ("Nuclei_told", 1.0)
    assert features["q_value"][0] < 0.01
    moa = found.filter(kind="value", value="m2").sort("p_value").row(0, named=True)
    assert features["cluster"][0] == moa["cluster"]


def test_values_are_counted_as_fisher_does_and_what_is_unknown_is_not():
    found = np.array([1, 1, 1, 1, 2, 2, 2, 3])
    values = ["a|b", "a", "a", None, "b", "b", "c", None]
    rows = describe_values(found, values, "Metadata_target", "|")
    assert rows.schema == pl.Schema(DESCRIPTIONS)
    row = rows.filter(cluster=1, value="a").row(0, named=True)
    assert (row["inside"], row["outside"], row["treatments"]) == (3, 0, 4)
    assert row["p_value"] == pytest.approx(fisher_exact([[3, 0], [0, 3]], alternative="greater")[1])
    assert row["effect"] == pytest.approx((3.5 * 3.5) / (0.5 * 0.5))
    assert rows.filter(cluster=3).is_empty()
    assert describe_values(found, [None] * 8, "x").is_empty()


def test_leiden_parts_what_no_edge_joins_and_leaves_the_lonely_alone():
    rng = np.random.default_rng(0)
    centres = np.eye(5)[:4] * 10
    rows = np.concatenate([centre + rng.normal(size=(8, 5)) for centre in centres])
    truth = np.repeat(np.arange(4), 8)
    found = leiden_clusters(rows, "cosine", 4, 1.0, seed=1)
    assert adjusted_rand_score(truth, found) == 1
    np.testing.assert_array_equal(found, leiden_clusters(rows, "cosine", 4, 1.0, seed=1))
    alone = leiden_clusters(np.array([[1.0, 0], [1, 0.1], [-1, 0], [-1, -0.1], [0, 0]]), "cosine", 2, 1.0, seed=0)
    assert alone[0] == alone[1] != alone[2] == alone[3]
    assert (alone == alone[4]).sum() == 1
    assert len(set(leiden_clusters(np.zeros((4, 2)), "cosine", 2, 1.0, seed=0))) == 4


def test_numbers_are_by_size_then_first_row():
    np.testing.assert_array_equal(numbered(np.array([7, 3, 3, 9, 7, 1])), [1, 2, 2, 3, 1, 4])


def test_asked_numbers_of_clusters():
    rows = np.random.default_rng(0).normal(size=(12, 3))
    assert kmeans_clusters(rows, 3, 15, 0).max() == 3
    assert tree_clusters(rows, "cosine", "average", 5, 15).max() == 5
    assert kmeans_clusters(np.zeros((5, 2)), None, 15, 0).max() == 1  # nothing to tell apart


def test_edges():
    frame = screen(2, treatments=3)
    few = evaluate(frame, feature_columns(frame), {"evaluator": "clusters"})
    assert few.metrics["n"].sum() == 0
    assert few.note == "fewer than four treatments"
    frame = screen(2, treatments=8).drop("Metadata_moa")
    found = clusters(frame, feature_columns(frame), ClustersConfig(**QUICK))
    assert dict(found.metrics.select("metric", "n").iter_rows())["adjusted_rand"] == 0
    assert found.details["cluster_descriptions"].filter(kind="value").is_empty()
