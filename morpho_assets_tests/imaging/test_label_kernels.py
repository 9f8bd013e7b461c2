"""Passes over label images against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from morpho_assets.imaging.segmentation.label_kernels import (
    count_pixels,
    moments,
    moments_at,
    paint,
    pieces_above,
    renumber,
)

LABELS = np.random.default_rng(0).integers(0, 7, (23, 31)).astype(np.int32)


def test_pixels_are_counted_and_renumbered() -> None:
    counts = np.zeros(7, np.int64)
    count_pixels(LABELS.ravel(), counts)
    np.testing.assert_array_equal(counts, np.bincount(LABELS.ravel()))
    numbers, found = np.array([0, 3, 3, 0, 1, 2, 9], np.int32), np.empty(LABELS.size, np.int32)
    renumber(LABELS.ravel(), numbers, found)
    np.testing.assert_array_equal(found, numbers[LABELS.ravel()])
    with pytest.raises(ValueError, match="below 0"):
        count_pixels(np.array([1, -1], np.int32), counts)


def test_a_higher_number_is_painted_over_a_lower_where_it_is_asked() -> None:
    numbers, places = np.array([0, 5, 3, 8, 4, 1, 2], np.int32), np.arange(100, dtype=np.int32)
    canvas = np.full(LABELS.size, 4, np.int32)
    paint(canvas, LABELS.ravel(), places, numbers)
    np.testing.assert_array_equal(canvas[:100], np.maximum(4, numbers[LABELS.ravel()[:100]]))
    assert (canvas[100:] == 4).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (40, 57), (200, 160)])
@pytest.mark.parametrize("least", [1, 5])
def test_pieces_are_those_of_scipy_without_the_small_ones(shape: tuple[int, int], least: int) -> None:
    rng = np.random.default_rng(sum(shape))
    for blur in (0.0, 0.7, 2.0):
        light = ndimage.gaussian_filter(rng.normal(size=shape), blur).astype(np.float32)
        level = float(np.median(light))
        expected, count = ndimage.label(light > level, structure=np.ones((3, 3)))
        kept = np.bincount(expected.ravel(), minlength=count + 1) >= least
        kept[0] = False
        numbers = np.where(kept, np.cumsum(kept), 0)
        found = np.zeros(light.size, np.int32)
        every = np.arange(light.size, dtype=np.int32)
        places = pieces_above(light.ravel(), level, every, shape[1], least, found)
        np.testing.assert_array_equal(found.reshape(shape), numbers[expected])
        np.testing.assert_array_equal(places, np.flatnonzero(found))


def test_above_everything_there_is_nothing() -> None:
    found, light = np.zeros(12, np.int32), np.ones(12, np.float32)
    assert pieces_above(light, 1.0, np.arange(12, dtype=np.int32), 4, 1, found).size == 0
    assert pieces_above(light, 0.5, np.empty(0, np.int32), 4, 1, found).size == 0
    assert not found.any()


def test_moments_of_places_are_those_of_the_image_and_the_last_pixel_of_each() -> None:
    places = np.flatnonzero(LABELS).astype(np.int32)
    found, last = moments_at(LABELS.ravel(), places, LABELS.shape[1], 6)
    np.testing.assert_array_equal(found, moments(LABELS, 6))
    assert last.tolist() == [np.flatnonzero(label == LABELS)[-1] for label in range(1, 7)]


def test_moments_are_those_of_numpy_and_0_of_nothing() -> None:
    found = moments(LABELS, 8)
    for label in range(1, 7):
        row, column = np.nonzero(label == LABELS)
        down, right = row - row.mean(), column - column.mean()
        expected = [row.size, row.mean(), column.mean(), down @ down, right @ right, down @ right]
        np.testing.assert_allclose(found[:, label - 1], expected, atol=1e-9)
    assert not found[:, 6:].any()
