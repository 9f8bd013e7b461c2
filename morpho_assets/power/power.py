"""Power: in how many simulated experiments of a design the platform's own retrieval finds an effect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.compute import ComputeConfig, Progress, map_items, no_progress
from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.chance import benjamini_hochberg
from morpho_assets.evaluate.intervals import share_interval
from morpho_assets.evaluate.retrieval import mean_average_precision
from morpho_assets.power.design import Design, Places, Plate
from morpho_assets.power.wells import Wells
from morpho_assets.profiles.normalize import NormalizeConfig, normalize

Vector = npt.NDArray[np.float64]
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "replicates": pl.Int64, "plates": pl.Int64, "controls": pl.Int64, "effect": pl.Float64, "power": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "without_effect": pl.Float64, "without_low": pl.Float64,
    "without_high": pl.Float64, "false_positive": pl.Float64, "false_positive_low": pl.Float64,
    "false_positive_high": pl.Float64, "simulations": pl.Int64, "simulations_without": pl.Int64, "p_least": pl.Float64,
    "wells_per_treatment": pl.Float64, "treatments_on_full_plates": pl.Int64,
}  # fmt: skip
"""One row per design and size of effect. power: share found (q under the threshold) with its 95 % interval;
without_effect: the same of treatments that do nothing, in the same screens; false_positive: their share with p under
the threshold, which should be that; p_least: the smallest p that the design allows."""


class PowerConfig(BaseModel):
    """What is simulated of every design."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    effects: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(2.0, 3.0, 4.0, 6.0), min_length=1,
        description="sizes of the effect, in control MADs (x 1.4826) along its direction; a quarter of the compounds "
        "of CPJUMP1 stays below 3.2, half below 4.8",
    )  # fmt: skip
    active: float = Field(default=0.2, gt=0, lt=1, description="share of a screen's treatments that have the effect")
    simulations: int = Field(default=60, ge=10, description="treatments of each size that are simulated per design")
    together: int = Field(default=6, ge=1, description="treatments of each size on one set of plates")
    same_places: bool = Field(default=False, description="a treatment has the same place on all its plates")
    seed: int = Field(default=0, ge=0, description="seed of everything that is drawn")
    minutes: float = Field(default=2.0, gt=0, description="after which no further set of plates is begun")
    retrieval: RetrievalConfig = Field(
        default=RetrievalConfig(null_size=2000, exact_limit=2000),
        description="retrieval as it will be, but with 2,000 exchanges: p under 0.0005 are not asked for here",
    )


@dataclass(frozen=True)
class Power:
    """`table` (rows of SCHEMA), whether time ran out before all `asked` simulations were done, and where wells are
    from."""

    table: pl.DataFrame
    about: str
    asked: int
    stopped: bool


def power(
    designs: Sequence[Design], wells: Wells, plate: Plate | None = None, config: PowerConfig | None = None,
    compute: ComputeConfig | None = None, progress: Progress = no_progress,
) -> Power:  # fmt: skip
    """How often each design finds effects of each size.

    A set of plates holds `together` treatments of every size and as many that do nothing. It is normalised to its
    controls and goes through `mean_average_precision` as a study would. p-values of all sets of a design are taken for
    one screen per size, in which a share `active` has the effect: those without are counted so many times. Intervals
    are Wilson's, with the variance between sets of plates, whose treatments share controls. A seed gives the same
    treatments again, however many are done in time; every design has one set at least.

    InputError where a design needs more wells than there are, on a plate or to resample.
    """
    plate, config = plate or Plate(), config or PowerConfig()
    together = {design: _together(design, wells, plate, config) for design in designs}
    rounds = {design: int(np.ceil(config.simulations / number)) for design, number in together.items()}
    one = partial(_one_set, wells=wells, plate=plate, config=config, together=together)
    compute = compute or ComputeConfig(workers=1)
    done: dict[Design, list[tuple[Vector, float]]] = {design: [] for design in designs}
    total, begun = sum(rounds.values()), time.monotonic()
    for number in range(max(rounds.values())):
        tasks = [(number, design) for design in designs if number < rounds[design]]
        told = _after(progress, sum(map(len, done.values())), total)
        for (_, design), found in map_items(one, tasks, compute, told, "simulated plates"):
            assert isinstance(found, tuple)
            done[design].append(found)
        if time.monotonic() - begun > 60 * config.minutes:
            break
    stopped = sum(map(len, done.values())) < total
    rows = [row for design, sets in done.items() for row in _rows(design, sets, plate, config)]
    return Power(pl.DataFrame(rows, schema=SCHEMA), wells.about, config.simulations, stopped)


def _after(progress: Progress, before: int, total: int) -> Progress:
    """Tells of a round as of a part of all."""
    return lambda label, done, _: progress(label, before + done, total)


def wells_needed(design: Design, config: PowerConfig, together: int = 1) -> int:
    """Wells of one set of plates with so many treatments of each size, and as many without effect."""
    return design.plates * design.controls + design.replicates * together * (len(config.effects) + 1)


