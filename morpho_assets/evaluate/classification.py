"""Retrained classifier scores: a logistic classifier of treatments, scored on plates that it has not seen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.folds import places
from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.intervals import mean_interval, share_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.evaluate.pairs import codes
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

Matrix = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
METRICS = ("balanced_accuracy", "accuracy")
ITERATIONS = 500


class ClassificationConfig(BaseModel):
    """Accuracy of an L2-penalised logistic regression that is fitted on other plates. Assumes that labels come again on
    other plates, and that plates are brought to one scale; asks what a linear rule can tell apart, which may be more
    than neighbours show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["classification"] = "classification"
    label: str = Field(default="Metadata_Perturbation", description="column of the labels")
    among: str = Field(default="treated", description="SQL condition of the profiles used")
    split: tuple[str, ...] = Field(
        default=("Metadata_Plate",), min_length=1, description="columns of what is kept whole: trained on, or scored"
    )
    folds: int = Field(default=5, ge=2, description="folds, or as many as there are plates, if these are fewer")
    strength: float = Field(
        default=1.0, gt=0,
        description="inverse of the penalty on the weights (scikit-learn's C), of rows whose mean square is 1",
    )  # fmt: skip
    shuffles: int = Field(
        default=2, ge=1, description="refits on labels permuted within plates, behind the chance value"
    )


def classification(
    profiles: pl.DataFrame, features: Sequence[str], config: ClassificationConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows `balanced_accuracy` (the mean over labels of the share of their profiles that are named rightly; chance: the
    same of classifiers that are fitted anew on labels permuted within plates) and `accuracy` (chance: the label that is
    commonest in training), n labels and n profiles. Whole plates train or are scored; labels of one plate alone are not
    scored.

    Where no two labels lie on two plates, profiles of one plate train and are scored, which flatters whatever marks a
    plate or a place on it: the metrics are then `balanced_accuracy_within_plate` and so on, of labels with two
    profiles. Fewer than 2 labels: rows without a value, n = 0. Detail `predictions`: label and prediction of every
    profile that is scored.
    """
    config = config or ClassificationConfig()
    require_columns(profiles, [config.label, *config.split], "classification")
    frame = profiles.filter(rows_where(profiles, config.among), pl.col(config.label).is_not_null())
    frame = frame[np.argsort(places(frame), kind="stable")]
    across = True
    kept = _in_several(frame, config)
    if kept[config.label].n_unique() < 2:
        across, kept = False, frame.filter(pl.len().over(config.label) > 1)
    labels = codes(kept[config.label])
    if np.unique(labels).size < 2:
        return nothing_to_ask(config.evaluator, METRICS)
    matrix = profile_matrix(kept, features, "classification")
    rng = np.random.default_rng(seed)
    plate = codes(kept.select(pl.concat_str(config.split, separator=" | ")).to_series())
    fold = _folds_of_plates(plate, config.folds) if across else _folds_of_rows(labels, config.folds)
    splits = [_Split.of(matrix, fold == number) for number in range(fold.max() + 1)]
    found, majority = _predicted(splits, labels, config)
    shuffled = [_predicted(splits, _permuted(labels, plate, rng), config, labels)[0] for _ in range(config.shuffles)]
    scored = found >= 0
    names = np.unique(labels[scored])
    if names.size < 2:
        return nothing_to_ask(config.evaluator, METRICS)
    recall = _recall(found, labels, names)
    null = np.mean([_recall(each, labels, names) for each in shuffled], axis=0)
    right = float((found == labels)[scored].mean())
    within = "_".join(name.removeprefix("Metadata_").lower() for name in config.split)
    balanced, plain = (name if across else f"{name}_within_{within}" for name in METRICS)
    rows = [
        metric_row(config.evaluator, "overall", balanced, float(recall.mean()), names.size, float(null.mean()),
                   mean_interval(recall, seed)),
        metric_row(config.evaluator, "overall", plain, right, int(scored.sum()),
                   float((majority == labels)[scored].mean()), share_interval(right, int(scored.sum()))),
    ]  # fmt: skip
    text = dict(zip(labels.tolist(), kept[config.label].to_list(), strict=True))
    keys = pl.DataFrame({config.label: [text[int(code)] for code in names]})
    guesses = pl.Series("predicted", [text[int(code)] for code in found[scored]], dtype=kept[config.label].dtype)
    predictions = kept.filter(scored).select(*config.split, config.label).with_columns(guesses)
    scores = scores_frame(keys, {balanced: (recall, null)})
    return Evaluation(metrics_frame(rows), {"predictions": predictions}, scores)


def _in_several(frame: pl.DataFrame, config: ClassificationConfig) -> pl.DataFrame:
    """The profiles whose label lies on two plates or more."""
    return frame.filter(pl.struct(config.split).n_unique().over(config.label) > 1)


def _folds_of_plates(plate: Codes, most: int) -> Codes:
    """(n,) the fold of each profile: its plate's, plates in turn."""
    number = np.unique(plate, return_inverse=True)[1]
    return number % min(most, int(number.max()) + 1)


def _folds_of_rows(labels: Codes, most: int) -> Codes:
    """(n,) the fold of each profile, those of a label in turn."""
    fold = np.empty(labels.size, dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        fold[rows] = np.arange(rows.size)
    return fold % min(most, int(fold.max()) + 1)


@dataclass(frozen=True)
class _Split:
    """Rows that train and rows that are scored, on the axes of the training rows, whose mean square is 1. A penalty on
    lengths is the same on any axes, and there are no more of these than training rows."""

    train: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]
    trained: Matrix
    tested: Matrix

    @classmethod
    def of(cls, matrix: Matrix, held: npt.NDArray[np.bool_]) -> _Split:
        train, test = np.flatnonzero(~held), np.flatnonzero(held)
        centre = matrix[train].mean(axis=0)
        trained, tested = matrix[train] - centre, matrix[test] - centre
        length = float(np.sqrt((trained**2).sum(axis=1).mean())) or 1.0
        if trained.shape[1] > trained.shape[0]:
            axes = np.linalg.svd(trained, full_matrices=False)[2].T
            trained, tested = trained @ axes, tested @ axes
        return cls(train, test, trained / length, tested / length)


def _predicted(
    splits: Sequence[_Split], labels: Codes, config: ClassificationConfig, scored_as: Codes | None = None
) -> tuple[Codes, Codes]:
    """((n,) the label named for each profile, -1 where training has not its label (`scored_as`, if others are learned),
    (n,) the commonest label of its training)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    true = labels if scored_as is None else scored_as
    found, majority = np.full(labels.size, -1), np.full(labels.size, -1)
    for split in splits:
        learned, counts = np.unique(labels[split.train], return_counts=True)
        known = np.isin(true[split.test], true[split.train])
        if learned.size < 2 or not known.any():
            continue
        model = LogisticRegression(C=config.strength, max_iter=ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum the labels named do not change
            model.fit(split.trained, labels[split.train])
        found[split.test[known]] = model.predict(split.tested[known])
        majority[split.test[known]] = learned[counts.argmax()]
    return found, majority


def _permuted(labels: Codes, plate: Codes, rng: np.random.Generator) -> Codes:
    """The labels in another order within each plate: each plate keeps those that it has."""
    permuted = labels.copy()
    for code in np.unique(plate):
        rows = np.flatnonzero(plate == code)
        permuted[rows] = labels[rng.permutation(rows)]
    return permuted


def _recall(found: Codes, labels: Codes, names: Codes) -> Matrix:
    """(names,) the share of each label's profiles that are named so."""
    return np.array([(found[labels == name] == name)[found[labels == name] >= 0].mean() for name in names])
