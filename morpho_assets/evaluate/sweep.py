"""The strength of a correction, chosen on treatments that are not reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import treatment_scores
from morpho_assets.profiles.correct import CORRECTORS, CorrectorConfig, Sweep, corrector_config
from morpho_assets.profiles.recipe import Step
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.tuning import TUNING, is_reported, mark_tuning


def sweep(profiles: pl.DataFrame, features: Sequence[str], corrector: CorrectorConfig, seed: int = 0) -> Sweep:
    """Choose one setting of `corrector` (its `sweep`, or the default one) on part of the treatments.

    The correction is fitted as configured (usually on controls) on all profiles and scored on the tuning treatments
    alone: those that Metadata_tuning marks, or else `tuning.mark_tuning` does. Choosing on the score that is then
    reported would flatter it: JUMP's and Moshkov's published sweeps do. `curve` has the setting, `tuning`,
    `tuning_shuffled`, `n_tuning`, and the same for `reported`: mean normalised AP (chance 0) of so many treatments, and
    with treatments shuffled among the wells, which shows what the correction gives to no replication at all.
    InputError for a setting that the corrector lacks, and for fewer than 4 treatments.
    """
    if corrector.sweep is None:
        corrector = corrector_config({**corrector.model_dump(), "sweep": {}})
    config = corrector.sweep
    assert config is not None
    if TUNING not in profiles.columns:
        profiles = mark_tuning(profiles, config.tuning_share, seed)
    ranking = RetrievalConfig(negatives=PairRule(where=config.negatives))
    curve = []
    for value in config.values:
        step = Step(correct=corrector.at(value))
        corrected = CORRECTORS[corrector.corrector](profiles, features, corrector.at(value), seed)
        row: dict[str, float] = {config.setting: value}
        for part, tuning in (("tuning", True), ("reported", False)):
            kept = is_reported(profiles, tuning)
            wells, rows = corrected.profiles.filter(kept), np.flatnonzero(kept.to_numpy())
            refit = Refit(profiles, tuple(features), (step,), rows, seed)
            for name, frame in ((part, wells), (f"{part}_shuffled", shuffled(wells, seed))):
                scored = treatment_scores(frame, corrected.features, ranking, seed, refit)
                scores = scored["normalised_AP"].to_numpy()
                row |= {name: float(scores.mean()), f"n_{part}": len(scores)}
        curve.append(row)
    frame = pl.DataFrame(curve)
    return Sweep(corrector.chosen(frame), frame)
