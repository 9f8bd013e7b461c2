"""Treatments set aside to choose a setting on: a score that was tuned on what it reports would flatter."""

from __future__ import annotations

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

TUNING = "Metadata_tuning"


class SweepConfig(BaseModel):
    """Values of one setting of a corrector, of which the best on tuning treatments is taken.

    The score is the mean normalised AP of the treatments' replicates among `negatives` of their plate. Controls that
    the correction is fitted on are no fair negatives: it makes them unlike everything, whatever the treatments do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    setting: str = Field(default="epsilon", description="name of the corrector's setting")
    values: tuple[float, ...] = Field(
        default=tuple(float(f"{x:.3g}") for x in np.logspace(-5, 3, 25)),
        min_length=1,
        description="values that are tried; of equal scores the first wins (default: 25 from 1e-5 to 1e3)",
    )
    negatives: str = Field(
        default="treated", description="rows to rank replicates above: 'treated' or an SQL condition on the metadata"
    )
    tuning_share: float = Field(
        default=0.5, gt=0, lt=1, description="share of the compounds to choose on; the others are reported"
    )


def mark_tuning(profiles: pl.DataFrame, share: float, seed: int = 0) -> pl.DataFrame:
    """`profiles` with the boolean column Metadata_tuning: true for the treatments of a random `share` of the compounds,
    false for the others, null for negative controls and rows without a treatment. Doses of a compound, which are
    treatments of their own (`compound@dose`), stay together: they are alike. InputError for fewer than 4 compounds."""
    require_columns(profiles, ["Metadata_Perturbation"], "sweep")
    compound = pl.col("Metadata_Perturbation").str.split("@").list.first()
    names = profiles.filter(rows_where(profiles, "treated")).select(compound).to_series().drop_nulls().unique().sort()
    if names.len() < 4:
        raise InputError("profiles", "sweep", f"{names.len()} compounds", "at least 4", "Sweep on more compounds.")
    size = min(max(2, round(share * names.len())), names.len() - 2)
    tuning = np.random.default_rng(seed).permutation(names.to_numpy())[:size].tolist()
    chosen = pl.when(rows_where(profiles, "treated")).then(compound.is_in(tuning))
    return profiles.with_columns(chosen.alias(TUNING))


def reported(profiles: pl.DataFrame, tuning: bool = False) -> pl.DataFrame:
    """`profiles` without the wells of tuning treatments, or with `tuning` without those of the others; controls stay.
    Profiles on which nothing was tuned come back as they are."""
    return profiles.filter(is_reported(profiles, tuning))


def is_reported(profiles: pl.DataFrame, tuning: bool = False) -> pl.Series:
    """(rows,) boolean: the rows that `reported` keeps."""
    if TUNING not in profiles.columns:
        return pl.repeat(True, profiles.height, eager=True)
    kept = pl.col(TUNING).cast(pl.String) == ("true" if tuning else "false")  # the lake holds annotation as text
    return profiles.select(kept.fill_null(True)).to_series()
