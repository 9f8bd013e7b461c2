"""Multinomial logistic regression with an L2 penalty alone: smooth, and so solved one by one by L-BFGS.

The problem is that of `elastic_net` at l1_ratio 0. A penalty on lengths is the same on any axes: of more features than
rows these are turned to axes of the rows first, of which there are no more than rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.predict.elastic_net import Fits, fit_elastic_nets

Floats = NDArray[np.float64]
GRADIENT = 1e-6  # largest entry of the gradient to stop at, of the objective divided by the weight of the rows


def fit_l2_path(
    x: Floats, codes: NDArray[np.int64], classes: int, C: Sequence[float], row_weights: Floats, most: int = 1000
) -> list[Fits]:
    """A fit of one configuration for each of `C`, in its order; each begins where the one of the next smaller ended.

    `x` (n, d) finite, `codes` (n,) in 0 … classes - 1, `row_weights` (n,), 0 leaving a row out. `gap` is certified as
    that of `fit_elastic_nets`; `most` iterations at most. A class without rows of weight gets a probability near 0.
    """
    from scipy.optimize import minimize

    rows = row_weights > 0
    used, weights, truth = x[rows], row_weights[rows], codes[rows]
    axes = None
    if used.shape[1] > used.shape[0]:
        axes, corner = np.linalg.qr(used.T)
        used = np.ascontiguousarray(corner.T)
    share = weights / weights.sum()
    own = np.zeros((len(truth), classes))
    own[np.arange(len(truth)), truth] = 1
    shape = (classes, used.shape[1] + 1)
    place = np.zeros(shape)
    place[:, -1] = np.log(np.maximum(share @ own, 1e-6))
    found: dict[float, Fits] = {}

    def objective(flat: Floats, penalty: float) -> tuple[float, Floats]:
        w = flat.reshape(shape)
        logits = used @ w[:, :-1].T + w[:, -1]
        top = logits.max(axis=1, keepdims=True)
        raised = np.exp(logits - top)
        total = raised.sum(axis=1, keepdims=True)
        loss = share @ (top + np.log(total) - (logits * own).sum(axis=1, keepdims=True))[:, 0]
        residual = share[:, None] * (raised / total - own)
        slope = np.empty(shape)
        slope[:, :-1] = residual.T @ used + penalty * w[:, :-1]
        slope[:, -1] = residual.sum(axis=0)
        return float(loss + penalty / 2 * (w[:, :-1] ** 2).sum()), slope.ravel()

    for cost in sorted(set(C)):
        penalty = 1 / (cost * weights.sum())
        options = {"maxiter": most, "maxfun": 2 * most, "gtol": GRADIENT, "ftol": 1e-12}
        solved = minimize(objective, place.ravel(), (penalty,), jac=True, method="L-BFGS-B", options=options)
        place = solved.x.reshape(shape)
        begin = Fits(place[None, :, :-1], place[None, :, -1], *(np.zeros(1) for _ in range(2)), np.zeros(1, np.int64))
        sure = fit_elastic_nets(
            used, truth, classes, cost, 0.0, weights, begin, most=0, precision="float64", tolerance=0
        )  # fmt: skip
        turned = sure.weights if axes is None else sure.weights @ axes.T
        found[cost] = Fits(turned, sure.intercepts, sure.objective, sure.gap, np.array([solved.nit]))
    return [found[cost] for cost in C]
