from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from morpho_assets.evaluate.silhouette import SilhouetteConfig, silhouette, silhouettes
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
