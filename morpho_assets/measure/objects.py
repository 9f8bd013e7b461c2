"""The objects of one label image, in the layout that every measurement shares.

Pixels are sorted once by object, in raster order within an object, so that per-object statistics are reductions
over contiguous stretches. Labels are renumbered 1..n without gaps inside a frame of background one pixel wide, so
that kernels look at neighbours without testing bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.measure.kernels import kernel


@dataclass(frozen=True)
class Objects:
    """n objects with N pixels in an image of H x W.

    numbers (n,) int64: the objects' numbers in the given label image, ascending.
    framed (H + 2, W + 2) int32: labels 1..n, 0 background, with one pixel of background around.
    rows, cols (N,) int32: the pixels' places in the image, sorted by object, then row, then column.
    starts (n + 1,) int64: object i owns the pixels starts[i]:starts[i + 1].
    boxes (n, 4) int32: first row, first column, last row + 1, last column + 1.
    """

    numbers: NDArray[np.int64]
    framed: NDArray[np.int32]
    rows: NDArray[np.int32]
    cols: NDArray[np.int32]
    starts: NDArray[np.int64]
    boxes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        return self.framed.shape[0] - 2, self.framed.shape[1] - 2

    @property
    def areas(self) -> NDArray[np.int64]:
        """(n,) pixels per object."""
        return np.diff(self.starts)

    @property
    def owners(self) -> NDArray[np.int32]:
        """(N,) index 0..n-1 of each pixel's object."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.areas)


def find_objects(labels: NDArray[np.integer], compartment: str) -> Objects:
    """Objects of a label image (H, W) of any integer dtype: 0 is background, gaps are allowed.

    Raises InputError, naming the compartment, for labels that are not integers or negative.
    """
    if labels.dtype.kind not in "iu":
        raise InputError("labels", compartment, f"dtype {labels.dtype}", "an integer dtype", "Give a label image.")
    if labels.size and labels.min() < 0:
        raise InputError("labels", compartment, f"label {labels.min()}", "labels from 0", "Use 0 as background.")
    largest = int(labels.max(initial=0))
    if largest > labels.size:
        numbers, flat = np.unique(labels, return_inverse=True)
        if numbers[0] != 0:
            numbers, flat = np.append(0, numbers), flat + 1
        compact = flat.reshape(labels.shape).astype(np.int32)
    else:
        compact = labels.astype(np.int32)
        present = present_labels(compact, largest)
        present[0] = True
        numbers = np.flatnonzero(present)
        if len(numbers) <= largest:
            compact = (np.cumsum(present) - 1).astype(np.int32)[compact]
    count = len(numbers) - 1
    framed = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), np.int32)
    framed[1:-1, 1:-1] = compact
    rows, cols, starts, boxes = sort_pixels(compact, count)
    return Objects(numbers[1:].astype(np.int64), framed, rows, cols, starts, boxes)


@kernel
def present_labels(labels, largest):
    """(H, W) labels 0..largest -> (largest + 1,) bool, whether each occurs."""
    present = np.zeros(largest + 1, np.bool_)
    for label in labels.flat:
        present[label] = True
    return present


@kernel
def sort_pixels(labels, count):
    """Counting sort of the foreground of (H, W) labels 1..count: rows, columns, starts and boxes of `Objects`."""
    height, width = labels.shape
    starts = np.zeros(count + 1, np.int64)
    for label in labels.flat:
        starts[label] += 1
    starts[0] = 0
    starts = np.cumsum(starts)
    fill = starts[:-1].copy()
    rows = np.empty(starts[-1], np.int32)
    cols = np.empty(starts[-1], np.int32)
    boxes = np.empty((count, 4), np.int32)
    boxes[:, 0] = height
    boxes[:, 1] = width
    boxes[:, 2:] = 0
    for row in range(height):
        for col in range(width):
            label = labels[row, col]
            if label > 0:
                place = fill[label - 1]
                rows[place] = row
                cols[place] = col
                fill[label - 1] = place + 1
    for i in range(count):
        first, last = starts[i], starts[i + 1]
        boxes[i, 0] = rows[first]
        boxes[i, 2] = rows[last - 1] + 1
        for place in range(first, last):
            boxes[i, 1] = min(boxes[i, 1], cols[place])
            boxes[i, 3] = max(boxes[i, 3], cols[place] + 1)
    return rows, cols, starts, boxes
