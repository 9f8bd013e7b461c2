"""What an evaluator gives where there is nothing to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import groups_of, rows_where

WELL = ("Metadata_Plate", "Metadata_Well")
PLACE = ("Metadata_Plate", "Metadata_Well", "Metadata_Row", "Metadata_Col", "Metadata_Site")


def shuffled(
    profiles: pl.DataFrame, seed: int = 0, within: Sequence[str] = ("Metadata_Plate",),
    treatment: str = "Metadata_Perturbation", controls: str = "negcon",
) -> pl.DataFrame:  # fmt: skip
    """`profiles` with the treatments of all wells but the controls permuted within each plate; the sites of a well stay
    together.

    With the treatment goes every metadata column that it determines (target, MOA, type; where a well lacks the value,
    too); features, counts and the place on the plate stay where they are. The same seed gives the same permutation of
    the same rows.
    """
    require_columns(profiles, [treatment, *within], "shuffled")
    well = np.arange(profiles.height)
    if "Metadata_Site" in profiles.columns:
        well = np.concatenate([np.full(rows.size, rows[0]) for _, rows in groups_of(profiles, WELL)])[
            np.argsort(np.concatenate([rows for _, rows in groups_of(profiles, WELL)]))
        ]
    treated = ~rows_where(profiles, controls).to_numpy()
    rng = np.random.default_rng(seed)
    source = np.arange(profiles.height)
    for _, rows in groups_of(profiles, within):
        movable = rows[treated[rows] & (well[rows] == rows)]
        source[movable] = rng.permutation(movable)
    moved = [treatment, *_determined(profiles.filter(pl.Series(treated)), treatment)]
    return profiles.with_columns(profiles[source[well]].select(moved))


def _determined(profiles: pl.DataFrame, treatment: str) -> list[str]:
    fixed = {treatment, *PLACE}
    names = [n for n in profiles.columns if n.startswith("Metadata_") and n not in fixed and "Count" not in n]
    flat = [n for n in names if not profiles.schema[n].is_nested()]
    known = profiles.drop_nulls(treatment).group_by(treatment)
    several = known.agg(pl.col(flat).drop_nulls().n_unique() > 1).select(pl.col(flat).any())
    return [n for n in flat if not several[n].any()]
