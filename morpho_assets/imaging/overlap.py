"""Which objects of two label images lie on each other: one contingency table, from which every score follows.

Labels are integers, 0 is background; numbers may have gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]


@dataclass(frozen=True)
class Overlap:
    """The overlapping pairs of two label images and the sizes of all objects.

    `truth` and `predicted` are positions (0-based, in order of label) of the two objects of each pair, `shared`
    their common pixels; `truth_area` and `predicted_area` are the pixels of every object.
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    shared: NDArray[np.int64]
    truth_area: NDArray[np.int64]
    predicted_area: NDArray[np.int64]

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        union = self.truth_area[self.truth] + self.predicted_area[self.predicted] - self.shared
        return self.shared / union

    def matches(self, iou: float) -> NDArray[np.int64]:
        """Pairs (as positions in `truth`) matched one to one at `iou`, best overlap first.

        At 0.5 and above with non-overlapping labels a pair can have no rival, except at exactly one half.
        """
        candidates = np.flatnonzero(self.iou >= iou)
        candidates = candidates[np.argsort(-self.iou[candidates], kind="stable")]
        _, first_truth = np.unique(self.truth[candidates], return_index=True)
        candidates = candidates[np.sort(first_truth)]
        _, first_predicted = np.unique(self.predicted[candidates], return_index=True)
        return candidates[np.sort(first_predicted)]


def overlap(truth: Labels, predicted: Labels) -> Overlap:
    """Contingency table of two label images of one shape (H, W).

    Raises ValueError where the shapes differ: two fields that cannot be compared.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label images of different shape: {truth.shape} and {predicted.shape}")
    true_of_pixel, truth_area = _positions(truth)
    predicted_of_pixel, predicted_area = _positions(predicted)
    both = (true_of_pixel >= 0) & (predicted_of_pixel >= 0)
    code = true_of_pixel[both] * max(predicted_area.size, 1) + predicted_of_pixel[both]
    pair, shared = np.unique(code, return_counts=True)
    rows, columns = np.divmod(pair, max(predicted_area.size, 1))
    return Overlap(rows, columns, shared.astype(np.int64), truth_area, predicted_area)


def _positions(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """0-based position of each pixel's label in order of label (-1: background) and the area of each object."""
    area = np.bincount(labels.ravel(), minlength=1)
    area[0] = 0
    present = np.flatnonzero(area)
    position = np.full(area.size, -1, dtype=np.int64)
    position[present] = np.arange(present.size)
    return position[labels], area[present].astype(np.int64)
