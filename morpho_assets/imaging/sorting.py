"""Pixels in the order of their intensities: a radix sort, compiled and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


def sort_keys(pixels: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Unsigned integers in the order of the floats (N,); both zeros are one value."""
    keys = np.empty(pixels.shape, np.uint32)
    bits_to_keys(pixels.view(np.uint32), keys)
    return keys


def key_values(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The floats of `sort_keys`."""
    bits = np.empty(keys.shape, np.uint32)
    keys_to_bits(keys, bits)
    return bits.view(np.float32)


@kernel
def bits_to_keys(bits, keys):
    for place in range(len(bits)):
        known = np.uint32(0) if bits[place] == np.uint32(0x80000000) else bits[place]
        keys[place] = known ^ (np.uint32(0xFFFFFFFF) if known >> np.uint32(31) else np.uint32(0x80000000))


@kernel
def keys_to_bits(keys, bits):
    for place in range(len(keys)):
        flipped = np.uint32(0x80000000) if keys[place] >> np.uint32(31) else np.uint32(0xFFFFFFFF)
        bits[place] = keys[place] ^ flipped


@kernel
def sort_items(keys):
    """(N,) uint64 in ascending order: the uint32 key above the 32 bits of its place; equal keys in place order.

    Least-significant-digit radix sort of how far each key lies above the least one, by three digits of as few bits as
    that needs: the fewer, the better their buckets fit the nearest cache. A key travels with its place, so that every
    pass reads in sequence.
    """
    size = len(keys)
    items, other = np.empty(size, np.uint64), np.empty(size, np.uint64)
    if size == 0:
        return items
    least, most = keys.min(), keys.max()
    bits = 1
    while bits < 11 and (most - least) >> np.uint32(3 * bits) > 0:
        bits += 1
    buckets = np.uint32(2**bits)
    middle, last, high = np.uint32(bits), np.uint32(2 * bits), np.uint64(32)
    counts = np.zeros((3, buckets), np.uint32)
    for key in keys:
        above = np.uint32(key - least)
        counts[0, above % buckets] += np.uint32(1)
        counts[1, (above >> middle) % buckets] += np.uint32(1)
        counts[2, above >> last] += np.uint32(1)
    for digit in range(3):
        total = np.uint32(0)
        for bucket in range(buckets):
            count = counts[digit, bucket]
            counts[digit, bucket] = total
            total = np.uint32(total + count)
    for place in range(size):
        bucket = np.uint32(keys[place] - least) % buckets
        other[counts[0, bucket]] = (np.uint64(keys[place]) << high) | np.uint64(place)
        counts[0, bucket] += np.uint32(1)
    for item in other:
        bucket = (np.uint32(np.uint32(item >> high) - least) >> middle) % buckets
        items[counts[1, bucket]] = item
        counts[1, bucket] += np.uint32(1)
    for item in items:
        bucket = np.uint32(np.uint32(item >> high) - least) >> last
        other[counts[2, bucket]] = item
        counts[2, bucket] += np.uint32(1)
    return other
