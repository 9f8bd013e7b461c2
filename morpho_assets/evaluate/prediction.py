"""Can the treatment, the mechanism or any other column be told from a profile that no model has seen?

Wells and images are classified by the models of `predict/`: PCA and logistic regression, random forests, nearest
neighbours and the others, each beside what knows nothing. The cell count stands beside as a space of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
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
from morpho_assets.predict.scores import resampled, scores_of, trivial_scores
from morpho_assets.predict.splits import SplitConfig, split_rows, units_of
from morpho_assets.profiles.features import require_columns, to_matrix
from morpho_assets.profiles.rows import rows_where

METRICS = ("weighted_F1", "macro_F1", "balanced_accuracy", "accuracy")


class PredictionConfig(BaseModel):
    """Profiles (or images) to classes of a column, under a split that asks a question: a new well, plate, compound.
    The defaults are the engineered-feature baseline of treatment models: z-scores, 95 % of the variance in principal
    components, logistic regression. Where a split is impossible (one well per treatment) it is an error, or with
    `fall_back` images are split and the scope of the rows is `within well` in the place of `overall`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["prediction"] = "prediction"
    label: str = Field(default="Metadata_Perturbation", description="column of the classes")
    among: str = Field(default="all", description="SQL condition of the profiles used, such as treated")
    model: ModelConfig = Field(default=LogisticConfig(pca=0.95), description="the classifier")
    split: SplitConfig = Field(default=SplitConfig(by="plate"), description="what the test has to be new in")
    top: int = Field(default=5, ge=2, description="`top_<k>`: the class is among so many most probable ones")


def prediction(
    profiles: pl.DataFrame, features: Sequence[str], config: PredictionConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows weighted_F1, macro_F1, balanced_accuracy, accuracy and top_k, each with the greater of what the commonest
    class and drawn classes give as its chance, and with `_shuffled` what the model gives whose features were shuffled
    among the training rows; intervals resample the units of the split. `n` are units.

    Scores `F1`: that of each class. Classes in fewer than two units are left out; where fewer than two are left, rows
    without a value, n = 0, if all profiles are of one class. InputError for a split that is impossible.
    """
    config = config or PredictionConfig()
    require_columns(profiles, [config.label], "prediction")
    rows = profiles.filter(rows_where(profiles, config.among)).drop_nulls(config.label)
    truth = rows[config.label].cast(pl.String).to_list()
    names = (*METRICS, f"top_{config.top}")
    if len(set(truth)) < 2:
        return nothing_to_ask(config.evaluator, names)
    try:
        splits = split_rows(rows, truth, config.split)
    except InputError as error:
        raise InputError("prediction", error.where, error.found, error.expected, error.do) from error
    scope = splits.note.split(":")[0] or "overall"
    values = to_matrix(rows, features)
    metrics = []
    held = predict_held_out(config.model, values, truth, list(features), splits)
    null = predict_held_out(config.model, values, truth, list(features), splits, shuffled=seed)
    tested = np.flatnonzero(held.fold >= 0)
    codes = np.searchsorted(held.classes, np.asarray(truth)[tested])
    scores = scores_of(codes, held.probability[tested], held.classes, config.top)
    chance = trivial_scores(codes, codes, len(held.classes), config.top)
    shuffled = scores_of(codes, null.probability[tested], held.classes, config.top).overall
    units = splits.units[tested]
    if splits.by == "random":
        units = units_of(rows[tested], SplitConfig(by="well"))
    number = len(np.unique(units))
    for name, value in scores.overall.items():
        interval = resampled(codes, held.probability[tested], units, name, held.classes, seed, 100, config.top)
        trivial = max(each[name] for each in chance.values())
        metrics.append(metric_row(config.evaluator, scope, name, value, number, trivial, interval))
        metrics.append(metric_row(config.evaluator, scope, f"{name}_shuffled", shuffled[name], number, trivial))
    share = scores.classes["n"].to_numpy() / max(1, len(codes))
    of_classes = scores_frame(scores.classes.select("class"), {"F1": (scores.classes["F1"], share)})
    return Evaluation(metrics_frame(metrics), scores=of_classes)
