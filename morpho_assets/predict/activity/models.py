"""Models of assays: one per assay, or one of all, each compound predicted by models that did not see its fold.

Every kind is fitted without each fold, and (`nested`) without each pair of folds: what is learned from predictions (how
to weigh modalities, how to calibrate) then never sees a prediction of a model that knew the compound it is tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.predict.activity.logistic import fit_logistic
from morpho_assets.predict.activity.scores import auroc
from morpho_assets.predict.classifiers.kinds import KINDS
from morpho_assets.predict.classifiers.trees import BoostingConfig, ForestConfig

Floats = NDArray[np.floating]
Folds = NDArray[np.int64]
COLUMNS = 256
"""Regressions in one product."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    balanced: bool = Field(default=True, description="active and inactive compounds weigh the same in every assay")
    seed: int = Field(default=0, ge=0, description="seed of what is drawn")


class LogisticModel(_Config):
    """Logistic regression with an L2 penalty, one per assay; all folds of an assay are solved together."""

    kind: Literal["logistic"] = Field(default="logistic", description="the model")
    C: tuple[float, ...] = Field(
        default=(10.0,), min_length=1,
        description="inverse strength of the penalty, of rows of mean length 1; of several the best by AUROC over all "
        "assays, chosen without the fold that is tested",
    )  # fmt: skip


class BoostedModel(_Config):
    """Gradient boosting, one per assay."""

    kind: Literal["boosting"] = Field(description="the model")
    rounds: int = Field(default=60, ge=1, description="trees")
    rate: float = Field(default=0.1, gt=0, description="learning rate")
    leaves: int = Field(default=8, ge=2, description="most leaves of a tree")


class ForestModel(_Config):
    """A random forest, one per assay."""

    kind: Literal["forest"] = Field(description="the model")
    trees: int = Field(default=200, ge=1, description="trees")
    leaf: int = Field(default=1, ge=1, description="fewest compounds of a leaf")


class NetworkModel(_Config):
    """A small feed-forward network of all assays together: one hidden layer shared, an output each; tested pairs alone
    count. The mean of an ensemble of differently drawn ones."""

    kind: Literal["network"] = Field(description="the model")
    hidden: int = Field(default=128, ge=1, description="hidden units")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="share of hidden units left out while training")
    epochs: int = Field(default=60, ge=1, description="passes over the training compounds")
    rate: float = Field(default=3e-3, gt=0, description="learning rate of Adam")
    decay: float = Field(default=1e-3, ge=0, description="weight decay")
    ensemble: int = Field(default=3, ge=1, description="networks whose mean is taken")


ModelOfAssays = Annotated[
    LogisticModel | BoostedModel | ForestModel | NetworkModel, Field(discriminator="kind")
]  # fmt: skip


@dataclass(frozen=True)
class HeldOut:
    """Predictions (chances between 0 and 1) of n compounds in a assays.

    `score` (n, a): each compound by a model without its fold, NaN for a fold of -1, a compound without the modality, or
    an assay that the model could not learn. `nested` (folds, n, a): `nested[f]` is what models without fold f say of
    tested compounds, those of another fold g by a model without g too; of fold f the same as `score`; else NaN.
    """

    score: Floats
    nested: Floats


