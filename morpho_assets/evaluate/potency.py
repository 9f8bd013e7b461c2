"""At which dose does a treatment act? Half dose and benchmark dose of its distance from the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.chance import benjamini_hochberg
from morpho_assets.evaluate.folds import drawn_folds, places
from morpho_assets.evaluate.hill import Fitted, Grid, departs_from_monotonic, fit_hill, shuffled_doses
from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.intervals import share_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.gallery.treatments import DOSE_COLUMNS, KEY_COLUMNS
from morpho_assets.lake.tables import table
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.normalize import MAD_TO_SD
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets.profiles.rows import CONDITIONS, rows_where

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

METRICS = ("fraction_potent",)
FEWEST_CONTROLS = 8  # of all plates, for a spread; of one plate, for a centre of its own
CHANCES = 20  # shuffles of all doses behind the chance of a potency


class PotencyConfig(BaseModel):
    """Half dose (EC50) and benchmark dose of each compound's distance from the controls, by a Hill curve that starts at
    them. Assumes several doses, among them some without effect and some near the plateau, and that the effect grows
    with the dose.

    The distance is Mahalanobis's, over the components that hold `variance` of the wells, in the shrunk covariance of
    controls (Ledoit & Wolf 2004, 10.1016/S0047-259X(03)00096-4); its unit is the controls' own spread of it. Controls
    that centre and covariance were made of are left out in folds: a control is then as far as a treated well that does
    nothing. The benchmark dose is that of a distance of `benchmark` above the controls, as in high-throughput
    phenotypic profiling (Nyffeler 2020, 10.1016/j.taap.2019.114876).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["potency"] = "potency"
    compound: str | None = Field(default=None, description="column of the compound, over doses; null: the usual ones")
    dose: str | None = Field(default=None, description="column of the dose; null: the usual ones")
    controls: str = Field(default="negcon", description="SQL condition of the controls")
    variance: float = Field(default=0.95, gt=0, le=1, description="share of the variance that the components hold")
    benchmark: float = Field(
        default=1.0, gt=0, description="benchmark response, in SD of the controls' distance (1.4826 MAD); 3 is strict"
    )
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value of the trend under which a compound acts")
    shuffles: int = Field(default=1000, ge=100, description="shuffled doses behind the p-value of a trend")
    folds: int = Field(default=4, ge=2, description="parts of a plate's controls that are left out in turn")
    least_doses: int = Field(default=3, ge=3, description="doses of a compound that are needed for a curve")


class _Compound(NamedTuple):
    """The wells of one compound that have a dose: row numbers, doses, responses; and how many lack one."""

    name: str
    rows: Rows
    dose: Vector
    response: Vector
    without: int


