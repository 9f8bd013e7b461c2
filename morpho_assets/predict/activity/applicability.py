"""How far a prediction can be trusted: conformal p-values of both outcomes, and what was tested that is alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.predict.activity.models import HeldOut

Floats = NDArray[np.floating]


def conformal(held: HeldOut, labels: Floats, fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """((n, a) p-value of being active, of being inactive): class by class (Mondrian) cross-conformal prediction (Vovk
    2015, 10.1007/s10472-013-9368-4).

    The p-value of being active is the share of tested actives of other folds whose score is at most the compound's,
    itself counted; of being inactive the share of inactives whose score is at least it. What is dropped at p below 0.1
    is wrong at most about one time in ten, for actives and for inactives. NaN without a compound to compare with.
    """
    active, inactive = np.full(labels.shape, np.nan), np.full(labels.shape, np.nan)
    for assay in range(labels.shape[1]):
        outcome = labels[:, assay]
        for number in range(len(held.nested)):
            here = np.flatnonzero((fold == number) & np.isfinite(held.score[:, assay]))
            scores = held.nested[number, :, assay]
            tested = np.isfinite(outcome) & np.isfinite(scores) & (fold >= 0) & (fold != number)
            asked = held.score[here, assay]
            for into, own, below in ((active, outcome > 0, True), (inactive, outcome == 0, False)):
                known = np.sort(scores[tested & own])
                if len(known):
                    counted = (
                        np.searchsorted(known, asked, side="right") if below
                        else len(known) - np.searchsorted(known, asked, side="left")
                    )  # fmt: skip
                    into[here, assay] = (counted + 1) / (len(known) + 1)
    return active, inactive


def calibration_error(chance: Floats, labels: Floats, bins: int = 10) -> float:
    """The expected calibration error over all tested pairs: mean distance of share active and mean chance in bins of
    equal width, weighed by their pairs. NaN without a pair."""
    known = np.isfinite(chance) & np.isfinite(labels)
    if not known.any():
        return float("nan")
    p, y = chance[known], labels[known] > 0
    place = np.minimum((p * bins).astype(int), bins - 1)
    number = np.bincount(place, minlength=bins)
    gap = np.abs(np.bincount(place, p, bins) - np.bincount(place, y, bins))
    return float(gap.sum() / number.sum())
