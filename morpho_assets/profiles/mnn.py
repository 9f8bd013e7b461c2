"""Mutual nearest neighbours: profiles of two batches that find each other say how far the batches are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix
from morpho_assets.profiles.rows import groups_of


class MnnConfig(CorrectorSettings):
    """Mutual nearest neighbours (Haghverdi 2018, 10.1038/nbt.4091). Assumes that some kind of profile is in every
    batch, and that a batch shifts it less than kinds differ, in a direction that kinds do not. Batches are taken by
    their number of profiles, largest first; each is brought to all before it. No control is told from other wells."""

    corrector: Literal["mnn"] = "mnn"
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    neighbours: int = Field(default=20, ge=1, description="nearest profiles of the other side, by cosine")
    width: float = Field(
        default=1.0, gt=0, description="squared width of the smoothing, between profiles brought to length 1"
    )


def correct_mnn(profiles: pl.DataFrame, features: Sequence[str], config: MnnConfig, seed: int = 0) -> Corrected:
    """Profiles less the smoothed distance of their batch from the batches before, in the same features. One batch comes
    back as it is, which is noted; so is how many pairs there were. InputError for missing values."""
    require_columns(profiles, config.batch, "mnn")
    values = complete_matrix(profiles, features, "mnn")
    batches = sorted(groups_of(profiles, config.batch), key=lambda batch: (-batch[1].size, batch[0]))
    if len(batches) < 2:
        return Corrected(profiles, tuple(features), ("a single batch: profiles as they were",))
    result, unit = values.copy(), _unit(values)
    done = batches[0][1]
    pairs = []
    for _, rows in batches[1:]:
        there, here = mutual_neighbours(unit[done], unit[rows], config.neighbours)
        smooth = _smoothing(unit[rows], here, config.width)
        for space in (result, unit):
            space[rows] += smooth @ _mean_steps(space[done][there] - space[rows][here], here)
        done = np.concatenate([done, rows])
        pairs.append(len(here))
    note = f"{min(pairs)} to {max(pairs)} pairs of mutual neighbours between a batch and those before"
    return Corrected(with_matrix(profiles, features, result), tuple(features), (note,))


def mutual_neighbours(one: Matrix, other: Matrix, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(row of `one`, row of `other`) of each pair that are among each other's `count` nearest, sorted by `other`."""
    closeness = other @ one.T - (other**2).sum(axis=1)[:, None] / 2 - (one**2).sum(axis=1) / 2
    near, back = _nearest(closeness, count), _nearest(closeness.T, count).T
    here, there = np.nonzero(near & back)
    return there, here


def _nearest(closeness: Matrix, count: int) -> npt.NDArray[np.bool_]:
    """(n, m): which columns are among the `count` closest of each row."""
    kept = min(count, closeness.shape[1])
    best = np.argpartition(-closeness, kept - 1, axis=1)[:, :kept]
    found = np.zeros(closeness.shape, dtype=bool)
    np.put_along_axis(found, best, True, axis=1)
    return found


def _smoothing(unit: Matrix, here: npt.NDArray[np.intp], width: float) -> Matrix:
    """(n, paired) weights, rows summing to 1, by which each profile takes the steps of the paired ones: a Gaussian of
    its distance from each, over how dense the paired ones lie there."""
    paired = unit[np.unique(here)]
    squared = (unit**2).sum(axis=1)[:, None] + (paired**2).sum(axis=1) - 2 * unit @ paired.T
    own = (paired**2).sum(axis=1)[:, None] + (paired**2).sum(axis=1) - 2 * paired @ paired.T
    density = np.exp(-np.maximum(own, 0) / width).sum(axis=0)
    weight = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / width) / density
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _mean_steps(steps: Matrix, here: npt.NDArray[np.intp]) -> Matrix:
    """(paired, d) mean of the steps (pairs, d) of each paired profile."""
    _, code, count = np.unique(here, return_inverse=True, return_counts=True)
    sums = np.zeros((count.size, steps.shape[1]))
    np.add.at(sums, code, steps)
    return np.asarray(sums / count[:, None])


def _unit(values: Matrix) -> Matrix:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0))
