"""Average precision of many exchanged rankings, from counts that are made once per pair of profiles.

Plain arrays, compiled once and kept on disk; nothing here runs in parallel. Columns are the profiles of some plates,
rows a block of them. A profile that may be ranked below the positives is a rival of a fold 0 … k-1; fold -1 is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Similarity = NDArray[np.float32]
Counts = NDArray[np.int32]
Flags = NDArray[np.bool_]
kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


@kernel
def count_rivals(
    similarity: Similarity, order: NDArray[np.intp], candidate: Flags, fold: NDArray[np.int64], above: Counts,
    tied: Counts, sizes: Counts,
) -> None:  # fmt: skip
    """Fill `above` and `tied` (folds, rows, columns) with how many rivals of each fold are more, and as, similar to the
    row as the column is; `sizes` (folds, rows) with how many there are. `order` sorts each row of `similarity` (rows,
    columns); only `candidate` ones count. A rival ties with itself."""
    rows, columns = similarity.shape
    folds = above.shape[0]
    seen = np.zeros(folds, np.int32)
    block = np.zeros(folds, np.int32)
    for row in range(rows):
        seen[:] = 0
        last = columns - 1
        while last >= 0:
            value = similarity[row, order[row, last]]
            first = last
            while first > 0 and similarity[row, order[row, first - 1]] == value:
                first -= 1
            block[:] = 0
            for place in range(first, last + 1):
                column = order[row, place]
                if candidate[row, column] and fold[column] >= 0:
                    block[fold[column]] += 1
            for place in range(first, last + 1):
                column = order[row, place]
                for f in range(folds):
                    above[f, row, column] = seen[f]
                    tied[f, row, column] = block[f]
            seen += block
            last = first - 1
        sizes[:, row] = seen


@kernel
def add_exchanged(
    similarity: Similarity, above: Counts, tied: Counts, sizes: Counts, candidate: Flags, near: Flags,
    fold: NDArray[np.int64], row_of: NDArray[np.int64], drawn: NDArray[np.int64], members: NDArray[np.int64],
    place: NDArray[np.int64], relation: NDArray[np.int64], asks: Flags, harmonic: NDArray[np.float64],
    total: NDArray[np.float64], scored: NDArray[np.int64],
) -> None:  # fmt: skip
    """Add to `total` and `scored` (draws,) the average precision of the queries among the rows, and how many these are.

    `drawn` (draws, slots): the column that takes each slot of a group; `members` (slots,) those that hold them, and
    `place` (draws, slots) the fold of the rival that a member gave its slot to (-1: it has its own, or a slot). Between
    slots `relation` is 1 (positive), 0 (left out) or -1 (a rival like others); slots that `asks` are queries. Queries
    and positives must be `near`. `row_of` (columns,) is -1 outside the block; `harmonic` holds H_0, H_1, …
    """
    draws, slots = drawn.shape
    folds = above.shape[0]
    positives = np.empty(slots, np.int64)
    for draw in range(draws):
        for a in range(slots):
            row = row_of[drawn[draw, a]]
            if row < 0 or not asks[a]:
                continue
            count = 0
            for b in range(slots):
                if relation[a, b] == 1 and near[row, drawn[draw, b]]:
                    at = count  # insertion by descending similarity
                    while at > 0 and similarity[row, positives[at - 1]] < similarity[row, drawn[draw, b]]:
                        positives[at] = positives[at - 1]
                        at -= 1
                    positives[at] = drawn[draw, b]
                    count += 1
            if count == 0:
                continue
            precision = 0.0
            used = 0
            for f in range(folds):
                rivals = sizes[f, row]
                for b in range(slots):
                    column = drawn[draw, b]
                    if b != a and relation[a, b] >= 0 and fold[column] == f and candidate[row, column]:
                        rivals -= 1
                    if place[draw, b] == f and candidate[row, members[b]]:
                        rivals += 1
                if rivals <= 0:
                    continue
                used += 1
                precision += _fold_precision(
                    similarity[row], above[f, row], tied[f, row], candidate[row], f, a, fold, drawn[draw], members,
                    place[draw], relation[a], harmonic, positives[:count],
                )  # fmt: skip
            if used > 0:
                total[draw] += precision / used
                scored[draw] += 1


@kernel
def _fold_precision(
    similarity: Similarity, above: Counts, tied: Counts, candidate: Flags, f: int, a: int, fold: NDArray[np.int64],
    drawn: NDArray[np.int64], members: NDArray[np.int64], place: NDArray[np.int64], relation: NDArray[np.int64],
    harmonic: NDArray[np.float64], positives: NDArray[np.int64],
) -> float:  # fmt: skip
    """AP of one query among the rivals of fold `f`; ties as `retrieval.mean_precision`, which this is in a loop."""
    result = 0.0
    ahead = 0
    while ahead < positives.size:
        column = positives[ahead]
        value = similarity[column]
        alike = 1
        while ahead + alike < positives.size and similarity[positives[ahead + alike]] == value:
            alike += 1
        over, same = above[column], tied[column]
        for b in range(drawn.size):
            other = drawn[b]
            if b != a and relation[b] >= 0 and fold[other] == f and candidate[other]:
                over -= 1 if similarity[other] > value else 0
                same -= 1 if similarity[other] == value else 0
            if place[b] == f and candidate[members[b]]:
                over += 1 if similarity[members[b]] > value else 0
                same += 1 if similarity[members[b]] == value else 0
        first, block = ahead + over, alike + same
        slope = (alike - 1) / (block - 1) if block > 1 else 0.0
        spread = harmonic[first + block] - harmonic[first]
        result += alike / block * ((ahead + 1 - slope * (first + 1)) * spread + slope * block)
        ahead += alike
    return result / positives.size
