"""Which features a treatment moves most, in words: "nuclei 1.4 SD smaller", with stain and compartment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.features import feature_columns, to_matrix

MOST = 8  # of one treatment
LARGEST_GRAINS = 6  # px: beyond, most fields of controls have none, and SDs of nothing are no measure
FAR = 50.0  # SD of controls: what is farther counts as that far, so that one broken well does not carry a mean

# What CellProfiler measures in words, as (more, less); the number is the feature's value in SD of the controls.
_SHAPE = {
    "Area": ("larger", "smaller"), "Eccentricity": ("more elongated", "rounder"), "Solidity": ("smoother in outline",
    "more indented"), "FormFactor": ("more compact in outline", "more ragged in outline"),
    "Extent": ("fuller in their box", "emptier in their box"), "Compactness": ("more spread out", "more compact"),
    "MajorAxisLength": ("longer", "shorter"), "MinorAxisLength": ("wider", "narrower"),
}  # fmt: skip
_LIGHT = {
    "MeanIntensity": ("brighter", "dimmer"), "IntegratedIntensity": ("more {} in all", "less {} in all"),
    "StdIntensity": ("more uneven", "more even"), "MaxIntensity": ("brighter at the brightest",
    "dimmer at the brightest"), "MassDisplacement": ("more to one side", "better centred"),
    "MeanIntensityEdge": ("brighter at the edge", "dimmer at the edge"),
}  # fmt: skip
_TEXTURE = {
    "AngularSecondMoment": ("more even", "less even"), "Contrast": ("more contrast in", "less contrast in"),
    "Entropy": ("less ordered", "more ordered"), "Correlation": ("smoother", "rougher"),
    "Variance": ("more varied", "less varied"), "InverseDifferenceMoment": ("finer in steps, more even",
    "coarser in steps, less even"),
}  # fmt: skip
_CROWD = {
    "NumberOfNeighbors": ("more neighbours", "fewer neighbours"),
    "PercentTouching": ("more of the outline touches others", "less of the outline touches others"),
    "FirstClosestDistance": ("farther from the next", "closer to the next"),
}
_RING = {"1": "in the middle", "2": "around the middle", "3": "towards the edge", "4": "at the edge"}


@dataclass(frozen=True)
class Words:
    """A feature in words: its compartment, its stain (empty for shapes), and what more and less of it mean."""

    compartment: str
    stain: str
    more: str
    less: str
    kind: str

    def said(self, value: float) -> str:
        """The change as a sentence's part: "nuclei 1.4 SD smaller"."""
        what = self.more if value >= 0 else self.less
        return f"{self.compartment} {abs(value):.1f} SD {what}"


@cache
def words(feature: str) -> Words | None:
    """A CellProfiler feature in words; None for one that has none here (orientations, places, further scales)."""
    compartment, _, rest = feature.partition("_")
    module, _, rest = rest.partition("_")
    where = {"Nuclei": "nuclei", "Cells": "cells", "Cytoplasm": "cytoplasm"}.get(compartment, compartment)
    measure, _, stain = rest.partition("_")
    if module == "AreaShape" and measure in _SHAPE and not stain:
        return Words(where, "", *_SHAPE[measure], f"shape {measure}")
    if module == "Neighbors" and measure in _CROWD:
        return Words(where, "", *_CROWD[measure], f"crowd {measure}")
    if module == "Intensity" and measure in _LIGHT and stain:
        more, less = (text.format(stain) if "{}" in text else f"{text} in {stain}" for text in _LIGHT[measure])
        return Words(where, stain, more, less, f"light {measure}")
    if module == "Texture" and measure in _TEXTURE:
        found = re.fullmatch(r"(.+)_3_(?:\d+)_256", stain)
        if found:
            more, less = (f"{text} {found[1]} texture" for text in _TEXTURE[measure])
            return Words(where, found[1], more, less, f"texture {measure}")
    if module == "Correlation" and measure == "Correlation" and "_" in stain:
        one, _, other = stain.partition("_")
        return Words(where, stain.replace("_", ", "), f"{one} and {other} more in the same places",
                     f"{one} and {other} less in the same places", "together")  # fmt: skip
    if module == "RadialDistribution" and measure == "FracAtD":
        found = re.fullmatch(r"(.+)_([1-4])of4", stain)
        if found:
            ring = _RING[found[2]]
            return Words(where, found[1], f"more of the {found[1]} {ring}", f"less of the {found[1]} {ring}",
                         f"radial {found[2]}")  # fmt: skip
    if module == "Granularity" and stain and int(measure) <= LARGEST_GRAINS:
        return Words(where, stain, f"more {stain} grains of size {measure}", f"fewer {stain} grains of size {measure}",
                     "grains")  # fmt: skip
    return None


