"""Tiles and whole sites, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.learn.tiles import cut_tiles, tile_corners, whole_site


def test_tiles_lie_side_by_side_row_by_row_and_share_out_the_rest():
    assert tile_corners((8, 8), 4).tolist() == [[0, 0], [0, 4], [4, 0], [4, 4]]
    assert tile_corners((10, 5), 4).tolist() == [[1, 0], [5, 0]]  # two pixels over: one above, one below
    assert tile_corners((4, 4), 4).tolist() == [[0, 0]]
    with pytest.raises(InputError, match="images of 4 x 9 pixels"):
        tile_corners((4, 9), 5)


def test_no_pixel_is_in_two_tiles():
    corners = tile_corners((37, 50), 9)
    seen = np.zeros((37, 50), int)
    for row, column in corners:
        seen[row : row + 9, column : column + 9] += 1
    assert seen.max() == 1
    assert seen.sum() == 4 * 5 * 81


def test_tiles_are_cut_and_shrunk():
    image = np.arange(2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
    tiles = cut_tiles(image, tile_corners((4, 4), 2), 2)
    assert tiles.shape == (4, 2, 2, 2)
    np.testing.assert_array_equal(tiles[1, 0], [[2, 3], [6, 7]])
    np.testing.assert_array_equal(cut_tiles(image, tile_corners((4, 4), 2), 2, 2)[:, 1, 0, 0], [18.5, 20.5, 26.5, 28.5])
    assert cut_tiles(image, np.empty((0, 2), int), 2).shape == (0, 2, 2, 2)


def test_a_whole_site_is_resized_whatever_its_shape():
    image = np.zeros((1, 32, 64), np.float32)
    image[0, :16, 32:] = 1
    found = whole_site(image, 8)
    assert found.shape == (1, 1, 8, 8)
    assert found.dtype == np.float32
    assert found[0, 0, :3, 5:].min() > 0.9
    assert found[0, 0, 5:].max() < 0.1
    np.testing.assert_allclose(whole_site(np.full((2, 20, 20), 0.3, np.float32), 4), 0.3, atol=1e-6)
