"""Do replicates find each other? Mean average precision, its chance and its p-value per treatment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import (
    Candidates,
    QueryScores,
    RetrievalConfig,
    average_precision,
    plate_codes,
)
from morpho_assets.evaluate.chance import Tested, benjamini_hochberg, normalised_ap, ranking_test
from morpho_assets.evaluate.exchange import Blocks, Field, Group, exchange_tests
from morpho_assets.evaluate.folds import Folds, fold_scores, needed_folds, places
from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.metrics import (
    Evaluation,
    bootstrap_interval,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
    treatment_names,
)
from morpho_assets.evaluate.pairs import PairRule, label_sets, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets.profiles.rows import rows_where

OVERALL = ("mAP", "normalised_AP", "fraction_retrieved")
"""The metrics over all treatments."""


def mean_average_precision(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> pl.DataFrame:  # fmt: skip
    """One row per treatment with queries that have positives and negatives, sorted by its name.

    Columns: those of `config.group` (with multilabel positives: that column, one row per label), mAP, chance,
    normalised_AP, p_value, p_least (the smallest that p_value could be), q_value, retrieved, n_profiles (queries),
    n_positives and n_total (means per query; where controls rank in folds, of one fold). p-values as
    `exchange.exchange_tests` (published pairing: `chance.ranking_test`), q by Benjamini-Hochberg.

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
    table, folds = _treatment_scores(profiles, features, config, seed, refit)
    if table.is_empty():
        return None
    if config.pairing == "published":
        tests = [
            ranking_test(score, [(int(m), int(n)) for m, n in map(dict.values, rankings)], config.null_size,
                         config.exact_limit, seed, config.strict_ties)
            for score, rankings in table.select("mAP", "rankings").iter_rows()
        ]  # fmt: skip
    else:
        tests = _exchanged(table, profile_matrix(profiles, features, "retrieval"), profiles, config, folds, seed)
    q = benjamini_hochberg([test.p_value for test in tests])
    group = table.columns[: table.columns.index("mAP")]
    return table.select(
        *group, "mAP", "chance", "normalised_AP",
        pl.Series("p_value", [test.p_value for test in tests]), pl.Series("p_least", [test.least for test in tests]),
        pl.Series("q_value", q), pl.Series("retrieved", q < config.threshold), "n_profiles", "n_positives", "n_total",
    )  # fmt: skip


def treatment_scores(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int, refit: Refit | None = None
) -> pl.DataFrame:
    """`mean_average_precision` without the tests, which take most of its time; no rows if nothing pairs."""
    return _treatment_scores(profiles, features, config, seed, refit)[0].drop("rankings", "row", "folded")


def _treatment_scores(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int, refit: Refit | None
) -> tuple[pl.DataFrame, Folds | None]:
    """The scores of each treatment with the rankings and rows behind them, and the folds of those ranked in folds."""
    matrix = profile_matrix(profiles, features, "retrieval")
    label = _multilabel(config)
    group = list(config.group) if label is None else [label]
    require_columns(profiles, group, "retrieval group")
    folds = None
    if label is None:
        scored = _scored(profiles.select(group), average_precision(matrix, profiles, config))
        if config.pairing == "matched":
            folds, scored = _ranked_in_folds(scored, group, profiles, config, refit or scaled(profiles, features), seed)
    else:
        parts = [
            _scored(pl.DataFrame({label: [name] * profiles.height}), average_precision(matrix, *tagged))
            for name, tagged in _labels(profiles, config, label).items()
        ]
        scored = pl.concat([_scored(profiles.select(label).head(0), _no_scores()), *parts])
    scored = scored.filter(pl.col("ap").is_not_null(), pl.col("n_total") > pl.col("n_positives")).drop_nulls(group)
    table = scored.group_by(group).agg(
        pl.col("ap").mean().alias("mAP"),
        pl.col("chance", "normalised_AP").mean(),
        pl.struct("n_positives", "n_total").alias("rankings"),
        pl.col("row"),
        pl.col("folded").first(),
        pl.len().cast(pl.Int64).alias("n_profiles"),
        pl.col("n_positives", "n_total").mean(),
    )
    return table.sort(group), folds


def _multilabel(config: RetrievalConfig) -> str | None:
    """The column of which each label is scored by itself."""
    label = config.positives.multilabel
    return label if label in config.positives.sameby else None


