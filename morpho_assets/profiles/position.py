"""Well-position effects: the mean of each well position over plates, subtracted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings
from morpho_assets.profiles.features import require_columns, to_matrix, with_matrix
from morpho_assets.profiles.normalize import column_mean
from morpho_assets.profiles.rows import groups_of


class WellPositionConfig(CorrectorSettings):
    """Subtracts the mean of each well position. Assumes that treatments change position between plates: where a
    layout is repeated, the mean of a position is the treatment, and the correction deletes it."""

    corrector: Literal["well_position"] = "well_position"
    position: tuple[str, ...] = Field(default=("Metadata_Well",), description="columns that name a position")
    by: tuple[str, ...] = Field(default=(), description="columns within whose values positions are averaged (source)")
    most_fixed: float = Field(
        default=0.5, ge=0, le=1,
        description="largest share of positions that may hold one treatment only; 1 allows a repeated layout",
    )  # fmt: skip


def correct_well_position(
    profiles: pl.DataFrame, features: Sequence[str], config: WellPositionConfig, seed: int = 0
) -> Corrected:
    """Every feature minus the mean of its well position. InputError when more than `most_fixed` of the positions hold
    a single treatment (negative controls aside), which includes a single plate."""
    require_columns(profiles, [*config.by, *config.position, "Metadata_Perturbation"], "well_position")
    fixed = fixed_positions(profiles, [*config.by, *config.position])
    if fixed > config.most_fixed:
        raise InputError("profiles", "well_position", f"{fixed:.0%} of positions with one treatment on all plates",
                         f"at most {config.most_fixed:.0%}", "This layout is repeated, so position means are treatment "
                         "means: leave the step out, or set most_fixed to 1 if you accept that.")  # fmt: skip
    values = to_matrix(profiles, features)
    for _, rows in groups_of(profiles, [*config.by, *config.position]):
        values[rows] -= column_mean(values[rows])
    return Corrected(with_matrix(profiles, features, values), tuple(features))


def fixed_positions(profiles: pl.DataFrame, position: Sequence[str]) -> float:
    """Share of the positions with treated wells that hold one and the same treatment on every plate."""
    treated = profiles.filter(
        pl.col("Metadata_control_type").ne_missing("negcon") if "Metadata_control_type" in profiles.columns else True,
        pl.col("Metadata_Perturbation").is_not_null(),
    )
    share = treated.group_by(position).agg(pl.col("Metadata_Perturbation").n_unique() == 1)
    return float(share["Metadata_Perturbation"].cast(pl.Float64).to_numpy().mean()) if share.height else 0.0
