"""What follows a convolution of whole numbers, one pass over its sums each, compiled and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# Without `fastmath` a multiplication and an addition stay two, as in floating point everywhere.
kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


@kernel
def halved(x):
    """(H, W, C) uint8 -> (H / 2, W / 2, C): the greatest of each four pixels."""
    result = np.empty((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]), np.uint8)
    for row in range(result.shape[0]):
        for column in range(result.shape[1]):
            for channel in range(x.shape[2]):
                above = max(x[2 * row, 2 * column, channel], x[2 * row, 2 * column + 1, channel])
                below = max(x[2 * row + 1, 2 * column, channel], x[2 * row + 1, 2 * column + 1, channel])
                result[row, column, channel] = max(above, below)
    return result


@kernel
def _byte(value):
    """The whole number 0 to 255 nearest to a float32; half-way, the even one."""
    # A float32 of 2**23 has no bits left for a fraction: adding it rounds, and the compiler can do many at once.
    whole = min(max(value, np.float32(0)), np.float32(255)) + np.float32(2**23)
    return np.uint8(np.int32(whole - np.float32(2**23)))


@kernel
def moved(sums, factor, shift):
    """(H, W, C) sums -> uint8: times `factor`, plus `shift`, as a byte."""
    result = np.empty(sums.shape, np.uint8)
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            for channel in range(len(factor)):
                result[row, column, channel] = _byte(sums[row, column, channel] * factor[channel] + shift[channel])
    return result


@kernel
def moved_and_added(sums, factor, shift, before, carry):
    """`moved` with `before` (H, W, C) uint8, times `carry`, added."""
    result = np.empty(sums.shape, np.uint8)
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            for channel in range(len(factor)):
                value = sums[row, column, channel] * factor[channel] + shift[channel]
                result[row, column, channel] = _byte(value + np.float32(before[row, column, channel]) * carry)
    return result


@kernel
def doubled_and_added(sums, factor, shift, deep, deep_factor, deep_shift):
    """`moved` with `deep` (H / 2, W / 2, C), each pixel of which is four, moved likewise and added."""
    result = np.empty(sums.shape, np.uint8)
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            for channel in range(len(factor)):
                value = sums[row, column, channel] * factor[channel] + shift[channel]
                more = deep[row // 2, column // 2, channel] * deep_factor[channel] + deep_shift[channel]
                result[row, column, channel] = _byte(value + more)
    return result
