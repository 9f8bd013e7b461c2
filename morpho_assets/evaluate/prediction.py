"""Can the treatment, the mechanism or any other column be told from a profile that no model has seen?

Wells and images are classified by the models of `predict/`: PCA and logistic regression, random forests, nearest
neighbours and the others, each beside what knows nothing. The cell count stands beside as a space of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError, NoSplit
from morpho_assets.evaluate.folds import places
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import (
    Evaluation,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
)
from morpho_assets.predict.classifiers.kinds import ModelConfig
from morpho_assets.predict.classifiers.linear import LogisticConfig
from morpho_assets.predict.models import predict_held_out
from morpho_assets.predict.scores import Scores, resampled, scores_of, trivial_scores
from morpho_assets.predict.splits import SplitConfig, Splits, split_rows, units_of
from morpho_assets.profiles.features import require_columns, require_features, to_matrix
from morpho_assets.profiles.rows import rows_where

METRICS = ("weighted_F1", "macro_F1", "balanced_accuracy", "accuracy")
OVER_CLASSES = ("macro_F1", "balanced_accuracy")
"""Means over classes, whose interval resamples these where there are more of them than units."""


class PredictionConfig(BaseModel):
    """Profiles (or images) to classes of a column, under a split that asks a question: a new well, plate, compound.
    The defaults are the engineered-feature baseline of treatment models: z-scores, 95 % of the variance in principal
    components, logistic regression. Where a split is impossible (one well per treatment) nothing is scored, and the
    note says why; with `fall_back` images are split and the scope of the rows is `within well` in place of
    `overall`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["prediction"] = "prediction"
    label: str = Field(default="Metadata_Perturbation", description="column of the classes")
    among: str = Field(default="all", description="SQL condition of the profiles used, such as treated")
    model: ModelConfig = Field(default=LogisticConfig(pca=0.95), description="the classifier")
    split: SplitConfig = Field(default=SplitConfig(by="plate"), description="what the test has to be new in")
    top: int = Field(default=5, ge=2, description="`top_<k>`: the class is among so many most probable ones")
    shuffles: int = Field(
        default=2, ge=1, description="models learned from permuted classes (within plates), behind the chance"
    )


