"""What an evaluator gives where there is nothing to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.rows import first_of_well, groups_of, rows_where

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
    return _moved(profiles, np.arange(profiles.height), seed, within, treatment, controls)


def shuffled_before(
    profiles: pl.DataFrame, features: Sequence[str], refit: Refit | None, seed: int = 0
) -> tuple[pl.DataFrame, tuple[str, ...], Refit | None]:
    """`shuffled` profiles, their features and how they were made: where a step reads treatments they are shuffled
    before it, and the profiles are what the steps then give. NothingLeft where that is nothing."""
    if refit is None or not refit.reads_labels:
        return shuffled(profiles, seed), tuple(features), refit
    default = ("Metadata_Plate",), "Metadata_Perturbation", "negcon"
    again = refit.relabelled(_moved(refit.start, refit.rows, seed, *default))
    return *again.made(), again


def _moved(
    profiles: pl.DataFrame, among: npt.NDArray[np.intp], seed: int, within: Sequence[str], treatment: str, controls: str
) -> pl.DataFrame:
    """`shuffled` among the wells with these row numbers."""
    require_columns(profiles, [treatment, *within], "shuffled")
    well = first_of_well(profiles)
    movable = ~rows_where(profiles, controls).to_numpy() & np.isin(np.arange(profiles.height), among)
    rng = np.random.default_rng(seed)
    source = np.arange(profiles.height)
    for _, rows in groups_of(profiles, within):
        own = rows[movable[rows] & (well[rows] == rows)]
        source[own] = rng.permutation(own)
    moved = [treatment, *_determined(profiles.filter(pl.Series(movable)), treatment)]
    return profiles.with_columns(profiles[source[well]].select(moved))


def _determined(profiles: pl.DataFrame, treatment: str) -> list[str]:
    fixed = {treatment, *PLACE}
    names = [n for n in profiles.columns if n.startswith("Metadata_") and n not in fixed and "Count" not in n]
    flat = [n for n in names if not profiles.schema[n].is_nested()]
    known = profiles.drop_nulls(treatment).group_by(treatment)
    several = known.agg(pl.col(flat).drop_nulls().n_unique() > 1).select(pl.col(flat).any())
    return [n for n in flat if not several[n].any()]
