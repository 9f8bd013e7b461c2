"""Cell-count effects: the part of each feature that a line on the cell count explains, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.profiles.aggregate import CELL_COUNT
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, reference_rows
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix


class CellCountConfig(CorrectorSettings):
    """Residuals of a least-squares line on the cell count. Assumes that counts vary for reasons other than the effect
    of interest (seeding): toxicity is removed with them."""

    corrector: Literal["cell_count"] = "cell_count"
    column: str = Field(default=CELL_COUNT, description="cells per well")
    reference: str = Field(default="all", description="rows the line is fitted on: 'all', 'negcon' or an SQL condition")
    min_distinct: int = Field(default=100, ge=2, description="features with fewer distinct values stay as they are")


def correct_cell_count(
    profiles: pl.DataFrame, features: Sequence[str], config: CellCountConfig, seed: int = 0
) -> Corrected:
    """Each feature minus slope * (count - mean count) - intercept, that is its residual; a constant count removes the
    mean only. InputError without the count column, for missing values, or fewer than 3 rows to fit."""
    require_columns(profiles, [config.column], "cell_count")
    values = complete_matrix(profiles, features, "cell_count")
    count = complete_matrix(profiles, [config.column], "cell_count")[:, 0]
    rows = reference_rows(profiles, config.reference, 3, "cell_count")
    distinct = np.array([profiles[name].n_unique() for name in features])
    fitted = distinct > min(config.min_distinct, profiles.height - 1)
    centred = count[rows] - count[rows].mean()
    variance = centred @ centred
    mean = values[rows].mean(axis=0)
    slope = centred @ values[rows] / variance if variance > 0 else np.zeros(len(features))
    line = mean + np.outer(count - count[rows].mean(), slope)
    return Corrected(with_matrix(profiles, features, np.where(fitted, values - line, values)), tuple(features))
