"""Do replicates find each other? Mean average precision, its chance and its p-value per treatment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.evaluate.asked import Asked
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.chance import Null, benjamini_hochberg
from morpho_assets.evaluate.intervals import mean_interval, share_interval
from morpho_assets.evaluate.metrics import (
    Evaluation,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
)
from morpho_assets.evaluate.significance import treatment_nulls
from morpho_assets.profiles.refit import Refit

OVERALL = ("mAP", "normalised_AP", "fraction_retrieved")
"""The metrics over all treatments."""
REDRAWN = 200  # resamples of p-values behind the variance of the fraction retrieved


def mean_average_precision(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> pl.DataFrame:  # fmt: skip
    """One row per treatment with queries that have positives and negatives, sorted by its name.

    Columns: those of `config.group` (with multilabel positives: that column, one row per label), mAP, chance,
    normalised_AP, p_value, p_least (the smallest that p_value could be), q_value, retrieved, n_profiles (queries),
    n_positives and n_total (means per query; where controls rank in folds, of one fold). p-values as
    `exchange.exchange_nulls` (published pairing: `chance.ranking_null`), q by Benjamini-Hochberg.

    `refit` says how the profiles were made. Without, they are taken as brought to their plates' scale on the rows that
    Metadata_normalized_on names, if it is there, and made without controls if not: after a correction that was fitted
    on controls, give it. InputError for missing features, or if nothing pairs.
    """
    config = config or RetrievalConfig()
    table = treatment_table(profiles, features, config, seed, refit)
    if table is None:
        raise InputError("profiles", "retrieval", "no query with positives and negatives", "replicates and controls",
                         "Check the columns of positives and negatives, and that the controls are marked.")  # fmt: skip
    return table


def treatment_table(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int, refit: Refit | None = None
) -> pl.DataFrame | None:
    """`mean_average_precision`, or None if nothing pairs."""
    found = _tested(Asked.of(profiles, features, config, seed, refit), seed)
    return None if found is None else found.table


def treatment_scores(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int, refit: Refit | None = None
) -> pl.DataFrame:
    """`mean_average_precision` without the tests, which take most of its time; no rows if nothing pairs."""
    return Asked.of(profiles, features, config, seed, refit).treatments().drop("rankings", "row", "folded")


class _Tested(NamedTuple):
    """The table of treatments, and of each the score that was tested and its null."""

    table: pl.DataFrame
    nulls: list[tuple[float, Null]]


def _tested(asked: Asked, seed: int) -> _Tested | None:
    table = asked.treatments()
    if table.is_empty():
        return None
    nulls = treatment_nulls(asked, table, seed)
    p = np.array([null.p_value(score) for score, null in nulls])
    q = benjamini_hochberg(p)
    tested = table.select(
        *asked.group, "mAP", "chance", "normalised_AP", pl.Series("p_value", p),
        pl.Series("p_least", [null.least for _, null in nulls]), pl.Series("q_value", q),
        pl.Series("retrieved", q < asked.config.threshold), "n_profiles", "n_positives", "n_total",
    )  # fmt: skip
    return _Tested(tested, nulls)


def retrieval(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> Evaluation:  # fmt: skip
    """mAP of each treatment and, over all of them, mean mAP, normalised AP and the fraction retrieved.

    Intervals say what other treatments, and other controls, would give. Where no query has positives and negatives, as
    on one plate without replicates, the overall rows have no value and n = 0. The chance of the fraction retrieved is
    what the threshold allows where nothing is active; the same evaluator on shuffled labels (`baselines.shuffled`)
    measures it.
    """
    config = config or RetrievalConfig()
    name = config.evaluator
    asked = Asked.of(profiles, features, config, seed, refit)
    found = _tested(asked, seed)
    if found is None:
        return nothing_to_ask(name, OVERALL)
    table = found.table
    keys = table.select(asked.group)
    rows = []
    shared = _shared_variances(asked, found)
    parts = asked.folds.count if asked.folds is not None else 0
    for metric, column, chance in (("mAP", "mAP", table["chance"].to_numpy().mean()), ("normalised_AP",) * 2 + (0.0,)):
        values = table[column].drop_nulls().to_numpy()
        interval = mean_interval(values, seed, config.resamples, shared[metric], parts)
        value = values.mean() if values.size else np.nan
        rows.append(metric_row(name, "overall", metric, value, values.size, float(chance), interval))
    share = float(table["retrieved"].to_numpy().mean())
    variance = _variance_of_discoveries(table["p_value"].to_numpy(), config, seed)
    interval = share_interval(share, table.height, variance, shared["fraction_retrieved"], parts)
    rows.append(metric_row(name, "overall", "fraction_retrieved", share, table.height, config.threshold, interval))
    scores = scores_frame(keys, {
        "mAP": (table["mAP"], table["chance"]), "normalised_AP": (table["normalised_AP"].cast(pl.Float64), 0.0),
        "retrieved": (table["retrieved"], config.threshold),
    })  # fmt: skip
    return Evaluation(metrics_frame(rows), {"treatments": table}, scores)


def _shared_variances(asked: Asked, found: _Tested) -> dict[str, float]:
    """Of each metric of OVERALL the variance that comes from the controls, which all treatments share: all is scored
    without each fold of them in turn (a jackknife of groups; Shao & Wu 1989, 10.1214/aos/1176347263). The fraction
    retrieved is what the treatments' own nulls give for scores that are moved as the normalised AP is."""
    if asked.folds is None:
        return dict.fromkeys(OVERALL, 0.0)
    scores = np.array([score for score, _ in found.nulls])
    whole = found.table["normalised_AP"].to_numpy()
    room = 1 - found.table["chance"].to_numpy()
    left = []
    for fold in range(asked.folds.count):
        without = found.table.select(asked.group).join(
            asked.treatments(without=fold), on=asked.group, how="left", maintain_order="left"
        )
        moved = np.nan_to_num((without["normalised_AP"].to_numpy() - whole) * room)
        p = [null.p_value(score) for score, (_, null) in zip(scores + moved, found.nulls, strict=True)]
        retrieved = benjamini_hochberg(p) < asked.config.threshold
        left.append([without["mAP"].mean(), without["normalised_AP"].mean(), retrieved.mean()])
    spread = np.array(left, dtype=float)
    count = asked.folds.count
    variance = (count - 1) / count * np.nansum((spread - np.nanmean(spread, axis=0)) ** 2, axis=0)
    return dict(zip(OVERALL, variance.tolist(), strict=True))


def _variance_of_discoveries(p: npt.NDArray[np.float64], config: RetrievalConfig, seed: int) -> float:
    """The variance of the fraction retrieved over resampled treatments: what is a discovery depends on the others."""
    rng = np.random.default_rng(seed)
    drawn = p[rng.integers(p.size, size=(REDRAWN, p.size))]
    return float(np.var([(benjamini_hochberg(each) < config.threshold).mean() for each in drawn]))
