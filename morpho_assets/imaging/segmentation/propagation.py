"""Cells grown from nuclei by distances that count changes of brightness: CellProfiler's Propagation.

Jones et al. 2005, doi:10.1007/11569541_54. A step from a pixel to one of its eight neighbours costs
sqrt(d**2 + regularisation**2 * s), where d is the sum of the absolute differences between the 3 x 3 pixels around the
one and those around the other (beyond the image's edge, the pixels on it), and s is 1 straight and 2 diagonally. Every
pixel goes to the nucleus from which the cheapest path leads. Compiled by numba for one core; the caller runs sites in
parallel.
"""

from __future__ import annotations

import heapq

import numba
import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.objects import Labels


def propagated(plane: NDArray[np.float32], nuclei: Labels, mask: NDArray[np.bool_], regularisation: float) -> Labels:
    """Labels (H, W) int32: those of `nuclei`, spread over the connected pixels of `mask`; what no path reaches is 0.

    A small `regularisation` puts the border between cells where `plane` changes; a large one, half-way between nuclei.
    Of equal paths the one from the pixel first reached counts.
    """
    padded = np.pad(plane.astype(np.float64), 1, mode="edge")
    return _spread(padded, nuclei.astype(np.int32), np.ascontiguousarray(mask), float(regularisation))


@numba.njit(cache=True)
def _spread(padded, nuclei, mask, regularisation):  # type: ignore[no-untyped-def]
    """(H + 2, W + 2) float64 with its edge repeated, (H, W) int32, (H, W) bool -> (H, W) int32."""
    height, width = nuclei.shape
    labels = nuclei.copy()
    best = np.full((height, width), np.inf)
    queue = [(0.0, 0, 0, 0) for _ in range(0)]
    for i in range(height):
        for j in range(width):
            if nuclei[i, j] > 0:
                best[i, j] = 0.0
                heapq.heappush(queue, (0.0, i, j, np.int64(nuclei[i, j])))
    while len(queue) > 0:
        distance, i, j, label = heapq.heappop(queue)
        if distance > best[i, j]:
            continue
        for a in range(max(i - 1, 0), min(i + 2, height)):
            for b in range(max(j - 1, 0), min(j + 2, width)):
                if (a == i and b == j) or not mask[a, b] or nuclei[a, b] > 0:
                    continue
                difference = 0.0
                for k in range(3):
                    for m in range(3):
                        difference += abs(padded[i + k, j + m] - padded[a + k, b + m])
                steps = abs(a - i) + abs(b - j)
                reached = distance + np.sqrt(difference * difference + regularisation * regularisation * steps)
                if reached < best[a, b]:
                    best[a, b] = reached
                    labels[a, b] = label
                    heapq.heappush(queue, (reached, a, b, label))
    return labels
