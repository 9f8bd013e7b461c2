"""Flooding against scikit-image's watershed, which has the same rule but for seeds of one height."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.segmentation import watershed

from morpho_assets.imaging.segmentation.flooding import flooded


def both(height: np.ndarray, seeds: np.ndarray, mask: np.ndarray, corners: bool) -> tuple[np.ndarray, np.ndarray]:
    connectivity = np.ones((3, 3), bool) if corners else 1
    return flooded(height, seeds, mask, corners=corners), watershed(height, seeds, connectivity, mask=mask)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_it_is_the_library_s_watershed(seed: int, rows: int, columns: int, corners: bool):
    rng = np.random.default_rng(seed)
    height = rng.permutation(rows * columns).reshape(rows, columns).astype(np.float32) - 200
    seeds = (rng.integers(1, 9, height.shape) * (rng.random(height.shape) < 0.1)).astype(np.int32)
    ours, theirs = both(height, seeds, rng.random(height.shape) < 0.8, corners)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == np.int32


@given(st.integers(0, 10**6), st.booleans())
def test_pixels_of_one_height_go_as_they_came(seed: int, corners: bool):
    rng = np.random.default_rng(seed)
    height = rng.integers(0, 3, (30, 30)).astype(np.float32)
    seeds = np.zeros(height.shape, np.int32)
    at = rng.integers(0, 30, (2, 3))
    seeds[*at] = np.arange(1, 4)
    height[*at] = [-3, -2, -1]  # seeds of different height
    ours, theirs = both(height, seeds, rng.random(height.shape) < 0.9, corners)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("corners", [False, True])
def test_seeds_of_one_height_share_a_plateau_evenly(corners: bool):
    seeds = np.array([[1, 0, 0, 0, 0, 2]], np.int32)
    found = flooded(np.zeros((1, 6), np.float32), seeds, np.ones((1, 6), bool), corners=corners)
    assert found.tolist() == [[1, 1, 1, 2, 2, 2]]


def test_the_lowest_way_is_taken_first():
    #          the valley on the right belongs to 2 up to the ridge, though 1 is nearer to it
    height = np.array([[0, 5, 1, 1, 0]], np.float32)
    seeds = np.array([[1, 0, 0, 0, 2]], np.int32)
    assert flooded(height, seeds, np.ones((1, 5), bool)).tolist() == [[1, 1, 2, 2, 2]]


def test_without_seeds_or_ground_there_is_nothing():
    height, inside = np.zeros((4, 5), np.float32), np.ones((4, 5), bool)
    seeds = np.zeros((4, 5), np.int32)
    assert not flooded(height, seeds, inside).any()
    seeds[1, 1] = 7
    assert not flooded(height, seeds, ~inside).any()
    assert (flooded(height, seeds, inside) == 7).all()