def _together(design: Design, wells: Wells, plate: Plate, config: PowerConfig) -> int:
    """Treatments of each size on one set of plates: as many as asked for, or as there is room, and wells, for."""
    sizes = len(config.effects) + 1
    room = (plate.wells - design.controls) // (max(design.on_each) * sizes)
    if room < 1:
        raise InputError("morpho design", design.text, f"{plate.wells} wells on a plate",
                         f"{design.controls + max(design.on_each) * sizes} or more, with a treatment of each size",
                         "Ask for fewer sizes, replicates or controls.")  # fmt: skip
    most = wells.most()
    if most is None:
        return min(room, config.together)
    number = (most - design.plates * design.controls) // (design.replicates * sizes)
    if number < 1:
        raise InputError("morpho design", design.text, f"{most} control wells to resample",
                         f"{wells_needed(design, config)} or more",
                         "Name more plates, or draw wells from the controls' covariance (--wells drawn).")  # fmt: skip
    return min(number, room, config.together)


def _one_set(
    task: tuple[int, Design], wells: Wells, plate: Plate, config: PowerConfig, together: dict[Design, int]
) -> tuple[Vector, float]:
    """((sizes + 1, together) p-values, those without effect first, and the smallest that p could be)."""
    number, design = task
    rng = np.random.default_rng([config.seed, number, crc32(design.text.encode())])
    sizes = np.repeat([0.0, *config.effects], together[design])
    moves = wells.moves(sizes.size, rng) * sizes[:, None]
    labels = [np.repeat(np.arange(sizes.size), number) for number in design.on_each]
    places = _places(design, sizes.size, plate, config.same_places, rng)
    values = wells.draw(places, plate, rng)
    frames = [
        _frame(f"P{number}", *parts, moves, plate)
        for number, parts in enumerate(zip(places, labels, values, strict=True))
    ]
    profiles = normalize(pl.concat(frames), NormalizeConfig(flat="zero"))
    features = [name for name in profiles.columns if name.startswith("Cells_")]
    found = mean_average_precision(profiles, features, config.retrieval, config.seed)
    return found["p_value"].to_numpy().reshape(-1, together[design]), float(found["p_least"].max())  # type: ignore[arg-type]


def _places(design: Design, treatments: int, plate: Plate, same: bool, rng: np.random.Generator) -> list[Places]:
    """Of each plate the places of its controls, then of its treated wells, treatment by treatment."""
    most = max(design.on_each)
    found: list[Places] = []
    for number in design.on_each:
        if not found or not same:
            controls, treated = plate.places(design.controls, treatments * most, rng)
        found.append(np.concatenate([controls, treated.reshape(treatments, most)[:, :number].ravel()]))
    return found


def _frame(name: str, places: Places, treated: Places, values: Vector, moves: Vector, plate: Plate) -> pl.DataFrame:
    """The wells of a plate, controls first, then those of treatments `treated` (wells,), each moved by its `moves`."""
    controls = places.size - treated.size
    values = values.copy()
    values[controls:] += moves[treated]
    kinds = ["negcon"] * controls + [None] * treated.size
    names = ["control"] * controls + [f"t{label:05d}" for label in treated]
    rows, columns = np.divmod(places, plate.shape[1])
    frame = pl.DataFrame(values, schema=[f"Cells_{number}" for number in range(values.shape[1])], orient="row")
    return frame.with_columns(
        pl.lit(name).alias("Metadata_Plate"), pl.Series("Metadata_Perturbation", names),
        pl.Series("Metadata_control_type", kinds, dtype=pl.String), pl.Series("Metadata_Row", rows + 1),
        pl.Series("Metadata_Col", columns + 1),
        pl.Series("Metadata_Well", [f"{row:02d}-{column:02d}" for row, column in zip(rows, columns, strict=True)]),
    )  # fmt: skip


def _rows(
    design: Design, sets: Sequence[tuple[Vector, float]], plate: Plate, config: PowerConfig
) -> list[dict[str, object]]:
    p = np.array([each for each, _ in sets])  # (sets, sizes + 1, together)
    weight = max(1, round((1 - config.active) / config.active))
    threshold = config.retrieval.threshold
    false = _share(p[:, 0] < threshold)
    rows: list[dict[str, object]] = []
    for number, size in enumerate(config.effects, start=1):
        acting, inert = p[:, number], p[:, 0]
        q = benjamini_hochberg(np.concatenate([acting.ravel(), np.repeat(inert.ravel(), weight)]))
        found = q[: acting.size].reshape(acting.shape) < threshold
        wrong = q[acting.size :: weight].reshape(inert.shape) < threshold
        row: dict[str, object] = {
            "replicates": design.replicates, "plates": design.plates, "controls": design.controls, "effect": size,
            "simulations": acting.size, "simulations_without": inert.size, "p_least": max(least for _, least in sets),
            "wells_per_treatment": design.cost(plate), "treatments_on_full_plates": design.treatments(plate),
        }  # fmt: skip
        for names, (share, low, high) in (
            (("power", "low", "high"), _share(found)),
            (("without_effect", "without_low", "without_high"), _share(wrong)),
            (("false_positive", "false_positive_low", "false_positive_high"), false),
        ):
            row |= dict(zip(names, (share, low, high), strict=True))
        rows.append(row)
    return rows


def _share(found: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """The share of (sets, treatments) that are found, with its interval."""
    share = float(found.mean())
    between = found.mean(axis=1)
    variance = float(between.var(ddof=1) / len(between)) if len(between) > 1 else None
    interval = share_interval(share, found.size, variance)
    assert interval is not None
    low, high = interval
    return share, round(low, 9), round(high, 9)
