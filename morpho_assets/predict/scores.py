"""How good predictions are: from true classes, predicted ones and probabilities, each beside what knows nothing gives.

Classes are codes 0 … k - 1; -1 is a row whose class is not among them, which is an error for every class (a cell
without a mask), never a row less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_counts(truth: Codes, guess: Codes, classes: int) -> NDArray[np.int64]:
    """(k, k) rows of each true class (down) that were called each class (across); a guess of -1 counts nowhere here."""
    there = guess >= 0
    pairs = truth[there] * classes + guess[there]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def f1_scores(counts: NDArray[np.integer], support: NDArray[np.integer] | None = None) -> Floats:
    """(k,) F1 of each class from confusion counts (k, k): 2 TP / (rows of the class + calls of it), 0 for a class that
    is neither there nor called. `support` (k,) are the rows of each class where some were called nothing."""
    right = np.diag(counts).astype(float)
    total = (counts.sum(1) if support is None else support) + counts.sum(0)
    return np.divide(2 * right, total, out=np.zeros(len(right)), where=total > 0)


def weighted_f1(counts: NDArray[np.integer], support: NDArray[np.integer] | None = None) -> float:
    """Mean of the F1s by the rows of each class; NaN without rows."""
    weights = counts.sum(1) if support is None else support
    return float(f1_scores(counts, support) @ weights / weights.sum()) if weights.sum() else float("nan")


@dataclass(frozen=True)
class Scores:
    """`overall`: a value by score's name; `classes`: a row per class with its rows, precision, recall, F1 and average
    precision; `counts` (k, k) the confusion."""

    overall: dict[str, float]
    classes: pl.DataFrame
    counts: NDArray[np.int64]


def scores_of(truth: Codes, probability: Floats, names: Sequence[str], top: int = 5) -> Scores:
    """The scores of rows whose classes are `truth` (n,) and predicted `probability` (n, k); rows of NaN were called
    nothing, and count as errors.

    Overall: weighted_F1, macro_F1, balanced_accuracy (mean recall of the classes that are there), accuracy, and
    `top_<k>` (the true class is among the k most probable).
    """
    k = len(names)
    counts, support, f1, recall = _counted(truth, probability, k)
    called = counts.sum(0)
    precision = np.divide(np.diag(counts), called, out=np.full(k, np.nan), where=called > 0)
    each = pl.DataFrame({
        "class": list(names), "n": support, "precision": precision, "recall": recall, "F1": f1,
        "average_precision": [average_precision(truth == code, probability[:, code]) for code in range(k)],
    })  # fmt: skip
    return Scores(overall_scores(truth, probability, k, top), each, counts)


def overall_scores(truth: Codes, probability: Floats, k: int, top: int = 5) -> dict[str, float]:
    """`Scores.overall` of rows of `k` classes."""
    counts, support, _, _ = _counted(truth, probability, k)
    hits = float((true_class_ranks(truth, probability) <= top).sum()) if k > top else 0.0
    return _overall(counts, support, hits, top)


def _overall(counts: NDArray[np.int64], support: Codes, hits: float, top: int) -> dict[str, float]:
    """From confusion counts (k, k), rows of each class and rows whose class is among the `top` most probable."""
    there, rows, k = support > 0, int(support.sum()), len(support)
    recall = np.divide(np.diag(counts), support, out=np.full(k, np.nan), where=there)
    overall = {
        "weighted_F1": weighted_f1(counts, support),
        "macro_F1": float(f1_scores(counts, support)[there].mean()) if rows else np.nan,
        "balanced_accuracy": float(recall[there].mean()) if rows else np.nan,
        "accuracy": float(np.diag(counts).sum() / rows) if rows else np.nan,
    }
    if k > top:
        overall[f"top_{top}"] = hits / rows if rows else np.nan
    return overall


def _counted(truth: Codes, probability: Floats, k: int) -> tuple[NDArray[np.int64], Codes, Floats, Floats]:
    """(confusion counts, rows of each class, F1s, recalls)."""
    unknown = np.isnan(probability).any(axis=1)
    guess = np.where(unknown, -1, np.nan_to_num(probability, nan=-1.0).argmax(axis=1))
    counts = confusion_counts(truth, guess, k)
    support = np.bincount(truth, minlength=k)
    recall = np.divide(np.diag(counts), support, out=np.full(k, np.nan), where=support > 0)
    return counts, support, f1_scores(counts, support), recall


def average_precision(positive: NDArray[np.bool_], score: Floats) -> float:
    """Area under the steps of precision over recall, ties of scores taken together; rows of NaN come last. NaN without
    positives."""
    _, precision, recall = precision_recall(positive, score)
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision)) if positive.any() else float("nan")


def precision_recall(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """(thresholds falling, precision and recall of the rows at or above each); recall is NaN without positives."""
    if not len(score):
        return np.empty(0), np.empty(0), np.empty(0)
    value = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-value, kind="stable")
    placed = value[order]
    last = np.flatnonzero(np.r_[placed[1:] != placed[:-1], True])
    right = np.cumsum(positive[order])[last]
    all_positive = positive.sum()
    recall = right / all_positive if all_positive else np.full(len(last), np.nan)
    return placed[last], right / (last + 1), recall


def true_class_ranks(truth: Codes, probability: Floats) -> Floats:
    """(n,) rank of the true class by probability, 1 the most probable; tied ones share their mean rank; NaN for a row
    of NaN."""
    own = np.take_along_axis(probability, truth[:, None], axis=1)
    higher, same = (probability > own).sum(1), (probability == own).sum(1)
    ranks = 1 + higher + (same - 1) / 2
    return np.where(np.isnan(probability).any(axis=1), np.nan, ranks)


def image_ranks(images: Sequence[str], classes: Sequence[str], ranks: Floats) -> pl.DataFrame:
    """The mean rank of the true class per image and class (row T10 of the published study): image, class, rank, n."""
    frame = pl.DataFrame({"image": list(images), "class": list(classes), "rank": ranks})
    return frame.group_by("image", "class", maintain_order=True).agg(pl.col("rank").mean(), pl.len().alias("n"))


def rank_shares(of_images: pl.DataFrame) -> dict[str, float]:
    """`rank_1` and `rank_2`: the share of images and classes whose mean rank is at most 1 and 2."""
    ranks = of_images["rank"].drop_nulls().drop_nans()
    return {f"rank_{most}": float((ranks <= most).mean()) if len(ranks) else np.nan for most in (1, 2)}  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def rank_chance(n: int, classes: int, most: int) -> float:
    """The chance that the mean of `n` random ranks among `classes` is at most `most`."""
    above = np.ones(1)  # how often the ranks are together so far above n
    for _ in range(n):
        above = np.convolve(above, np.full(classes, 1 / classes))[: (most - 1) * n + 1]
    return float(min(1.0, above.sum()))


def trivial_scores(truth: Codes, train: Codes, classes: int, top: int = 5) -> dict[str, dict[str, float]]:
    """What knows nothing gives, by score, for test rows `truth` after training rows `train`: `majority` (always the
    commonest class of training) and `stratified` (classes drawn by their shares in training; expected values)."""
    support = np.bincount(truth, minlength=classes)
    share = np.bincount(train, minlength=classes) / max(1, len(train))
    there = support > 0
    n = max(1, len(truth))
    found: dict[str, dict[str, float]] = {}
    for name, calls in (("majority", np.eye(classes)[share.argmax()]), ("stratified", share)):
        right = support * calls
        f1 = np.divide(2 * right, support + n * calls, out=np.zeros(classes), where=support + n * calls > 0)
        found[name] = {
            "weighted_F1": float(f1 @ support / n), "macro_F1": float(f1[there].mean()) if there.any() else np.nan,
            "balanced_accuracy": float(calls[there].mean()) if there.any() else np.nan,
            "accuracy": float(right.sum() / n),
        }  # fmt: skip
        if classes > top:
            first = np.argsort(-share, kind="stable")[:top]
            drawn = np.full(classes, 0.0)
            drawn[first] = 1
            found[name][f"top_{top}"] = float(support @ drawn / n)
    return found


def resampled(
    truth: Codes, probability: Floats, units: NDArray[np.str_], names: Sequence[str], seed: int = 0, draws: int = 200,
    top: int = 5,
) -> dict[str, tuple[float, float]] | None:  # fmt: skip
    """95 % of each of `overall_scores` over resamples of whole units (movies, wells, plates), never of rows; None for
    fewer than two. All scores follow from what each unit counts, so that a draw is a sum over units."""
    known, members = np.unique(units, return_inverse=True)
    if len(known) < 2:
        return None
    k, u = len(names), len(known)
    unknown = np.isnan(probability).any(axis=1)
    guess = np.nan_to_num(probability, nan=-1.0).argmax(axis=1)
    place = (members * k + truth) * k + guess
    counts = np.bincount(place[~unknown], minlength=u * k * k).reshape(u, k * k)
    support = np.bincount(members * k + truth, minlength=u * k).reshape(u, k)
    hits = np.bincount(members, true_class_ranks(truth, probability) <= top, minlength=u)
    rng = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(rng.integers(u, size=u), minlength=u) for _ in range(draws)])
    all_counts, all_support, all_hits = (drawn @ counts).reshape(draws, k, k), drawn @ support, drawn @ hits
    values = [
        _overall(*each, top) for each in zip(all_counts, all_support, all_hits, strict=True)
    ]  # fmt: skip
    found = {}
    for score in values[0]:
        low, high = np.nanpercentile([value[score] for value in values], [2.5, 97.5])
        found[score] = float(low), float(high)
    return found
