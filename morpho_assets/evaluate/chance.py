"""Average precision of random rankings: its expectation, its distribution, and p-values from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
SLACK = 1e-9  # rounding of means must not decide a tie


def expected_ap(positives: npt.ArrayLike, total: npt.ArrayLike) -> Vector:
    """Mean AP of random rankings of `total` (L) candidates with `positives` (M) among them; NaN where M is 0.

    (1/L) [(M-1)/(L-1) (L - H_L) + H_L] with H_L the L-th harmonic number (Kalinin 2025, 10.1038/s41467-025-60306-2).
    """
    m, length = np.broadcast_arrays(np.asarray(positives, dtype=float), np.asarray(total, dtype=float))
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(length.max(initial=0)) + 1))])
    h = harmonic[length.astype(int)]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (np.where(length > 1, (m - 1) / (length - 1), 0) * (length - h) + h) / length
    return np.where(m > 0, value, np.nan)


def normalised_ap(ap: npt.ArrayLike, chance: npt.ArrayLike) -> Vector:
    """(AP - chance) / (1 - chance), within [-1, 1]: 0 at chance, 1 for a perfect ranking; NaN where chance is 1."""
    ap, chance = np.asarray(ap, dtype=float), np.asarray(chance, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, np.clip((ap - chance) / (1 - chance), -1, 1), np.nan)


def ap_of_ranks(ranks: npt.NDArray[np.integer]) -> Vector:
    """AP of each row of (rankings, M) sorted 1-based ranks of the positives."""
    return np.asarray((np.arange(1, ranks.shape[1] + 1) / ranks).mean(axis=1))


def _every_ap(length: int, size: int) -> Vector:
    """(C(length, size),) AP of every choice of `size` ranks of 1..length. Choices that leave no room for the ranks to
    come are never begun, so that no step holds more rows than the last."""
    ranks = np.arange(1, length - size + 2)
    sums = 1 / ranks
    for place in range(2, size + 1):
        choices = length - size + place - ranks
        starts = np.repeat(np.cumsum(choices) - choices, choices)
        ranks = np.repeat(ranks, choices) + np.arange(choices.sum()) - starts + 1
        sums = np.repeat(sums, choices) + place / ranks
    return np.asarray(sums / size)


def random_ranks(rng: np.random.Generator, rankings: int, length: int, size: int) -> npt.NDArray[np.int64]:
    """(rankings, size) sorted random ranks without repeats: redraw rows with repeats while that is cheap."""
    if size * size > length:
        blocks = np.array_split(np.arange(rankings), max(1, rankings * length // 8_000_000))
        drawn = [np.argpartition(rng.random((len(b), length)), size - 1, axis=1)[:, :size] + 1 for b in blocks]
        return np.sort(np.concatenate(drawn), axis=1)
    ranks = np.sort(rng.integers(1, length + 1, (rankings, size)), axis=1)
    while (repeats := (np.diff(ranks, axis=1) == 0).any(axis=1)).any():
        ranks[repeats] = np.sort(rng.integers(1, length + 1, (int(repeats.sum()), size)), axis=1)
    return ranks


@lru_cache(maxsize=256)
def null_ap(positives: int, total: int, size: int, exact_limit: int, seed: int) -> Vector:
    """AP of random rankings for one configuration: every ranking where there are at most `exact_limit`,
    else `size` random ones. Depends on (seed, positives, total) alone, not on which other groups are tested."""
    if is_exact(positives, total, exact_limit):
        null = _every_ap(total, positives)
    else:
        null = ap_of_ranks(random_ranks(np.random.default_rng([seed, positives, total]), size, total, positives))
    null.setflags(write=False)
    return null


def is_exact(positives: int, total: int, exact_limit: int) -> bool:
    """Whether the rankings of this configuration are few enough to enumerate."""
    return comb(total, positives) <= exact_limit


@dataclass(frozen=True)
class Null:
    """mAPs where nothing is: `values` sorted, all there are if `exact`, else random ones. `strict`: those that equal a
    score do not reach it."""

    values: Vector
    exact: bool
    strict: bool = False

    def p_value(self, score: float) -> float:
        """The share of the null that reaches `score`, the score itself counted with random values."""
        at, side = (score + SLACK, "right") if self.strict else (score - SLACK, "left")
        reached = self.values.size - int(np.searchsorted(self.values, at, side))  # type: ignore[call-overload]
        extra = 0 if self.exact and not self.strict else 1
        return max(reached + extra, 1) / (self.values.size + extra)

    @property
    def least(self) -> float:
        """The smallest p-value there is."""
        return 1 / (self.values.size + (0 if self.exact and not self.strict else 1))


def ranking_null(
    configurations: Sequence[tuple[int, int]], size: int = 10_000, exact_limit: int = 200_000, seed: int = 0,
    strict: bool = False,
) -> Null:  # fmt: skip
    """Mean APs of random rankings of members with these (positives, total).

    Members of one configuration share one ranking (their dependence is unknown; this is copairs' convention and the
    conservative end). With one enumerable configuration all rankings are there, otherwise `size` of each. Rankings that
    equal a score reach it, so a perfect score has the p-value of one perfect ranking; `strict` does not count them, as
    copairs 0.5.5 does not.
    """
    kinds, members = np.unique(np.asarray(configurations), axis=0, return_counts=True)
    if len(kinds) == 1 and is_exact(int(kinds[0, 0]), int(kinds[0, 1]), exact_limit):
        return Null(np.sort(null_ap(int(kinds[0, 0]), int(kinds[0, 1]), size, exact_limit, seed)), True, strict)
    draws = [_draws(int(m), int(total), size, seed) for m, total in kinds]
    return Null(np.sort(np.average(draws, axis=0, weights=members)), False, strict)


@lru_cache(maxsize=256)
def _draws(positives: int, total: int, size: int, seed: int) -> Vector:
    """AP of `size` random rankings in the order drawn: elementwise means over configurations need it unsorted."""
    ranks = random_ranks(np.random.default_rng([seed, positives, total]), size, total, positives)
    return ap_of_ranks(ranks)


def benjamini_hochberg(p_values: npt.ArrayLike) -> Vector:
    """q-values (Benjamini & Hochberg 1995): smallest false discovery rate at which each test is called; NaN stays NaN
    and is not counted as a test."""
    p = np.asarray(p_values, dtype=float)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")][::-1]
    factor = tested.size / np.arange(tested.size, 0, -1)
    q[order] = np.minimum.accumulate(np.minimum(p[order] * factor, 1))
    return q
