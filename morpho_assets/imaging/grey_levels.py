"""The grey levels of an image: what has no more of them than 16 bits is summed up by counting them.

An image of integers, as intensities in [0, 1], has at most 65,536 levels, whatever its size: its median, deviations and
histograms are those of a short table. Other images have as many levels as they have values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INTENSITIES = (np.arange(65536) / 65535).astype(np.float32)
"""Those of 16 bits; the levels of 8 bits are among them."""


@dataclass(frozen=True)
class GreyLevels:
    """`values` (k,) float32 ascending, `counts` (k,) int64, of which some may be 0, and `codes` (H, W): of each pixel
    its place in `values`."""

    values: NDArray[np.float32]
    counts: NDArray[np.int64]
    codes: NDArray[np.integer]

    @classmethod
    def of(cls, plane: NDArray[np.float32]) -> GreyLevels:
        """The grey levels of (H, W), at least one pixel."""
        from morpho_assets.imaging.quality_kernels import count_levels

        codes, counts = np.empty(plane.shape, np.uint16), np.zeros(len(INTENSITIES), np.int64)
        if count_levels(plane, INTENSITIES, codes, counts):
            return cls(INTENSITIES, counts, codes)
        values, place, found = np.unique(plane, return_inverse=True, return_counts=True)
        return cls(values, found.astype(np.int64), place.reshape(plane.shape))

    @property
    def known(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Values and counts of the levels that some pixel has."""
        there = self.counts > 0
        return self.values[there], self.counts[there]


def median_of(values: NDArray[np.float32], counts: NDArray[np.int64]) -> float:
    """The median of as many of each ascending value; between two it is their mean, as numpy's."""
    ends = np.cumsum(counts)
    middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")
    return float(values[middle].mean())
