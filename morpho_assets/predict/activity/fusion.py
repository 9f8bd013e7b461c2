"""Modalities together: late fusion of predictions, by a rule or learned; early fusion is of `modalities.joined`.

A modality that a compound lacks has no say: rules take those that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from morpho_assets.predict.activity.logistic import fit_logistic
from morpho_assets.predict.activity.models import HeldOut

Floats = NDArray[np.floating]
Rule = Literal["max", "mean", "noisy_or"]
LEAST = 1e-6  # of a chance, before its logit


def fused(parts: Sequence[HeldOut], rule: Rule) -> HeldOut:
    """Late fusion by a rule of chances: `max` (Moshkov 2023), `mean`, or `noisy_or` (any of independent causes: one
    minus the product of what is left). NaN where no part has a prediction."""
    return HeldOut(by_rule([part.score for part in parts], rule), by_rule([part.nested for part in parts], rule))


def by_rule(scores: Sequence[Floats], rule: Rule) -> Floats:
    """The rule of arrays of one shape; NaN has no say."""
    stacked = np.stack(scores)
    known = np.isfinite(stacked)
    nothing = ~known.any(axis=0)
    if rule == "max":
        found = np.where(known, stacked, -np.inf).max(axis=0)
    elif rule == "mean":
        found = np.where(known, stacked, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    else:
        found = 1 - np.where(known, 1 - stacked, 1).prod(axis=0)
    return np.where(nothing, np.nan, found)


def stacked(
    parts: Sequence[HeldOut], labels: Floats, fold: NDArray[np.int64], similar: HeldOut | None = None, C: float = 1.0
) -> HeldOut:
    """Late fusion learned for each assay and fold: a logistic regression of activity on the logits of the parts, fitted
    on tested compounds of the other folds, whose predictions are by models that saw neither fold.

    With `similar` (similarity to training actives instead of chances) it is the similarity-based merger of Tang 2024
    (row R6): of probability and similarity. With one part alone it is Platt's calibration (1999). Rows count equally,
    so that what comes out is a chance. Where a fold cannot be learned (fewer than two compounds of a class) NaN.
    """
    score = np.full(labels.shape, np.nan)
    nested = np.full(parts[0].nested.shape, np.nan, np.float32)
    for assay in range(labels.shape[1]):
        outcome = labels[:, assay]
        for number in range(len(nested)):
            columns = [_logit(part.nested[number, :, assay]) for part in parts]
            asked = [_logit(part.score[:, assay]) for part in parts]
            if similar is not None:
                columns.append(similar.nested[number, :, assay])
                asked.append(similar.score[:, assay])
            x, held = np.stack(columns, 1), fold == number
            x = np.where(held[:, None], np.stack(asked, 1), x)
            any_there = np.isfinite(x).any(axis=1)
            trains = np.isfinite(outcome) & (fold >= 0) & ~held & any_there
            active = outcome[trains] > 0
            if min(active.sum(), (~active).sum()) < 2:
                continue
            with np.errstate(invalid="ignore"):
                centre, spread = _scale(x[trains])
            z = np.where(np.isfinite(x), (x - centre) / spread, 0.0)
            fit = fit_logistic(z[trains], active[:, None].astype(float), np.ones((trains.sum(), 1)), C)
            chance = np.where(any_there, 0.5 * np.tanh(0.5 * fit.logits(z)[:, 0]) + 0.5, np.nan)
            score[held, assay] = chance[held]
            nested[number, trains, assay] = chance[trains]
            nested[number, held, assay] = chance[held]
    return HeldOut(score, nested)


def _scale(x: Floats) -> tuple[Floats, Floats]:
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, x, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (x - centre) ** 2, 0).sum(axis=0) / count)
    return centre, np.where(spread > 1e-9, spread, 1.0)


def _logit(chance: Floats) -> Floats:
    p = np.clip(chance.astype(float), LEAST, 1 - LEAST)
    return np.asarray(np.log(p / (1 - p)))
