"""Nearest neighbours, and how many kinds there are among them; memory is linear in the profiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
BLOCK_MB = 64  # of distances at a time


def nearest(matrix: Matrix, k: int, kind: str = "cosine") -> tuple[Matrix, Rows]:
    """((n, k) distances, (n, k) row numbers) of the k nearest others of each row of (n, d), nearest first.

    `kind` is cosine (1 - similarity; 1 to a row of zeros) or euclidean. k is at most n - 1.
    """
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    with config_context(working_memory=BLOCK_MB):
        distances, rows = NearestNeighbors(n_neighbors=k, metric=kind, algorithm="brute").fit(matrix).kneighbors()
    return np.asarray(distances), np.asarray(rows)


def lisi(weights: Matrix, neighbours: Rows, kinds: npt.NDArray[np.integer]) -> Matrix:
    """(n,) local inverse Simpson's index: the effective number of kinds among each row's neighbours (n, k) by their
    `gaussian_weights` (Korsunsky 2019, 10.1038/s41592-019-0619-0). 1 is one kind only."""
    names, code = np.unique(kinds, return_inverse=True)
    scores = np.empty(len(weights))
    for block in np.array_split(np.arange(len(weights)), max(1, len(weights) * names.size // 4_000_000)):
        cells = np.arange(block.size)[:, None] * names.size + code[neighbours[block]]
        shares = np.bincount(cells.ravel(), weights[block].ravel(), block.size * names.size)
        scores[block] = 1 / (shares.reshape(block.size, -1) ** 2).sum(axis=1)
    return scores


def gaussian_weights(distances: Matrix, perplexity: float, rounds: int = 60) -> Matrix:
    """(n, k) weights exp(-distance * beta), rows summing to 1, beta of each row bisected so that the entropy of its
    weights is log(perplexity); rows whose perplexity cannot be reached get the limit."""
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    beta = np.ones(len(distances))
    shifted = distances - distances.min(axis=1, keepdims=True)
    target = np.log(min(perplexity, distances.shape[1]))
    for _ in range(rounds):
        weights = np.exp(-shifted * beta[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
        wide = entropy > target
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isfinite(high), (low + high) / 2, np.minimum(beta * 2, 1e12))
    return weights
