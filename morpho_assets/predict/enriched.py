"""Which treatments make cells of a phenotype more, or fewer: each well against its plate's controls.

A well's distance is that of Kolmogorov and Smirnov between the probabilities of its cells and of the plate's control
cells (T14 of Tomkinson 2024, 10.1186/s44330-024-00014-3). Of a phenotype that few cells are of, the greatest distance
lies among the many that are not, whose small probabilities move with anything: on simulated plates treatments ranked by
it find what was planted no better than chance. So treatments are called by `excess`, the area between the same two
distributions above the even share of probability, where a cell is rather of the phenotype than not.

The cells of a well depend on each other: with a correlation of 0.05 within wells, p-values over cells call a fifth of
treatments that do nothing. So the p-value over cells is shown and never called by; a treatment is called on its wells,
against each control well left out in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.predict.transfer import excess_above, ks_distance, ks_p_value

Floats = NDArray[np.float64]


class EnrichmentCallsConfig(BaseModel):
    """How phenotypes are called on treatments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: int = Field(default=50, ge=0, description="wells with no more cells than this are left out (published: 50)")
    matched: bool = Field(
        default=True, description="whether the larger side is thinned to the smaller, controls evenly from their wells"
    )
    treatment: tuple[str, ...] = Field(default=("Metadata_Perturbation",), description="columns of a treatment")
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value under which a treatment is called")
    shuffled: bool = Field(default=True, description="the same with a model of shuffled features, as a null")
    seed: int = Field(default=0, ge=0, description="seed of the thinning")


ENRICHED = {
    "Metadata_Well": pl.String, "phenotype": pl.String, "cells": pl.Int32, "compared": pl.Int32, "D": pl.Float64,
    "signed_D": pl.Float64, "excess": pl.Float64, "p_cells": pl.Float64, "control": pl.Boolean,
}  # fmt: skip


def enrich_plate(
    wells: Sequence[str], probability: Floats, names: Sequence[str], controls: Sequence[str],
    config: EnrichmentCallsConfig | None = None,
) -> pl.DataFrame:  # fmt: skip
    """A row per well and phenotype of one plate (ENRICHED): D against the cells of the control wells, of a control well
    against those of the other controls, which is the null.

    `wells` (n,) and `probability` (n, k) are of cells; `controls` name the control wells. `compared` are the cells of
    each side, `excess` what `excess_above` 1 / k finds. Wells and controls with at most `config.cells` cells are left
    out. No rows without two controls: there would be no null. Cells without probabilities (NaN) are left out.
    """
    config = config or EnrichmentCallsConfig()
    of_cell = np.asarray(wells, dtype=str)
    known = np.isfinite(probability).all(axis=1)
    of_cell, values = of_cell[known], probability[known]
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(of_cell))
    of_cell, values = of_cell[order], values[order]
    named, members, counts = np.unique(of_cell, return_inverse=True, return_counts=True)
    enough = counts > config.cells
    is_control = np.isin(named, list(controls)) & enough
    if is_control.sum() < 2:
        return pl.DataFrame(schema=ENRICHED)
    pool = np.flatnonzero(is_control[members])
    pool = pool[np.argsort(_turns(members[pool]), kind="stable")]  # the first n are drawn evenly from the wells
    rows = []
    for number in np.flatnonzero(enough):
        own = np.flatnonzero(members == number)
        others = pool[members[pool] != number]
        size = min(len(own), len(others)) if config.matched else 0
        mine, theirs = (own[:size], others[:size]) if config.matched else (own, others)
        for phenotype, name in enumerate(names):
            d, signed = ks_distance(values[mine, phenotype], values[theirs, phenotype])
            p = ks_p_value(d, len(mine), len(theirs))
            above = excess_above(values[mine, phenotype], values[theirs, phenotype], 1 / len(names))
            rows.append((str(named[number]), name, len(own), len(mine), d, signed, above, p, bool(is_control[number])))
    return pl.DataFrame(rows, ENRICHED, orient="row")


