"""The strength of a correction, chosen on treatments that are not reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.retrieval import RetrievalConfig, mean_average_precision
from morpho_assets.profiles.correct import CORRECTORS, CorrectorConfig
from morpho_assets.profiles.rows import rows_where

TUNING = "Metadata_tuning"


class SweepConfig(BaseModel):
    """Values of one setting of a corrector, compared by mean normalised AP over the tuning treatments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    setting: str = Field(default="epsilon", description="name of the corrector's setting")
    values: tuple[float, ...] = Field(
        default=tuple(float(x) for x in np.logspace(-5, 3, 25)), min_length=1, description="values that are tried"
    )
    tuning_share: float = Field(default=0.5, gt=0, lt=1, description="share of the treatments to choose on")
    retrieval: RetrievalConfig = Field(default=RetrievalConfig(), description="what is maximised")


@dataclass(frozen=True)
class Sweep:
    """`best`: the corrector with the chosen value; `curve`: per value the score on tuning and on reported treatments;
    `profiles`: the input with the boolean column Metadata_tuning, to leave these treatments out of what is reported
    (queries: "NOT Metadata_tuning")."""

    best: CorrectorConfig
    curve: pl.DataFrame
    profiles: pl.DataFrame


def sweep(
    profiles: pl.DataFrame, features: Sequence[str], corrector: CorrectorConfig, config: SweepConfig | None = None,
    seed: int = 0,
) -> Sweep:  # fmt: skip
    """Choose `config.setting` of `corrector` on a random part of the treatments; the first best value wins.

    The correction itself is fitted as configured (usually on controls) on all profiles. Choosing on the score that is
    then reported would flatter it: JUMP's and Moshkov's published sweeps do. InputError for fewer than 4 treatments.
    """
    config = config or SweepConfig()
    treated = profiles.filter(rows_where(profiles, config.retrieval.queries))["Metadata_Perturbation"]
    names = treated.drop_nulls().unique().sort()
    if names.len() < 4:
        raise InputError("profiles", "sweep", f"{names.len()} treatments", "at least 4", "Sweep on more treatments.")
    size = min(max(1, round(config.tuning_share * names.len())), names.len() - 1)
    tuning = set(np.random.default_rng(seed).permutation(names.to_numpy())[:size].tolist())
    chosen = pl.col("Metadata_Perturbation").is_in(sorted(tuning)).fill_null(False)
    profiles = profiles.with_columns(chosen.alias(TUNING))
    curve = []
    for value in config.values:
        model = corrector.model_validate({**corrector.model_dump(), config.setting: value})
        corrected = CORRECTORS[corrector.corrector](profiles, features, model, seed)
        table = mean_average_precision(corrected.profiles, corrected.features, config.retrieval, seed)
        mine = table["Metadata_Perturbation"].is_in(sorted(tuning))
        scores = (table.filter(rows)["normalised_AP"].to_numpy().mean() for rows in (mine, ~mine))
        curve.append((value, *map(float, scores)))
    frame = pl.DataFrame(curve, schema=[config.setting, "tuning", "reported"], orient="row")
    best = float(frame[config.setting][int(np.argmax(frame["tuning"].to_numpy()))])
    return Sweep(corrector.model_validate({**corrector.model_dump(), config.setting: best}), frame, profiles)