@dataclass(frozen=True)
class Moved:
    """Means (treatments, features) over the wells of each treatment, in SD of the controls, the spread of its wells,
    and how many wells there were; NaN where no well has the feature."""

    treatments: Sequence[str]
    features: Sequence[str]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    wells: NDArray[np.int64]

    def most(self, treatment: str) -> list[tuple[str, float, float]]:
        """The features that a treatment moved most and most evenly over its wells: name, mean and spread. One of each
        kind and stain (of shapes, compartment) is told, for the others say the same again. Empty without wells."""
        if treatment not in self._places:
            return []
        row = self.mean[self._places[treatment]]
        spread = self.spread[self._places[treatment]]
        chosen: list[tuple[str, float, float]] = []
        seen: set[tuple[str, str, str]] = set()
        # A feature whose controls hardly differ jumps by tens of SD in one well and not at all in the next.
        even = np.abs(np.nan_to_num(row)) / (1 + np.nan_to_num(spread))
        for at in np.argsort(-even, kind="stable"):
            told = words(self.features[at])
            assert told is not None
            kind = "" if told.stain else told.compartment, told.stain, told.kind.partition(" ")[0]
            if kind not in seen and np.isfinite(row[at]):
                seen.add(kind)
                chosen.append((self.features[at], float(row[at]), float(spread[at])))
            if len(chosen) == MOST:
                break
        return chosen

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.treatments)}


def moved(inputs: Snapshot, plates: Sequence[str], treatments: Sequence[str]) -> Moved:
    """How far treatments moved what can be said in words, from the normalised profiles; plate by plate."""
    told = {
        plate: [name for name in feature_columns(inputs.scan("normalized_profiles", [plate])) if words(name)]
        for plate in plates
    }
    features = {name: at for at, name in enumerate(dict.fromkeys(name for names in told.values() for name in names))}
    place = {name: row for row, name in enumerate(treatments)}
    shape = len(treatments), len(features)
    total, squares, count = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    wells = np.zeros(len(treatments), dtype=np.int64)
    for plate, names in told.items():
        frame = inputs.scan("normalized_profiles", [plate]).select("Metadata_Perturbation", *names).collect()
        frame = frame.filter(pl.col("Metadata_Perturbation").is_in(list(treatments)))
        if not frame.height or not names:
            continue
        rows = np.array([place[name] for name in frame["Metadata_Perturbation"]])
        values = np.clip(to_matrix(frame, names), -FAR, FAR)
        known = np.isfinite(values)
        filled = np.where(known, values, 0)
        order = np.argsort(rows, kind="stable")
        own, starts, here = np.unique(rows[order], return_index=True, return_counts=True)
        at = np.ix_(own, [features[name] for name in names])
        total[at] += np.add.reduceat(filled[order], starts, axis=0)
        squares[at] += np.add.reduceat(filled[order] ** 2, starts, axis=0)
        count[at] += np.add.reduceat(known[order].astype(np.int64), starts, axis=0)
        wells[own] += here
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0) * count / (count - 1))
    return Moved(treatments, list(features), mean, spread, wells)