CALLS = {
    "phenotype": pl.String, "treatment": pl.String, "effect": pl.Float64, "p_value": pl.Float64,
    "q_value": pl.Float64, "called": pl.String, "wells": pl.Int32, "plates": pl.Int32, "controls": pl.Int32,
}  # fmt: skip


def call_treatments(enriched: pl.DataFrame, threshold: float = 0.05) -> pl.DataFrame:
    """A row per treatment and phenotype (CALLS), pooled over replicate plates.

    `enriched` are rows of `enrich_plate` of several plates with Metadata_Plate and `treatment` (null: not asked).
    `effect` is the mean over the treatment's wells of the excess beyond the mean of the plate's controls. Its error
    is that of control wells around the mean of their plate, pooled over the treatment's plates: Student's t with as
    many degrees of freedom as there are controls beyond one a plate. `q_value` is Benjamini-Hochberg over treatments
    and phenotypes; `called` is more, fewer or null.
    """
    rows = []
    for (phenotype,), part in enriched.group_by("phenotype", maintain_order=True):
        plates: dict[str, Floats] = {
            str(plate): controls["excess"].to_numpy()
            for (plate,), controls in part.filter("control").group_by("Metadata_Plate", maintain_order=True)
        }
        treated = part.filter(~pl.col("control")).drop_nulls("treatment")
        for (treatment,), wells in treated.group_by("treatment", maintain_order=True):
            found = _effect(wells, plates)
            if found is not None:
                rows.append((phenotype, treatment, *found))
    if not rows:
        return pl.DataFrame(schema=CALLS)
    named = ["phenotype", "treatment", "effect", "p_value", "wells", "plates", "controls"]
    calls = pl.DataFrame(rows, named, orient="row")
    calls = calls.with_columns(q_value=pl.Series(_benjamini_hochberg(calls["p_value"].to_numpy())))
    side = pl.when(pl.col("effect") > 0).then(pl.lit("more")).otherwise(pl.lit("fewer"))
    calls = calls.with_columns(called=pl.when(pl.col("q_value") < threshold).then(side))
    return calls.select(pl.col(name).cast(kind) for name, kind in CALLS.items()).sort(
        "phenotype", "p_value", "treatment"
    )


def _effect(wells: pl.DataFrame, plates: dict[str, Floats]) -> tuple[float, float, int, int, int] | None:
    """(effect, p, wells, plates, controls) of a treatment; None on plates without two controls."""
    from scipy.stats import t

    of_plate = {str(name): rows["excess"].to_numpy() for (name,), rows in wells.group_by("Metadata_Plate")}
    used = {name: values for name, values in of_plate.items() if len(plates.get(name, ())) >= 2}
    if not used:
        return None
    number = sum(map(len, used.values()))
    away = sum(float((values - plates[name].mean()).sum()) for name, values in used.items()) / number
    # a control stands against the others alone: it is n / (n - 1) times as far from them as from the mean of all n
    own = {name: plates[name] * (1 - 1 / len(plates[name])) for name in used}
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in own.values())
    freedom = sum(len(plates[name]) - 1 for name in used)
    shared = sum((len(values) / number) ** 2 / len(plates[name]) for name, values in used.items())
    error = np.sqrt(squares / freedom * (1 / number + shared))
    p = float(2 * t.sf(abs(away) / error, freedom)) if error > 0 else (1.0 if away == 0 else 0.0)
    return away, p, number, len(used), freedom + len(used)


def _turns(members: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) 0 for the first row of each group, 1 for the second, …"""
    by_member = np.argsort(members, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(members[by_member])) + 1]
    lengths = np.diff(np.r_[starts, len(members)])
    turns = np.empty(len(members), np.int64)
    turns[by_member] = np.arange(len(members)) - np.repeat(starts, lengths)
    return turns


def _benjamini_hochberg(p: Floats) -> Floats:
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p)) if len(p) else p
