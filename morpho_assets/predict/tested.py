"""Rows of `metrics` of a phenotype's model: by each split, in each image left out, on other plates; what knows nothing
stands beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.predict.classifiers.linear import ElasticNetConfig, leave_each_out
from morpho_assets.predict.config import PhenotypeConfig
from morpho_assets.predict.labelled import Labelled
from morpho_assets.predict.labels import LABEL, SITE
from morpho_assets.predict.models import Model, predict_held_out, prepared
from morpho_assets.predict.predictions import FINAL, held_out_by, prediction_rows
from morpho_assets.predict.scores import (
    Scores,
    image_ranks,
    rank_chance,
    rank_shares,
    resampled,
    scores_of,
    trivial_scores,
    true_class_ranks,
)
from morpho_assets.predict.splits import SplitConfig, Splits, units_of

Floats = NDArray[np.float64]
EVALUATOR = "phenotypes"
"""The evaluator of the rows of `metrics` that models leave."""
ELSEWHERE = "plates without training labels"


def split_metrics(
    name: str, config: PhenotypeConfig, split: SplitConfig, splits: Splits, cells: pl.DataFrame, values: Floats,
    found: Labelled, predictions: list[pl.DataFrame],
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of a model by one split of labelled cells, each predicted by a model of others; these are added to
    `predictions`."""
    truth = cells[LABEL].to_list()
    counts = cells.select(pl.len().over(SITE).cast(pl.Float64)).to_numpy()
    scope = f"by {splits.by}" + (f", {splits.note.split(':')[0]}" if splits.note else "")
    rows: list[dict[str, Any]] = []
    for variant, x, shuffled, features in (
        (name, values, None, found.features),
        (f"{name}, shuffled features", values, config.seed, found.features),
        (f"{name}, labelled cells in the image", counts, None, ["Count_Cells"]),
    ):
        # a null is learned as the model is: its settings are chosen anew
        held = predict_held_out(config.model, x, truth, features, splits, shuffled)
        tested = np.flatnonzero(held.fold >= 0)
        codes = np.searchsorted(held.classes, np.asarray(truth)[tested])
        train = np.searchsorted(held.classes, np.asarray(truth)[np.isin(truth, held.classes)])
        probability, units = held.probability[tested], splits.units[tested]
        trivial = trivial_scores(codes, train, len(held.classes))
        # of random rows, intervals are over wells: cells of a well are no units of their own
        whole = units if splits.by != "random" else units_of(cells[tested], SplitConfig(by="well"))
        scores = scores_of(codes, probability, held.classes)
        note = splits.note or None
        rows += _score_rows(variant, scope, scores, trivial, codes, probability, whole, held.classes, config, note)
        if variant == name:
            rows += _trivial_rows(name, scope, trivial, len(tested), note)
            rows += _class_rows(variant, scope, scores, note)
            if len(tested) == len(truth):  # what was held out of them alone would not be known of cells without a mask
                rows += _missed_rows(variant, scope, codes, probability, held.classes, found, set(cells[SITE[0]]))
            shown = prediction_rows(name, held_out_by(splits.by), cells[tested], held.classes, probability)
            predictions.append(shown.with_columns(
                label=pl.Series(np.asarray(truth)[tested]), in_training=pl.lit(False),
                fold=pl.Series(held.fold[tested], dtype=pl.Int32),
            ))  # fmt: skip
    return rows


def image_metrics(
    name: str, config: PhenotypeConfig, models: dict[str, Model], values: Floats, cells: pl.DataFrame
) -> list[dict[str, Any]]:
    """Ranks of the true class in images that were left out one by one, with the settings of the final model (of
    shuffled features those that were chosen on them); the scale of features is that of all labelled cells, in which
    classes are not seen."""
    images = units_of(cells, SplitConfig(by="image"))
    named, members = np.unique(images, return_inverse=True)
    classes = models[FINAL].card.classes
    codes = np.searchsorted(classes, cells[LABEL].to_numpy())
    rows = []
    for by, model in models.items():
        variant, settings = name if by == FINAL else f"{name}, shuffled features", model.config
        assert isinstance(settings, ElasticNetConfig)
        x = prepared(model, values)
        learned = x if by == FINAL else np.random.default_rng([config.seed, 2]).permuted(x, axis=0)
        logs = leave_each_out(settings, learned, codes, len(classes), members, x)
        of_images = image_ranks(list(images), cells[LABEL].to_list(), true_class_ranks(codes, logs))
        for metric, value in rank_shares(of_images).items():
            chance = np.mean([rank_chance(n, len(classes), int(metric[-1])) for n in of_images["n"]])
            rows.append(_row(variant, "each image left out", metric, value, len(named), float(chance), None, None))
    return rows


