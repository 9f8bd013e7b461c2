"""Pixels in the order of their intensities: a radix sort, compiled and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


def sort_keys(pixels: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Unsigned integers in the order of the floats; both zeros are one value."""
    bits = (pixels + np.float32(0)).view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def key_values(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The floats of `sort_keys`."""
    return (keys ^ np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))).view(np.float32)


@kernel
def sort_items(keys):
    """(N,) uint64 in ascending order: the uint32 key above the 32 bits of its place; equal keys in place order.

    Least-significant-digit radix sort by three digits of 11 bits. A key travels with its place, so that every pass
    reads in sequence.
    """
    size = len(keys)
    counts = np.zeros((3, 2048), np.int64)
    for key in keys:
        counts[0, key & 2047] += 1
        counts[1, (key >> 11) & 2047] += 1
        counts[2, key >> 22] += 1
    for digit in range(3):
        total = 0
        for bucket in range(2048):
            count = counts[digit, bucket]
            counts[digit, bucket] = total
            total += count
    items = np.empty(size, np.uint64)
    other = np.empty(size, np.uint64)
    for place in range(size):
        bucket = keys[place] & 2047
        items[counts[0, bucket]] = (np.uint64(keys[place]) << np.uint64(32)) | np.uint64(place)
        counts[0, bucket] += 1
    for digit in (1, 2):
        shift = np.uint64(32 + 11 * digit)
        for item in items:
            bucket = (item >> shift) & np.uint64(2047)
            other[counts[digit, bucket]] = item
            counts[digit, bucket] += 1
        items, other = other, items
    return items
