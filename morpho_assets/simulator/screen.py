"""A simulated screen: 400 compounds in 40 assays, each with a structure, a morphology and an expression.

What drives each assay is planted, and only its own modality sees it: active substituents (structure), latents of the
image (morphology), latents of the transcripts (expression), the number of cells, or nothing but the batch or the place
on the plate. Assays of two drivers are hit by either: there modalities complement each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.simulator.chemistry import draw_structure
from morpho_assets.simulator.design import generator

Floats = NDArray[np.float64]
DRIVERS: dict[str, int] = {
    "structure": 6, "morphology": 6, "expression": 6, "structure+morphology": 4, "structure+expression": 4,
    "morphology+expression": 4, "count": 4, "batch": 2, "position": 2, "nothing": 2,
}  # fmt: skip
"""What drives assays, and how many each drives."""
LATENTS = 5  # private ones of morphology, and of expression
ROWS, COLUMNS = 8, 13  # of a plate of compounds
STREAM = {"compound": 100, "assay": 101, "morphology": 102, "expression": 103}


class ScreenDesign(BaseModel):
    """The size of a screen, and how clear what it plants is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compounds: int = Field(default=400, ge=10, description="compounds")
    morphology_features: int = Field(default=60, ge=6, description="features of a morphology profile")
    expression_features: int = Field(default=48, ge=6, description="features of an expression profile")
    noise: float = Field(default=0.7, ge=0, description="noise of a feature, of latents of 1")
    hits: float = Field(default=0.2, gt=0, lt=1, description="share of compounds that each driver makes active")
    steepness: float = Field(default=4.0, gt=0, description="steepness of the chance of a hit over a driver")
    tested: float = Field(default=0.9, gt=0, le=1, description="share of compounds that each assay tested")


@dataclass(frozen=True)
class Screen:
    """`compounds`: a row each with identity, SMILES, plate, well, batch and cell count; `assays`: long, a row per
    compound that an assay tested, `active` 0 or 1; `morphology` and `expression`: a row of features per compound;
    `truth`: what drives each assay."""

    compounds: pl.DataFrame
    assays: pl.DataFrame
    morphology: pl.DataFrame
    expression: pl.DataFrame
    truth: pl.DataFrame


def draw_screen(design: ScreenDesign | None = None, seed: int = 0) -> Screen:
    """The screen of a design and a seed."""
    design = design or ScreenDesign()
    rng = generator(seed, "compound", STREAM["compound"])
    number = design.compounds
    drawn = [draw_structure(rng) for _ in range(number)]
    plates = np.arange(number) // (ROWS * COLUMNS)
    place = np.arange(number) % (ROWS * COLUMNS)
    shape, genes = rng.normal(size=(number, LATENTS)), rng.normal(size=(number, LATENTS))
    log_count = np.where(rng.random(number) < 0.25, -rng.gamma(2.0, 0.5, number), 0.0) + 0.1 * rng.normal(size=number)
    batch = plates // 2
    edge = np.isin(place // COLUMNS, (0, ROWS - 1)) | np.isin(place % COLUMNS, (0, COLUMNS - 1))
    pull = np.array([each.pull for each in drawn]) + 0.05 * rng.normal(size=number)
    names = [f"BRD-K{each:08d}-001-01-1" for each in range(number)]
    compounds = pl.DataFrame({
        "compound": names, "name": [f"compound-{each}" for each in range(number)],
        "smiles": [each.smiles for each in drawn], "scaffold": [each.scaffold for each in drawn],
        "plate": [f"SCREEN{each + 1:02d}" for each in plates],
        "well": [f"{chr(65 + each // COLUMNS)}{each % COLUMNS + 1:02d}" for each in place],
        "batch": [f"batch_{each + 1}" for each in batch],
        "cell_count": np.round(200 * np.exp(log_count + 0.05 * rng.normal(size=number)), 1),
    })  # fmt: skip
    drivers = {"structure": pull, "count": -log_count, "batch": batch + 0.2 * rng.normal(size=number),
               "position": edge + 0.2 * rng.normal(size=number)}  # fmt: skip
    assays, truth = _assays(design, seed, drivers, {"morphology": shape, "expression": genes}, names)
    seen = {"morphology": np.column_stack([shape, 1.5 * log_count, 0.7 * batch]), "expression": genes}
    sizes = {"morphology": design.morphology_features, "expression": design.expression_features}
    profiles = {name: _features(design, seed, name, values, sizes[name]) for name, values in seen.items()}
    starts = {"morphology": "Cells_Feature", "expression": "gene"}
    frames = {
        name: pl.DataFrame({"compound": names} | {f"{starts[name]}_{i:02d}": profiles[name][:, i]
                                                   for i in range(sizes[name])})
        for name in seen
    }  # fmt: skip
    return Screen(compounds, assays, frames["morphology"], frames["expression"], truth)


def write_screen(folder: Path, design: ScreenDesign | None = None, seed: int = 0) -> None:
    """The tables of a screen as files: compounds.csv, assays.csv, morphology.csv, expression.csv, and truth.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    screen = draw_screen(design, seed)
    for name in ("compounds", "assays", "morphology", "expression", "truth"):
        frame: pl.DataFrame = getattr(screen, name)
        frame.write_csv(folder / f"{name}.csv", float_precision=5)


def _assays(
    design: ScreenDesign, seed: int, shared: dict[str, Floats], private: dict[str, Floats], names: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(long outcomes, truth): a driver's assays of private latents each see a direction of their own."""
    parts, truth = [], []
    number = 0
    for driver, how_many in DRIVERS.items():
        for _ in range(how_many):
            rng = generator(seed, "assay", STREAM["assay"], number)
            missed = np.ones(len(names))
            for name in driver.split("+") if driver != "nothing" else []:
                value = shared.get(name)
                if value is None:
                    direction = rng.normal(size=LATENTS)
                    value = private[name] @ (direction / np.linalg.norm(direction))
                missed *= 1 - _chance(value, design.hits, design.steepness)
            chance = 1 - missed if driver != "nothing" else np.full(len(names), design.hits)
            active = rng.random(len(names)) < chance
            tested = rng.random(len(names)) < design.tested
            assay = f"{driver.replace('+', '_or_')}_{number:02d}"
            own = pl.DataFrame({"compound": names, "assay": assay, "active": active.astype(int)})
            parts.append(own.filter(pl.Series(tested)))
            truth.append((assay, driver))
            number += 1
    return pl.concat(parts), pl.DataFrame(truth, {"assay": pl.String, "driver": pl.String}, orient="row")


def _chance(value: Floats, hits: float, steepness: float) -> Floats:
    """(n,) chance of a hit, logistic over the driver, a half where the share of `hits` begins."""
    spread = value.std() or 1.0
    return np.asarray(1 / (1 + np.exp(-steepness * (value - np.quantile(value, 1 - hits)) / spread)))


def _features(design: ScreenDesign, seed: int, name: str, latents: Floats, number: int) -> Floats:
    rng = generator(seed, "compound", STREAM[name])
    loading = rng.normal(size=(latents.shape[1], number)) / np.sqrt(latents.shape[1])
    return np.asarray(latents @ loading + design.noise * rng.normal(size=(len(latents), number)))