def _scored(keys: pl.DataFrame, scores: QueryScores) -> pl.DataFrame:
    return keys[scores.row].with_columns(
        pl.Series("row", scores.row.astype(np.int64)),
        pl.Series("ap", scores.ap, nan_to_null=True),
        pl.Series("chance", scores.chance, nan_to_null=True),
        pl.Series("normalised_AP", normalised_ap(scores.ap, scores.chance), nan_to_null=True),
        pl.Series("n_positives", scores.n_positives),
        pl.Series("n_total", scores.n_total),
        pl.Series("beside", scores.beside),
        pl.lit(False).alias("folded"),
    )


def _no_scores() -> QueryScores:
    none = np.zeros(0)
    return QueryScores(none.astype(np.intp), none, none, none, none, none.astype(bool))


def _labels(
    profiles: pl.DataFrame, config: RetrievalConfig, column: str
) -> dict[str, tuple[pl.DataFrame, RetrievalConfig]]:
    """For each label the profiles and rules by which its carriers are queries and each other's positives; negatives
    share no label with them."""
    membership, names = label_sets(profiles[column], config.positives.separator)
    asked = rows_where(profiles, config.queries).to_numpy()
    sameby = ("__label", *(name for name in config.positives.sameby if name != column))
    positives = config.positives.model_copy(update={"sameby": sameby, "multilabel": None})
    rules = config.model_copy(update={"positives": positives, "queries": "__asked"})
    tagged = {}
    for name, carries in zip(names, membership.T > 0, strict=True):
        if (carries & asked).sum() > 1:
            tags = pl.Series("__label", carries).replace(False, None), pl.Series("__asked", carries & asked)
            tagged[name] = (profiles.with_columns(tags), rules)
    return tagged


def _ranked_in_folds(
    scored: pl.DataFrame, group: list[str], profiles: pl.DataFrame, config: RetrievalConfig, refit: Refit | None,
    seed: int,
) -> tuple[Folds | None, pl.DataFrame]:  # fmt: skip
    """The folds in which controls rank, if they must, and `scored` with what the queries that need them score in them:
    all, or those of treatments with replicates beside each other."""
    folds, everywhere = needed_folds(profiles, config, refit, seed)
    beside = scored.select((pl.col("beside").any().over(group)) | everywhere).to_series()
    if folds is None or not beside.any():
        return None, scored
    scores = fold_scores(folds, profiles, config, scored.filter(beside)["row"].to_numpy().astype(np.intp))
    again = _scored(profiles.select(group), scores).with_columns(folded=pl.lit(True))
    return folds, pl.concat([scored.filter(~beside), again])


def _exchanged(
    table: pl.DataFrame, matrix: npt.NDArray[np.float64], profiles: pl.DataFrame, config: RetrievalConfig,
    folds: Folds | None, seed: int,
) -> list[Tested]:  # fmt: skip
    """The test of every row of `table`, in its order: those in folds apart, as these are compared on other scales."""
    label = _multilabel(config)
    if label is None:
        candidates = [Candidates.of(profiles, config)] * table.height
    else:
        tagged = _labels(profiles, config, label)
        candidates = [Candidates.of(*tagged[name]) for name in table[label]]
    whole = _field(matrix, profiles, config)
    fields = {False: whole}
    if folds is not None:
        apart = partial(folds.apart, kind=config.similarity, block_bytes=_block_bytes(config))
        fields[True] = replace(whole, fold=folds.number, folds=folds.count, similar=apart)
    tests: dict[int, Tested] = {}
    for in_folds, field in fields.items():
        numbers = np.flatnonzero(table["folded"].to_numpy() == in_folds).tolist()
        groups = [_group(candidates[number], field.rival, table["row"][number].to_numpy()) for number in numbers]
        scores = table["mAP"].to_numpy()[numbers]
        found = exchange_tests(groups, scores, field, config.null_size, config.exact_limit, seed)
        tests |= dict(zip(numbers, found, strict=True))
    return [tests[number] for number in range(table.height)]


