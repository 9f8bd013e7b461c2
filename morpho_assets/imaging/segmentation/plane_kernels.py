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
    last = len(counts) - 1
    width = (edges[last + 1] - edges[0]) / (last + 1)
    for value in values:
        at = min(int((value - edges[0]) / width), last)
        while at > 0 and value < edges[at]:
            at -= 1
        while at < last and value >= edges[at + 1]:
            at += 1
        counts[at] += 1
