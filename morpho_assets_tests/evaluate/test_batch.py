from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.batch import (
    BatchConfig,
    batch_asw,
    batch_effects,
    explained_by,
    graph_connectivity,
    ilisi,
    kbet,
)
from morpho_assets.evaluate.neighbours import gaussian_weights, lisi, nearest
from morpho_assets.evaluate.silhouette import distance_matrix
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


def two(shift: float, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """(distances, batches) of one kind of profile in two batches that are `shift` apart."""
    batch = np.arange(n) % 2
    values = np.random.default_rng(0).normal(size=(n, 5)) + shift * batch[:, None]
    return distance_matrix(values, "euclidean"), batch


def test_neighbours_and_weights_by_hand() -> None:
    distances = np.abs(np.subtract.outer([0.0, 1.0, 3.0, 7.0], [0.0, 1.0, 3.0, 7.0]))
    assert nearest(distances, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    weights = gaussian_weights(np.random.default_rng(0).random((9, 30)), 10)
    np.testing.assert_allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), 10, rtol=1e-6)


def test_lisi_counts_the_kinds_among_neighbours() -> None:
    distances, batch = two(0)
    assert 1.8 < np.median(lisi(distances, batch, 15)) <= 2
    np.testing.assert_allclose(lisi(*two(100), 10), 1)
    np.testing.assert_allclose(lisi(distances, np.zeros(80, dtype=int), 10), 1)


@pytest.mark.parametrize("metric", [lambda d, b: kbet(d, b, 15, 0.05), lambda d, b: ilisi(d, b, 15), batch_asw])
def test_mixing_metrics_fall_from_near_1_to_near_0(metric) -> None:  # type: ignore[no-untyped-def]
    values = [metric(*two(shift)) for shift in (0, 1, 100)]
    assert values[0] > values[1] > values[2]
    assert values[0] > 0.85
    assert values[2] < 0.1


def test_explained_variance_by_hand() -> None:
    batch = np.array([0, 0, 1, 1])
    assert explained_by(np.array([[0.0], [0], [1], [1]]), batch, 5) == pytest.approx(1)
    assert explained_by(np.array([[0.0], [1], [0], [1]]), batch, 5) == pytest.approx(0)
    assert np.isnan(explained_by(np.ones((4, 2)), batch, 5))


def test_connectivity_by_hand() -> None:
    chain = np.array([[1], [0], [3], [2], [2]])
    assert graph_connectivity(chain, np.array([0, 0, 0, 0, 1])) == pytest.approx(0.5)
    assert graph_connectivity(chain, np.array([0, 0, 1, 1, 1])) == 1
    assert np.isnan(graph_connectivity(chain, np.arange(5)))


def test_a_batch_effect_lowers_the_batch_mean_below_its_chance_and_biology_the_other_way() -> None:
    config = BatchConfig(perplexity=5)
    clean, shifted = (
        batch_effects(f, feature_columns(f), config).metrics
        for f in (screen(2, controls=30), screen(2, controls=30, batch=4))
    )
    assert value(clean, "batch_mean") == pytest.approx(value(clean, "batch_mean", "chance"), abs=0.1)
    assert value(shifted, "batch_mean") < value(clean, "batch_mean") - 0.2
    assert value(clean, "label_mean") > value(clean, "label_mean", "chance")
    both = 0.4 * value(clean, "batch_mean") + 0.6 * value(clean, "label_mean")
    assert value(clean, "overall") == pytest.approx(both)


def test_one_batch_is_refused() -> None:
    frame = screen(plates=1)
    with pytest.raises(InputError, match="Metadata_Plate: found 1 value"):
        batch_effects(frame, feature_columns(frame))
