"""Scores of a segmentation against naive loops, cases by hand, and their invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from morpho_assets.evaluate.segmentation import count_error, dice, instance_f1, map_dsb, overlap

LABELS = arrays.arrays(np.int32, (9, 11), elements=st.integers(0, 4))


def naive_hits(truth: np.ndarray, predicted: np.ndarray, iou: float) -> int:
    """Greedy one-to-one matching, best overlap first, one pair of masks at a time."""
    pairs = []
    for i in np.unique(truth[truth > 0]):
        for j in np.unique(predicted[predicted > 0]):
            a, b = truth == i, predicted == j
            pairs.append(((a & b).sum() / (a | b).sum(), i, j))
    hits, used = 0, set()
    for value, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if value >= iou and ("t", i) not in used and ("p", j) not in used:
            used |= {("t", i), ("p", j)}
            hits += 1
    return hits


@given(LABELS, LABELS)
def test_hits_are_those_of_a_loop_over_masks(truth: np.ndarray, predicted: np.ndarray) -> None:
    table = overlap(truth, predicted)
    for iou in (0.55, 0.7, 0.9):
        assert table.matches(iou).size == naive_hits(truth, predicted, iou)


@given(LABELS)
def test_an_image_agrees_with_itself_under_any_numbers(labels: np.ndarray) -> None:
    assert instance_f1(labels, labels * 7) == 1
    assert map_dsb(labels, labels * 7) == 1
    assert dice(labels, labels * 7) == 1
    assert count_error(labels, labels * 7) == 0


def test_two_squares_by_hand() -> None:
    truth, predicted = np.zeros((4, 8), np.int32), np.zeros((4, 8), np.int32)
    truth[:2, :2], truth[:, 4:] = 1, 2  # 4 and 16 pixels
    predicted[:, 4:7], predicted[3, 0] = 1, 2  # IoU with object 2: 12 / 16
    assert instance_f1(truth, predicted, 0.5) == pytest.approx(2 / 4)
    assert instance_f1(truth, predicted, 0.8) == 0
    # one hit of 3 objects in the union at 0.50 to 0.75: six of ten thresholds
    assert map_dsb(truth, predicted) == pytest.approx(6 / 10 / 3)
    assert dice(truth, predicted) == pytest.approx(24 / 33)
    assert count_error(truth, predicted) == 0


def test_empty_images() -> None:
    nothing, one = np.zeros((3, 3), np.int32), np.eye(3, dtype=np.int32)
    assert (instance_f1(nothing, nothing), map_dsb(nothing, nothing), dice(nothing, nothing)) == (1, 1, 1)
    assert (instance_f1(nothing, one), map_dsb(one, nothing), dice(one, nothing)) == (0, 0, 0)
    assert count_error(one, nothing) == -1
    assert count_error(nothing, one) == np.inf
    assert count_error(nothing, nothing) == 0


def test_fields_of_different_shape_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3, 3\)"):
        overlap(np.zeros((2, 2), int), np.zeros((3, 3), int))
