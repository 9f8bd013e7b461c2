"""Fields to train and judge the shipped network on: which images of dsb2018 may be seen, simulated and drawn fields.

A field goes in as the network will see it (`prepared`), at the power of two that brings its nuclei to 14 to 28 pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.dsb2018 import Field
from benchmarks.train_small_cellpose import drawn_nuclei
from morpho_assets.imaging.segmentation.network_input import cell_light, nuclear_light, octave
from morpho_assets.imaging.segmentation.network_objects import labels_rescaled
from morpho_assets.simulator import GalleryDesign, Technique
from morpho_assets.simulator.layout import plate_wells
from morpho_assets.simulator.site import simulate_site

SIXTHS = 6
STAINS = ("ER", "RNA", "AGP")
_PLACES = {"ER": 1, "RNA": 2, "AGP": 3}


@dataclass(frozen=True)
class Prepared:
    """`planes` (C, H, W) float32, `nuclei` and `cells` (H, W) int32; for nuclei alone `cells` is `nuclei`. `name` is
    that of a real image, empty for what is made."""

    planes: NDArray[np.float32]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    name: str = ""


def third_of(name: str) -> int:
    """0, 1 or 2 by the sha256 of an image's id; 2 is never seen in training."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 3


def split(fields: list[Field]) -> tuple[list[Field], list[Field]]:
    """Fields to train on and choose settings on (two thirds), and never to look at."""
    seen = [field for field in fields if third_of(field.name) != 2]
    return seen, [field for field in fields if third_of(field.name) == 2]


def held_out(name: str, member: int) -> bool:
    """Whether the real image is in the sixth that this member of the network is not trained on."""
    return bool(name) and int(hashlib.sha256(f"{name} member".encode()).hexdigest(), 16) % SIXTHS == member % SIXTHS


def true_diameter(labels: NDArray[np.int32]) -> float:
    """Diameter, pixels, of the object that half of all objects' area is smaller than."""
    area = np.sort(np.bincount(labels.ravel())[1:])
    area = area[area > 0]
    return float(2 * np.sqrt(area[np.searchsorted(area.cumsum(), area.sum() / 2)] / np.pi)) if area.size else 20.0


def prepared_nuclei(plane: NDArray[np.float32], labels: NDArray[np.int32], name: str = "") -> Prepared | None:
    """One field for the nuclei's network; None where no light is found."""
    light = nuclear_light(plane, true_diameter(labels))
    if light is None:
        return None
    seen = labels_rescaled(labels, light.step)
    return Prepared(light.plane[None], seen, seen, name)


def prepared_cells(image: NDArray[np.float32], nuclei: NDArray[np.int32], cells: NDArray[np.int32]) -> Prepared:
    """One field for the cells' network: three stains, at half the scale of its nuclei."""
    step = octave(true_diameter(nuclei)) - 1
    planes = np.stack([cell_light([image[_PLACES[stain]]], step) for stain in STAINS])
    return Prepared(planes, labels_rescaled(nuclei, step), labels_rescaled(cells, step))


def simulated(rng: np.random.Generator, seed: int, pixels: int = 420) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Endless fields (5, H, W) in [0, 1], nuclei and cells: each with another magnification, density and technique."""
    while True:
        scale = float(np.exp(rng.uniform(np.log(0.4), np.log(1.25))))
        density = rng.uniform(25, 150) * (pixels / 1080 / scale) ** 2
        technique = Technique(
            vignette=float(rng.uniform(0, 0.6)),
            batch_blur=float(rng.uniform(0, 1.2)),
            focus_failures=0.12,
            focus_sigma=float(rng.uniform(1, 4)),
            saturation=0.05,
            dust=0.2,
            photons_per_count=float(np.exp(rng.uniform(np.log(0.3), np.log(8)))),
            read_noise=float(np.exp(rng.uniform(np.log(2), np.log(40)))),
        )
        design = GalleryDesign(
            pixels=pixels, scale=scale, cells_per_site=density, compounds_per_mechanism=1, technique=technique,
            effect_strength=float(rng.uniform(0.5, 1.5)), inactive_compounds=2, series_compounds=0,
        )  # fmt: skip
        number = int(rng.integers(2**31))
        wells = plate_wells(design, number + seed, 0)
        site = simulate_site(design, number + seed, 0, wells[int(rng.integers(len(wells)))], 1)
        image = site.image.astype(np.float32) / 65535
        bits = int(rng.choice([8, 12, 16]))
        top = np.percentile(image, 99.95, axis=(1, 2), keepdims=True) * 1.2
        image = np.round(np.minimum(image / top, 1) * (2**bits - 1)) / (2**bits - 1)
        if site.nuclei.max() >= 3:
            yield image.astype(np.float32), site.nuclei, site.cells


def pools(fields: list[Field], seed: int, simulations: int, drawings: int) -> dict[str, list[list[Prepared]]]:
    """What to draw crops from: for `nuclei` real, simulated and drawn fields, for `cells` simulated ones."""
    rng = np.random.default_rng(seed)
    real = [prepared_nuclei(field.image, field.labels, field.name) for field in fields]
    nuclei, cells = [], []
    for _, (image, inner, outer) in zip(range(simulations), simulated(rng, seed), strict=False):
        nuclei.append(prepared_nuclei(image[0], inner))
        cells.append(prepared_cells(image, inner, outer))
    drawn = [prepared_nuclei(*touching(rng)) for _ in range(drawings)]
    return {"nuclei": [[one for one in pool if one] for pool in (real, nuclei, drawn)], "cells": [cells]}


def touching(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Drawn nuclei, many of them touching; some fields with glare."""
    image, labels = drawn_nuclei(rng)
    if rng.random() < 0.3:
        glare = ndimage.gaussian_filter(rng.normal(size=image.shape), 40)
        image = image + (rng.uniform(0, 1) * (glare - glare.min()) / np.ptp(glare)).astype(np.float32)
    return image.astype(np.float32), labels
