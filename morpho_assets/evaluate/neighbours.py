"""Nearest neighbours from distances, and how many kinds there are among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def nearest(distances: Matrix, k: int) -> npt.NDArray[np.intp]:
    """(n, k) row numbers of the k nearest others of each row of (n, n) distances, nearest first; ties by row number."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :k]


def lisi(distances: Matrix, kinds: npt.NDArray[np.integer], perplexity: float) -> Matrix:
    """(n,) local inverse Simpson's index: the effective number of kinds among the neighbours of each row, weighted by
    a Gaussian of the given perplexity (Korsunsky 2019, 10.1038/s41592-019-0619-0). 1 is one kind only."""
    n = len(kinds)
    k = min(n - 1, max(1, int(3 * perplexity)))
    order = nearest(distances, k)
    weights = gaussian_weights(np.take_along_axis(distances, order, axis=1), perplexity)
    indicator = np.eye(len(np.unique(kinds)))[np.unique(kinds, return_inverse=True)[1]]
    shares = np.einsum("nk,nkl->nl", weights, indicator[order])
    return np.asarray(1 / (shares**2).sum(axis=1))


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
