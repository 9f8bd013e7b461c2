from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from morpho_assets.errors import InputError
from morpho_assets.evaluate.silhouette import SilhouetteConfig, distance_matrix, silhouette, silhouette_values
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_values_are_scikit_learns_also_for_a_label_of_its_own(kind: str) -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(50, 6)), rng.integers(4, size=50)
    labels[7] = 99
    found = silhouette_values(distance_matrix(values, kind), labels)
    np.testing.assert_allclose(found, silhouette_samples(values, labels, metric=kind), atol=1e-9)


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
    with pytest.raises(InputError, match="at least 2"):
        silhouette(frame, feature_columns(frame))
