"""The order of a compartment's intensities: one radix sort per channel serves quantiles and ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.kernels import kernel


@dataclass(frozen=True)
class Ranking:
    """For C channels of N pixels.

    ranks (C, N) int32: per pixel, how many different intensities of the channel are below its own.
    ascending (C, N) float32: the intensities, ascending within each object.
    """

    ranks: NDArray[np.int32]
    ascending: NDArray[np.float32]


def rank_values(values: NDArray[np.float32], owners: NDArray[np.int32], starts: NDArray[np.int64]) -> Ranking:
    """Rank (C, N) finite intensities over all N pixels of each channel, and sort them within their objects.

    owners (N,): object of each pixel; starts (n + 1,): object i owns the pixels starts[i]:starts[i + 1].
    """
    ranks = np.empty(values.shape, np.int32)
    ascending = np.empty(values.shape, np.float32)
    for channel, pixels in enumerate(values):
        items = sort_items(sort_keys(pixels))
        ascending[channel] = key_values(spread_items(items, owners, starts, ranks[channel]))
    return Ranking(ranks, ascending)


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


@kernel
def spread_items(items, owners, starts, ranks):
    """Fill the dense ranks (N,) of the places, and return (N,) the keys in ascending order within each object."""
    fill = starts[:-1].copy()
    keys = np.empty(len(items), np.uint32)
    rank, last = -1, np.int64(-1)
    for item in items:
        place, key = np.int64(item & np.uint64(0xFFFFFFFF)), np.int64(item >> np.uint64(32))
        rank += key != last
        last = key
        ranks[place] = rank
        owner = owners[place]
        keys[fill[owner]] = key
        fill[owner] += 1
    return keys