def predict_held_out(
    config: Any, x: Any, known: NDArray[np.bool_], labels: Floats, fold: Folds, nested: bool = True
) -> HeldOut:
    """Held-out predictions of `labels` (n, a; 1, 0, NaN not tested) from rows of `x` (n, d; dense or CSR, scaled and
    finite), of compounds that have the modality (`known`, (n,)) and a fold (0, 1, …).

    Without `nested`, `nested` repeats `score`: half the time, and what is learned from predictions is a little sure of
    itself. An assay is learned where the training compounds have both classes.
    """
    seen = known & (fold >= 0)
    labels = np.where(seen[:, None], labels, np.nan)
    folds = int(fold.max(initial=-1)) + 1
    if isinstance(config, LogisticModel) and len(config.C) > 1:
        return _chosen(config, x, known, labels, fold)
    holds: list[tuple[int, ...]] = [(each,) for each in range(folds)]
    if nested:
        holds += list(combinations(range(folds), 2))
    score = np.full(labels.shape, np.nan, np.float32)
    inside = np.full((folds, *labels.shape), np.nan, np.float32) if nested else np.empty((0, *labels.shape))
    tested = np.isfinite(labels)
    for hold, assays, rows, found in _FITTED[config.kind](config, x, labels, fold, holds):
        if len(hold) == 1:
            score[np.ix_(rows, np.asarray(assays))] = found
        for one, other in (hold, hold[::-1]) if len(hold) == 2 else ():
            here = fold[rows] == other
            block = np.ix_(np.array([one]), rows[here], np.asarray(assays))
            inside[block] = np.where(tested[np.ix_(rows[here], assays)], found[here], np.nan)
    score[~seen] = np.nan
    if not nested:
        return HeldOut(score, np.broadcast_to(score, (folds, *score.shape)))
    for each in range(folds):
        inside[each, fold == each] = score[fold == each]
    return HeldOut(score, inside)


def _chosen(config: LogisticModel, x: Any, known: NDArray[np.bool_], labels: Floats, fold: Folds) -> HeldOut:
    """Of each fold the predictions with the C that is best on all others: by mean AUROC over assays and their folds, of
    models that saw neither."""
    each = [predict_held_out(config.model_copy(update={"C": (c,)}), x, known, labels, fold) for c in sorted(config.C)]
    folds = int(fold.max(initial=-1)) + 1
    score = np.full(labels.shape, np.nan, np.float32)
    nested = []
    for number in range(folds):
        values = [_mean_auroc(labels, found.nested[number], np.where(fold == number, -1, fold)) for found in each]
        best = each[int(np.argmax(np.nan_to_num(values)))]
        score[fold == number] = best.score[fold == number]
        nested.append(best.nested[number])
    return HeldOut(score, np.stack(nested) if nested else np.empty((0, *labels.shape)))


def _mean_auroc(labels: Floats, score: Floats, fold: Folds) -> float:
    values = []
    for number in np.unique(fold[fold >= 0]):
        for assay in range(labels.shape[1]):
            rows = np.flatnonzero((fold == number) & np.isfinite(labels[:, assay]) & np.isfinite(score[:, assay]))
            values.append(auroc(labels[rows, assay] > 0, score[rows, assay])[0])
    there = np.isfinite(values)
    return float(np.mean(np.asarray(values)[there])) if there.any() else float("nan")


# How each kind is fitted: held folds, assays, the compounds of these folds, and their chances (rows, assays)

Fitted = Iterator[tuple[tuple[int, ...], list[int], NDArray[np.int64], Floats]]


