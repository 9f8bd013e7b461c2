"""Folds of compounds: by scaffold, by cluster of a modality, by batch, or random; a unit is never on both sides.

Compounds alike in structure tell each other's activity. By scaffold a model is asked for chemistry that it did not see
(the published question); by cluster of morphology or expression, for phenotypes that it did not see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Folds = NDArray[np.int64]


def whole_folds(units: ArrayLike, folds: int = 5) -> Folds:
    """(n,) fold of each compound, units whole: the largest first (of equal ones that whose first compound comes first),
    each into the fold that is smallest so far (of equal ones the first). Of units by scaffold these are the folds of
    Moshkov 2023."""
    names = np.asarray(units, dtype=str)
    _, first, members = np.unique(names, return_index=True, return_inverse=True)
    counts = np.bincount(members, minlength=len(first))
    order = np.lexsort((first, -counts))
    sizes, place = np.zeros(folds, np.int64), np.empty(len(first), np.int64)
    for unit in order:
        fold = int(sizes.argmin())
        place[unit] = fold
        sizes[fold] += counts[unit]
    return place[members] if len(names) else np.empty(0, np.int64)


def random_folds(number: int, folds: int = 5, seed: int = 0) -> Folds:
    """(n,) fold of each of `number` compounds, drawn, of sizes that differ by one at most."""
    found = np.empty(number, np.int64)
    found[np.random.default_rng(seed).permutation(number)] = np.arange(number) % folds
    return found


def cluster_folds(x: NDArray[np.floating], folds: int = 5, seed: int = 0, rounds: int = 100) -> Folds:
    """(n,) clusters of rows of `x` (n, d) of sizes that differ by one at most: k-means with places for equally many.

    Each round assigns rows to the nearest centre that has a place left, those that have most to lose first (Höppner
    2008's same-size k-means in its simplest form), until nothing changes or `rounds` are done. Rows with NaN go to the
    folds with places left, in their order. Used by Moshkov 2023 on morphology and expression.
    """
    known = np.flatnonzero(np.isfinite(x).all(axis=1))
    found = np.full(len(x), -1)
    if len(known) >= folds:
        found[known] = _same_size(np.asarray(x[known], float), folds, seed, rounds)
    sizes = np.bincount(found[found >= 0], minlength=folds)
    for row in np.flatnonzero(found < 0):
        found[row] = sizes.argmin()
        sizes[found[row]] += 1
    return found


def same_fold_together(folds: Folds, units: Sequence[str] | NDArray[np.str_]) -> bool:
    """Whether no unit lies in two folds."""
    pairs = {(unit, fold) for unit, fold in zip(np.asarray(units).tolist(), folds.tolist(), strict=True)}
    return len(pairs) == len({unit for unit, _ in pairs})


def _same_size(x: NDArray[np.float64], folds: int, seed: int, rounds: int) -> Folds:
    centres = _far_rows(x, folds, np.random.default_rng(seed))
    places = np.full(folds, len(x) // folds)
    places[: len(x) % folds] += 1
    found = np.full(len(x), -1)
    for _ in range(rounds):
        away = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
        placed = _placed(away, places.copy())
        if (placed == found).all():
            break
        found = placed
        centres = np.stack([x[found == fold].mean(axis=0) for fold in range(folds)])
    return found


def _far_rows(x: NDArray[np.float64], folds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Centres to begin with: k-means++ (Arthur 2007)."""
    chosen = [int(rng.integers(len(x)))]
    nearest = ((x - x[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(folds - 1):
        total = nearest.sum()
        share = nearest / total if total > 0 else np.full(len(x), 1 / len(x))
        chosen.append(int(rng.choice(len(x), p=share)))
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
    return x[chosen]


def _placed(away: NDArray[np.float64], places: NDArray[np.int64]) -> Folds:
    """Rows to the nearest centre with a place, those first that lose most by their worst centre."""
    found = np.full(len(away), -1)
    for row in np.argsort(away.min(axis=1) - away.max(axis=1), kind="stable"):
        for fold in np.argsort(away[row], kind="stable"):
            if places[fold]:
                found[row] = fold
                places[fold] -= 1
                break
    return found
