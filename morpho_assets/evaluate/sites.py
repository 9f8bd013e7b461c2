"""Spaces whose rows are sites: images of one well are no replicates, so an evaluator keeps them apart or sees wells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel

from morpho_assets.evaluate.asked import Asked
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.evaluators import evaluate
from morpho_assets.evaluate.grit import GritConfig
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.evaluate.near_far import NearFarConfig
from morpho_assets.evaluate.prediction import PredictionConfig
from morpho_assets.evaluate.replicability import ReplicabilityConfig
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.study import as_wells, space_features

WELL = "Metadata_Plate_Well"
APART = (
    "rows are images, and images of one well are no replicates: partners are of other wells, and no p-value is given, "
    "since images of one well depend on each other"
)
SPLIT = "rows are images; those of one well stay on one side unless the scope says `within well`"
AS_WELLS = "rows are images, and images of one well are no replicates: here each well is the median of its images"


def evaluate_sites(
    sites: pl.DataFrame, features: Sequence[str], config: BaseModel, seed: int = 0, refit: Refit | None = None
) -> tuple[Evaluation, str]:
    """(`evaluate` of profiles of sites, the sentence that has to stand beside its numbers).

    Prediction sees images, split by what its config keeps whole. Retrieval, near_far, replicability and grit see
    images with partners of other wells alone; all other evaluators see wells. Of images there are no p-values and no
    fraction retrieved: exchanging single images would count each well several times.
    """
    sites = sites.with_columns(pl.concat_str("Metadata_Plate", "Metadata_Well", separator=" ").alias(WELL))
    if isinstance(config, PredictionConfig):
        return evaluate(sites, features, config, seed, refit), SPLIT
    apart = _apart(config)
    if isinstance(apart, RetrievalConfig):
        return _retrieval(sites, features, apart, seed, refit), APART
    if apart is not None:
        return evaluate(sites, features, apart, seed, refit), APART
    wells = as_wells(sites)
    return evaluate(wells, [name for name in features if name in space_features(wells)], config, seed), AS_WELLS


def _apart(config: BaseModel) -> Any:
    """The config with partners of other wells; None for an evaluator that cannot have them."""
    if isinstance(config, RetrievalConfig):
        partners = config.positives.model_copy(update={"diffby": (*config.positives.diffby, WELL)})
        return config.model_copy(update={"positives": partners})
    if isinstance(config, NearFarConfig):
        return config.model_copy(update={"retrieval": _apart(config.retrieval)})
    if isinstance(config, ReplicabilityConfig):  # of groups of wells there would be no others of their kind
        return config.model_copy(update={"differ": (*config.differ, WELL), "null": "pairs"})
    if isinstance(config, GritConfig):
        return config.model_copy(update={"perturbation": config.perturbation or WELL})
    return None


def _retrieval(
    sites: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int, refit: Refit | None
) -> Evaluation:
    """Rows mAP and normalised_AP of `retrieval`, without its tests."""
    table = Asked.of(sites, features, config, seed, refit).treatments()
    if table.is_empty():
        return nothing_to_ask(config.evaluator, ["mAP", "normalised_AP"])
    columns = (("mAP", float(np.mean(table["chance"].to_numpy()))), ("normalised_AP", 0.0))
    rows = []
    for name, chance in columns:
        values = table[name].drop_nulls().to_numpy()
        interval = mean_interval(values, seed, config.resamples)
        value = float(values.mean()) if values.size else np.nan
        rows.append(metric_row(config.evaluator, "overall", name, value, values.size, chance, interval))
    keys = table.select(config.group)
    scores = scores_frame(keys, {
        "mAP": (table["mAP"], table["chance"]), "normalised_AP": (table["normalised_AP"].cast(pl.Float64), 0.0),
    })  # fmt: skip
    return replace(Evaluation(metrics_frame(rows)), scores=scores)
