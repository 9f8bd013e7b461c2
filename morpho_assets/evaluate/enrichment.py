"""Folds of enrichment: are a profile's nearest neighbours more often of its own mechanism?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, bootstrap_interval, metric_row, metrics_frame
from morpho_assets.evaluate.pairs import PairRule, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import complete_matrix
from morpho_assets.profiles.rows import rows_where


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
    """Rows folds_mean, folds_median (chance 1) and map_interpolated (chance: mean prevalence). Detail `queries`:
    odds, Fisher p (one-sided) and interpolated precision of each treatment with at least one match."""
    config = config or EnrichmentConfig()
    frame = profiles.filter(rows_where(profiles, config.among))
    if config.consensus is not None:
        frame = consensus(frame, config.consensus, features)
    matrix = complete_matrix(frame, features, "enrichment")
    rule = PairRule(sameby=(config.label,), multilabel=config.label, separator=config.separator)
    match = pairing(frame, rule)
    known = np.flatnonzero(frame[config.label].is_not_null().to_numpy())
    results = []
    for block, similarity in similarity_blocks(matrix, np.arange(frame.height), "cosine"):
        for row, values, matches in zip(block, similarity, match.mask(block), strict=True):
            others = known[known != row]
            if matches.any():
                results.append((int(row), *_query(values[others], matches[others], config)))
    if not results:
        raise InputError("profiles", config.label, "no two treatments with a shared label", "matches",
                         "Name the column with mechanisms or targets in `label`.")  # fmt: skip
    columns = ["row", "odds", "p_value", "precision", "prevalence", "n_matches"]
    table = pl.DataFrame(results, schema=columns, orient="row")
    names = frame.select(config.consensus.by if config.consensus else config.label)[table["row"]]
    table = pl.concat([names, table.drop("row")], how="horizontal")
    odds, precision = table["odds"].to_numpy(), table["precision"].to_numpy()
    statistics = (("folds_mean", odds, np.mean, 1.0), ("folds_median", odds, np.median, 1.0),
                  ("map_interpolated", precision, np.mean, float(table["prevalence"].to_numpy().mean())))  # fmt: skip
    rows = [
        metric_row(config.evaluator, "overall", name, float(statistic(values)), values.size, chance,
                   bootstrap_interval(values, statistic, seed, config.resamples))
        for name, values, statistic, chance in statistics
    ]  # fmt: skip
    return Evaluation(metrics_frame(rows), {"queries": table})


def _query(
    similarity: npt.NDArray[np.float32], matches: npt.NDArray[np.bool_], config: EnrichmentConfig
) -> tuple[float, float, float, float, int]:
    """Odds ratio, Fisher p, interpolated precision, prevalence and matches of one query's candidates (n,)."""
    near = similarity > np.percentile(similarity, config.percentile)
    table = np.array([[np.sum(near & matches), np.sum(near & ~matches)],
                      [np.sum(~near & matches), np.sum(~near & ~matches)]])  # fmt: skip
    return (*odds_and_p(table, config.infinite), interpolated_precision(similarity, matches, config.recall_points),
            float(matches.mean()), int(matches.sum()))  # fmt: skip


def odds_and_p(table: npt.NDArray[np.integer], infinite: str) -> tuple[float, float]:
    """Odds ratio of a 2 x 2 table and its one-sided Fisher p; `infinite` as in EnrichmentConfig."""
    from scipy.stats import hypergeom

    (a, b), (c, d) = table.tolist()
    p = float(hypergeom.sf(a - 1, a + b + c + d, a + c, a + b))
    if infinite == "haldane":
        return (a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5)), p
    if b * c == 0:
        return (float(d) if a * d > 0 else 0.0), p
    return a * d / (b * c), p


def interpolated_precision(similarity: npt.NDArray[np.floating], matches: npt.NDArray[np.bool_], points: int) -> float:
    """Mean over `points` evenly spaced recalls of the best precision at that recall or more."""
    order = np.argsort(-similarity, kind="stable")
    hits = np.cumsum(matches[order])
    precision = hits / np.arange(1, hits.size + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(hits / hits[-1], np.linspace(0, 1, points) - 1e-12)
    return float(best[reached].mean())
