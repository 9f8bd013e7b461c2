"""Logistic regressions of many assays and folds, solved together where they share compounds.

Each problem is scikit-learn's `LogisticRegression` with an L2 penalty and weights of rows,

    C * sum_i s_i * log(1 + exp(-y_i (x_i w + c)))  +  |w|^2 / 2

with a free intercept. All problems of a batch share the rows of x, so that one product serves all; a row that a problem
does not see has weight 0. Solved by L-BFGS (Liu 1989, 10.1007/BF01589116) in coordinates scaled by the diagonal of the
curvature at 1/2, with the step of each problem found along its own logits, which takes no further product with x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
MEMORY = 8  # pairs of steps and gradients
STEPS = 12  # of Newton's method along a direction, at most
FLAT = 0.2  # share of a direction's slope at which its step is long enough


@dataclass(frozen=True)
class Logistic:
    """Solutions of b problems: `weights` (d, b), `intercepts` (b,), `left` (b,) about what the objective over C
    times the sum of the weights is above its lowest, and `iterations` of the batch."""

    weights: Floats
    intercepts: Floats
    left: Floats
    iterations: int

    def logits(self, x: Any) -> Floats:
        """(n, b) of rows of x (n, d), dense or sparse."""
        return np.asarray(x @ self.weights + self.intercepts)


def fit_logistic(
    x: Any, active: Floats, weights: Floats, C: float | Floats = 1.0, tolerance: float = 1e-6, most: int = 200,
    start: Logistic | None = None,
) -> Logistic:  # fmt: skip
    """Solve b problems on x (n, d; float32 or float64, dense or scipy's CSR).

    `active` (n, b) is 1 or 0, of rows of weight 0 anything finite; `weights` (n, b) are not negative, and some are
    above 0 in every problem; `C` is one number or (b,). Done when every problem is nearer to its lowest value than
    `tolerance` (half the squared gradient in scaled coordinates, where the curvature is about 1; of the objective over
    C times the sum of the weights, so of a mean loss), or after `most` iterations: `left` says how near it came.
    """
    problem = _Problem(x, active, weights, C)
    u = problem.begin(start)
    z = problem.logits(u)
    gradient = problem.gradient(u, _sigmoid(z))
    moves: list[tuple[Floats, Floats, Floats]] = []
    iteration = 0
    for iteration in range(most + 1):
        left = problem.left(gradient)
        if iteration == most or (left <= tolerance).all():
            break
        direction = _direction(gradient, moves)
        uphill = _dot(direction, gradient) >= 0
        direction[:, uphill] = -gradient[:, uphill]
        along = problem.logits(direction)
        step, chance = problem.step(u, direction, z, along)
        moved = step * direction
        u, z = u + moved, z + step * along
        new = problem.gradient(u, chance)
        change = new - gradient
        curvature = _dot(moved, change)
        good = curvature > 1e-12 * _dot(change, change)
        moves = [*moves[-MEMORY + 1 :],
                 (moved, change, np.where(good, 1 / np.where(good, curvature, 1), 0))]  # fmt: skip
        gradient = new
    w = u * problem.scale
    return Logistic(w[:-1], w[-1], problem.left(gradient), iteration)


class _Problem:
    """A batch in scaled coordinates u (d + 1, b), w = scale * u, the last row the intercepts. The objective is divided
    by C and the sum of the weights."""

    def __init__(self, x: Any, active: Floats, weights: Floats, C: float | Floats) -> None:
        kind: Any = np.float32 if x.dtype == np.float32 else np.float64
        self.x, self.kind = x, kind
        self.turned = x.T.tocsr() if hasattr(x, "tocsr") else np.ascontiguousarray(x.T)
        total = np.asarray(weights, float).sum(axis=0)
        self.rows = np.asarray(weights / total, kind)
        self.active = np.asarray(active, kind)
        self.penalty = np.asarray(1 / (np.broadcast_to(np.asarray(C, float), total.shape) * total), kind)
        squared = x.multiply(x) if hasattr(x, "tocsr") else x * x
        diagonal = squared.T @ self.rows / 4 + self.penalty
        self.scale = np.asarray(1 / np.sqrt(np.vstack([diagonal, np.full((1, len(total)), 0.25)])), kind)

    def begin(self, start: Logistic | None) -> Floats:
        if start is not None:
            return np.asarray(np.vstack([start.weights, start.intercepts]) / self.scale, self.kind)
        u = np.zeros(self.scale.shape, self.kind)
        share = np.clip((self.rows * self.active).sum(axis=0), 1e-6, 1 - 1e-6)
        u[-1] = np.log(share / (1 - share)) / self.scale[-1]
        return u

    def logits(self, u: Floats) -> Floats:
        w = u * self.scale
        return np.asarray(self.x @ w[:-1] + w[-1])

    def gradient(self, u: Floats, chance: Floats) -> Floats:
        residual = self.rows * (chance - self.active)
        found = np.empty_like(u)
        found[:-1] = self.turned @ residual + self.penalty * (u[:-1] * self.scale[:-1])
        found[-1] = residual.sum(axis=0)
        found *= self.scale
        return found

    @staticmethod
    def left(gradient: Floats) -> Floats:
        return _dot(gradient, gradient) / 2

    def step(self, u: Floats, direction: Floats, z: Floats, along: Floats) -> tuple[Floats, Floats]:
        """((b,) a length along each direction where it is nearly flat, (n, b) chances there): Newton's method on one
        number, kept between bounds; the whole step first."""
        w, p = u[:-1] * self.scale[:-1], direction[:-1] * self.scale[:-1]
        slope, bend = self.penalty * _dot(w, p), self.penalty * _dot(p, p)
        pull = self.rows * along
        before = (pull * (_sigmoid(z) - self.active)).sum(axis=0) + slope
        low, high = np.zeros(z.shape[1], self.kind), np.full(z.shape[1], np.inf, self.kind)
        step = np.ones(z.shape[1], self.kind)
        for attempt in range(STEPS):
            chance = _sigmoid(z + step * along)
            first = _dot(pull, chance - self.active) + slope + step * bend
            if attempt == STEPS - 1 or (np.abs(first) <= FLAT * np.abs(before)).all():
                break
            second = _dot(pull * along, chance * (1 - chance)) + bend
            low, high = np.where(first < 0, step, low), np.where(first > 0, step, high)
            new = step - first / np.maximum(second, np.finfo(self.kind).tiny)
            middle = np.where(np.isfinite(high), (low + high) / 2, 2 * np.maximum(low, step))
            step = np.asarray(np.where((new > low) & (new < high), new, middle), self.kind)
        return step, chance


def _direction(gradient: Floats, moves: list[tuple[Floats, Floats, Floats]]) -> Floats:
    """The two loops of L-BFGS, each problem on its own."""
    q = gradient.copy()
    parts = []
    for moved, change, inverse in reversed(moves):
        part = inverse * _dot(moved, q)
        q -= part * change
        parts.append(part)
    if moves:
        moved, change, inverse = moves[-1]
        length = _dot(change, change)
        known = (inverse > 0) & (length > 0)
        q *= np.where(known, 1 / np.where(known, inverse * length, 1), 1)
    for (moved, change, inverse), part in zip(moves, reversed(parts), strict=True):
        q += moved * (part - inverse * _dot(change, q))
    return -q


def _dot(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.einsum("db,db->b", one, other))


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * np.tanh(0.5 * z) + 0.5)  # never overflows, and is faster than expit
