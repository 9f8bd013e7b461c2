"""Passes over the pixels of an image that its quality needs, compiled and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")
sums: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@kernel
def count_levels(plane, values, codes, counts):
    """Fill codes (H, W) with the place of each pixel in the 65,536 `values` of 16 bits, and count them; False, and
    neither is whole, where a pixel is none of them."""
    height, width = plane.shape
    for row in range(height):
        for column in range(width):
            value = plane[row, column]
            if not 0 <= value <= 1:
                return False
            code = int(value * 65535 + 0.5)
            if values[code] != value:
                return False
            codes[row, column] = code
            counts[code] += 1
    return True


@sums
def block_sums(plane, rows, columns, totals, squares):
    """Sums of the values and of their squares, in double precision, over the blocks that begin at these rows and
    columns; the last of each is the image's end. First down the columns of a row of blocks, many at once."""
    total, square = np.empty(plane.shape[1]), np.empty(plane.shape[1])
    for i in range(len(rows) - 1):
        total[:], square[:] = 0, 0
        for row in range(rows[i], rows[i + 1]):
            for column in range(plane.shape[1]):
                value = np.float64(plane[row, column])
                total[column] += value
                square[column] += value * value
        for j in range(len(columns) - 1):
            totals[i, j] = total[columns[j] : columns[j + 1]].sum()
            squares[i, j] = square[columns[j] : columns[j + 1]].sum()


@kernel
def pair_sums(levels, step):
    """Of all pairs of a level (H, W) and that `step` columns to its right: sums of the left, the right, their squares
    and the product, exact."""
    width = levels.shape[1] - step
    left, right, left_square, right_square, product = 0, 0, 0, 0, 0
    for row in range(levels.shape[0]):
        # Two slices: an index that could be negative keeps the compiler from doing many at once.
        one, other = levels[row, :width], levels[row, step:]
        for column in range(width):
            left += one[column]
            right += other[column]
            left_square += one[column] * one[column]
            right_square += other[column] * other[column]
            product += one[column] * other[column]
    return left, right, left_square, right_square, product
