"""Do replicates find each other because they lie near each other? mAP among all, among near, among far candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.average_precision import PositionRule, RetrievalConfig
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import treatment_scores
from morpho_assets.profiles.refit import Refit

PARTS = ("pooled", "near", "far")
METRICS = (*(f"mAP_{part}" for part in PARTS), *(f"normalised_AP_{part}" for part in PARTS), "near_minus_far")


class NearFarConfig(BaseModel):
    """mAP (Kalinin 2025, 10.1038/s41467-025-60306-2) by position on the plate: among candidates within the `quantile`
    of all distances between places, and beyond it. Near and far have different numbers of positives and candidates, so
    their mAPs cannot be compared: normalised AP can, and its difference is paired over the treatments that both parts
    can ask. Replicates that share a position on several plates are near. What is higher near than far may be the
    position."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["near_far"] = "near_far"
    retrieval: RetrievalConfig = Field(
        default=RetrievalConfig(negatives=PairRule(where="all")), description="who ranks whom, without `position`"
    )
    columns: tuple[str, ...] = Field(
        default=("Metadata_Row", "Metadata_Col"), description="coordinates: well row and column, or stage x and y"
    )
    quantile: float = Field(default=0.1, gt=0, lt=1, description="of the non-zero distances: the limit of near")


def near_far(
    profiles: pl.DataFrame, features: Sequence[str], config: NearFarConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> Evaluation:  # fmt: skip
    """Rows mAP_pooled, mAP_near, mAP_far (chance: of random rankings of the same positives and candidates),
    normalised_AP of each (chance 0), and near_minus_far, the paired difference of normalised AP. A part in which
    nothing pairs has no value, n = 0. InputError for an absent coordinate."""
    config = config or NearFarConfig()
    tables = {}
    for part in PARTS:
        rule = None if part == "pooled" else PositionRule(keep=part, columns=config.columns, quantile=config.quantile)
        asked = config.retrieval.model_copy(update={"position": rule})
        tables[part] = treatment_scores(profiles, features, asked, seed, refit)
    if not tables["pooled"].height:
        return nothing_to_ask(config.evaluator, METRICS)
    rows, scores = [], []
    for part, table in tables.items():
        rows.append(_row(config, f"mAP_{part}", table["mAP"], float(table["chance"].mean() or np.nan), seed))  # type: ignore[arg-type]
        keys = table.select(config.retrieval.group)
        values = table["normalised_AP"].cast(pl.Float64).fill_null(np.nan)
        scores.append(scores_frame(keys, {f"normalised_AP_{part}": (values, 0.0)}))
    rows += [_row(config, f"normalised_AP_{part}", table["normalised_AP"], 0.0, seed) for part, table in tables.items()]
    both = tables["near"].join(tables["far"], on=list(config.retrieval.group), suffix="_far")
    rows.append(_row(config, "near_minus_far", both["normalised_AP"] - both["normalised_AP_far"], 0.0, seed))
    return Evaluation(metrics_frame(rows), tables, pl.concat(scores))


def _row(config: NearFarConfig, metric: str, values: pl.Series, chance: float, seed: int) -> dict[str, object]:
    known = values.drop_nulls().to_numpy()
    if not known.size:
        return metric_row(config.evaluator, "overall", metric, np.nan, 0)
    interval = mean_interval(known, seed, config.retrieval.resamples)
    return metric_row(config.evaluator, "overall", metric, float(known.mean()), known.size, chance, interval)
