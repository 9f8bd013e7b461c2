"""Which treatment sits in which well, and what position, plate and batch add to its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho_assets.errors import InputError
from morpho_assets.simulator.biology import MECHANISMS, NAMES, Compound, draw_compound
from morpho_assets.simulator.design import CHANNELS, GalleryDesign, generator


@dataclass(frozen=True)
class Treatment:
    """A compound at a dose in micromolar; `compound` is None for DMSO. `role` is trt, negcon or poscon_cp."""

    compound: Compound | None
    dose: float
    role: str

    @property
    def name(self) -> str:
        """`DMSO`, or the sample and its dose: `BRD-S00000001-001-01-1@10`."""
        return "DMSO" if self.compound is None else f"{self.compound.broad_sample}@{self.dose:g}"

    @property
    def effect(self) -> np.ndarray:
        """The (12,) effect on a responding cell, after the dose response."""
        if self.compound is None:
            return np.zeros(len(NAMES))
        return self.compound.effect * self.compound.response(self.dose)

    @property
    def active(self) -> bool:
        """Whether the effect is at least half a unit long; below that it is called sub-threshold."""
        return bool(np.linalg.norm(self.effect) >= 0.5)


@dataclass(frozen=True)
class Well:
    """One well of one plate; `row` and `column` count from 1."""

    row: int
    column: int
    treatment: Treatment

    @property
    def name(self) -> str:
        """`A01` … `P24`, and `AF48` on 1536 wells."""
        letters = chr(64 + self.row) if self.row <= 26 else "A" + chr(64 + self.row - 26)
        return f"{letters}{self.column:02d}"


def compounds(design: GalleryDesign, seed: int) -> list[Compound]:
    """The compounds of the experiment: the positive control, then mechanism by mechanism, then the inactive ones."""
    unknown = [name for name in design.mechanisms if name not in MECHANISMS]
    if unknown:
        known = ", ".join(MECHANISMS)
        raise InputError("synthetic gallery", "mechanisms", ", ".join(unknown), f"names among {known}", "Use these.")
    names = [name for name in design.mechanisms for _ in range(design.compounds_per_mechanism)]
    names = [next(iter(design.mechanisms), "inactive"), *names, *["inactive"] * design.inactive_compounds]
    return [
        draw_compound(
            generator(seed, "compound", number),
            number,
            name,
            design.effect_strength,
            design.compound_deviation,
            design.penetrance,
        )
        for number, name in enumerate(names)
    ]


def treatments(design: GalleryDesign, seed: int) -> list[Treatment]:
    """Every treatment of the experiment once: DMSO, positive control, all compounds, then the dose series.

    The dose series goes to the first compounds of different mechanisms.
    """
    control, *library = compounds(design, seed)
    top = design.doses[-1]
    every = [Treatment(None, 0.0, "negcon"), Treatment(control, top, "poscon_cp")]
    every += [Treatment(compound, dose, "trt") for dose in design.doses for compound in library]
    firsts = library[: len(design.mechanisms) * design.compounds_per_mechanism : design.compounds_per_mechanism]
    every += [
        Treatment(compound, dose, "trt") for dose in design.series for compound in firsts[: design.series_compounds]
    ]
    return every


def plate_wells(design: GalleryDesign, seed: int, plate: int) -> list[Well]:
    """The wells of one plate in row order. Raises InputError where the treatments do not fit the wells."""
    negative, positive, *library = treatments(design, seed)
    places = design.rows * design.columns
    free = places - design.negative_controls - design.positive_controls
    if free < len(library):
        raise InputError(
            "synthetic gallery",
            "rows × columns",
            f"{places} wells",
            f"at least {places - free + len(library)} for {len(library)} treatments and the controls",
            "Add wells, or take away compounds, doses or controls.",
        )
    content = [negative] * design.negative_controls + [positive] * design.positive_controls
    content += [library[i % len(library)] for i in range(free)] if library else [negative] * free
    order = generator(seed, "layout", plate if design.layout == "randomised" else 0).permutation(places)
    return [
        Well(place // design.columns + 1, place % design.columns + 1, content[order[place]]) for place in range(places)
    ]


@dataclass(frozen=True)
class Conditions:
    """What technique does to one well: (5,) gain and offset per channel (counts), blur in pixels, log count change."""

    gain: np.ndarray
    offset: np.ndarray
    blur: float
    log_count: float
    position: float


def conditions(design: GalleryDesign, seed: int, plate: int, well: Well) -> Conditions:
    """Gain, offset, blur and count of one well from its batch, its plate and its position."""
    technique, channels = design.technique, len(CHANNELS)
    batch = generator(seed, "batch", plate // design.plates_per_batch)
    log_gain = technique.batch_gain * batch.normal(size=channels)
    blur = technique.batch_blur * abs(float(batch.normal()))
    of_plate = generator(seed, "plate", plate)
    log_gain = log_gain + technique.plate_gain * of_plate.normal(size=channels)
    offset = technique.plate_offset * of_plate.normal(size=channels)
    log_gain[CHANNELS.index("AGP")] += technique.stain_drift * plate / max(design.plates - 1, 1)
    position = position_effect(design, well.row, well.column)
    jitter = generator(seed, "well", plate, well.row, well.column).normal(size=channels)
    on_edge = well.row in (1, design.rows) or well.column in (1, design.columns)
    return Conditions(
        gain=np.exp(log_gain + position + technique.well_jitter * jitter),
        offset=offset,
        blur=blur,
        log_count=technique.edge_count * on_edge,
        position=position,
    )


def position_effect(design: GalleryDesign, row: int, column: int) -> float:
    """Log change of intensity at a position: edge, row and column gradients; the gradients are zero mid-plate."""
    technique = design.technique
    on_edge = row in (1, design.rows) or column in (1, design.columns)
    down = (row - 1) / max(design.rows - 1, 1) - 0.5
    across = (column - 1) / max(design.columns - 1, 1) - 0.5
    return technique.edge * on_edge + technique.row_gradient * down + technique.column_gradient * across
