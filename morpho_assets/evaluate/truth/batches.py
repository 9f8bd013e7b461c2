"""Checks on what technique adds: batches, positions, and what is left of mechanisms beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.batch import BatchConfig, batch_effects
from morpho_assets.evaluate.nsc import NscConfig, nsc
from morpho_assets.evaluate.retrieval import treatment_scores
from morpho_assets.evaluate.truth.checks import Finding
from morpho_assets.evaluate.truth.statistics import spearman
from morpho_assets.evaluate.truth.treatments import TREATMENT
from morpho_assets.profiles.features import to_matrix, with_matrix
from morpho_assets.profiles.refit import Refit

WELL = ["Metadata_Plate", "Metadata_Well"]
BATCH = "Metadata_Batch"
DRAWS = 5  # of shuffled inputs
LEAST_GAP = 0.02  # of the mean batch metric: below, there is no batch effect to remove


def mechanisms(profiles: pl.DataFrame, features: Sequence[str], planted: pl.DataFrame, seed: int) -> Iterator[Finding]:
    """`nsc` over treatments and, with two batches, `nscb_drop` over treatments by batch: active ones with a morphology.
    The counterpart of the latter is the drop where other batches say nothing of mechanisms: to the chance of NSCB.

    Nothing where no mechanism has two compounds.
    """
    acting = planted.filter(pl.col("active") & (pl.col("length") > 0), pl.col("mechanism") != "inactive")
    shared = acting.group_by("mechanism").agg(pl.col("broad_sample").n_unique()).filter(pl.col("broad_sample") > 1)
    known = acting.select(TREATMENT, truth_mechanism="mechanism", truth_compound="broad_sample")
    wells = profiles.join(known.filter(pl.col("truth_mechanism").is_in(shared["mechanism"].to_list())), on=TREATMENT)
    if wells["truth_mechanism"].n_unique() < 2:
        return
    wells = wells.rename({"truth_mechanism": "Metadata_True_Mechanism", "truth_compound": "Metadata_True_Compound"})
    settings = NscConfig(mechanism="Metadata_True_Mechanism", compound="Metadata_True_Compound")
    whole = settings.model_copy(update={"batch": None})
    found = nsc(wells, features, whole, seed).metrics.row(0, named=True)
    yield Finding("nsc", found["value"], found["n"], found["chance"])
    if wells[BATCH].n_unique() > 1:
        scores = nsc(wells, features, settings, seed).metrics
        near, far, drop = (scores.filter(metric=name).row(0, named=True) for name in ("NSC", "NSCB", "Drop"))
        yield Finding("nscb_drop", drop["value"], drop["n"], drop["chance"], counterpart=near["value"] - far["chance"])


def correction(
    measured: pl.DataFrame, corrected: pl.DataFrame, features: Sequence[str], corrected_features: Sequence[str],
    seed: int, refit: Refit | None = None,
) -> Iterator[Finding]:  # fmt: skip
    """`batch_removed` and `map_kept`: the same wells as measured (`features`) and corrected (`refit` says how).

    Both are ranked in the same folds of the controls. The chance of `map_kept` is the same gain with treatments
    shuffled. `batch_removed` is absent for one batch, or where the wells as measured show no batch effect; its
    counterpart has batches shuffled within treatments.
    """
    before, named = standardised(measured, features)
    if before[BATCH].n_unique() > 1:
        mixed, chance = _mixing(before, named, seed)
        after, _ = _mixing(corrected, corrected_features, seed)
        if chance - mixed > LEAST_GAP:
            moved = [_mixing(_shuffled_batches(frame, seed), names, seed)[0] for frame, names in
                     ((before, named), (corrected, corrected_features))]  # fmt: skip
            room = chance - mixed
            value, counterpart = (after - mixed) / room, (moved[1] - moved[0]) / room
            yield Finding("batch_removed", value, before.height, 0.0, counterpart=counterpart)
    plain = Refit(before, tuple(named), (), np.arange(before.height), seed, together=True)
    made = replace(refit, together=True) if refit is not None else replace(plain, start=corrected)

    def scores(frame: pl.DataFrame, names: Sequence[str], how: Refit) -> pl.DataFrame:
        return treatment_scores(frame, names, RetrievalConfig(), seed, how).select(TREATMENT, "mAP")

    def gain(relabelled: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        last = scores(relabelled(corrected), corrected_features, made)
        first = scores(relabelled(before), named, plain).rename({"mAP": "before"})
        return first.join(last, on=TREATMENT).sort(TREATMENT)

    pairs = gain(lambda frame: frame)
    draws = [gain(partial(shuffled, seed=seed + draw)) for draw in range(DRAWS)]
    real, *none = (float((rows["mAP"] - rows["before"]).to_numpy().mean()) for rows in (pairs, *draws))
    yield Finding("map_kept", real, pairs.height, float(np.mean(none)), list(pairs.iter_rows()))


def _shuffled_batches(profiles: pl.DataFrame, seed: int) -> pl.DataFrame:
    return profiles.with_columns(pl.col(BATCH).shuffle(seed=seed).over(TREATMENT))


def standardised(profiles: pl.DataFrame, features: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """The features in units of their spread over all plates together: comparable, with batches left as they are."""
    values = to_matrix(profiles, features)
    centre = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - centre), axis=0)
    kept = np.isfinite(spread) & (spread > 0)
    names = [name for name, keep in zip(features, kept, strict=True) if keep]
    scaled = ((values - centre)[:, kept] / spread[kept]).clip(-20, 20)
    return with_matrix(profiles.drop([n for n in features if n not in set(names)]), names, scaled), names


def _mixing(profiles: pl.DataFrame, features: Sequence[str], seed: int) -> tuple[float, float]:
    rows = batch_effects(profiles, features, BatchConfig(batch=BATCH), seed).metrics
    value, chance = rows.filter(metric="batch_mean").select("value", "chance").row(0)
    return float(value), float(chance)


def positions(measured: pl.DataFrame, wells: pl.DataFrame, planted: pl.DataFrame) -> Iterator[Finding]:
    """`position`: over wells in which nothing acts, the planted log effect of the position on light against the
    nuclei's log intensity, mean over stains and relative to the plate's median. Nothing without planted effects."""
    acting = planted.filter("active")[TREATMENT].to_list()
    stains = [name for name in measured.columns if name.startswith("Nuclei_Intensity_MeanIntensity_")]
    truth = wells.select(*WELL, "position_effect")
    inert = measured.filter(~pl.col(TREATMENT).is_in(acting)).join(truth, on=WELL, maintain_order="left")
    inert = inert.drop_nulls(stains)
    if not stains or not inert.height or inert["position_effect"].n_unique() < 2:
        return
    logs = [pl.col(name).log() - pl.col(name).log().median().over("Metadata_Plate") for name in stains]
    light = inert.select(pl.concat_str(WELL, separator=" "), "position_effect", pl.mean_horizontal(logs).alias("light"))
    value = spearman(light["position_effect"], light["light"])
    yield Finding("position", value, light.height, 0.0, list(light.iter_rows()))
