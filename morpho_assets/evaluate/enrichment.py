"""Folds of enrichment: are a profile's nearest neighbours more often of its own mechanism?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.chance import random_ranks
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.intervals import mean_interval, median_interval
from morpho_assets.evaluate.metrics import (
    Evaluation,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
)
from morpho_assets.evaluate.pairs import PairRule, label_sets, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

Vector = npt.NDArray[np.float64]
METRICS = ("folds_mean", "folds_median", "map_interpolated")
RANKINGS = 1000  # random ones behind a chance that has no formula


class EnrichmentConfig(BaseModel):
    """Odds of a match above a percentile of the query's similarities, against below it (Moshkov 2024,
    10.1038/s41467-024-45999-1). Assumes that shared labels mean similar biology; the mean over queries is driven by
    few large values, so the median stands beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["enrichment"] = "enrichment"
    label: str = Field(default="Metadata_moa", description="column with the mechanisms or targets of a treatment")
    separator: str = Field(default="|", description="what separates several labels")
    consensus: ConsensusConfig | None = Field(
        default=ConsensusConfig(), description="replicates to treatments first; null: rows are treatments already"
    )
    among: str = Field(
        default="treated",
        description="SQL condition of the profiles used",
    )
    percentile: float = Field(default=99.0, gt=0, lt=100, description="of a query's similarities: what counts as near")
    infinite: Literal["far_others", "haldane"] = Field(
        default="far_others",
        description="odds without a miss: the count of distant non-matches (as published), or + 0.5 in every query",
    )
    recall_points: int = Field(default=101, ge=2, description="points of the recall axis of map_interpolated")
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples of queries")


def enrichment(
    profiles: pl.DataFrame, features: Sequence[str], config: EnrichmentConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows folds_mean, folds_median and map_interpolated over the treatments with at least one match. Detail `queries`:
    odds, Fisher p (one-sided) and interpolated precision of each, beside their chance.

    Chance is that of random rankings of the same matches and candidates: for the odds exactly, from the hypergeometric
    distribution (it is not 1: odds without a match are 0, and without a miss large), for their median and for the
    precision from rankings drawn with `seed`. Ties between candidates are broken at random. No treatment with a match:
    rows without value, n = 0.
    """
    config = config or EnrichmentConfig()
    require_columns(profiles, [config.label], "enrichment")
    frame = profiles.filter(rows_where(profiles, config.among))
    if config.consensus is not None:
        frame = treatment_profiles(frame, features, config.consensus, [config.label])
    matrix = profile_matrix(frame, features, "enrichment")
    rule = PairRule(sameby=(config.label,), multilabel=config.label, separator=config.separator)
    match = pairing(frame, rule)
    known = np.flatnonzero(label_sets(frame[config.label], config.separator)[0].any(axis=1))
    rng = np.random.default_rng(seed)
    rows, queries = [], []
    for block, similarity in similarity_blocks(matrix, known, "cosine"):
        for row, values, matches in zip(block, similarity, match.mask(block), strict=True):
            others = rng.permutation(known[known != row])
            if matches.any():
                rows.append(int(row))
                queries.append(_query(values[others], matches[others], config))
    if not rows:
        return nothing_to_ask(config.evaluator, METRICS)
    table = pl.DataFrame(
        queries, schema=["odds", "p_value", "precision", "n_matches", "n_near", "n_others"], orient="row"
    )
    counts = table.select("n_matches", "n_near", "n_others").to_numpy()
    odds_chance = np.array([expected_odds(*map(int, n), config.infinite) for n in counts])
    precision_chance = np.array([expected_precision(int(m), int(n), config.recall_points, seed) for m, _, n in counts])
    keys = frame[rows].select(config.consensus.by if config.consensus else config.label)
    table = table.with_columns(odds_chance=odds_chance, precision_chance=precision_chance)
    odds, precision = table["odds"].to_numpy(), table["precision"].to_numpy()
    chances = (odds_chance.mean(), _median_odds(counts, config.infinite, rng), precision_chance.mean())
    found = (
        (odds.mean(), mean_interval(odds, seed, config.resamples)),
        (np.median(odds), median_interval(odds)),
        (precision.mean(), mean_interval(precision, seed, config.resamples)),
    )
    metrics = [
        metric_row(config.evaluator, "overall", name, float(value), odds.size, float(chance), interval)
        for name, (value, interval), chance in zip(METRICS, found, chances, strict=True)
    ]
    scores = scores_frame(keys, {"odds": (odds, odds_chance), "precision": (precision, precision_chance)})
    return Evaluation(metrics_frame(metrics), {"queries": pl.concat([keys, table], how="horizontal")}, scores)


def _query(
    similarity: npt.NDArray[np.float32], matches: npt.NDArray[np.bool_], config: EnrichmentConfig
) -> tuple[float, float, float, int, int, int]:
    """Odds ratio, Fisher p and interpolated precision of one query's candidates (n,); matches, near ones and n."""
    near = similarity > np.percentile(similarity, config.percentile)
    table = np.array([[np.sum(near & matches), np.sum(near & ~matches)],
                      [np.sum(~near & matches), np.sum(~near & ~matches)]])  # fmt: skip
    order = np.argsort(-similarity, kind="stable")
    precision = interpolated_precision(np.flatnonzero(matches[order])[None] + 1, config.recall_points)
    return (*odds_and_p(table, config.infinite), float(precision[0]), int(matches.sum()), int(near.sum()), near.size)


def odds_and_p(table: npt.NDArray[np.integer], infinite: str) -> tuple[float, float]:
    """Odds ratio of a 2 x 2 table and its one-sided Fisher p; `infinite` as in EnrichmentConfig."""
    from scipy.stats import hypergeom

    (a, b), (c, d) = table.tolist()
    p = float(hypergeom.sf(a - 1, a + b + c + d, a + c, a + b))
    return float(_odds(a, a + c, a + b, a + b + c + d, infinite)), p


def _odds(
    found: npt.ArrayLike, matches: npt.ArrayLike, near: npt.ArrayLike, total: npt.ArrayLike, infinite: str
) -> Vector:
    """Odds ratios where `found` of the `matches` are among the `near` of `total` candidates."""
    a, m, k, n = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (found, matches, near, total)))
    b, c, d = k - a, m - a, n - k - m + a
    if infinite == "haldane":
        return np.asarray((a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5)))
    return np.where(b * c > 0, a * d / np.maximum(b * c, 1), np.where(a * d > 0, d, 0.0))


