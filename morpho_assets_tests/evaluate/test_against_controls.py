"""Energy distance and mp-value: by hand, against scipy and scikit-learn, and where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import energy_distance as of_scipy
from sklearn.decomposition import PCA

from morpho_assets.evaluate.energy_distance import EnergyDistanceConfig, energy_distance, energy_distances
from morpho_assets.evaluate.mp_value import MpValueConfig, components_of, mahalanobis_distances, mp_value
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.normalize import normalize
from morpho_assets_tests.evaluate.conftest import screen, value

RUN: dict[str, tuple[Any, Any]] = {
    "energy_distance": (energy_distance, EnergyDistanceConfig(permutations=200)),
    "mahalanobis": (mp_value, MpValueConfig(permutations=200)),
}


def marks(n: int, *first: int) -> np.ndarray:
    return np.array([[i < m for i in range(n)] for m in first])


def test_energy_distance_by_hand() -> None:
    """X = {0, 2}, Y = {1}: E|X-Y| = 1, E|X-X'| = 1, E|Y-Y'| = 0, so 2 - 1 - 0 = 1."""
    assert energy_distances(np.array([[0.0], [2.0], [1.0]]), marks(3, 2)).tolist() == [1.0]
    assert energy_distances(np.array([[3.0], [3.0], [3.0]]), marks(3, 2)).tolist() == [0.0]


def test_energy_distance_is_scipys_on_a_line() -> None:
    values = np.random.default_rng(0).normal(size=(20, 1))
    expected = [of_scipy(values[:m, 0], values[m:, 0]) ** 2 for m in (3, 10)]
    np.testing.assert_allclose(energy_distances(values, marks(20, 3, 10)), expected)


def test_mahalanobis_by_hand_and_as_scipys() -> None:
    """{0, 2} and {3, 5}: centres 3 apart, the variance within is (2 + 2) / (4 - 2) = 2."""
    assert mahalanobis_distances(np.array([[0.0], [2.0], [3.0], [5.0]]), marks(4, 2)) == pytest.approx([3 / np.sqrt(2)])
    values = np.random.default_rng(0).normal(size=(30, 4))
    found = mahalanobis_distances(values, marks(30, 5, 12))
    for m, distance in zip((5, 12), found, strict=True):
        one, other = values[:m], values[m:]
        within = ((m - 1) * np.cov(one.T) + (29 - m) * np.cov(other.T)) / 28
        assert distance == pytest.approx(mahalanobis(one.mean(axis=0), other.mean(axis=0), np.linalg.inv(within)))


def test_components_are_scikit_learns() -> None:
    values = np.random.default_rng(0).normal(size=(60, 6)) * [5, 4, 3, 1, 0.5, 0.1]
    expected = PCA(0.9, svd_solver="full").fit_transform(values)
    np.testing.assert_allclose(np.abs(components_of(values, MpValueConfig())), np.abs(expected), atol=1e-10)
    assert components_of(values[:6], MpValueConfig(variance=1)).shape == (6, 2)  # a third of the profiles at most


@pytest.mark.parametrize("name", RUN)
def test_effects_are_told_apart_and_nothing_is_not(name: str) -> None:
    function, config = RUN[name]
    strong, none = screen(3, treatments=24), screen(0, treatments=24, seed=1)
    found = function(strong, feature_columns(strong), config)
    assert value(found.metrics, "fraction_told_apart") == 1
    assert value(found.metrics, name) > 2 * value(found.metrics, name, "chance")
    assert value(function(none, feature_columns(none), config).metrics, "fraction_told_apart") == 0


@pytest.mark.parametrize("name", RUN)
def test_a_scale_that_the_controls_made_does_not_favour_them(name: str) -> None:
    """Noise on one plate, 8 controls that also made its scale, 200 features: p is about uniform."""
    function, config = RUN[name]
    p = []
    for seed in range(4):
        frame = screen(0, seed=seed, treatments=40, plates=1, controls=8, features=200)
        again = screen(0, seed=seed + 100, treatments=40, plates=1, controls=8, features=200)
        both = frame.vstack(again.filter(again["Metadata_control_type"].is_null()))
        scaled = normalize(both, features=feature_columns(both))
        p += function(scaled, feature_columns(scaled), config).details["distances"]["p_value"].to_list()
    assert len(p) == 160
    assert np.mean(np.array(p) < 0.1) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 160)
    assert np.mean(p) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("name", RUN)
def test_without_controls_or_replicates_nothing_is_asked(name: str) -> None:
    function, config = RUN[name]
    frame = screen()
    for rows in (frame.filter(frame["Metadata_control_type"].is_null()), frame.filter(frame["Metadata_Plate"] == "P0")):
        found = function(rows, feature_columns(frame), config).metrics
        assert found.select("value", "n").rows() == [(None, 0), (None, 0)]
