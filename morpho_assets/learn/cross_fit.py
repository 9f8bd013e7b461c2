"""Cross-fitting over plates: each group of plates is embedded by an encoder that was fitted on the others.

Encoders that were fitted apart have axes of their own: an angle between an embedding by one and an embedding by another
means nothing. Two ways out are honest. Comparing within folds alone would leave hardly a pair: replicates lie on other
plates. So each fold's axes are turned onto those of the first by windows that all folds embed, as a rigid turn and one
factor (orthogonal Procrustes, Schoenemann 1966, 10.1007/BF02289451): every angle, and the order of distances, within a
fold stay as they are, so that no likeness is added there. These windows are of negative controls, so that no treated
well has a part in it. What a turn cannot mend, folds that learned other things, lowers likeness across folds alone;
`Alignment.agreement` says how much is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morpho_assets.errors import InputError
from morpho_assets.learn.cards import Alignment
from morpho_assets.learn.encoders import SHIFT, TURN, Trained, with_weights

WINDOWS = 1_000
"""Windows of negative controls by which folds are aligned, at most: many times the numbers of an embedding."""


def groups_of_plates(plates: Sequence[str], count: int | None) -> list[tuple[str, ...]]:
    """The plates of each fold: by name in turn, in `count` groups or as many as there are plates. None: one fold, of no
    plates, whose encoder is fitted on all. InputError for fewer than two plates."""
    if count is None:
        return [()]
    if len(plates) < 2:
        found = f"{len(plates)} plate{'s' if len(plates) != 1 else ''}"
        do = "Name more plates in `trains_on`, or leave `cross_fit` out."
        raise InputError("encoder", "cross_fit", found, "at least two plates", do)
    names = sorted(plates)
    count = min(count, len(names))
    return [tuple(names[first::count]) for first in range(count)]


def aligned(
    folds: Sequence[Trained], vectors: Sequence[NDArray[np.floating]], groups: ArrayLike | None = None
) -> list[Trained]:
    """The folds with the axes of the first.

    `vectors` holds for each fold the embeddings (n, d) of the same n windows, by the fold as it is; `groups` (n,) names
    their wells. Embeddings of fewer numbers than others get zeros at the end. A window with a NaN is left out.
    InputError for fewer than two windows.
    """
    width = max(each.shape[1] for each in vectors)
    wide = [np.pad(np.asarray(each, np.float64), ((0, 0), (0, width - each.shape[1]))) for each in vectors]
    known = np.all([np.isfinite(each).all(axis=1) for each in wide], axis=0)
    if known.sum() < 2:
        do = "Mark the plates' negative controls, or leave `cross_fit` out."
        raise InputError("encoder", "cross_fit", f"{known.sum()} windows of negative controls", "controls by which the "
                         "folds' axes are turned onto each other", do)  # fmt: skip
    names = np.arange(len(known)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    wide, odd = [each[known] for each in wide], names[known] % 2 == 1
    first, found = wide[0], [folds[0]]
    if folds[0].card.numbers < width:
        found = [_turned(folds[0], np.eye(width), np.zeros(width), None)]
    onto = found[0].card.sha256
    for fold, own in zip(folds[1:], wide[1:], strict=True):
        turn, shift = turn_onto(own, first)
        shared = [agreement(*turn_onto(own[half], first[half]), own[~half], first[~half]) for half in (odd, ~odd)]
        about = Alignment(onto=onto, windows=int(known.sum()), agreement=float(np.mean(shared)))
        found.append(_turned(fold, turn, shift, about))
    return found


def turn_onto(own: NDArray[np.floating], onto: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(turn (d, d), shift (d,)) with own @ turn + shift near `onto`, (n, d) both: the orthogonal matrix that is best by
    least squares, times the factor that gives both one spread (1 where `own` has none). The factor of least squares
    would shrink a fold by how little it agrees."""
    if not len(own):
        return np.eye(own.shape[1]), np.zeros(own.shape[1])
    centre, target = own.mean(axis=0), onto.mean(axis=0)
    left, _, right = np.linalg.svd((own - centre).T @ (onto - target))
    spread, wanted = (float(np.sqrt(((each - each.mean(axis=0)) ** 2).sum())) for each in (own, onto))
    turn = left @ right * (wanted / spread if spread > 0 and wanted > 0 else 1.0)
    return turn, target - centre @ turn


def agreement(
    turn: NDArray[np.floating], shift: NDArray[np.floating], own: NDArray[np.floating], onto: NDArray[np.floating]
) -> float:
    """1 less the share of the variation of `onto` (n, d) that turned `own` misses; 1 is the same, 0 or less nothing. 0
    where nothing varies."""
    if not len(own):
        return 0.0
    variation = ((onto - onto.mean(axis=0)) ** 2).sum()
    return float(1 - ((own @ turn + shift - onto) ** 2).sum() / variation) if variation > 0 else 0.0


def _turned(fold: Trained, turn: NDArray[np.floating], shift: NDArray[np.floating], about: Alignment | None) -> Trained:
    """The fold with its embeddings turned, which stands in its weights."""
    kept = fold.card.numbers
    weights = {**fold.weights, TURN: turn[:kept].astype(np.float32), SHIFT: shift.astype(np.float32)}
    card = fold.card.model_copy(update={"alignment": about, "numbers": len(shift)})
    return with_weights(replace(fold, card=card), weights)
