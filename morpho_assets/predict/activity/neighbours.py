"""How alike compounds are in structure: Tanimoto similarity of fingerprints, and the most similar training active."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
ROWS = 512  # compounds at once


def tanimoto(bits: Floats) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(row numbers, (rows, n) similarity of these to all) of fingerprints (n, d) of 0 and 1, a block of rows after the
    other: bits of both over bits of either. NaN with a fingerprint of NaN; 0 of two without a bit."""
    from scipy.sparse import csr_matrix

    known = np.isfinite(bits).all(axis=1)
    matrix = csr_matrix(np.where(known[:, None], bits > 0, False).astype(np.float32))
    turned = matrix.T.tocsr()
    count = np.asarray(matrix.sum(axis=1)).ravel()
    for start in range(0, len(bits), ROWS):
        rows = np.arange(start, min(start + ROWS, len(bits)))
        both = (matrix[rows] @ turned).toarray()
        either = count[rows, None] + count[None, :] - both
        found = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        found[~known[rows]] = np.nan
        found[:, ~known] = np.nan
        yield rows, found


def nearest_elsewhere(bits: Floats, fold: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n,) similarity of each compound to the nearest of another fold, tested or not: what its models saw at best. NaN
    without a fingerprint, or without any in another fold."""
    nearest = np.full(len(bits), np.nan, np.float32)
    for rows, found in tanimoto(bits):
        found[(fold[rows, None] == fold[None, :]) | ~np.isfinite(found)] = -1
        best = found.max(axis=1, initial=-1)
        nearest[rows] = np.where(best >= 0, best, np.nan)
    return nearest


def similar_actives(
    bits: Floats, labels: Floats, fold: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """((folds, n, a) the similarity of each compound to the most similar active of an assay in each fold, (folds, n, a)
    which compound that is). Itself is not counted. NaN and -1 where the fold has no active with a fingerprint."""
    folds = int(fold.max(initial=-1)) + 1
    shape = (folds, *labels.shape)
    nearest, which = np.full(shape, np.nan, np.float32), np.full(shape, -1, np.int32)
    known = np.isfinite(bits).all(axis=1)
    actives = [[np.flatnonzero((labels[:, assay] > 0) & (fold == each) & known) for assay in range(labels.shape[1])]
               for each in range(folds)]  # fmt: skip
    for rows, found in tanimoto(bits):
        found[np.arange(len(rows)), rows] = -1
        there = known[rows]
        for each in range(folds):
            for assay, own in enumerate(actives[each]):
                if len(own):
                    part = np.where(there[:, None], found[:, own], -1)
                    best = part.argmax(axis=1)
                    value = part[np.arange(len(rows)), best]
                    good = value >= 0
                    nearest[each, rows, assay] = np.where(good, value, np.nan)
                    which[each, rows, assay] = np.where(good, own[best], -1)
    return nearest, which


def of_other_folds(
    nearest: NDArray[np.float32], which: NDArray[np.int32], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """((n, a) similarity to the nearest active outside the compound's own fold, (n, a) which, (folds, n, a) `nested`:
    that of actives outside fold f and the own fold). 0 where there is none: nothing is like it."""
    folds = len(nearest)
    filled = np.where(np.isfinite(nearest), nearest, -1)
    own = np.arange(folds)[:, None] == fold[None, :]  # (folds, n)
    outside = np.where(own[:, :, None], -1, filled)
    best = outside.argmax(axis=0)
    value = np.take_along_axis(outside, best[None], axis=0)[0]
    who = np.where(value >= 0, np.take_along_axis(which, best[None], axis=0)[0], -1)
    nested = (
        np.stack([np.delete(outside, each, axis=0).max(axis=0, initial=-1) for each in range(folds)])
        if folds
        else filled
    )
    for each in range(folds):
        nested[each, fold == each] = value[fold == each]
    return np.maximum(value, 0), who.astype(np.int32), np.maximum(nested, 0)