def _group(candidates: Candidates, rival: npt.NDArray[np.bool_], queries: npt.NDArray[np.intp]) -> Group:
    """The profiles that have a part in the mAP of `queries`: these, their positives, and rivals that some of them leave
    out, as treatments with another label in common."""
    positive, negative = candidates.masks(queries)
    left_out = (
        rival & ~candidates.negatives.mask(queries) if candidates.negatives.labels is not None else ~rival & False
    )
    taking_part = positive | left_out
    taking_part[np.arange(len(queries)), queries] = True
    members = np.flatnonzero(taking_part.any(axis=0))
    asks = np.isin(members, queries)
    relation = np.zeros((members.size, members.size), dtype=np.int64)
    rows = np.searchsorted(members, queries)
    relation[rows] = positive[:, members].astype(np.int64) - negative[:, members]
    return Group(members, asks, relation)


def _field(matrix: npt.NDArray[np.float64], profiles: pl.DataFrame, config: RetrievalConfig) -> Field:
    """What all groups exchange within. Rules on what a treatment determines do not follow a well that takes the place
    of another; those on other columns do."""
    rule, own = config.rivals, {*config.group, *config.positives.sameby, config.rivals.multilabel}
    kept = {name: tuple(c for c in getattr(rule, name) if c not in own) for name in ("sameby", "diffby")}
    other = pairing(profiles, PairRule(**kept)) if any(kept.values()) else None
    named = [name for name in (*rule.sameby, *rule.diffby) if name != rule.multilabel]
    rival = (
        rows_where(profiles, rule.where).to_numpy()
        & ~profiles.select(pl.any_horizontal(pl.lit(False), pl.col(named).is_null())).to_series().to_numpy()
    )
    if rule.multilabel is not None:
        rival = rival & label_sets(profiles[rule.multilabel], rule.separator)[0].any(axis=1)
    candidates = Candidates.of(profiles, config)

    def similar(columns: npt.NDArray[np.intp]) -> Blocks:
        return similarity_blocks(matrix[columns], np.arange(columns.size), config.similarity, _block_bytes(config))

    def allowed(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        return np.ones((rows.size, columns.size), dtype=bool) if other is None else other.mask(rows)[:, columns]

    return Field(
        plate_codes(profiles, config), rival, np.zeros(profiles.height, dtype=np.int64), 1, places(profiles), similar,
        allowed, lambda rows, columns: candidates.near(rows)[:, columns],
    )  # fmt: skip


def _block_bytes(config: RetrievalConfig) -> int:
    return int(config.block_mb * 1e6) // 8  # beside each similarity stand its order and its counts


def retrieval(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> Evaluation:  # fmt: skip
    """mAP of each treatment and, over all of them, mean mAP, normalised AP and the fraction retrieved.

    Intervals resample treatments. Where no query has positives and negatives, as on one plate without replicates, the
    overall rows have no value and n = 0. The chance of the fraction retrieved is what the threshold allows where
    nothing is active; the same evaluator on shuffled labels (`baselines.shuffled`) measures it.
    """
    config = config or RetrievalConfig()
    name = config.evaluator
    table = treatment_table(profiles, features, config, seed, refit)
    if table is None:
        return nothing_to_ask(name, OVERALL)
    keys = table.select(table.columns[: table.columns.index("mAP")])
    names = treatment_names(keys)
    rows = [
        metric_row(name, f"treatment:{scope}", "mAP", value, n, chance, p_value=p)
        for scope, value, chance, p, n in zip(
            names, *table.select("mAP", "chance", "p_value", "n_profiles").iter_columns(), strict=True
        )
    ]
    columns = ("mAP", "normalised_AP", "retrieved")
    chances = (float(table["chance"].to_numpy().mean()), 0.0, config.threshold)
    for metric, column, chance in zip(OVERALL, columns, chances, strict=True):
        values = table[column].cast(pl.Float64).drop_nulls().to_numpy()
        interval = bootstrap_interval(values, np.mean, seed, config.resamples)
        rows.append(metric_row(name, "overall", metric, values.mean() if values.size else np.nan, values.size, chance,
                               interval))  # fmt: skip
    scores = scores_frame(keys, {
        "mAP": (table["mAP"], table["chance"]), "normalised_AP": (table["normalised_AP"].cast(pl.Float64), 0.0),
        "retrieved": (table["retrieved"], config.threshold),
    })  # fmt: skip
    return Evaluation(metrics_frame(rows), {"treatments": table}, scores)