def potency(
    profiles: pl.DataFrame, features: Sequence[str], config: PotencyConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> Evaluation:  # fmt: skip
    """The share of compounds with a potency, beside the share when doses are shuffled among each compound's wells.

    Details `potencies` and `dose_responses` (rows of the tables of these names). A compound acts where its responses
    fit a curve better than with shuffled doses (q under the threshold, Benjamini-Hochberg over compounds) and the curve
    passes the benchmark within the tested doses; such a compound has a potency where its benchmark dose is not below
    them. Doses are shuffled within plates, or over all where each plate has one dose (flagged). Compounds of fewer than
    `least_doses` doses are in the table with a flag and no curve; wells without a dose are left out, with a flag.
    Without a compound to ask, without 8 controls, or where these do not vary, the row has no value and n = 0.

    `refit` says how the profiles were made (`retrieval.mean_average_precision`). InputError for an absent column,
    missing values, and where no column is known to hold doses.
    """
    config = config or PotencyConfig()
    compound = _named(profiles, config.compound, KEY_COLUMNS, "compound")
    dose = _named(profiles, config.dose, DOSE_COLUMNS, "dose")
    responses = control_distances(profiles, features, config, seed, refit)
    if responses is None:
        return nothing_to_ask(config.evaluator, METRICS)
    treated = ~rows_where(profiles, config.controls).to_numpy()
    asked = _compounds(profiles, treated, compound, dose, responses)
    plates = _codes(profiles, "Metadata_Plate")
    curves = [_curve(each, plates, config, seed) for each in asked]
    if not asked:
        return nothing_to_ask(config.evaluator, METRICS)
    fitted = [number for number, curve in enumerate(curves) if curve is not None]
    p = np.full(len(asked), np.nan)
    p[fitted] = [curve.p_value for curve in curves if curve is not None]
    q = benjamini_hochberg(p)
    rows = [_row(*each, config) for each in zip(asked, curves, p, q, strict=True)]
    declared = table("potencies").schema
    potencies = pl.DataFrame(rows, schema={name: declared[name] for name in rows[0]})
    details = {"potencies": potencies, "dose_responses": _responses(asked)}
    if not fitted:
        return Evaluation(nothing_to_ask(config.evaluator, METRICS).metrics, details)
    by_chance = _by_chance([curve for curve in curves if curve is not None], config)
    potent = potencies["potent"].to_numpy()[fitted]
    share = float(potent.mean())
    interval = share_interval(share, len(fitted))
    row = metric_row(config.evaluator, "overall", METRICS[0], share, len(fitted), float(by_chance.mean()), interval)
    names = potencies.select("treatment")[fitted]
    return Evaluation(metrics_frame([row]), details, scores_frame(names, {"potent": (potent, by_chance)}))


def control_distances(
    profiles: pl.DataFrame, features: Sequence[str], config: PotencyConfig, seed: int = 0, refit: Refit | None = None
) -> Vector | None:
    """(rows,) Mahalanobis distance of each well from the controls, less that of a typical control of its plate, in
    units of the controls' spread; None with fewer than 8 controls or where these do not vary.

    Each control is measured by a centre and covariance that were made without its fold; other wells get the mean over
    folds. A plate with fewer than 8 controls is compared with those of all plates.
    """
    matrix = profile_matrix(profiles, features, "potency")
    controls = rows_where(profiles, config.controls).to_numpy()
    if controls.sum() < FEWEST_CONTROLS:
        return None
    others = f"NOT coalesce({CONDITIONS.get(config.controls, config.controls)}, FALSE)"
    rule = RetrievalConfig(
        queries=others, negatives=PairRule(where=config.controls),
        plate=("Metadata_Plate",) if "Metadata_Plate" in profiles.columns else (), folds=config.folds,
    )  # fmt: skip
    folds, _ = drawn_folds(matrix, profiles, rule, refit or scaled(profiles, features), seed)
    assert folds is not None
    every = np.array([_mahalanobis(folds.out(fold), controls & (folds.number != fold), config.variance)
                      for fold in range(config.folds)])  # fmt: skip
    distance = np.where(controls, every[folds.number, np.arange(profiles.height)], every.mean(axis=0))
    plates = _codes(profiles, "Metadata_Plate")
    centred, own = distance - np.median(distance[controls]), 0
    for plate in np.unique(plates):
        here = controls & (plates == plate)
        if here.sum() >= FEWEST_CONTROLS:
            centred[plates == plate] = distance[plates == plate] - np.median(distance[here])
            own += 1
    n = int(controls.sum())
    spread = MAD_TO_SD * float(np.median(np.abs(centred[controls]))) * np.sqrt(n / (n - max(own, 1)))
    return centred / spread if spread > 1e-9 * max(1.0, float(np.abs(distance).max())) else None


def _mahalanobis(matrix: npt.NDArray[np.floating], reference: npt.NDArray[np.bool_], variance: float) -> Vector:
    """(n,) distance of each row of (n, features) from the mean of the reference rows; 0 where nothing varies."""
    from sklearn.covariance import LedoitWolf

    values = np.asarray(matrix, dtype=float)
    centred = values - values.mean(axis=0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    held = np.cumsum(singular**2) / max(float((singular**2).sum()), np.finfo(float).tiny)
    kept = min(int(np.searchsorted(held, variance - 1e-12)) + 1, singular.size)
    components = centred @ vectors[:kept].T
    if not np.ptp(components[reference], axis=0).any():
        return np.zeros(len(values))
    return np.asarray(np.sqrt(np.maximum(LedoitWolf().fit(components[reference]).mahalanobis(components), 0)))


def _named(profiles: pl.DataFrame, name: str | None, usual: Sequence[str], what: str) -> str:
    """The column that is named, or the first of the usual ones."""
    if name is not None:
        require_columns(profiles, [name], f"potency, {what}")
        return name
    there = {column.lower(): column for column in profiles.columns}
    found = next((there[key] for each in usual if (key := f"metadata_{each}".lower()) in there
                  and key != "metadata_perturbation"), None)  # fmt: skip
    if found is None:
        known = ", ".join(f"Metadata_{each}" for each in usual if each != "Perturbation")
        raise InputError("profiles", f"potency, {what}", "no column that is known to hold it", f"one of {known}",
                         f"Name the column in the evaluator's `{what}`.")  # fmt: skip
    return found


def _codes(profiles: pl.DataFrame, column: str) -> npt.NDArray[np.int64]:
    if column not in profiles.columns:
        return np.zeros(profiles.height, dtype=np.int64)
    return profiles[column].rank("dense").fill_null(0).to_numpy().astype(np.int64)


def _compounds(
    profiles: pl.DataFrame, treated: npt.NDArray[np.bool_], compound: str, dose: str, responses: Vector
) -> list[_Compound]:
    """Every compound among the treated wells, by name. A dose that is no positive number is none."""
    wells = pl.DataFrame({
        "row": np.arange(profiles.height), "name": profiles[compound].cast(pl.String),
        "dose": profiles[dose].cast(pl.Float64, strict=False), "response": responses, "place": places(profiles),
    }).filter(pl.Series(treated)).drop_nulls("name")  # fmt: skip
    known = pl.col("dose").is_finite() & (pl.col("dose") > 0)
    wells = wells.with_columns(pl.when(known).then(pl.col("dose"))).sort("name", "dose", "place")
    found = []
    for (name,), rows in wells.group_by("name", maintain_order=True):
        dosed = rows.drop_nulls("dose")
        row, doses, response = (dosed[each].to_numpy() for each in ("row", "dose", "response"))
        found.append(_Compound(str(name), row, doses, response, rows.height - dosed.height))
    return found


@dataclass(frozen=True)
class _Curve:
    """A compound's curve, the p-value of its trend, whether its doses were shuffled within plates; and for shuffled
    doses the p-value of the trend and whether curve and benchmark dose are those of a potency, (CHANCES,) each."""

    fitted: Fitted
    p_value: float
    within_plates: bool
    shuffled_p: Vector
    shuffled_potent: npt.NDArray[np.bool_]


def _curve(each: _Compound, plates: npt.NDArray[np.int64], config: PotencyConfig, seed: int) -> _Curve | None:
    """None with too few doses."""
    if np.unique(each.dose).size < config.least_doses:
        return None
    plate = plates[each.rows]
    within = any(np.unique(each.dose[plate == number]).size > 1 for number in np.unique(plate))
    rng = np.random.default_rng([seed, crc32(each.name.encode())])  # whatever other compounds there are
    drawn = shuffled_doses(each.response, plate if within else np.zeros_like(plate), config.shuffles, rng)
    grid = Grid.of(each.dose)
    explained = grid.explained(drawn)
    null = np.sort(explained.max(axis=1))
    scores = np.array([grid.explained(each.response).max(), *explained[:CHANCES].max(axis=1)])
    slack = 1e-9 * max(float(each.response @ each.response), 1e-300)
    reached = null.size - np.searchsorted(null, scores - slack)
    p = np.array([(reached[0] + 1) / (null.size + 1), *(reached[1:] / null.size)])
    curves = [grid.curve(int(row.argmax()), y) for row, y in zip(explained[:CHANCES], drawn, strict=False)]
    potent = np.array([_is_potent(curve.dose_of(config.benchmark), each.dose) for curve in curves])
    return _Curve(fit_hill(each.dose, each.response, config.benchmark), float(p[0]), within, p[1:], potent)


def _is_potent(benchmark_dose: float | None, doses: Vector) -> bool:
    return benchmark_dose is not None and bool(doses.min() <= benchmark_dose <= doses.max())


def _by_chance(curves: Sequence[_Curve], config: PotencyConfig) -> Vector:
    """(curves,) how often each has a potency when the doses of all are shuffled."""
    q = np.array([benjamini_hochberg(p) for p in np.array([curve.shuffled_p for curve in curves]).T])
    potent = np.array([curve.shuffled_potent for curve in curves]).T
    return np.asarray(((q < config.threshold) & potent).mean(axis=0))


def _row(each: _Compound, curve: _Curve | None, p: float, q: float, config: PotencyConfig) -> dict[str, object]:
    levels = np.unique(each.dose)
    row: dict[str, object] = {
        "treatment": each.name, "wells": len(each.rows), "doses": levels.size,
        "lowest_dose": levels[0] if levels.size else None, "highest_dose": levels[-1] if levels.size else None,
        "active": None, "potent": None, "ec50": None, "ec50_low": None, "ec50_high": None,
        "benchmark_dose": None, "benchmark_dose_low": None, "benchmark_dose_high": None,
        "top": None, "slope": None, "highest_response": None, "p_value": None, "q_value": None, "flags": "",
    }  # fmt: skip
    flags = [f"{each.without} wells without a dose"] if each.without else []
    if curve is None:
        flags.append("no dose" if not levels.size else "one dose" if levels.size == 1 else f"{levels.size} doses")
        return row | {"flags": "; ".join(flags)}
    fitted = curve.fitted
    highest = float(fitted.curve(levels[-1]))
    dose = fitted.benchmark.value
    active = bool(q < config.threshold) and highest >= config.benchmark
    row |= {
        "active": active, "potent": active and _is_potent(dose, each.dose), "top": fitted.curve.top,
        "slope": fitted.curve.slope, "highest_response": highest, "p_value": p, "q_value": q,
    }  # fmt: skip
    if active:
        for name, likely in (("ec50", fitted.half), ("benchmark_dose", fitted.benchmark)):
            row |= {name: likely.value, f"{name}_low": likely.low, f"{name}_high": likely.high}
    return row | {"flags": "; ".join([*flags, *_flags(each, curve, active, config)])}


def _flags(each: _Compound, curve: _Curve, active: bool, config: PotencyConfig) -> list[str]:
    lowest, highest = float(each.dose.min()), float(each.dose.max())
    flags = []
    if active:
        half, dose = curve.fitted.half.value, curve.fitted.benchmark.value
        assert half is not None
        flags += ["EC50 below the tested doses"] * (half < lowest) + ["EC50 above the tested doses"] * (half > highest)
        flags += ["plateau not reached"] * (curve.fitted.half.high is None)
        flags += ["benchmark dose below the tested doses"] * (dose is not None and dose < lowest)
    elif min(each.response[each.dose == lowest].mean(), each.response.mean()) >= config.benchmark:
        flags.append("far from the controls at the lowest dose")
    else:
        flags.append("no effect")
    flags += ["not monotonic"] * departs_from_monotonic(each.dose, each.response)
    flags += ["each dose on plates of its own"] * (not curve.within_plates)
    return flags


def _responses(asked: Sequence[_Compound]) -> pl.DataFrame:
    """A row per compound and dose."""
    wells = pl.concat([
        pl.DataFrame({"treatment": pl.repeat(each.name, len(each.rows), eager=True, dtype=pl.String),
                      "dose": each.dose, "response": each.response})
        for each in asked
    ])  # fmt: skip
    found = wells.group_by("treatment", "dose", maintain_order=True).agg(
        pl.len().cast(pl.Int32).alias("wells"), pl.col("response").mean(), pl.col("response").std().alias("spread"),
        pl.col("response").min().alias("lowest"), pl.col("response").max().alias("highest"),
    )  # fmt: skip
    return found.select("treatment", "dose", "wells", "response", "spread", "lowest", "highest")
