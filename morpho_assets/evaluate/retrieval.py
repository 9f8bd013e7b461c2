"""Do replicates find each other? Mean average precision, its chance and its p-value per treatment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.chance import benjamini_hochberg, expected_ap, normalised_ap, p_value
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
from morpho_assets.evaluate.pairs import Pairing, PairRule, label_sets, pairing
from morpho_assets.evaluate.similarity import BLOCK_BYTES, similarity_blocks
from morpho_assets.profiles.features import complete_matrix, require_columns
from morpho_assets.profiles.rows import rows_where

COUNTED_POSITIVES = 16  # up to here, counting the negatives above each positive beats sorting them


class PositionRule(BaseModel):
    """Candidates by their distance from the query on the plate, to tell a treatment from its well position."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Literal["near", "far"] = Field(description="candidates within the distance, or beyond it")
    columns: tuple[str, ...] = Field(
        default=("Metadata_Row", "Metadata_Col"), description="coordinates: well row and column, or stage x and y"
    )
    quantile: float = Field(default=0.1, gt=0, lt=1, description="of the non-zero distances: the limit of near")


OVERALL = ("mAP", "normalised_AP", "fraction_retrieved")
"""The metrics over all treatments."""


class RetrievalConfig(BaseModel):
    """Queries rank their candidates, positives and negatives, by similarity.

    The default asks for activity: do replicates of a treatment find each other among the negative controls of their
    plate? Assumes at least two replicates, controls on every plate, and effects that are not merely well positions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["retrieval"] = "retrieval"
    positives: PairRule = Field(default=PairRule(sameby=("Metadata_Perturbation",)), description="partners to find")
    negatives: PairRule = Field(
        default=PairRule(sameby=("Metadata_Plate",), where="negcon"), description="partners to rank below"
    )
    queries: str = Field(default="treated", description="SQL condition of the queries")
    group: tuple[str, ...] = Field(
        default=("Metadata_Perturbation",), description="columns whose values share one mAP; ignored with multilabel"
    )
    position: PositionRule | None = Field(default=None, description="restrict candidates by distance on the plate")
    similarity: Literal["cosine", "abs_cosine", "correlation", "euclidean"] = Field(
        default="cosine", description="how alike two profiles are"
    )
    null_size: int = Field(default=10_000, ge=100, description="random rankings behind a p-value that is not exact")
    exact_limit: int = Field(default=200_000, ge=0, description="most rankings that are enumerated for an exact p")
    strict_ties: bool = Field(default=False, description="null rankings equal to the score do not count (copairs)")
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value under which a treatment is retrieved")
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples of treatments")
    block_mb: float = Field(default=BLOCK_BYTES / 1e6, gt=0, description="memory (MB) of a block of similarities")


@dataclass(frozen=True)
class QueryScores:
    """Per query: its row, average precision (NaN without positives), positives and candidates. All (queries,)."""

    row: npt.NDArray[np.intp]
    ap: npt.NDArray[np.float64]
    n_positives: npt.NDArray[np.int64]
    n_total: npt.NDArray[np.int64]


def average_precision(
    features: npt.NDArray[np.float64],
    metadata: pl.DataFrame,
    config: RetrievalConfig,
    queries: npt.NDArray[np.intp] | None = None,
) -> QueryScores:
    """AP of each query row of `features` (n, d): its positives and negatives by `config` over `metadata` (n rows),
    ranked by descending similarity. `queries` overrides the condition of `config`.

    Candidates that tie count by the mean over all their orders, so that profiles without information score what chance
    gives. One that is positive and negative counts as positive. Exact: one matrix product per block of rows, memory
    linear in it. InputError for missing values.
    """
    if len(features) != metadata.height:
        raise InputError("profiles", "rows", f"{len(features)} of features, {metadata.height} of metadata",
                         "one row of each per profile", "Give both from the same frame.")  # fmt: skip
    if np.isnan(features).any():
        raise InputError("profiles", "retrieval", "missing values", "finite values", "Leave out features with gaps.")
    if queries is None:
        queries = np.flatnonzero(rows_where(metadata, config.queries).to_numpy())
    rules = (pairing(metadata, config.positives), pairing(metadata, config.negatives))
    near = None if config.position is None else _positions(metadata, config.position)
    ap = np.full(len(queries), np.nan)
    found = np.zeros((2, len(queries)), dtype=np.int64)
    done = 0
    for block, similarity in similarity_blocks(features, queries, config.similarity, int(config.block_mb * 1e6)):
        positive, negative = _candidates(block, rules, near)
        here = slice(done, done + len(block))
        found[:, here] = positive.sum(axis=1), negative.sum(axis=1)
        ap[here] = _block_ap(similarity, positive, negative)
        done += len(block)
    return QueryScores(queries, ap, found[0], found[0] + found[1])


def _candidates(
    block: npt.NDArray[np.intp], rules: tuple[Pairing, Pairing], near: _Position | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    positive, negative = (rule.mask(block) for rule in rules)
    if near is not None:
        allowed = near.allowed(block)
        positive &= allowed
        negative &= allowed
    negative &= ~positive
    return positive, negative


def _block_ap(
    similarity: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_], negative: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(block,) AP of each row; NaN without positives."""
    ap = np.full(len(similarity), np.nan)
    for row in np.flatnonzero(positive.any(axis=1)):
        wanted, others = np.sort(similarity[row, positive[row]])[::-1], similarity[row, negative[row]]
        if wanted.size > COUNTED_POSITIVES:
            others.sort()
            above, reached = (others.size - np.searchsorted(others, wanted, side) for side in ("right", "left"))
        else:
            above = np.count_nonzero(others > wanted[:, None], axis=1)
            reached = np.count_nonzero(others >= wanted[:, None], axis=1)
        if (above == reached).all():  # no negative ties with a positive, as nearly always
            place = np.arange(1, wanted.size + 1)
            ap[row] = np.mean(place / (place + above))
        else:
            _, first, alike = np.unique(-wanted, return_index=True, return_counts=True)
            ap[row] = mean_precision(alike, above[first], (reached - above)[first])
    return ap


