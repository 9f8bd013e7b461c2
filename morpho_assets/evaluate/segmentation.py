"""How well a segmentation agrees with a reference, object by object.

All scores come from one contingency table: how many pixels each true object shares with each predicted one.
Labels are integers, 0 is background; numbers may have gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

DSB_THRESHOLDS = tuple(float(t) for t in np.arange(50, 100, 5) / 100)

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
    area = np.bincount(labels.ravel())
    area[0] = 0
    present = np.flatnonzero(area)
    position = np.full(area.size, -1, dtype=np.int64)
    position[present] = np.arange(present.size)
    return position[labels], area[present].astype(np.int64)


def instance_f1(truth: Labels, predicted: Labels, iou: float = 0.5) -> float:
    """2 TP / (2 TP + FP + FN) of objects matched one to one at `iou` (higher is better; 1 where both are empty)."""
    return f1_of(overlap(truth, predicted), iou)


def f1_of(table: Overlap, iou: float) -> float:
    """`instance_f1` from a contingency table at hand."""
    objects = table.truth_area.size + table.predicted_area.size
    return 2 * table.matches(iou).size / objects if objects else 1.0


def map_dsb(truth: Labels, predicted: Labels) -> float:
    """Mean over IoU 0.5, 0.55 … 0.95 of TP / (TP + FP + FN), the score of the 2018 Data Science Bowl.

    1 where both are empty. Source: Caicedo et al. 2019, doi:10.1038/s41592-019-0612-7.
    """
    return map_dsb_of(overlap(truth, predicted))


def map_dsb_of(table: Overlap) -> float:
    """`map_dsb` from a contingency table at hand."""
    objects = table.truth_area.size + table.predicted_area.size
    if not objects:
        return 1.0
    hits = np.array([table.matches(iou).size for iou in DSB_THRESHOLDS])
    return float(np.mean(hits / (objects - hits)))


def dice(truth: Labels, predicted: Labels) -> float:
    """2 |A and B| / (|A| + |B|) of the two foregrounds, whatever the objects (1 where both are empty)."""
    foreground, found = truth > 0, predicted > 0
    total = int(foreground.sum()) + int(found.sum())
    return 2 * int((foreground & found).sum()) / total if total else 1.0


def count_error(truth: Labels, predicted: Labels) -> float:
    """(predicted - true) / true number of objects: signed, 0 is best; infinite where objects are found in none."""
    true_count, count = _positions(truth)[1].size, _positions(predicted)[1].size
    if true_count == 0:
        return 0.0 if count == 0 else float("inf")
    return (count - true_count) / true_count