def prediction(
    profiles: pl.DataFrame, features: Sequence[str], config: PredictionConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows weighted_F1, macro_F1, balanced_accuracy, accuracy and top_k. The chance of each is the greatest of what the
    commonest class gives, classes drawn by their shares, and the same models learned anew from permuted classes, whose
    own mean stands in rows `…_shuffled`. Classes are permuted within plates: those of whole units (wells, compounds)
    where a unit has one class, else those of the rows of a unit. `n` are units; intervals resample them, or of means
    over classes these, where there are more.

    Scores `balanced_accuracy` (the recall) and `F1` of each class, beside those of the permuted. Detail `predictions`:
    class and called class of every profile that was held out. Classes in fewer than two units are left out; where fewer
    than two are left, rows without a value, n = 0, and a note that says why. The note also says which fits stopped
    before their optimum. InputError for a column of the split that is not there.
    """
    config = config or PredictionConfig()
    require_columns(profiles, [config.label], "prediction")
    require_features(profiles, features)
    rows = profiles.filter(rows_where(profiles, config.among)).drop_nulls(config.label)
    rows = rows[np.argsort(places(rows), kind="stable")]
    truth = rows[config.label].cast(pl.String).to_numpy().astype(str)
    names = (*METRICS, f"top_{config.top}")
    if len(set(truth)) < 2:
        return nothing_to_ask(config.evaluator, names, f"fewer than two values of {config.label}")
    try:
        splits = split_rows(rows, list(truth), config.split)
    except NoSplit as error:
        return nothing_to_ask(config.evaluator, names, f"a split by {config.split.by} is impossible: {error.found}")
    except InputError as error:
        raise InputError("prediction", error.where, error.found, error.expected, error.do) from error
    scope = splits.note.split(":")[0] or "overall"
    values = to_matrix(rows, features)
    held = predict_held_out(config.model, values, list(truth), list(features), splits)
    tested = np.flatnonzero(held.fold >= 0)
    codes = np.searchsorted(held.classes, truth[tested])
    scores = scores_of(codes, held.probability[tested], held.classes, config.top)
    nulls = []
    rng = np.random.default_rng(seed)
    plates = rows["Metadata_Plate"].to_numpy() if "Metadata_Plate" in rows.columns else None
    for _ in range(config.shuffles):
        permuted = permuted_classes(truth, splits, plates, rng)
        null = predict_held_out(config.model, values, list(permuted), list(features), splits)
        nulls.append(scores_of(codes, null.probability[tested], held.classes, config.top))
    units = splits.units[tested] if splits.by != "random" else units_of(rows[tested], SplitConfig(by="well"))
    metrics = _metrics(config, scope, scores, nulls, codes, held.probability[tested], held.classes, units, seed)
    recalls, f1s = (np.nanmean([null.classes[each].to_numpy() for null in nulls], axis=0) for each in ("recall", "F1"))
    each = {"balanced_accuracy": (scores.classes["recall"], recalls), "F1": (scores.classes["F1"], f1s)}
    called = np.asarray(held.classes)[np.nan_to_num(held.probability[tested], nan=-1).argmax(axis=1)]
    keys = [name for name in ("Metadata_Plate", "Metadata_Well", "Metadata_Site") if name in rows.columns]
    predictions = rows[tested].select(*keys, config.label).with_columns(predicted=pl.Series(called))
    notes = [splits.note, *held.notes]
    return Evaluation(
        metrics_frame(metrics), {"predictions": predictions}, scores_frame(scores.classes.select("class"), each),
        "; ".join(note for note in notes if note),
    )  # fmt: skip


def permuted_classes(
    truth: NDArray[np.str_], splits: Splits, plates: NDArray[np.str_] | None, rng: np.random.Generator
) -> NDArray[np.str_]:
    """(n,) the classes of the rows that are in folds, permuted as they could have come about: over units, where each
    has one class (within the plate, where each lies on one), else over the rows of each unit. Other rows keep theirs.
    """
    found = truth.copy()
    kept = np.unique(np.concatenate([np.concatenate([fold.train, fold.test]) for fold in splits]))
    units, first, members = np.unique(splits.units[kept], return_index=True, return_inverse=True)
    own = truth[kept]
    if (own == own[first][members]).all():
        plate = np.zeros(len(kept), np.int64) if plates is None else np.unique(plates[kept], return_inverse=True)[1]
        whole = (plate == plate[first][members]).all()
        stratum = plate[first] if whole else np.zeros(len(units), np.int64)
        classes = own[first]
        for number in np.unique(stratum):
            here = np.flatnonzero(stratum == number)
            classes[here] = classes[rng.permutation(here)]
        found[kept] = classes[members]
        return found
    for number in range(len(units)):
        here = kept[members == number]
        found[here] = truth[rng.permutation(here)]
    return found


def _metrics(
    config: PredictionConfig, scope: str, scores: Scores, nulls: Sequence[Scores], codes: NDArray[np.int64],
    probability: NDArray[np.float64], classes: Sequence[str], units: NDArray[np.str_], seed: int,
) -> list[dict[str, object]]:  # fmt: skip
    trivial = trivial_scores(codes, codes, len(classes), config.top)
    number, rows = len(np.unique(units)), []
    intervals = resampled(codes, probability, units, classes, seed, 100, config.top) or {}
    for name, value in scores.overall.items():
        simple = max(each[name] for each in trivial.values())
        shuffled = float(np.mean([null.overall[name] for null in nulls]))
        if name in OVER_CLASSES and len(classes) > number:
            n = len(classes)
            column = "F1" if name == "macro_F1" else "recall"
            interval = mean_interval(scores.classes[column], seed)
        else:
            n, interval = number, intervals.get(name)
        rows.append(metric_row(config.evaluator, scope, name, value, n, max(simple, shuffled), interval))
        rows.append(metric_row(config.evaluator, scope, f"{name}_shuffled", shuffled, n, simple))
    return rows
