"""What an assay can be predicted from without any biology: the number of cells, the place on the plate, the batch, the
nearest active in structure, labels that were shuffled.

Each is learned and tested exactly as modalities are. Cell count alone predicts many assays (Seal 2026,
10.1038/s41467-026-68725-5).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.predict.activity.modalities import Modality

Floats = NDArray[np.floating]
COUNT, POSITION, BATCH = "cell count alone", "plate position alone", "batch alone"
NEAREST, MAJORITY, SHUFFLED = "nearest active by Tanimoto", "majority", "shuffled labels"
NUISANCES = (COUNT, POSITION, BATCH)
"""Baselines which, where they reach a score, say that it may be no biology."""


def nuisances(compounds: pl.DataFrame) -> list[Modality]:
    """The nuisances that a table of compounds has columns for: `cell_count`; `row` and `column` (from 1); `plate` and
    `batch`. Each as a modality; a compound that lacks it has NaN."""
    found = []
    if _has(compounds, "cell_count"):
        count = np.log(np.maximum(compounds["cell_count"].cast(pl.Float64).fill_null(np.nan).to_numpy(), 0.5))
        found.append(Modality(COUNT, np.column_stack([count, (count - np.nanmean(count)) ** 2])))
    if _has(compounds, "row") and _has(compounds, "column"):
        found.append(Modality(POSITION, _position(compounds)))
    sets = [name for name in ("batch", "plate") if _has(compounds, name) and compounds[name].n_unique() > 1]
    if sets:
        found.append(Modality(BATCH, np.hstack([_one_hot(compounds[name]) for name in sets]), bits=True))
    return found


def shuffled_labels(labels: Floats, seed: int = 0) -> Floats:
    """(n, a) the labels of each assay dealt anew among the compounds that it tested."""
    found = labels.copy()
    for assay in range(labels.shape[1]):
        rng = np.random.default_rng([seed, assay])
        tested = np.flatnonzero(np.isfinite(labels[:, assay]))
        found[tested, assay] = labels[rng.permutation(tested), assay]
    return found


def _position(compounds: pl.DataFrame) -> Floats:
    row, column = (compounds[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("row", "column"))
    unknown = np.isnan(row) | np.isnan(column)
    if unknown.all():
        return np.full((len(row), 1), np.nan)
    edges = [np.minimum(each - np.nanmin(each), np.nanmax(each) - each) for each in (row, column)]
    distance = np.minimum(*edges)
    near = [(distance <= reach).astype(float) for reach in (0, 1)]
    found = np.column_stack([row, column, row**2, column**2, distance, *near])
    return np.where(unknown[:, None], np.nan, found)


def _one_hot(values: pl.Series) -> Floats:
    text = values.cast(pl.String)
    names = text.drop_nulls().unique().sort().to_list()
    found = np.stack([(text == name).fill_null(False).to_numpy().astype(float) for name in names], axis=1)
    return np.where(text.is_null().to_numpy()[:, None], np.nan, found)


def _has(compounds: pl.DataFrame, name: str) -> bool:
    return name in compounds.columns and compounds[name].count() > 0
