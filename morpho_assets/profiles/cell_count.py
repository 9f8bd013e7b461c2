"""Cell-count effects: the part of each feature that a line on the cell count explains, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.aggregate import CELL_COUNT
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, reference_rows
from morpho_assets.profiles.features import require_columns, to_matrix, with_matrix


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
    mean only. Missing values do not enter the line and stay missing. Features with too few distinct values, which stay
    as they are, are noted. InputError without the count column or with a well that is not counted, and for fewer than
    3 rows to fit."""
    require_columns(profiles, [config.column], "cell_count")
    values = to_matrix(profiles, features)
    count = to_matrix(profiles, [config.column])
    uncounted = int(np.isnan(count).sum())
    if uncounted:
        found = f"{uncounted} of {len(count)} wells without {config.column}"
        raise InputError("profiles", "cell_count", found, "a cell count for every well",
                         "Name the column that counts cells in `column`, or leave the step out: profiles that were "
                         "published without counts cannot be corrected for them.")  # fmt: skip
    rows = reference_rows(profiles, config.reference, 3, "cell_count")
    distinct = np.array([profiles[name].n_unique() for name in features])
    fitted = distinct > min(config.min_distinct, profiles.height - 1)
    known = ~np.isnan(values[rows])
    fit = np.where(known, values[rows], 0.0)
    n = np.maximum(known.sum(axis=0), 1)
    middle = (count[rows] * known).sum(axis=0) / n
    centred = (count[rows] - middle) * known
    variance = (centred**2).sum(axis=0)
    slope = np.where(variance > 0, (centred * fit).sum(axis=0) / np.where(variance > 0, variance, 1.0), 0.0)
    line = fit.sum(axis=0) / n + (count - middle) * slope
    corrected = with_matrix(profiles, features, np.where(fitted, values - line, values))
    left = int((~fitted).sum())
    notes = (f"{left} of {len(features)} features with few distinct values not fitted",) if left else ()
    return Corrected(corrected, tuple(features), notes)
