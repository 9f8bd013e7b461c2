"""Passes over planes: to the last bit what the libraries do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from morpho_assets.imaging.segmentation.own_thresholds import _otsu
from morpho_assets.imaging.segmentation.plane_kernels import binned, doubled, interpolated


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 5), (31, 12)])
def test_interpolated_as_scipy_does(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    small = rng.normal(size=shape).astype(np.float32)
    rows, columns = (np.append(rng.uniform(0, size - 1, 40), [0, size - 1]) for size in shape)
    found = np.empty((42, 42), np.float32)
    interpolated(small, rows, columns, found)
    expected = ndimage.map_coordinates(small, np.meshgrid(rows, columns, indexing="ij"), order=1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (7, 4)])
def test_doubled_is_linear_between_pixels_and_level_at_the_edge(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(sum(shape)).integers(0, 65536, shape).astype(np.float32)
    found = np.empty((2 * shape[0], 2 * shape[1]), np.float32)
    doubled(plane, found)
    places = [((np.arange(2 * size) - 0.5) / 2).clip(0, size - 1) for size in shape]
    expected = ndimage.map_coordinates(plane.astype(float), np.meshgrid(*places, indexing="ij"), order=1)
    np.testing.assert_array_equal(found, expected)  # of whole numbers every step is exact


@pytest.mark.parametrize("values", [
    np.random.default_rng(0).normal(size=5_000), np.random.default_rng(1).integers(0, 9, 500), [3.0, 4.0],
    np.random.default_rng(2).exponential(size=5_000) * 1e-6,
])  # fmt: skip
def test_binned_as_numpy_does(values) -> None:
    values = np.asarray(values, np.float32)
    expected, edges = np.histogram(values, bins=256)
    counts = np.zeros(256, np.int64)
    binned(values, edges, counts)
    np.testing.assert_array_equal(counts, expected)


def test_otsu_is_that_of_scikit_image_of_a_constant_plane_too() -> None:
    plane = np.random.default_rng(3).gamma(2.0, size=(60, 70)).astype(np.float32)
    for each in (plane, np.full((4, 5), 0.25, np.float32), np.array([[0.5]], np.float32)):
        assert _otsu(each) == float(threshold_otsu(each))
