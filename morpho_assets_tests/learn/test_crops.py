from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.learn.crops import Scaling, crop_cells, fit_scaling, own_pixels, scale_crops, scale_each

IMAGE = np.arange(2 * 5 * 6, dtype=np.float32).reshape(2, 5, 6)


def test_window_by_hand():
    crops = crop_cells(IMAGE, np.array([[2.0, 3.0]]), 2)
    np.testing.assert_array_equal(crops[0, 0], [[8, 9], [14, 15]])  # pixel (2, 3) is 15 and lands on (1, 1)
    np.testing.assert_array_equal(crops[0, 1], crops[0, 0] + 30)


def test_beyond_the_border_is_zero():
    crops = crop_cells(IMAGE + 1, np.array([[0.0, 0.0], [4.0, 5.0], [900.0, -900.0]]), 4)
    np.testing.assert_array_equal(crops[0, 0], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 7, 8]])
    np.testing.assert_array_equal(crops[1, 0], [[16, 17, 18, 0], [22, 23, 24, 0], [28, 29, 30, 0], [0, 0, 0, 0]])
    assert not crops[2].any()


@given(st.floats(-3, 8), st.floats(-3, 9), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_window_agrees_with_looking_up_each_pixel(row, column, size):
    crop = crop_cells(IMAGE, np.array([[row, column]]), size)[0]
    top, left = int(np.floor(row + 0.5)) - size // 2, int(np.floor(column + 0.5)) - size // 2
    for i in range(size):
        for j in range(size):
            inside = 0 <= top + i < 5 and 0 <= left + j < 6
            expected = IMAGE[:, top + i, left + j] if inside else 0
            np.testing.assert_array_equal(crop[:, i, j], expected)


def test_neighbours_are_blanked_and_background_stays():
    image = np.ones((1, 1, 5), dtype=np.float32)
    labels = np.array([[1, 1, 0, 2, 2]], dtype=np.int32)
    centers = np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 2.0]])
    crops = crop_cells(image, centers, 5, labels)
    np.testing.assert_array_equal(crops[0, 0, 2], [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(crops[1, 0, 2], [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(crops[2, 0, 2], [1, 1, 1, 1, 1])  # on background: nobody's, so nothing is blanked
    named = crop_cells(image, centers[2:], 5, labels, objects=np.array([2]))
    np.testing.assert_array_equal(named[0, 0, 2], [0, 0, 1, 1, 1])


def test_neighbours_are_dimmed():
    labels = np.array([[1, 1, 0, 2, 2]], dtype=np.int32)
    crops = crop_cells(np.ones((1, 1, 5), dtype=np.float32), np.array([[0.0, 1.0]]), 5, labels, neighbours=0.25)
    np.testing.assert_array_equal(crops[0, 0, 2], [0, 1, 1, 1, 0.25])


def test_own_pixels_lie_where_the_window_shows_the_cell():
    labels = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]], dtype=np.int32)
    centers = np.array([[0.0, 1.0], [0.0, 3.0]])
    own = own_pixels(labels, centers, 4)
    np.testing.assert_array_equal(own[0], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    named = own_pixels(labels, centers, 4, objects=np.array([2, 9]), shrink=2)
    np.testing.assert_array_equal(named, [[[0, 0], [0, 0]], [[0, 0], [0, 0]]])  # one column of two is less than half
    assert own_pixels(labels, centers[1:], 4, objects=np.array([2]), shrink=2)[0].tolist() == [[0, 0], [0, 1]]


def test_each_crop_on_its_own_scale_forgets_how_bright_it_is():
    crop = np.random.default_rng(0).random((1, 2, 6, 6), dtype=np.float32)
    scaled = scale_each(np.concatenate([crop, 3 * crop + 1]), (0, 100))
    np.testing.assert_allclose(scaled[0], scaled[1], atol=1e-6)
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert not scale_each(np.full((1, 1, 2, 2), 0.5, dtype=np.float32), (0, 100)).any()
    assert scale_each(crop[:0], (1, 99)).shape == (0, 2, 6, 6)


def test_shrink_averages_blocks():
    whole = crop_cells(IMAGE, np.array([[2.0, 2.0]]), 4)
    shrunk = crop_cells(IMAGE, np.array([[2.0, 2.0]]), 4, shrink=2)
    assert shrunk[0, 0, 0, 1] == pytest.approx(whole[0, 0, :2, 2:].mean())


def test_no_cells_give_no_crops():
    assert crop_cells(IMAGE, np.empty((0, 2)), 4, shrink=2).shape == (0, 2, 2, 2)


def test_the_image_is_not_changed():
    before = IMAGE.copy()
    crop_cells(IMAGE, np.array([[2.0, 2.0]]), 4, np.arange(30, dtype=np.int32).reshape(5, 6))
    np.testing.assert_array_equal(IMAGE, before)


def test_centre_without_a_place_is_named():
    with pytest.raises(InputError, match="centre 1"):
        crop_cells(IMAGE, np.array([[1.0, 1.0], [np.nan, 2.0]]), 4)


def test_size_that_shrink_does_not_divide_is_refused():
    with pytest.raises(InputError, match="size 5, shrink 2"):
        crop_cells(IMAGE, np.array([[1.0, 1.0]]), 5, shrink=2)


def test_scaling_is_fitted_per_channel_and_clips():
    crops = np.stack([np.linspace(0, 1, 101), np.linspace(10, 20, 101)]).reshape(1, 2, 101, 1).astype(np.float32)
    scaling = fit_scaling(crops, (10, 90))
    np.testing.assert_allclose([scaling.low, scaling.high], [[0.1, 11], [0.9, 19]], rtol=1e-5)
    scaled = scale_crops(crops, scaling)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, :, [0, 50, 100], 0], [[0, 0], [0.5, 0.5], [1, 1]], atol=1e-6)


def test_constant_channel_becomes_zero():
    crops = np.full((3, 1, 4, 4), 0.7, dtype=np.float32)
    assert not scale_crops(crops, fit_scaling(crops, (1, 99))).any()


def test_no_crops_scale_to_none():
    assert scale_crops(np.empty((0, 1, 4, 4), dtype=np.float32), Scaling((0.0,), (1.0,))).shape == (0, 1, 4, 4)
