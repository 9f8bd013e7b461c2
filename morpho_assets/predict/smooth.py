"""Multinomial logistic regression with an L2 penalty alone: smooth, and so solved by L-BFGS in a fraction of the steps
that a proximal gradient takes.

The problem is that of `elastic_net` at l1_ratio 0. A penalty on lengths is the same on any axes: of more features than
rows these are turned to axes of the rows first, of which there are no more than rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GRADIENT = 1e-6  # largest entry of the gradient to stop at, of the objective divided by the weight of the rows


def solve_smooth(
    x: Floats, codes: NDArray[np.int64], classes: int, C: float, row_weights: Floats,
    begin: tuple[Floats, Floats] | None, most: int, reach: float = -np.inf,
) -> tuple[Floats, Floats, int]:  # fmt: skip
    """(weights (k, d), intercepts (k,), iterations) of one configuration.

    `x` (n, d) finite, `codes` (n,) in 0 … classes - 1, `row_weights` (n,), 0 leaving a row out; `begin` are weights and
    intercepts to begin from. Ends after `most` iterations, or where the objective is at most `reach`. A class without
    rows of weight gets a probability near 0.
    """
    from scipy.optimize import minimize

    rows = row_weights > 0
    used, truth = x[rows], codes[rows]
    total = float(row_weights.sum())
    share, penalty = row_weights[rows] / total, 1 / (C * total)
    axes = None
    if used.shape[1] > used.shape[0]:
        axes, corner = np.linalg.qr(used.T)
        used = np.ascontiguousarray(corner.T)
    d, place = used.shape[1], np.arange(len(truth))
    first = np.zeros((classes, d + 1))
    if begin is None:
        first[:, -1] = np.log(np.maximum(np.bincount(truth, share, classes), 1e-6))
    else:
        first[:, :-1], first[:, -1] = begin[0] if axes is None else begin[0] @ axes, begin[1]

    def objective(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(classes, d + 1)
        logits = used @ w[:, :-1].T + w[:, -1]
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[place, truth]
        raised = np.exp(logits, out=logits)
        sums = raised.sum(axis=1)
        loss = float(share @ (np.log(sums) - own))
        raised *= (share / sums)[:, None]
        raised[place, truth] -= share
        slope = np.empty((classes, d + 1))
        slope[:, :-1] = raised.T @ used + penalty * w[:, :-1]
        slope[:, -1] = raised.sum(axis=0)
        return loss + penalty / 2 * float((w[:, :-1] ** 2).sum()), slope.ravel()

    def reached(intermediate_result: object) -> None:
        if intermediate_result.fun * C * total <= reach:  # type: ignore[attr-defined]
            raise StopIteration

    options = {"maxiter": most, "maxfun": 2 * most + 20, "gtol": GRADIENT, "ftol": 1e-12}
    solved = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options=options, callback=reached)
    found = solved.x.reshape(classes, d + 1)
    weights = found[:, :-1] if axes is None else found[:, :-1] @ axes.T
    return weights, found[:, -1], int(solved.nit)
