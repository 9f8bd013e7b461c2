"""Passes over planes (H, W) of float32, compiled and cached on disk; each gives, to the last bit, what the library does
whose general code it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


@kernel
def interpolated(small, rows, columns, result):
    """`result` (H, W) at `rows` (H,) and `columns` (W,) of the plane `small`, all within it, linear between its pixels:
    `scipy.ndimage.map_coordinates` of order 1."""
    last_row, last_column = small.shape[0] - 1, small.shape[1] - 1
    for at in range(len(rows)):
        above = int(np.floor(rows[at]))
        below, down = min(above + 1, last_row), rows[at] - above
        for beside in range(len(columns)):
            left = int(np.floor(columns[beside]))
            right, across = min(left + 1, last_column), columns[beside] - left
            total = 0.0
            total += small[above, left] * (1 - down) * (1 - across)
            total += small[above, right] * (1 - down) * across
            total += small[below, left] * down * (1 - across)
            total += small[below, right] * down * across
            result[at, beside] = total


@kernel
def binned(values, edges, counts):
    """Add to `counts` (N,) how many of the values (flat) lie in each bin of `edges` (N + 1, even), within which all do:
    `numpy.histogram`. The last bin has its right edge."""
    last, one = np.uint32(len(counts) - 1), np.uint32(1)
    first, bins_per_unit = edges[0], len(counts) / (edges[len(counts)] - edges[0])
    for value in values:
        at = min(np.uint32((value - first) * bins_per_unit), last)  # off by one at most: the edges decide
        while at > 0 and value < edges[at]:
            at = np.uint32(at - one)
        while at < last and value >= edges[at + one]:
            at = np.uint32(at + one)
        counts[at] += 1


@kernel
def doubled(plane, result):
    """`result` (2 H, 2 W) of the plane (H, W), linear between pixels: a half lies a quarter of the way to the next one.

    Rows first, then columns, each value the sum of two products: powers of two, which round alike everywhere."""
    height, width = plane.shape
    between = np.empty(width + 2, np.float32)
    for row in range(2 * height):
        near = row // 2
        far = min(max(near - 1 + 2 * (row % 2), 0), height - 1)
        for column in range(width):
            between[column + 1] = plane[near, column] * np.float32(0.75) + plane[far, column] * np.float32(0.25)
        between[0], between[width + 1] = between[1], between[width]
        for column in range(width):
            middle = between[column + 1] * np.float32(0.75)
            result[row, 2 * column] = middle + between[column] * np.float32(0.25)
            result[row, 2 * column + 1] = middle + between[column + 2] * np.float32(0.25)
