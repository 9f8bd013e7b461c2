"""Replicates to one profile per treatment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.profiles.features import (
    COMPARTMENTS,
    complete_matrix,
    require_columns,
    require_features,
    to_matrix,
    with_matrix,
)  # fmt: skip
from morpho_assets.profiles.rows import groups_of

PROFILE_COUNT = "Metadata_Count_Profiles"


class ConsensusConfig(BaseModel):
    """How replicates become one profile.

    median, mean    of each feature, missing values left out
    modz            mean weighted by how well a replicate correlates with the others (Subramanian 2017,
                    10.1016/j.cell.2017.10.049); assumes at least three replicates to tell which one is off
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["median", "mean", "modz"] = Field(default="median", description="see above")
    by: tuple[str, ...] = Field(
        default=("Metadata_Perturbation",),
        description="columns of a treatment; with Metadata_Batch, one per batch",
    )
    min_weight: float = Field(default=0.01, gt=0, description="floor of a replicate's modz weight before they sum to 1")
    precision: int = Field(default=4, ge=1, description="decimals of the modz weights")
    prefixes: tuple[str, ...] = Field(default=COMPARTMENTS, description="prefixes of the feature columns")


def consensus(
    profiles: pl.DataFrame, config: ConsensusConfig | None = None, features: Sequence[str] | None = None
) -> pl.DataFrame:
    """One row per value of `config.by`, sorted: these columns, Metadata_Count_Profiles, every other metadata column
    that is constant within all treatments, and the features.

    Rows with a null key form one group. MODZ as in pycytominer 1.7.1; InputError for missing values there.
    """
    config = config or ConsensusConfig()
    columns = require_features(profiles, features, config.prefixes)
    by = list(config.by)
    require_columns(profiles, by, "consensus")
    grouped = profiles.group_by(by).agg(
        pl.len().cast(pl.Int64).alias(PROFILE_COUNT), *(pl.col(name).first() for name in _constant(profiles, by))
    )
    if config.method == "modz":
        values = _modz(profiles, by, columns, config)
    else:
        clean = with_matrix(profiles.select(*by, *columns), columns, to_matrix(profiles, columns))
        reduce = pl.col(columns).median() if config.method == "median" else pl.col(columns).mean()
        values = clean.group_by(by).agg(reduce)
    ordered = [frame.sort(by, nulls_last=True) for frame in (grouped, values)]
    return pl.concat([ordered[0], ordered[1].drop(by)], how="horizontal")


def _constant(profiles: pl.DataFrame, by: list[str]) -> list[str]:
    metadata = [name for name in profiles.columns if name.startswith("Metadata_") and name not in by]
    flat = [name for name in metadata if not profiles.schema[name].is_nested()]
    distinct = profiles.group_by(by).agg(pl.col(flat).n_unique()).select(pl.col(flat).max())
    return [name for name in flat if distinct[name].max() == 1]


def _modz(profiles: pl.DataFrame, by: list[str], columns: list[str], config: ConsensusConfig) -> pl.DataFrame:
    matrix = complete_matrix(profiles, columns, "modz")
    rows = [members for _, members in groups_of(profiles, by)]
    each = [modz(matrix[members], config.min_weight, config.precision) for members in rows]
    values = np.reshape(each, (-1, len(columns)))  # of no rows, too
    keys = profiles[[int(members[0]) for members in rows]].select(by)
    return pl.concat([keys, pl.DataFrame(values, schema=columns, orient="row")], how="horizontal")


def modz(replicates: npt.NDArray[np.float64], min_weight: float = 0.01, precision: int = 4) -> npt.NDArray[np.float64]:
    """(replicates, features) to the (features,) weighted sum: each weight is the replicate's mean Spearman correlation
    with the others, negatives counted as 0, not under `min_weight`, divided by their sum and rounded."""
    from scipy.stats import rankdata

    if len(replicates) == 1:
        return replicates[0]
    ranks = rankdata(replicates, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(ranks, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (ranks @ ranks.T) / np.outer(norm, norm)
    np.fill_diagonal(correlation, np.nan)
    known = ~np.isnan(correlation)
    mean = np.sum(np.clip(correlation, 0, None), axis=1, where=known) / np.maximum(known.sum(axis=1), 1)
    weights = np.maximum(mean, min_weight)
    return np.round(weights / weights.sum(), precision) @ replicates
