"""Grit: how far a perturbation's replicates stand out from the controls, in units of the controls' spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.intervals import mean_interval, median_interval
from morpho_assets.evaluate.metrics import (
    Evaluation,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
)
from morpho_assets.evaluate.pairs import PairRule, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

METRICS = ("grit_mean", "grit_median")


class GritConfig(BaseModel):
    """Mean z-score of a profile's correlations with its group, against its correlations with controls (cytominer-eval).
    Assumes that correlations with controls are about normal. In CRISPR screens the group is the gene and the
    perturbation the guide; with replicates only, leave `perturbation` null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["grit"] = "grit"
    group: str = Field(default="Metadata_Perturbation", description="column that related profiles share (gene)")
    perturbation: str | None = Field(default=None, description="column that partners must differ in (guide)")
    controls: str = Field(default="negcon", description="SQL condition of the controls")
    same_plate: bool = Field(default=True, description="compare with the controls of the profile's own plate")
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples of groups")


def grit(
    profiles: pl.DataFrame, features: Sequence[str], config: GritConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows grit_mean and grit_median over groups (chance 0). Detail `groups`: group, grit, n_profiles.

    A profile needs a partner and at least 2 controls that vary; a group's grit is the mean of its profiles'. Without
    any such profile the rows have no value and n = 0.
    """
    config = config or GritConfig()
    require_columns(profiles, [config.group], "grit")
    matrix = profile_matrix(profiles, features, "grit")
    partners = pairing(
        profiles, PairRule(sameby=(config.group,), diffby=(config.perturbation,) if config.perturbation else ())
    )
    references = pairing(
        profiles, PairRule(sameby=("Metadata_Plate",) if config.same_plate else (), where=config.controls)
    )
    queries = np.flatnonzero(~rows_where(profiles, config.controls).to_numpy())
    values = np.full(profiles.height, np.nan)
    for block, similarity in similarity_blocks(matrix, queries, "correlation"):
        for row, r, mine, controls in zip(
            block, similarity.astype(float), partners.mask(block), references.mask(block), strict=True
        ):
            spread = r[controls].std() if controls.sum() > 1 else 0.0
            if mine.any() and spread > 0:
                values[row] = (r[mine].mean() - r[controls].mean()) / spread
    scored = profiles.select(config.group).with_columns(pl.Series("grit", values, nan_to_null=True)).drop_nulls()
    if scored.is_empty():
        return nothing_to_ask(config.evaluator, METRICS)
    table = scored.group_by(config.group).agg(pl.col("grit").mean(), pl.len().cast(pl.Int64).alias("n_profiles"))
    table = table.sort(config.group)
    values = table["grit"].to_numpy()
    found = (
        (float(values.mean()), mean_interval(values, seed, config.resamples)),
        (float(np.median(values)), median_interval(values)),
    )
    rows = [
        metric_row(config.evaluator, "overall", name, value, table.height, 0.0, interval)
        for name, (value, interval) in zip(METRICS, found, strict=True)
    ]
    scores = scores_frame(table.select(config.group), {"grit": (table["grit"], 0.0)})
    return Evaluation(metrics_frame(rows), {"groups": table}, scores)
