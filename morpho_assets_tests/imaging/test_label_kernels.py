"""Passes over label images against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.imaging.segmentation.label_kernels import count_pixels, last_pixels, moments, paint, renumber

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


def test_a_higher_number_is_painted_over_a_lower() -> None:
    canvas = np.full(LABELS.shape, 4, np.int32)
    paint(canvas, LABELS, np.array([0, 5, 3, 8, 4, 1, 2], np.int32))
    np.testing.assert_array_equal(canvas, np.maximum(4, np.array([0, 5, 3, 8, 4, 1, 2])[LABELS]))


def test_the_last_pixel_of_each() -> None:
    found = np.zeros(7, np.intp)
    last_pixels(LABELS, found)
    assert found[1:].tolist() == [np.flatnonzero(label == LABELS)[-1] for label in range(1, 7)]


def test_moments_are_those_of_numpy_and_0_of_nothing() -> None:
    found = moments(LABELS, 8)
    for label in range(1, 7):
        row, column = np.nonzero(label == LABELS)
        down, right = row - row.mean(), column - column.mean()
        expected = [row.size, row.mean(), column.mean(), down @ down, right @ right, down @ right]
        np.testing.assert_allclose(found[:, label - 1], expected, atol=1e-9)
    assert not found[:, 6:].any()