@lru_cache(maxsize=4096)
def expected_odds(matches: int, near: int, total: int, infinite: str) -> float:
    """Mean odds ratio of random rankings: over the hypergeometric distribution of the matches among the near."""
    from scipy.stats import hypergeom

    found = np.arange(max(0, matches + near - total), min(matches, near) + 1)
    return float(hypergeom.pmf(found, total, matches, near) @ _odds(found, matches, near, total, infinite))


def _median_odds(counts: npt.NDArray[np.int64], infinite: str, rng: np.random.Generator) -> float:
    """Mean over random rankings of the median odds ratio over queries with these (matches, near, total)."""
    matches, near, total = counts.T
    drawn = (rng.hypergeometric(matches, total - matches, near) for _ in range(RANKINGS))
    return float(np.mean([np.median(_odds(found, matches, near, total, infinite)) for found in drawn]))


@lru_cache(maxsize=4096)
def expected_precision(matches: int, total: int, points: int, seed: int) -> float:
    """Mean interpolated precision of random rankings, drawn with (seed, matches, total)."""
    ranks = random_ranks(np.random.default_rng([seed, matches, total]), RANKINGS, total, matches)
    return float(interpolated_precision(ranks, points).mean())


def interpolated_precision(ranks: npt.NDArray[np.integer], points: int) -> Vector:
    """(rankings,) mean over `points` evenly spaced recalls of the best precision at that recall or more, from
    (rankings, M) sorted 1-based ranks of the matches."""
    size = ranks.shape[1]
    precision = np.arange(1, size + 1) / ranks
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.maximum(np.ceil(np.linspace(0, 1, points) * size - 1e-9).astype(int), 1) - 1
    return np.asarray(best[:, reached].mean(axis=1))
