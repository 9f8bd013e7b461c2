"""Multinomial logistic regression with an elastic net, many at a time: every penalty, fold and left-out image at once.

The problem is that of scikit-learn's `LogisticRegression(penalty="elasticnet")`:

    C * sum_i s_i * loss_i  +  l1_ratio * |w|_1  +  (1 - l1_ratio) / 2 * |w|^2

with free intercepts. A fold is a row weight of 0, so that all configurations share the matrix of features and one
product with it serves all: (n, d) @ (d, classes * configurations). Solved by accelerated proximal gradient (FISTA,
10.1137/080716542) with a step of its own for each configuration, restarted where momentum points uphill (10.1007/
s10208-013-9150-3), until the duality gap is small against the objective (Fenchel; the intercepts are brought to their
optimum first, which makes the residuals a feasible point of the dual). Without L1 the problem is smooth, and `smooth`
solves it; its gap is certified here.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morpho_assets.predict.smooth import solve_smooth

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
BYTES = 64 * 2**20
"""Of one array of logits: configurations beyond it are solved after the others."""
THREADS = min(8, os.cpu_count() or 1)
EVERY, LATER = 10, 25  # iterations between looks at the gap, at first and after the first hundred
NEWTON = 8  # at most, for intercepts
SHRINK, GROW = 0.9, 2.0  # of the curvature bound of a step that was accepted, and of one that was not


@dataclass(frozen=True)
class Fits:
    """Solutions of b configurations: `weights` (b, k, d), `intercepts` (b, k), `objective` (b,) as above, `gap` (b,)
    the duality gap as a share of the objective, `iterations` (b,), all of float64."""

    weights: Floats
    intercepts: Floats
    objective: Floats
    gap: Floats
    iterations: NDArray[np.int64]

    def logits(self, x: Floats, number: int) -> Floats:
        """(rows, k) of one configuration."""
        return np.asarray(x @ self.weights[number].T + self.intercepts[number])


def fit_elastic_nets(
    x: ArrayLike, codes: ArrayLike, classes: int, C: ArrayLike, l1_ratio: ArrayLike,
    row_weights: ArrayLike | None = None, start: Fits | None = None, tolerance: float = 1e-4, most: int = 3000,
    precision: str = "float32", device: str = "cpu", reach: ArrayLike | None = None,
) -> Fits:  # fmt: skip
    """Solve b problems on the rows of `x` (n, d) of classes `codes` (n,) in 0 … classes - 1.

    `C` and `l1_ratio` are (b,), or one number; `row_weights` (b, n) or (n,) weigh rows, 0 leaving one out; without them
    each row counts once. `start` are fits to begin from. A configuration is done when its gap is at most `tolerance` of
    its objective, when its objective is at most its value in `reach` (b,), or after `most` iterations: `gap` says how
    near it came. A class without rows of weight gets the probability that the penalty leaves it.

    `precision` float32 is enough for gaps down to 1e-5. On a CPU those without L1 go through `smooth`, in float64.
    Raises ValueError for features that are not finite, or shapes that do not fit.
    """
    features = np.asarray(x, dtype=np.float64)
    truth = np.asarray(codes, dtype=np.int64)
    ones = np.ones((1, len(features)))
    rows = ones if row_weights is None else np.atleast_2d(np.asarray(row_weights, dtype=np.float64))
    cost, ratio = np.atleast_1d(np.asarray(C, float)), np.atleast_1d(np.asarray(l1_ratio, float))
    number = max(len(cost), len(ratio), len(rows))
    cost, ratio = np.broadcast_to(cost, number), np.broadcast_to(ratio, number)
    if not np.isfinite(features).all():
        raise ValueError("features that are not finite")
    if len(truth) != len(features) or rows.shape[1] != len(features) or len(rows) not in (1, number):
        raise ValueError(f"{len(features)} rows, {len(truth)} classes and row weights {rows.shape} for {number} fits")
    if (rows < 0).any() or not (rows.sum(axis=1) > 0).all():
        raise ValueError("row weights that are negative, or none above 0")
    goal = np.full(number, -np.inf) if reach is None else np.broadcast_to(np.asarray(reach, float), number)
    rows = np.broadcast_to(rows, (number, len(features)))
    begin = None if start is None else (start.weights, start.intercepts)
    problem = features, truth, classes, cost, ratio, rows
    if device != "cpu" or (ratio > 0).all():
        return _in_turn(np.arange(number), *problem, begin, tolerance, most, goal, precision, device)
    smooth, others = np.flatnonzero(ratio == 0), np.flatnonzero(ratio > 0)
    solved = np.zeros((number, classes, features.shape[1])), np.zeros((number, classes))
    steps = np.zeros(number, np.int64)

    def solve(i: int) -> None:
        there = None if begin is None else (begin[0][i], begin[1][i])
        solved[0][i], solved[1][i], steps[i] = solve_smooth(
            features, truth, classes, cost[i], rows[i], there, most, tolerance, goal[i]
        )

    with ThreadPoolExecutor(min(THREADS, len(smooth))) as threads:  # products of arrays let others run
        list(threads.map(solve, smooth))
    certified = _in_turn(smooth, *problem, solved, np.inf, 0, goal, "float64", device)
    parts = [(smooth, replace(certified, iterations=steps[smooth]))]
    if len(others):
        parts.append((others, _in_turn(others, *problem, begin, tolerance, most, goal, precision, device)))
    return _joined(number, *parts)


def _joined(number: int, *parts: tuple[NDArray[np.int64], Fits]) -> Fits:
    """Fits of all configurations from those of some."""
    arrays = []
    for name in vars(parts[0][1]):
        first = getattr(parts[0][1], name)
        whole = np.zeros((number, *first.shape[1:]), first.dtype)
        for chosen, fits in parts:
            whole[chosen] = getattr(fits, name)
        arrays.append(whole)
    return Fits(*arrays)


def _in_turn(
    chosen: NDArray[np.int64], x: Floats, codes: NDArray[np.int64], classes: int, C: Floats, l1_ratio: Floats,
    rows: Floats, begin: tuple[Floats, Floats] | None, tolerance: float, most: int, reach: Floats, precision: str,
    device: str,
) -> Fits:  # fmt: skip
    """Fits of the chosen configurations, as many at a time as the memory takes."""
    size = 4 if precision == "float32" else 8
    at_once = max(1, BYTES // max(1, size * len(x) * classes))
    parts = []
    for first in range(0, len(chosen), at_once):
        here = chosen[first : first + at_once]
        at = None if begin is None else (begin[0][here], begin[1][here])
        solver = _Solver(x, codes, classes, C[here], l1_ratio[here], rows[here], precision, device)
        parts.append(solver.solve(at, tolerance, most, reach[here]))
    return Fits(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def fit_grid(
    x: ArrayLike, codes: ArrayLike, classes: int, C: ArrayLike, l1_ratio: ArrayLike, row_weights: ArrayLike,
    tolerance: float = 1e-4, most: int = 3000, precision: str = "float32", device: str = "cpu",
) -> dict[float, Fits]:  # fmt: skip
    """Every C with every l1_ratio and every row of `row_weights` (folds, n): by C, fits in the order of l1_ratio and,
    within it, of the folds. The fits of each C begin where those of the next smaller one ended."""
    folds, ratios = np.atleast_2d(np.asarray(row_weights, float)), np.atleast_1d(np.asarray(l1_ratio, float))
    rows = np.tile(folds, (len(ratios), 1))
    found: dict[float, Fits] = {}
    last: Fits | None = None
    for cost in np.sort(np.atleast_1d(np.asarray(C, float))):
        last = fit_elastic_nets(x, codes, classes, cost, np.repeat(ratios, len(folds)), rows, last, tolerance, most,
                                precision, device)  # fmt: skip
        found[float(cost)] = last
    return found


def objective_of(
    x: Floats, codes: ArrayLike, weights: Floats, intercepts: Floats, C: float, l1_ratio: float,
    row_weights: ArrayLike | None = None,
) -> float:  # fmt: skip
    """The objective of one solution (k, d), (k,), in float64: by which solvers are compared."""
    from scipy.special import logsumexp

    logits = x @ weights.T + intercepts
    loss = logsumexp(logits, axis=1) - logits[np.arange(len(logits)), np.asarray(codes)]
    rows = np.ones(len(logits)) if row_weights is None else np.asarray(row_weights)
    penalty = l1_ratio * np.abs(weights).sum() + (1 - l1_ratio) / 2 * (weights**2).sum()
    return float(C * (rows * loss).sum() + penalty)


class _Solver:
    """One batch. Arrays: variables (d + 1, k, b), the last row the intercepts; logits (n, k, b); per problem (b,): the
    problems lie side by side in memory, so that what is done to each is done to many at once."""

    def __init__(
        self, x: Floats, codes: NDArray[np.int64], classes: int, C: Floats, l1_ratio: Floats, rows: Floats,
        precision: str, device: str,
    ) -> None:  # fmt: skip
        import torch

        self.kind: dict[str, Any] = {"dtype": getattr(torch, precision), "device": device}
        self.classes = classes
        self.x = torch.as_tensor(np.column_stack([x, np.ones(len(x))]), **self.kind)
        self.codes = torch.as_tensor(codes, device=device)
        self.place = torch.arange(len(x), device=device)
        total = rows.sum(axis=1)
        self.scale = C * total  # what the objective is divided by, so that step sizes mean the same for all
        self.rows = torch.as_tensor((rows / total[:, None]).T.copy(), **self.kind)  # (n, b), sums 1
        self.l1 = torch.as_tensor(l1_ratio / self.scale, **self.kind)
        self.l2 = torch.as_tensor((1 - l1_ratio) / self.scale, **self.kind)

    def solve(
        self, begin: tuple[Floats, Floats] | None, tolerance: float, most: int, reach: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.int64]]:
        import torch

        b, k, d = self.l1.numel(), self.classes, self.x.shape[1] - 1
        found = np.zeros((b, k, d)), np.zeros((b, k)), np.full(b, np.inf), np.full(b, np.inf), np.zeros(b, np.int64)
        active = np.arange(b)
        v = torch.zeros((d + 1, k, b), **self.kind)
        if begin is not None:
            v[:-1] = torch.as_tensor(begin[0].transpose(2, 1, 0).copy(), **self.kind)
            v[-1] = torch.as_tensor(begin[1].T.copy(), **self.kind)
        z = self._logits(v)
        y, zy = v.clone(), z.clone()
        bound = self._curvature() * torch.ones(b, **self.kind)
        t = torch.ones(b, **self.kind)
        for iteration in range(most + 1):
            if iteration % (EVERY if iteration <= 100 else LATER) == 0 or iteration == most:
                w, objective, gap = self._gap(v, z)
                done = (gap <= tolerance) | (objective * self.scale <= reach) | (iteration == most)
                for place in np.flatnonzero(done):
                    into = active[place]
                    found[0][into] = w[:-1, :, place].T.double().cpu().numpy()
                    found[1][into] = w[-1, :, place].double().cpu().numpy()
                    found[2][into], found[3][into] = objective[place] * self.scale[place], gap[place]
                    found[4][into] = iteration
                if done.all():
                    break
                if done.mean() >= 0.2:
                    keep = np.flatnonzero(~done)
                    active, reach = active[keep], reach[keep]
                    index = torch.as_tensor(keep, device=self.kind["device"])
                    v, z, y, zy = (each.index_select(2, index) for each in (v, z, y, zy))
                    bound, t = bound[index], t[index]
                    self._keep(keep, index)
            v, z, y, zy, bound, t = self._step(v, z, y, zy, bound, t)
        return found

    def _step(self, v: Any, z: Any, y: Any, zy: Any, bound: Any, t: Any) -> tuple[Any, ...]:
        import torch

        logs = torch.log_softmax(zy, 1)
        loss = self._loss(logs)
        gradient = self._gradient(logs.exp_())
        step = 1 / (bound + self.l2)
        new = y - step * gradient
        new[:-1] -= (step * self.l2) * y[:-1]
        new[:-1] = _soft(new[:-1], step * self.l1)
        z_new = self._logits(new)
        moved = new - y
        taken = _dot(moved, moved)
        allowed = loss + _dot(gradient, moved) + bound / 2 * taken
        slack = 1e-6 if self.kind["dtype"] == torch.float32 else 1e-13
        good = self._loss(torch.log_softmax(z_new, 1)) <= allowed + slack * loss.abs()
        uphill = _dot(moved, new - v) < 0
        t = torch.where(uphill, torch.ones_like(t), t)
        t_new = (1 + (1 + 4 * t * t).sqrt()) / 2
        push = torch.where(uphill, torch.zeros_like(t), (t - 1) / t_new)
        refused = ~good
        # where a step changes the loss by less than its rounding, nothing speaks for a longer one
        clear = bound / 2 * taken > 10 * slack * loss.abs()
        bound = torch.where(good, torch.where(clear, bound * SHRINK, bound), bound * GROW)
        if bool(refused.any()):  # those stay where they were, and start anew with shorter steps
            new, z_new = torch.where(refused, v, new), torch.where(refused, z, z_new)
            t_new = torch.where(refused, torch.ones_like(t), t_new)
            push = torch.where(refused, torch.zeros_like(push), push)
        y, zy = torch.addcmul(new, push, new - v), torch.addcmul(z_new, push, z_new - z)
        return new, z_new, y, zy, bound, t_new

    def _gap(self, v: Any, z: Any) -> tuple[Any, Floats, Floats]:
        """(the variables with the best intercepts, (b,) objective divided by the scale, (b,) relative gap)."""
        import torch

        best = v.clone()
        k = self.classes
        z = z.clone()
        small = 1e-6 if self.kind["dtype"] == torch.float32 else 1e-13
        share = torch.zeros((k, self.rows.shape[1]), **self.kind).index_add_(0, self.codes, self.rows)  # (k, b)
        for _ in range(NEWTON):
            p = torch.softmax(z, 1)
            weighted = p * self.rows[:, None]
            mean = weighted.sum(0)  # (k, b)
            off = (mean - share).T
            if float(off.abs().max()) < small:
                break
            hessian = torch.diag_embed(mean.T) - torch.einsum("nkb,njb->bkj", weighted, p)
            hessian = hessian + torch.full((k, k), 1 / k, **self.kind) + small * torch.eye(k, **self.kind)
            shift = torch.linalg.solve(hessian, off).clamp(-5, 5).T
            best[-1] -= shift
            z = z - shift
        logs = torch.log_softmax(z, 1)
        loss = self._loss(logs)
        p = logs.exp_()
        w = best[:-1]
        l1, l2 = self.l1.double(), self.l2.double()
        primal = loss.double() + l1 * w.abs().sum((0, 1)).double() + l2 / 2 * (w * w).sum((0, 1)).double()
        pull = self._gradient(p.clone())[:-1].abs()  # (d, k, b)
        largest = pull.amax((0, 1)).double()
        fits = torch.where(largest > 0, l1 / largest.clamp_min(1e-30), torch.ones_like(l1)).clamp(max=1.0)
        fits = fits * (1 - small)  # rounding would carry it past a bound that is met exactly
        dual = torch.full_like(primal, -torch.inf)
        # a feasible dual point is any mix of the residuals with nothing, by which the l1 bound can be kept
        for mix in (fits, (1 + fits) / 2, torch.ones_like(fits)):
            a = mix.to(self.kind["dtype"])
            q = a * p
            q[self.place, self.codes] += 1 - a
            entropy = (torch.special.entr(q).sum(1) * self.rows).sum(0).double()
            over = (a * pull - self.l1).clamp_min(0).double().square().sum((0, 1))
            cost = torch.where(l2 > 0, over / (2 * l2).clamp_min(1e-300), torch.where(over > 1e-24, torch.inf, 0.0))
            dual = torch.maximum(dual, entropy - cost)
        gap = ((primal - dual) / primal.clamp_min(1e-300)).cpu().numpy()
        return best, primal.cpu().numpy(), gap

    def _loss(self, logs: Any) -> Any:
        """(b,) weighted mean loss of logarithms of probabilities (n, k, b)."""
        return -(logs[self.place, self.codes] * self.rows).sum(0)

    def _gradient(self, probability: Any) -> Any:
        """(d + 1, k, b) of the loss; takes the array of probabilities for its own."""
        residual = probability.mul_(self.rows[:, None])
        residual[self.place, self.codes] -= self.rows
        n, k, b = residual.shape
        return (self.x.T @ residual.reshape(n, k * b)).reshape(-1, k, b)

    def _logits(self, v: Any) -> Any:
        rows, k, b = v.shape
        return (self.x @ v.reshape(rows, k * b)).reshape(-1, k, b)

    def _curvature(self) -> float:
        """A bound of the loss's curvature to begin with: half the largest eigenvalue of the mean of x x', by power
        iteration; steps find their own from there."""
        import torch

        u = torch.ones(self.x.shape[1], **self.kind)
        mean = self.rows.mean(1)
        value = 1.0
        for _ in range(20):
            u = self.x.T @ (mean * (self.x @ u))
            value = float(u.norm())
            u = u / max(value, 1e-30)
        return max(0.5 * value / 4, 1e-12)

    def _keep(self, keep: NDArray[np.int64], index: torch.Tensor) -> None:
        self.scale = self.scale[keep]
        self.rows = self.rows.index_select(1, index)
        self.l1, self.l2 = self.l1[index], self.l2[index]


def _soft(values: Any, threshold: Any) -> Any:
    return values.sign() * (values.abs() - threshold).clamp_min(0)


def _dot(one: Any, other: Any) -> Any:
    return (one * other).sum((0, 1))