def metrics_elsewhere(
    name: str, config: PhenotypeConfig, found: Labelled, models: dict[str, Model], predictions: list[pl.DataFrame]
) -> list[dict[str, Any]]:
    """Scores of the final models on labelled cells of plates that do not train."""
    model = models[FINAL]
    rows: list[dict[str, Any]] = []
    known = np.isin(found.cells[LABEL].to_numpy(), model.card.classes)
    tested = np.flatnonzero(~found.trains & known)
    if not len(tested):
        return rows
    cells = found.cells[tested]
    names = model.card.classes
    codes = np.searchsorted(names, cells[LABEL].to_numpy())
    train = np.repeat(np.arange(len(names)), [model.card.of_class[each] for each in names])
    trivial = trivial_scores(codes, train, len(names))
    wells = units_of(cells, SplitConfig(by="well"))
    for by, each in models.items():
        variant = name if by == FINAL else f"{name}, shuffled features"
        probability = each.predict(found.values[tested])
        scores = scores_of(codes, probability, names)
        rows += _score_rows(variant, ELSEWHERE, scores, trivial, codes, probability, wells, names, config, None)
        if by == FINAL:
            rows += _trivial_rows(name, ELSEWHERE, trivial, len(tested), None)
            rows += _class_rows(variant, ELSEWHERE, scores, None)
            plates = set(cells["Metadata_Plate"])
            rows += _missed_rows(variant, ELSEWHERE, codes, probability, names, found, plates)
            shown = prediction_rows(name, held_out_by("plate of no training label"), cells, names, probability)
            predictions.append(shown.with_columns(label=cells[LABEL], in_training=pl.lit(False)))
    return rows


def _score_rows(
    variant: str, scope: str, scores: Scores, trivial: dict[str, dict[str, float]], codes: NDArray[np.int64],
    probability: Floats, units: NDArray[np.str_], names: Sequence[str], config: PhenotypeConfig, note: str | None,
) -> list[dict[str, Any]]:  # fmt: skip
    rows = []
    intervals = resampled(codes, probability, units, names, config.seed) or {}
    for metric, value in scores.overall.items():
        interval = intervals.get(metric)
        chance = max(each.get(metric, np.nan) for each in trivial.values())
        rows.append(_row(variant, scope, metric, value, len(np.unique(units)), chance, interval, note))
    return rows


def _trivial_rows(
    name: str, scope: str, trivial: dict[str, dict[str, float]], n: int, note: str | None
) -> list[dict[str, Any]]:
    words = {"majority": "always the commonest class", "stratified": "classes drawn by their shares"}
    return [
        _row(f"{name}, {words[kind]}", scope, metric, value, n, None, None, note)
        for kind, of_kind in trivial.items()
        for metric, value in of_kind.items()
    ]


def _class_rows(variant: str, scope: str, scores: Scores, note: str | None) -> list[dict[str, Any]]:
    rows = []
    total = max(1, int(scores.classes["n"].sum()))
    for row in scores.classes.iter_rows(named=True):
        chance = {"average_precision": row["n"] / total}
        for metric in ("F1", "precision", "recall", "average_precision"):
            where = f"{scope}, {row['class']}"
            rows.append(_row(variant, where, metric, row[metric], row["n"], chance.get(metric), None, note))
    return rows


def _missed_rows(
    variant: str, scope: str, codes: NDArray[np.int64], probability: Floats, names: Sequence[str], found: Labelled,
    plates: set[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """The same with labelled points that no mask holds, on these plates, as errors."""
    missed = found.missed
    if not missed.height or LABEL not in missed.columns:
        return []
    here = missed.filter(pl.col("Metadata_Plate").is_in(list(plates)) & pl.col(LABEL).is_in(list(names)))
    if not here.height:
        return []
    more = np.searchsorted(names, here[LABEL].to_numpy())
    nothing = np.full((len(more), len(names)), np.nan)
    scores = scores_of(np.r_[codes, more], np.concatenate([probability, nothing]), names)
    where = f"{scope}, cells without a mask as errors"
    return [_row(variant, where, metric, scores.overall[metric], len(codes) + len(more), None, None, None)
            for metric in ("weighted_F1", "balanced_accuracy")]  # fmt: skip


def _row(
    variant: str, scope: str, metric: str, value: float | None, n: int, chance: float | None,
    interval: tuple[float, float] | None, note: str | None,
) -> dict[str, Any]:  # fmt: skip
    low, high = interval or (None, None)
    return {
        "variant": variant, "evaluator": EVALUATOR, "scope": scope, "metric": metric, "value": value, "chance": chance,
        "ci_low": low, "ci_high": high, "n": int(n), "note": note,
    }  # fmt: skip
