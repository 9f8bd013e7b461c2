"""The order of a compartment's intensities: one radix sort per channel serves quantiles and ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.sorting import key_values, sort_items, sort_keys
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


@kernel
def spread_items(items, owners, starts, ranks):
    """Fill the dense ranks (N,) of the places, and return (N,) the keys in ascending order within each object."""
    fill = starts[:-1].astype(np.uint64)  # unsigned places need no test for negative ones
    keys = np.empty(len(items), np.uint32)
    rank, last = -1, np.int64(-1)
    for item in items:
        place, key = np.uint32(item & np.uint64(0xFFFFFFFF)), np.int64(item >> np.uint64(32))
        rank += key != last
        last = key
        ranks[place] = rank
        owner = np.uint32(owners[place])
        keys[fill[owner]] = key
        fill[owner] += np.uint64(1)
    return keys
