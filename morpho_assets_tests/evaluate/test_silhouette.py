from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from morpho_assets.evaluate.silhouette import SilhouetteConfig, silhouette, silhouettes, silhouettes_against_rest
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_values_are_scikit_learns_also_for_a_label_of_its_own(kind: str) -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(50, 6)), rng.integers(4, size=50)
    labels[7] = 99
    shuffled = rng.permutation(labels)
    found = silhouettes(values, np.array([labels, shuffled]), kind)
    np.testing.assert_allclose(found[0], silhouette_samples(values, labels, metric=kind), atol=1e-9)
    np.testing.assert_allclose(found[1], silhouette_samples(values, shuffled, metric=kind), atol=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_against_the_rest_is_scikit_learns_with_two_groups(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 6))
    marked = np.array([rng.random(40) < 0.3, np.arange(40) == 7, np.arange(40) != 3])
    found = silhouettes_against_rest(values, marked, kind)
    for row, mark in zip(found, marked, strict=True):
        np.testing.assert_allclose(row, silhouette_samples(values, mark, metric=kind), atol=1e-9)


def test_against_the_rest_by_hand() -> None:
    """0 and 1 against 4 on a line: a = 1, b = 4 and 3; the one alone counts 0."""
    found = silhouettes_against_rest(np.array([[0.0], [1.0], [4.0]]), np.array([[True, True, False]]), "euclidean")
    np.testing.assert_allclose(found, [[3 / 4, 2 / 3, 0]])


def test_phenotypes_against_the_rest_beside_the_shuffled_ones() -> None:
    frame = screen(3, mechanisms=12)
    config = SilhouetteConfig(against="rest", components=50, distance="euclidean")
    found = silhouette(frame, feature_columns(frame), config)
    for metric in ("silhouette_rest", "silhouette_rest_own"):
        assert value(found.metrics, metric) > value(found.metrics, metric, "chance") + 0.05
        assert value(found.metrics, metric, "p_value") == pytest.approx(1 / 21)
        assert value(found.metrics, metric, "ci_low") < value(found.metrics, metric)
    assert set(found.scores["score"]) == {"silhouette_rest", "silhouette_rest_own"}
    one = screen(treatments=1)
    assert silhouette(one, feature_columns(one), config).metrics["n"].to_list() == [0, 0]


def test_memory_is_that_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = np.random.default_rng(0).normal(size=(1500, 5)), np.arange(1500) % 7
    whole = silhouettes(values, labels[None])
    monkeypatch.setattr("morpho_assets.evaluate.silhouette.BLOCK_MB", 1)
    tracemalloc.start()
    found = silhouettes(values, labels[None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1500**2 / 2
    np.testing.assert_allclose(found, whole)


def test_profiles_without_information_score_nothing() -> None:
    assert not silhouettes(np.zeros((6, 2)), np.array([[0, 0, 0, 1, 1, 1]])).any()


def test_the_shuffled_twin_stands_beside() -> None:
    frame = screen(3, mechanisms=12)
    metrics = silhouette(frame, feature_columns(frame), SilhouetteConfig(components=5)).metrics
    assert value(metrics, "silhouette") > 0.3 > value(metrics, "silhouette", "chance")
    assert value(metrics, "silhouette", "p_value") == pytest.approx(1 / 21)
    nothing = screen(0)
    metrics = silhouette(nothing, feature_columns(nothing)).metrics
    assert value(metrics, "silhouette") == pytest.approx(value(metrics, "silhouette", "chance"), abs=0.05)


def test_one_label_is_no_clustering() -> None:
    frame = screen(treatments=1)
    metrics = silhouette(frame, feature_columns(frame)).metrics
    assert metrics.select("metric", "value", "n").rows() == [("silhouette", None, 0)]