def _logistic(config: LogisticModel, x: Any, labels: Floats, fold: Folds, holds: list[tuple[int, ...]]) -> Fitted:
    """Assays that tested the same compounds share products; of others all folds of one assay do."""
    inside = fold >= 0
    members = [np.flatnonzero(fold == number) for number in range(int(fold.max(initial=-1)) + 1)]
    of_members = [x[rows] for rows in members]
    at_once = max(1, COLUMNS // len(holds))
    for alike in _alike(labels):
        rows = np.flatnonzero(np.isfinite(labels[:, alike[0]]) & inside)
        own, of_fold = x[rows], fold[rows]
        for start in range(0, len(alike), at_once):
            pairs, actives, weights = [], [], []
            for assay in alike[start : start + at_once]:
                for hold in holds:
                    weight = _weights(labels[rows, assay], ~np.isin(of_fold, hold), config.balanced)
                    if weight is not None:
                        pairs.append((assay, hold))
                        actives.append(labels[rows, assay])
                        weights.append(weight)
            if not pairs:
                continue
            fits = fit_logistic(own, np.stack(actives, 1), np.stack(weights, 1), config.C[0])
            logits = fits.logits(own) if any(len(hold) == 2 for hold in holds) else None
            for number in range(len(members)):  # untested compounds too
                chosen = [place for place, (_, hold) in enumerate(pairs) if hold == (number,)]
                found = of_members[number] @ fits.weights[:, chosen] + fits.intercepts[chosen]
                yield (number,), [pairs[place][0] for place in chosen], members[number], _chances(found)
            for place, (assay, hold) in enumerate(pairs):
                if len(hold) == 2 and logits is not None:
                    here = np.isin(of_fold, hold)
                    yield hold, [assay], rows[here], _chances(logits[here, place, None])


def _chances(logits: Floats) -> Floats:
    return np.asarray(0.5 * np.tanh(0.5 * logits) + 0.5)


def _alike(labels: Floats) -> list[list[int]]:
    """Assays by the compounds that they tested."""
    groups: dict[bytes, list[int]] = {}
    for assay in range(labels.shape[1]):
        groups.setdefault(np.packbits(np.isfinite(labels[:, assay])).tobytes(), []).append(assay)
    return list(groups.values())


def _weights(active: Floats, trains: NDArray[np.bool_], balanced: bool) -> NDArray[np.float64] | None:
    """(n,) weights of rows, of mean 1 over those that train; None where these lack a class."""
    hits = float((active > 0)[trains].sum())
    number = float(trains.sum())
    if not 0 < hits < number:
        return None
    if not balanced:
        return trains.astype(float)
    return np.asarray(trains * np.where(active > 0, number / 2 / hits, number / 2 / (number - hits)))


def _trees(config: Any, x: Any, labels: Floats, fold: Folds, holds: list[tuple[int, ...]]) -> Fitted:
    weight: Any = "balanced" if config.balanced else None
    if isinstance(config, ForestModel):
        settings: Any = ForestConfig(trees=config.trees, leaf=(config.leaf,), class_weight=weight, seed=config.seed)
    else:
        settings = BoostingConfig(rounds=config.rounds, rate=(config.rate,), leaves=config.leaves, class_weight=weight,
                                  seed=config.seed)  # fmt: skip
    kind = KINDS[settings.kind]
    dense = np.asarray(x.toarray() if hasattr(x, "toarray") else x, float)
    for assay in range(labels.shape[1]):
        tested = np.isfinite(labels[:, assay])
        for hold in holds:
            rows = np.flatnonzero(tested & (fold >= 0) & ~np.isin(fold, hold))
            codes = (labels[rows, assay] > 0).astype(np.int64)
            if codes.all() or not codes.any():
                continue
            arrays = kind.fit(settings, dense[rows], codes, 2)
            shown = np.flatnonzero(np.isin(fold, hold))
            yield hold, [assay], shown, np.exp(kind.log_probabilities(arrays, dense[shown])[:, 1:])


def _network(config: NetworkModel, x: Any, labels: Floats, fold: Folds, holds: list[tuple[int, ...]]) -> Fitted:
    from morpho_assets.predict.activity.network import fit_network

    dense = np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float32)
    for hold in holds:
        trains = (fold >= 0) & ~np.isin(fold, hold) & np.isfinite(labels).any(axis=1)
        rows = np.flatnonzero(trains)
        weights = np.zeros((len(rows), labels.shape[1]))
        for assay in range(labels.shape[1]):
            tested = np.isfinite(labels[rows, assay])
            weight = _weights(np.nan_to_num(labels[rows, assay]), tested, config.balanced)
            weights[:, assay] = 0 if weight is None else weight
        assays = np.flatnonzero(weights.any(axis=0)).tolist()
        shown = np.flatnonzero(np.isin(fold, hold))
        if not assays or not len(shown):
            continue
        active = np.nan_to_num(labels[np.ix_(rows, assays)])
        found = fit_network(config, dense[rows], active, weights[:, assays], dense[shown])
        yield hold, assays, shown, found


_FITTED: dict[str, Callable[..., Fitted]] = {
    "logistic": _logistic, "boosting": _trees, "forest": _trees, "network": _network,
}  # fmt: skip
