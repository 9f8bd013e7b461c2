from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from morpho_assets.learn.projection import MAPS, SMALLEST_UMAP, project


def clusters(n: int, d: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    group = np.arange(n) % 3
    return rng.normal(size=(n, d)) + 8 * rng.normal(size=(3, d))[group], group


@pytest.mark.slow
@pytest.mark.parametrize("method", MAPS)
def test_planted_clusters_stay_apart_and_the_seed_repeats(method):
    features, group = clusters(90)
    features[4, 7] = np.nan
    points = project(features, 0, method)
    assert np.isnan(points[4]).all()
    kept = np.arange(90) != 4
    assert silhouette_score(points[kept], group[kept]) > 0.7
    np.testing.assert_array_equal(points, project(features, 0, method))


@pytest.mark.parametrize("n", [0, 1, 2, 3, SMALLEST_UMAP - 1])
@pytest.mark.parametrize("d", [1, 2, 60])
def test_few_points_get_principal_components(n, d):
    features, _ = clusters(n, d)
    points = project(features, seed=0)
    assert points.shape == (n, 2)
    if n >= 2:
        expected = PCA(min(2, d, n)).fit_transform(features)
        np.testing.assert_allclose(np.abs(points[:, : expected.shape[1]]), np.abs(expected), atol=1e-4)
    assert not points[:, d:].any()


@pytest.mark.parametrize("n", [1, 5, 40])
def test_equal_rows_fall_on_one_point(n):
    np.testing.assert_allclose(project(np.full((n, 4), 3.0), seed=0), 0, atol=1e-6)


def test_all_rows_with_gaps_have_no_place():
    assert np.isnan(project(np.full((3, 4), np.nan), seed=0)).all()
