"""How far the distribution of a treatment's profiles lies from that of the controls: the energy distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.evaluate.against_controls import AgainstControlsConfig, contrasts, told_apart
from morpho_assets.evaluate.metrics import Evaluation

Matrix = npt.NDArray[np.float64]


class EnergyDistanceConfig(AgainstControlsConfig):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of a treatment's profiles X and the controls Y of their plates (Szekely &
    Rizzo 2013, 10.1016/j.jspi.2013.03.018), which is 0 for equal distributions alone; EFAAR's magnitude of an effect
    (Celik 2024, 10.1371/journal.pcbi.1012463, there from five replicates on). Assumes that a plate's wells can be
    exchanged where a treatment does nothing: position effects count as effects."""

    evaluator: Literal["energy_distance"] = "energy_distance"


def energy_distance(
    profiles: pl.DataFrame, features: Sequence[str], config: EnergyDistanceConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows energy_distance (mean over treatments; chance: its mean over exchanges of treated wells with controls of the
    plate) and fraction_told_apart; detail `distances`, as `told_apart`. Plates are brought to the scale of all their
    wells first. Without treatments and controls that share a plate: rows without value, n = 0."""
    config = config or EnergyDistanceConfig()
    found = [
        (each, energy_distances(each.values, each.treated))
        for each in contrasts(profiles, features, config, "energy_distance", seed)
    ]
    return told_apart(config.evaluator, "energy_distance", config.group, found, config.threshold, seed)


def energy_distances(values: Matrix, treated: npt.NDArray[np.bool_]) -> Matrix:
    """(labelings,) energy distances between the rows of (n, d) that each of (labelings, n) marks and the others.

    The means are over all pairs, each row with itself too, so that it is never negative and 0 for equal samples.
    """
    from scipy.spatial.distance import pdist, squareform

    distance = squareform(pdist(values))
    marked = treated.astype(float)
    sums = marked @ distance
    inside = (sums * marked).sum(axis=1)
    across = sums.sum(axis=1) - inside
    outside = distance.sum() - inside - 2 * across
    m = marked.sum(axis=1)
    n = marked.shape[1] - m
    return np.asarray(2 * across / (m * n) - inside / m**2 - outside / n**2)
