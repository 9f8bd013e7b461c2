"""Values by rank or within bounds: normal scores and clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.profiles.corrected import Corrected, CorrectorSettings
from morpho_assets.profiles.features import to_matrix, with_matrix
from morpho_assets.profiles.rows import groups_of


class NormalScoresConfig(CorrectorSettings):
    """Rank-based inverse normal transformation, z((rank - c) / (n - 2c + 1)). Keeps the order only: distances between
    extreme profiles shrink. Blom's c is 3/8, as in the JUMP recipe."""

    corrector: Literal["normal_scores"] = "normal_scores"
    offset: float = Field(default=3 / 8, ge=0, lt=1, description="c of the formula")
    by: tuple[str, ...] = Field(default=(), description="columns within whose values ranks are taken; none: all rows")


class ClipConfig(CorrectorSettings):
    """Values limited to +-`limit`. Assumes normalised features, where such values are failures of a measurement."""

    corrector: Literal["clip"] = "clip"
    limit: float = Field(default=100.0, gt=0, description="largest absolute value, in units of the features")


def correct_normal_scores(
    profiles: pl.DataFrame, features: Sequence[str], config: NormalScoresConfig, seed: int = 0
) -> Corrected:
    """Normal scores of each feature; ties share their mean rank (JUMP breaks them at random, which depends on the
    order of rows); missing values stay missing."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    values = to_matrix(profiles, features)
    for _, rows in groups_of(profiles, config.by):
        ranks = np.asarray(rankdata(values[rows], axis=0, nan_policy="omit"))
        known = (~np.isnan(values[rows])).sum(axis=0)
        values[rows] = ndtri((ranks - config.offset) / (known - 2 * config.offset + 1))
    return Corrected(with_matrix(profiles, features, values), tuple(features))


def correct_clip(profiles: pl.DataFrame, features: Sequence[str], config: ClipConfig, seed: int = 0) -> Corrected:
    """Every feature within [-limit, limit]; missing values stay missing."""
    values = np.clip(to_matrix(profiles, features), -config.limit, config.limit)
    return Corrected(with_matrix(profiles, features, values), tuple(features))
