"""Tiles of a site and whole sites: windows that need no cell, and so are there where all cells are gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.learn.crops import shrunk


def tile_corners(shape: tuple[int, int], size: int) -> NDArray[np.int64]:
    """(n, 2) row and column of the upper left pixel of each tile of an image (H, W): as many squares of `size` pixels
    side by side as fit, row by row, the rest shared out at the borders. InputError for an image in which none fits."""
    if min(shape) < size:
        found = f"images of {shape[0]} x {shape[1]} pixels"
        raise InputError("encoder", "crop_size", found, f"images that a tile of {size} fits in", "Give a smaller one.")
    rows, columns = (
        (length - length // size * size) // 2 + size * np.arange(length // size, dtype=np.int64) for length in shape
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def cut_tiles(
    image: NDArray[np.float32], corners: NDArray[np.integer], size: int, shrink: int = 1
) -> NDArray[np.float32]:
    """The tiles of an image (C, H, W) at these corners, blocks of `shrink` pixels averaged: (n, C, size / shrink,
    size / shrink) float32; no corners give n = 0."""
    tiles = np.empty((len(corners), len(image), size, size), dtype=np.float32)
    for tile, (row, column) in zip(tiles, corners, strict=True):
        tile[:] = image[:, row : row + size, column : column + size]
    return shrunk(tiles, shrink)


def whole_site(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """An image (C, H, W) as one window (1, C, side, side) float32: each pixel the weighted mean of the part that it
    stands for. An image that is no square is squeezed, alike for all sites of a shape."""
    from skimage.transform import resize

    planes = [resize(plane, (side, side), anti_aliasing=True) for plane in image]
    return np.stack(planes).astype(np.float32)[None]