def mean_precision(
    positives: npt.NDArray[np.integer], above: npt.NDArray[np.integer], tied: npt.NDArray[np.integer]
) -> float:
    """AP of a ranking by the distinct scores of its positives, best first: positives with the score, negatives with a
    higher one, and negatives with the same; all (scores,). Ties count by the mean over their orders (McSherry & Najork
    2008, 10.1007/978-3-540-78646-7_38)."""
    from scipy.special import digamma

    ahead = np.cumsum(positives) - positives  # positives with a higher score
    first, block = ahead + above, positives + tied
    harmonic = digamma(first + block + 1) - digamma(first + 1)
    slope = (positives - 1) / np.maximum(block - 1, 1)
    precision = positives / block * ((ahead + 1 - slope * (first + 1)) * harmonic + slope * block)
    return float(precision.sum() / positives.sum())


@dataclass(frozen=True)
class _Position:
    """Coordinates (n, c), the squared limit of near, and which side is kept."""

    coordinates: npt.NDArray[np.float64]
    limit: float
    keep_near: bool

    def allowed(self, block: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        return (_squared_distance(self.coordinates, block) <= self.limit) == self.keep_near


def _squared_distance(coordinates: npt.NDArray[np.float64], block: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    return np.asarray(((coordinates[block, None] - coordinates) ** 2).sum(axis=-1))


def _positions(metadata: pl.DataFrame, rule: PositionRule) -> _Position:
    coordinates = complete_matrix(metadata, _present(metadata, rule.columns), "position")
    places, counts = np.unique(coordinates, axis=0, return_counts=True)
    squared = _squared_distance(places, np.arange(len(places)))
    weights = np.outer(counts, counts)
    apart = squared > 0
    order = np.argsort(squared[apart])
    share = np.cumsum(weights[apart][order]) / max(weights[apart].sum(), 1)
    limit = squared[apart][order][np.searchsorted(share, rule.quantile)] if apart.any() else 0.0
    return _Position(coordinates, float(limit), rule.keep == "near")


def _present(metadata: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    require_columns(metadata, columns, "position")
    return list(columns)


def mean_average_precision(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig | None = None, seed: int = 0
) -> pl.DataFrame:
    """One row per treatment with queries that have positives and negatives, sorted by its name.

    Columns: those of `config.group` (with multilabel positives: that column, one row per label), mAP, chance,
    normalised_AP, p_value, q_value, retrieved, n_profiles (queries), n_positives and n_total (means per query).
    p-values as `chance.p_value`, q by Benjamini-Hochberg. InputError for missing features, or if nothing pairs.
    """
    config = config or RetrievalConfig()
    table = treatment_table(profiles, features, config, seed)
    if table is None:
        raise InputError("profiles", "retrieval", "no query with positives and negatives", "replicates and controls",
                         "Check the columns of positives and negatives, and that the controls are marked.")  # fmt: skip
    return table


def treatment_table(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int
) -> pl.DataFrame | None:
    """`mean_average_precision`, or None if nothing pairs."""
    matrix = profile_matrix(profiles, features, "retrieval")
    label = config.positives.multilabel
    if label is not None and label in config.positives.sameby:
        scored = _per_label(matrix, profiles, config, label)
        group = [label]
    else:
        group = list(config.group)
        require_columns(profiles, group, "retrieval group")
        scored = _scored(profiles.select(group), average_precision(matrix, profiles, config))
    scored = scored.filter(pl.col("ap").is_not_null(), pl.col("n_total") > pl.col("n_positives")).drop_nulls(group)
    return None if scored.is_empty() else _tested(scored, group, config, seed)


def _scored(keys: pl.DataFrame, scores: QueryScores) -> pl.DataFrame:
    chance = expected_ap(scores.n_positives, scores.n_total)
    return keys[scores.row].with_columns(
        pl.Series("ap", scores.ap, nan_to_null=True),
        pl.Series("chance", chance, nan_to_null=True),
        pl.Series("normalised", normalised_ap(scores.ap, chance), nan_to_null=True),
        pl.Series("n_positives", scores.n_positives),
        pl.Series("n_total", scores.n_total),
    )


def _per_label(
    matrix: npt.NDArray[np.float64], profiles: pl.DataFrame, config: RetrievalConfig, column: str
) -> pl.DataFrame:
    """Each label in turn: its carriers are queries and each other's positives; negatives share no label with them."""
    membership, names = label_sets(profiles[column], config.positives.separator)
    asked = rows_where(profiles, config.queries).to_numpy()
    parts = []
    for index, name in enumerate(names):
        carriers = membership[:, index] > 0
        queries = np.flatnonzero(carriers & asked)
        if queries.size < 2:
            continue
        tagged = profiles.with_columns(pl.Series("__label", carriers).replace(False, None))
        sameby = ("__label", *(c for c in config.positives.sameby if c != column))
        rule = config.positives.model_copy(update={"sameby": sameby, "multilabel": None})
        scores = average_precision(matrix, tagged, config.model_copy(update={"positives": rule}), queries)
        parts.append(_scored(pl.DataFrame({column: [name] * profiles.height}), scores))
    return pl.concat(parts) if parts else _scored(profiles.select(column).head(0), _no_scores())


def _no_scores() -> QueryScores:
    none = np.zeros(0, dtype=np.int64)
    return QueryScores(none, np.zeros(0), none, none)


def _tested(scored: pl.DataFrame, group: list[str], config: RetrievalConfig, seed: int) -> pl.DataFrame:
    configurations = pl.struct("n_positives", "n_total")
    frame = (
        scored.group_by(group)
        .agg(
            pl.col("ap").mean().alias("mAP"),
            pl.col("chance").mean(),
            pl.col("normalised").mean().alias("normalised_AP"),
            configurations.alias("configurations"),
            pl.len().cast(pl.Int64).alias("n_profiles"),
            pl.col("n_positives").mean(),
            pl.col("n_total").mean(),
        )
        .sort(group)
    )
    p = [
        p_value(score, [tuple(c.values()) for c in members], config.null_size, config.exact_limit, seed,
                config.strict_ties)
        for score, members in frame.select("mAP", "configurations").iter_rows()
    ]  # fmt: skip
    q = benjamini_hochberg(p)
    tests = [pl.Series("p_value", p), pl.Series("q_value", q), pl.Series("retrieved", q < config.threshold)]
    counts = ["n_profiles", "n_positives", "n_total"]
    return frame.with_columns(tests).select(*group, "mAP", "chance", "normalised_AP", *(s.name for s in tests), *counts)


def retrieval(
    profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig | None = None, seed: int = 0
) -> Evaluation:
    """mAP of each treatment and, over all of them, mean mAP, normalised AP and the fraction retrieved.

    Intervals resample treatments. Where no query has positives and negatives, as on one plate without replicates, the
    overall rows have no value and n = 0. The chance of the fraction retrieved is what the threshold allows where
    nothing is active; the same evaluator on shuffled labels (`baselines.shuffled`) measures it.
    """
    config = config or RetrievalConfig()
    name = config.evaluator
    table = treatment_table(profiles, features, config, seed)
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
