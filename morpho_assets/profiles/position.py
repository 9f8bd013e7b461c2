"""Well-position effects: what the wells of a position share over plates, subtracted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix
from morpho_assets.profiles.features import require_columns, to_matrix, with_matrix
from morpho_assets.profiles.normalize import column_mean
from morpho_assets.profiles.rows import groups_of


class WellPositionConfig(CorrectorSettings):
    """Subtracts what each well position adds. Assumes that treatments change position between plates: where a
    layout is repeated, the mean of a position is the treatment, and the correction deletes it."""

    corrector: Literal["well_position"] = "well_position"
    position: tuple[str, ...] = Field(default=("Metadata_Well",), description="columns that name a position")
    by: tuple[str, ...] = Field(default=(), description="columns within whose values positions are averaged (source)")
    shrink: bool = Field(
        default=True,
        description="each position's mean shrunk towards that of all, as far as positions do not differ by more than "
        "wells of one do; false: the mean itself, as published",
    )
    most_fixed: float = Field(
        default=0.5, ge=0, le=1,
        description="largest share of positions that may hold one treatment only; 1 allows a repeated layout",
    )  # fmt: skip


def correct_well_position(
    profiles: pl.DataFrame, features: Sequence[str], config: WellPositionConfig, seed: int = 0
) -> Corrected:
    """Every feature minus what its well position adds: with `shrink` the position's distance from the mean of all,
    times the share of its variance that lies between positions (of an analysis of variance by the feature; Robinson
    1991, 10.1214/ss/1177011926); else the mean of the position. Positions with one well stay as they are, which is
    noted: there is no telling it from its position. InputError when more than `most_fixed` of the positions hold a
    single treatment (negative controls aside), which includes a single plate, and when all have one well."""
    require_columns(profiles, [*config.by, *config.position, "Metadata_Perturbation"], "well_position")
    fixed = fixed_positions(profiles, [*config.by, *config.position])
    if fixed > config.most_fixed:
        raise InputError("profiles", "well_position", f"{fixed:.0%} of positions with one treatment on all plates",
                         f"at most {config.most_fixed:.0%}", "This layout is repeated, so position means are treatment "
                         "means: leave the step out, or set most_fixed to 1 if you accept that.")  # fmt: skip
    values = to_matrix(profiles, features)
    groups = [rows for _, rows in groups_of(profiles, [*config.by, *config.position])]
    several = [rows for rows in groups if rows.size > 1]
    if not several:
        raise InputError("profiles", "well_position", "one well of every position", "several plates with it",
                         "Leave the step out: it would take away all there is.")  # fmt: skip
    means = np.array([column_mean(values[rows]) for rows in several])
    shifts = _shrunk(values, several, means) if config.shrink else means
    for rows, shift in zip(several, shifts, strict=True):
        values[rows] -= shift
    alone = len(groups) - len(several)
    notes = (f"{alone} of {len(groups)} positions with one well, which stay as they are",) if alone else ()
    return Corrected(with_matrix(profiles, features, values), tuple(features), notes)


def _shrunk(values: Matrix, groups: Sequence[npt.NDArray[np.intp]], means: Matrix) -> Matrix:
    """(groups, d) best linear prediction of what each group of rows adds, from the `means` (groups, d) of these."""
    sizes = np.array([(~np.isnan(values[rows])).sum(axis=0) for rows in groups])
    inside = sum(np.nansum((values[rows] - mean) ** 2, axis=0) for rows, mean in zip(groups, means, strict=True))
    n, k = sizes.sum(axis=0), (sizes > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.nansum(sizes * means, axis=0) / n
        within = inside / (n - k)
        between = np.nansum(sizes * (means - centre) ** 2, axis=0) / (k - 1)
        spread = np.maximum(between - within, 0) / ((n - (sizes**2).sum(axis=0) / n) / (k - 1))
        kept = sizes * spread / (sizes * spread + within)
    return np.nan_to_num(kept) * np.nan_to_num(means - centre)


def fixed_positions(profiles: pl.DataFrame, position: Sequence[str]) -> float:
    """Share of the positions with treated wells that hold one and the same treatment on every plate."""
    treated = profiles.filter(
        pl.col("Metadata_control_type").ne_missing("negcon") if "Metadata_control_type" in profiles.columns else True,
        pl.col("Metadata_Perturbation").is_not_null(),
    )
    share = treated.group_by(position).agg(pl.col("Metadata_Perturbation").n_unique() == 1)
    return float(share["Metadata_Perturbation"].cast(pl.Float64).to_numpy().mean()) if share.height else 0.0
