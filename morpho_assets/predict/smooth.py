"""Multinomial logistic regression with an L2 penalty alone: smooth, and so solved by L-BFGS in a fraction of the steps
that a proximal gradient takes.

The problem is that of `elastic_net` at l1_ratio 0. Measurements of a cell lean on one another, by which steps along
them zigzag: they are turned to axes on which the curvature, were all rows as uncertain, is the same in all directions
(a bound of that kind is Böhning's, 10.1007/BF00048682). Of more features than rows they are first turned to axes of the
rows, of which there are no more than rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
UNCERTAIN = 0.02
"""p (1 - p) of a row that the axes suppose: between that of rows of no telling class and that of rows long settled."""
GRADIENT, CHANGE = 1e-8, 1e-13
"""Largest entry of the gradient on the axes, and least share of the objective by which a step lowers it, to stop at
where no gap does."""


def solve_smooth(
    x: Floats, codes: NDArray[np.int64], classes: int, C: float, row_weights: Floats,
    begin: tuple[Floats, Floats] | None, most: int, tolerance: float = 0, reach: float = -np.inf,
) -> tuple[Floats, Floats, int]:  # fmt: skip
    """(weights (k, d), intercepts (k,), iterations) of one configuration.

    `x` (n, d) finite, `codes` (n,) in 0 … classes - 1, `row_weights` (n,), 0 leaving a row out; `begin` are weights and
    intercepts to begin from. Ends where the duality gap is half of `tolerance` of the objective (the squared gradient
    over twice the penalty), after `most` iterations, or where the objective is at most `reach`. A class without rows of
    weight gets a probability near 0.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import minimize

    rows = row_weights > 0
    used, truth = x[rows], codes[rows]
    total = float(row_weights.sum())
    share, penalty = row_weights[rows] / total, 1 / (C * total)
    axes = None
    if used.shape[1] > used.shape[0]:
        axes, corner = np.linalg.qr(used.T)
        used = corner.T
    used = np.column_stack([used, np.ones(len(used))])
    d, place = used.shape[1], np.arange(len(truth))
    first = np.zeros((classes, d))
    if begin is None:
        first[:, -1] = np.log(np.maximum(np.bincount(truth, share, classes), 1e-6))
    else:
        first[:, :-1], first[:, -1] = begin[0] if axes is None else begin[0] @ axes, begin[1]
    curved = UNCERTAIN * (used.T @ (share[:, None] * used))
    curved[np.diag_indices(d)] += np.r_[np.full(d - 1, penalty), 0] + 1e-12 * np.trace(curved) / d
    root = cholesky(curved, lower=True)
    turn = solve_triangular(root, np.eye(d), lower=True)  # variables are those on the axes times this
    turned = used @ turn.T
    shrink = penalty * (turn @ turn.T - np.outer(turn[:, -1], turn[:, -1]))
    slope = np.empty((classes, d))

    def objective(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(classes, d)
        logits = turned @ w.T
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[place, truth]
        raised = np.exp(logits, out=logits)
        sums = raised.sum(axis=1)
        loss = float(share @ (np.log(sums) - own))
        raised *= (share / sums)[:, None]
        raised[place, truth] -= share
        shrunk = w @ shrink
        np.add(raised.T @ turned, shrunk, out=slope)
        return loss + float((w * shrunk).sum()) / 2, slope.ravel().copy()

    def reached(intermediate_result: object) -> None:
        value = float(intermediate_result.fun)  # type: ignore[attr-defined]
        gap = float(((slope @ root.T)[:, :-1] ** 2).sum()) / (2 * penalty)
        if value * C * total <= reach or gap <= tolerance / 2 * value:
            raise StopIteration

    options = {"maxiter": most, "maxfun": 2 * most + 20, "gtol": GRADIENT, "ftol": CHANGE}
    begun = (first @ root).ravel()
    solved = minimize(objective, begun, jac=True, method="L-BFGS-B", options=options, callback=reached)
    found = solved.x.reshape(classes, d) @ turn
    weights = found[:, :-1] if axes is None else found[:, :-1] @ axes.T
    return weights, found[:, -1], int(solved.nit)
