"""Passes over the votes that a network's maps lead to, compiled and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")

NOWHERE = -1


@kernel
def _held(place, extent):
    return min(max(int(np.floor(place)), 0), extent - 1)


@kernel
def lead(inside, maps, scale, height, width, ends):
    """Put into `ends` (H, W) where each pixel's offsets lead in two steps: the flat place on a grid (height, width) at
    `scale` of the maps' size, `NOWHERE` for pixels that are not `inside`.

    `maps` (3, H, W) holds row and column offsets in its second and third plane. Where the first step ends outside,
    there is no second.
    """
    for row in range(inside.shape[0]):
        for column in range(inside.shape[1]):
            ends[row, column] = NOWHERE
            if not inside[row, column]:
                continue
            down, across = row + 0.5 + maps[1, row, column], column + 0.5 + maps[2, row, column]
            at, beside = _held(down, inside.shape[0]), _held(across, inside.shape[1])
            if inside[at, beside]:
                down, across = at + 0.5 + maps[1, at, beside], beside + 0.5 + maps[2, at, beside]
            ends[row, column] = _held(down * scale, height) * width + _held(across * scale, width)


@kernel
def count_votes(ends, votes):
    """Add 1 to votes[end] for every end that is somewhere; all flat."""
    for end in ends:
        if end != NOWHERE:
            votes[end] += 1


@kernel
def take_owners(ends, owners, labels):
    """labels = owners[ends], 0 for ends that are nowhere; all flat."""
    for place in range(len(ends)):
        labels[place] = 0 if ends[place] == NOWHERE else owners[ends[place]]


@kernel
def add_by_label(labels, values, totals):
    """Add each value to totals[label], in reading order and double precision, so that a sum is the same everywhere."""
    for place in range(len(labels)):
        totals[labels[place]] += values[place]
