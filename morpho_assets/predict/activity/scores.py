"""How well assays are predicted: AUROC, average precision and enrichment of every assay at once, with intervals.

Truth is (n, a): 1 active, 0 inactive, NaN not tested; scores are (n, a) with NaN where nothing was predicted. Assays
have a score in a fold that has an active and an inactive compound with a score; other folds are dropped, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.predict.scores import average_precision

Floats = NDArray[np.float64]
TOP = 0.01  # of an assay's compounds, whose enrichment is reported


def auroc(positive: NDArray[np.bool_], score: NDArray[np.floating], weight: Floats | None = None) -> Floats:
    """(draws,) probability that an active compound scores above an inactive one, ties counting a half: the AUROC.

    `positive` and `score` are (n,); `weight` (n, draws) how often each draw has the compound, by default once, in one
    draw. NaN where a draw lacks one of the classes.
    """
    weight = np.ones((len(score), 1)) if weight is None else weight
    order = np.argsort(score, kind="stable")
    value, is_active = score[order], positive[order]
    active = np.where(is_active[:, None], weight[order], 0.0)
    inactive = np.where(is_active[:, None], 0.0, weight[order])
    starts = np.flatnonzero(np.r_[True, value[1:] != value[:-1]]) if len(value) else np.empty(0, np.int64)
    if not len(starts):
        return np.full(weight.shape[1], np.nan)
    tied_active, tied = np.add.reduceat(active, starts), np.add.reduceat(inactive, starts)
    below = np.cumsum(tied, axis=0) - tied
    won = (tied_active * (below + tied / 2)).sum(axis=0)
    pairs = active.sum(axis=0) * inactive.sum(axis=0)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def enrichment_factor(positive: NDArray[np.bool_], score: Floats, share: float = TOP) -> float:
    """Actives among the best-scored `share` of compounds (one at least) over those expected by chance. Of compounds
    tied at the edge each counts in part. NaN without actives."""
    if not positive.any():
        return float("nan")
    number = max(1, round(share * len(score)))
    edge = np.sort(score)[::-1][number - 1]
    above, at = score > edge, score == edge
    found = positive[above].sum() + positive[at].mean() * (number - above.sum())
    return float(found / number / positive.mean())


@dataclass(frozen=True)
class AssayScores:
    """Scores of a assays: medians over folds `auroc`, `average_precision`, `enrichment` (a,), NaN without a fold;
    `of_folds` (folds, a) the AUROC of each, NaN where it was dropped; `draws` (draws, a) the median AUROC in resamples
    of whole units; `dropped` (a,) folds that had one class; `actives` and `tested` (a,) compounds in all folds."""

    auroc: Floats
    average_precision: Floats
    enrichment: Floats
    of_folds: Floats
    draws: Floats
    dropped: NDArray[np.int64]
    actives: NDArray[np.int64]
    tested: NDArray[np.int64]

    def interval(self) -> tuple[Floats, Floats]:
        """95 % of each assay's AUROC over the draws."""
        return interval(self.draws)


def score_assays(
    truth: Floats, score: NDArray[np.floating], fold: NDArray[np.int64], draws: Floats | None = None
) -> AssayScores:
    """Scores of `score` (n, a) against `truth` (n, a), within each fold 0, 1, … of `fold` (n,); -1 is in none.

    `draws` (n, d) are weights of compounds in d resamples (`unit_draws`); the same for two predictors give paired
    differences. Compounds without truth or score do not count.
    """
    folds, assays = int(fold.max(initial=-1)) + 1, truth.shape[1]
    weight = np.empty((len(truth), 0)) if draws is None else draws
    each = np.full((3, folds, assays), np.nan)
    drawn = np.full((folds, weight.shape[1], assays), np.nan)
    known = np.isfinite(truth) & np.isfinite(score) & (fold >= 0)[:, None]
    for number in range(folds):
        for assay in range(assays):
            rows = np.flatnonzero(known[:, assay] & (fold == number))
            positive = truth[rows, assay] > 0
            if positive.all() or not positive.any():
                continue
            value = score[rows, assay].astype(float)
            found = auroc(positive, value, np.column_stack([np.ones(len(rows)), weight[rows]]))
            each[0, number, assay], drawn[number, :, assay] = found[0], found[1:]
            each[1, number, assay] = average_precision(positive, value)
            each[2, number, assay] = enrichment_factor(positive, value)
    area, precision, enrichment = (_median(values) for values in each)
    return AssayScores(
        area, precision, enrichment, each[0], _median(drawn), np.isnan(each[0]).sum(axis=0),
        ((truth > 0) & known).sum(axis=0), known.sum(axis=0),
    )  # fmt: skip


def unit_draws(units: NDArray[np.str_], draws: int = 200, seed: int = 0) -> Floats:
    """(n, draws) how often each compound is in a resample of whole units (scaffolds), as many as there are."""
    _, members = np.unique(units, return_inverse=True)
    if not len(members):
        return np.empty((0, draws))
    number = int(members.max()) + 1
    rng = np.random.default_rng(seed)
    counts = (
        rng.multinomial(number, np.full(number, 1 / max(1, number)), size=draws) if number else np.empty((draws, 0))
    )
    return np.asarray(counts.T[members], dtype=float)


def interval(draws: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """(lower, upper) ends of the interval of each column of draws (d, …); NaN where more than half are NaN."""
    cut = (1 - level) / 2
    enough = np.isfinite(draws).mean(axis=0) > 0.5 if len(draws) else np.zeros(draws.shape[1:], bool)
    filled = np.where(enough, draws, 0.0)
    low, high = (np.where(enough, np.nanquantile(filled, q, axis=0), np.nan) if len(draws) else
                 np.full(draws.shape[1:], np.nan) for q in (cut, 1 - cut))  # fmt: skip
    return low, high


def mean_interval(draws: Floats, values: Floats, seed: int = 0) -> tuple[float, float, float]:
    """(mean of `values` (a,) over assays, and its 95 % over compounds and assays): each of the `draws` (d, a) of
    compounds is averaged over a resample of the assays. NaN without an assay."""
    known = np.isfinite(values)
    if not known.any():
        return (float("nan"),) * 3
    own = np.where(np.isfinite(draws[:, known]), draws[:, known], values[known])
    rng = np.random.default_rng(seed)
    chosen = rng.integers(own.shape[1], size=own.shape)
    low, high = interval(np.take_along_axis(own, chosen, axis=1).mean(axis=1))
    return float(values[known].mean()), float(low), float(high)


def _median(values: Floats) -> Floats:
    """Median over the first axis of what is there; NaN where nothing is."""
    nothing = np.isnan(values).all(axis=0) if len(values) else np.ones(values.shape[1:], bool)
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    return np.where(nothing, np.nan, np.nanmedian(np.where(nothing, 0.0, values), axis=0))
