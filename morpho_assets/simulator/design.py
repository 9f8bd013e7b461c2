"""What a synthetic gallery holds: plates, wells, treatments, and the size of every technical effect.

Everything random is drawn from a generator named by (seed, what, plate, well, site): see `generator`.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.simulator.biology import MECHANISMS

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
REFERENCE_PIXEL = 0.6
"""Width of a pixel of the 20x reference field (binning 2), µm."""
# The channel numbers of CPJUMP1's microscope: a reader must take them from load_data, never from their order.
CHANNEL_NUMBERS = {"DNA": 5, "ER": 4, "RNA": 3, "AGP": 2, "Mito": 1}

# One number per kind of draw, so that no two kinds share a stream and a new kind moves no other.
STREAMS = {"batch": 1, "plate": 2, "layout": 3, "well": 4, "site": 5, "compound": 6, "assay": 7, "expression": 8}


def generator(seed: int, stream: str, *key: int) -> np.random.Generator:
    """The random generator of one thing (a plate, a well, a site …), whatever was drawn before it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAMS[stream], *key)))


class Technique(BaseModel):
    """Technical effects; 0 switches one off, and each has the size it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plate_gain: float = Field(default=0.05, ge=0, description="SD of the log gain of each plate and channel")
    plate_offset: float = Field(
        default=20.0, ge=0, description="SD of the camera offset of each plate and channel, counts"
    )
    batch_gain: float = Field(default=0.12, ge=0, description="SD of the log gain of each batch and channel")
    batch_blur: float = Field(default=0.5, ge=0, description="SD of the extra blur of each batch, pixels (half-normal)")
    stain_drift: float = Field(
        default=0.2, description="log change of the AGP (WGA) stain from the first plate to the last"
    )
    vignette: float = Field(default=0.5, ge=0, lt=1, description="loss of light in the corners, fraction")
    edge: float = Field(default=0.08, description="log change of intensity in the outermost wells")
    edge_count: float = Field(default=-0.15, description="log change of the cell count in the outermost wells")
    row_gradient: float = Field(default=0.04, description="log change of intensity from the first row to the last")
    column_gradient: float = Field(
        default=0.06, description="log change of intensity from the first column to the last"
    )
    well_jitter: float = Field(default=0.04, ge=0, description="SD of the log gain of each well and channel")
    focus_failures: float = Field(default=0.02, ge=0, le=1, description="share of sites out of focus")
    focus_sigma: float = Field(default=4.0, ge=0, description="blur of a site out of focus, pixels at full scale")
    saturation: float = Field(default=0.01, ge=0, le=1, description="share of sites with one channel over-exposed")
    saturation_gain: float = Field(default=12.0, ge=1, description="gain of an over-exposed channel")
    dust: float = Field(default=0.1, ge=0, le=1, description="share of sites with dust rings and bright fibres")
    photons_per_count: float = Field(default=5.0, ge=0, description="Poisson noise: photons per grey level; 0 for none")
    read_noise: float = Field(default=3.0, ge=0, description="SD of the camera's read noise, counts")

    @classmethod
    def none(cls) -> Technique:
        """No technical effect at all: what the biology alone gives."""
        return cls(**dict.fromkeys(cls.model_fields, 0.0) | {"saturation_gain": 1.0})


class GalleryDesign(BaseModel):
    """One synthetic experiment; the defaults are the size `demo`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(default="cpg9999-synthetic", description="name of the project folder")
    source: str = Field(default="source_0", description="name of the source folder")
    batches: int = Field(default=2, ge=1, description="number of batches")
    plates_per_batch: int = Field(default=2, ge=1, description="plates in each batch")
    rows: int = Field(default=6, ge=1, le=32, description="rows of wells used, from A")
    columns: int = Field(default=8, ge=1, le=48, description="columns of wells used, from 1")
    sites: int = Field(default=1, ge=1, description="sites per well")
    pixels: int = Field(default=320, ge=32, description="height and width of an image, pixels")
    scale: float = Field(
        default=0.55, gt=0, le=2, description="size of a cell in pixels relative to the 20x reference field"
    )
    cells_per_site: float = Field(default=26.0, ge=0, description="expected nuclei of an untreated site")
    negative_controls: int = Field(default=16, ge=0, description="DMSO wells per plate")
    positive_controls: int = Field(default=2, ge=0, description="positive-control wells per plate")
    mechanisms: tuple[str, ...] = Field(default=tuple(MECHANISMS), description="mechanisms of action, by name")
    compounds_per_mechanism: int = Field(default=2, ge=1, description="compounds of each mechanism")
    inactive_compounds: int = Field(default=6, ge=0, description="compounds without any effect")
    doses: tuple[float, ...] = Field(
        default=(10.0,), description="doses of every compound, micromolar; the last is the top"
    )
    series_compounds: int = Field(default=2, ge=0, description="compounds that also get the doses of `series`")
    series: tuple[float, ...] = Field(default=(0.1, 0.6, 2.5), description="lower doses of the dose series, micromolar")
    effect_strength: float = Field(
        default=1.0, ge=0, description="multiplies every treatment's effect; 0 is a null experiment"
    )
    compound_deviation: float = Field(
        default=0.25, ge=0, description="compound-specific part, relative to its mechanism's effect"
    )
    penetrance: float = Field(default=0.85, ge=0, le=1, description="mean share of cells that respond")
    layout: Literal["randomised", "same"] = Field(
        default="randomised", description="positions redrawn per plate, or shared"
    )
    technique: Technique = Field(default=Technique(), description="technical effects")
    illumination: bool = Field(default=True, description="write illumination functions and load_data_with_illum.csv")

    @property
    def plates(self) -> int:
        """Number of plates in the experiment."""
        return self.batches * self.plates_per_batch

    @property
    def pixel_size(self) -> float:
        """Width of a pixel, µm; it stands in the images."""
        return REFERENCE_PIXEL / self.scale

    def barcode(self, plate: int) -> str:
        """Barcode of plate 0, 1, …"""
        return f"SYN{plate + 1:08d}"

    def batch(self, plate: int) -> str:
        """Name of the batch a plate belongs to."""
        return f"2026_01_{plate // self.plates_per_batch + 1:02d}_Batch{plate // self.plates_per_batch + 1}"

    def fingerprint(self, seed: int) -> str:
        """Twelve hex digits that change with any setting and with the seed."""
        return hashlib.sha256(f"{self.model_dump_json()}|{seed}".encode()).hexdigest()[:12]


SIZES: dict[str, GalleryDesign] = {
    "tiny": GalleryDesign(
        batches=1,
        rows=3,
        columns=6,
        pixels=160,
        scale=0.5,
        cells_per_site=11,
        negative_controls=6,
        positive_controls=0,
        mechanisms=("aurora_inhibitor", "er_stress", "actin_disruptor", "toxic"),
        compounds_per_mechanism=2,
        inactive_compounds=3,
        series_compounds=1,
        series=(0.1,),
    ),
    "demo": GalleryDesign(),
    "plate384": GalleryDesign(
        batches=1,
        plates_per_batch=1,
        rows=16,
        columns=24,
        sites=9,
        pixels=1080,
        scale=1.0,
        cells_per_site=95,
        negative_controls=64,
        positive_controls=16,
        compounds_per_mechanism=3,
        inactive_compounds=40,
        series_compounds=10,
    ),
}


def as_design(size: str | GalleryDesign) -> GalleryDesign:
    """The design of a named size; a design is returned as it is. Raises InputError for an unknown name."""
    if isinstance(size, GalleryDesign):
        return size
    if size not in SIZES:
        raise InputError("synthetic gallery", "size", repr(size), f"one of {', '.join(SIZES)}", "Name one of these.")
    return SIZES[size]
