"""Where an encoder looks, on plates whose planted effects lie in one compartment; for `benchmarks.training`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.figures import Figures
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.lake.lake import Snapshot
from morpho_assets.learn.crops import Scaling
from morpho_assets.learn.encoders import Trained
from morpho_assets.learn.heat import Method, heat_maps, scored_by
from morpho_assets.learn.kinds import UNTRAINED
from morpho_assets.learn.windows import WELL, PlateWindows, drawn

PLANTED = {
    "nucleus": ("nucleolar_stress",), "cytoplasm": ("er_stress", "golgi_transport", "mito_uncoupler"),
}  # fmt: skip
"""Mechanisms whose effect lies in one compartment."""


@dataclass(frozen=True)
class Plates:
    """Plates of a seed: their windows, and annotation of wells."""

    windows: dict[str, PlateWindows]
    wells: pl.DataFrame
    scalings: dict[str, Scaling | None]
    tables: Snapshot

    @property
    def trained_on(self) -> list[str]:
        names = sorted(self.windows)
        return names[: len(names) // 2]

    @property
    def held_out(self) -> list[str]:
        names = sorted(self.windows)
        return names[len(names) // 2 :]

    @property
    def unknown(self) -> list[str]:
        """Compounds that no encoder is told: every third of those that are no controls, of each mechanism as many."""
        treated = self.wells.filter(pl.col("Metadata_control_type").is_null())
        samples = treated["Metadata_broad_sample"].unique().sort().to_list()
        return samples[::3]


def heat_figures(figures: Figures, name: str, plates: Plates, found: dict[str, Any], method: Method) -> None:
    """Heat of the class score of treatments that change one compartment, in that compartment over its share of the
    window; on plates held out, of treatments that were told, beside the untrained twin's."""
    asked = [compartment for compartment, mechanisms in PLANTED.items()
             if plates.wells["Metadata_moa"].is_in(list(mechanisms)).any()]  # fmt: skip
    tasks = (
        delayed(heat_density)(plates, found[f"encoder{ending}"], PLANTED[compartment], compartment, method)
        for compartment in asked for ending in ("", UNTRAINED)
    )  # fmt: skip
    densities = list(Parallel(n_jobs=min(2, os.cpu_count() or 1))(tasks))
    for compartment, own, twin in zip(asked, densities[::2], densities[1::2], strict=True):
        low, high = mean_interval(own, seed=0) or (float("nan"), float("nan"))
        note = (
            f"{method}, {', '.join(PLANTED[compartment])}: {own.size} treatments, 95 % [{low:.2f}, {high:.2f}]; of the "
            f"untrained twin {twin.mean():.2f}; 1 is chance"
        )
        figures.add(f"{name}_{method}_in_{compartment}", float(own.mean()), "", note, at_least=1.0)


def heat_density(
    plates: Plates, encoder: Trained, mechanisms: Sequence[str], compartment: str, method: Method
) -> NDArray[np.float64]:
    """Of each treatment the share of heat in the compartment over its share of the window, mean over windows."""
    torch.set_num_threads(1)
    told = plates.wells.filter(
        pl.col("Metadata_Plate").is_in(plates.held_out), pl.col("Metadata_broad_sample").is_in(plates.unknown).not_()
    )
    asked = told.filter(pl.col("Metadata_moa").is_in(list(mechanisms)))["Metadata_Perturbation"].unique().to_list()
    vectors, names, parts, whose, masks = [], [], [], [], []
    for name in plates.held_out:
        plate = plates.windows[name]
        rows = drawn(plate.rows(told), 6 * told.height, 0, told)
        for keys, cells in plate.stream(rows):
            of = keys.join(told, on=WELL, how="left", maintain_order="left")["Metadata_Perturbation"]
            vectors.append(encoder.encode(cells, plates.scalings[name]))
            names += of.to_list()
            chosen = np.flatnonzero(of.is_in(asked).to_numpy())
            if len(chosen):
                parts.append(encoder.scaled(cells[chosen], plates.scalings[name]).crops)
                whose += of[chosen.tolist()].to_list()
                for inside, nuclei in plate.compartments(keys[chosen.tolist()]):
                    masks.append(nuclei if compartment == "nucleus" else inside & ~nuclei)
    classes = sorted(set(names))
    means = np.stack([np.concatenate(vectors)[np.array(names) == each].mean(axis=0) for each in classes])
    device = torch.device("cpu")
    scored, by_head = scored_by(encoder, means.astype(np.float32), device)
    known = list(encoder.card.classes) if by_head else classes
    numbers = np.array([known.index(each) for each in whose])
    heat = heat_maps(scored, np.concatenate(parts), None, numbers, method, None, device)
    mask = np.concatenate(masks)
    share, total = mask.mean(axis=(1, 2)), heat.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        density = (heat * mask).sum(axis=(1, 2)) / total / share
    return np.array([np.nanmean(density[np.array(whose) == each]) for each in asked])
