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
    columns; the last of each is the image's end."""
    for i in range(len(rows) - 1):
        for row in range(rows[i], rows[i + 1]):
            for j in range(len(columns) - 1):
                total, square = 0.0, 0.0
                for column in range(columns[j], columns[j + 1]):
                    value = np.float64(plane[row, column])
                    total += value
                    square += value * value
                totals[i, j] += total
                squares[i, j] += square


@kernel
def pair_sums(levels, step):
    """Of all pairs of a level (H, W) and that `step` columns to its right: sums of the left, the right, their squares
    and the product, exact."""
    height, width = levels.shape
    left, right, left_square, right_square, product = 0, 0, 0, 0, 0
    for row in range(height):
        for column in range(width - step):
            a, b = int(levels[row, column]), int(levels[row, column + step])
            left += a
            right += b
            left_square += a * a
            right_square += b * b
            product += a * b
    return left, right, left_square, right_square, product
