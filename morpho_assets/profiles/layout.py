"""Does the platemap fit the plate? Wells of one treatment resemble each other; under a map that is shifted, turned or
mirrored they do not, but would under the map set right.

What is known of a plate alone is how alike its replicates are, above all its control wells. Where they are no more
alike than any wells, and under one of a few mishaps of handling they clearly are, that mishap is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.profiles.features import feature_columns, to_matrix

PERMUTATIONS = 1000
LEAST_WELLS = 24
LEAST_REPLICATES = 12  # of one treatment, as a rule the controls: with fewer chance looks like a mishap
KNOWN_Z = 2.0  # replicates this much more alike than shuffled wells: the map fits
MISHAP_Z = 3.0  # under a mishap they are this much more alike
LEAST_GAIN = 2.5


@dataclass(frozen=True)
class MapFit:
    """How alike wells of the same treatment are, as z over shuffled wells: under the map, and under the best mishap."""

    z: float
    mishap: str
    mishap_z: float

    @property
    def fault(self) -> str | None:
        """A sentence where the plate fits a mishap of the map and not the map; None elsewhere."""
        if self.z >= KNOWN_Z or self.mishap_z < MISHAP_Z or self.mishap_z - self.z < LEAST_GAIN:
            return None
        return (
            f"the platemap fits the wells better {self.mishap}: wells of one treatment are then {self.mishap_z:.1f} "
            f"standard deviations more alike than shuffled ones, and {self.z:.1f} as it is; "
            "compare it with where the plate's controls are"
        )


def map_fit(profiles: pl.DataFrame, seed: int = 0) -> MapFit | None:
    """How well the treatments of one plate's `well_profiles` fit its wells, and how well after a mishap undone.

    Uses Metadata_Row, Metadata_Col, Metadata_Perturbation and the features, each brought to the plate's own median and
    spread, so that nothing depends on which wells are called controls. None with fewer than 24 wells that have cells,
    no features or no treatment in twelve wells.
    """
    wells = profiles.filter(
        pl.col("Metadata_Count_Cells").fill_null(1) > 0, pl.col("Metadata_Perturbation").is_not_null()
    )
    names = feature_columns(wells)
    replicates = wells["Metadata_Perturbation"].value_counts()["count"].to_list()
    if wells.height < LEAST_WELLS or not names or max(replicates) < LEAST_REPLICATES:
        return None
    values = _standardised(to_matrix(wells, names))
    if not values.shape[1]:
        return None
    closeness = _closeness(values)
    places = wells.select("Metadata_Row", "Metadata_Col").to_numpy()
    labels = wells["Metadata_Perturbation"].to_numpy()
    rng = np.random.default_rng(seed)
    scores = {name: _z(closeness, rows, moved, rng) for name, (rows, moved) in _mishaps(places, labels).items()}
    own = _z(closeness, np.arange(len(labels)), labels, rng)
    best = max(scores, key=lambda name: scores[name])
    return MapFit(own, best, scores[best])


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns without missing values as robust z within 5, so that no feature outweighs the others."""
    values = values[:, np.isfinite(values).all(axis=0)]
    centred = values - np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    return np.clip(centred[:, spread > 0] / spread[spread > 0], -5, 5)


def _closeness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(wells, wells): the rank of each pair among all pairs, 0 for the farthest and 1 for the nearest."""
    from scipy.spatial.distance import pdist, squareform
    from scipy.stats import rankdata

    ranks = rankdata(-pdist(values))
    return squareform(ranks / len(ranks))


def _mishaps(
    places: NDArray[np.int64], labels: NDArray[np.object_]
) -> dict[str, tuple[NDArray[np.intp], NDArray[np.object_]]]:
    """For each mishap the wells that it concerns, and what they would then hold."""
    last_row, last_column = places.max(axis=0)
    held = {(int(row), int(column)): label for (row, column), label in zip(places, labels, strict=True)}
    moves = {
        "moved by one column to the left": lambda r, c: (r, c + 1),
        "moved by one column to the right": lambda r, c: (r, c - 1),
        "moved by one row up": lambda r, c: (r + 1, c),
        "moved by one row down": lambda r, c: (r - 1, c),
        "turned by 180 degrees": lambda r, c: (last_row + 1 - r, last_column + 1 - c),
        "mirrored left to right": lambda r, c: (r, last_column + 1 - c),
        "mirrored top to bottom": lambda r, c: (last_row + 1 - r, c),
    }
    found = {}
    for name, move in moves.items():
        moved = [held.get(move(int(row), int(column))) for row, column in places]
        rows = np.array([index for index, label in enumerate(moved) if label is not None], dtype=np.intp)
        found[name] = (rows, np.array([moved[index] for index in rows], dtype=object))
    order = np.lexsort((places[:, 1], places[:, 0]))
    for name, step in {"one well back in its list": -1, "one well further in its list": 1}.items():
        shifted = np.empty_like(labels)
        shifted[order] = np.roll(labels[order], step)
        found[name] = (np.arange(len(labels)), shifted)
    return {name: pair for name, pair in found.items() if len(pair[0]) >= LEAST_WELLS}


def _z(
    closeness: NDArray[np.float64], rows: NDArray[np.intp], labels: NDArray[np.object_], rng: np.random.Generator
) -> float:
    """How much closer wells of one label are than with the labels shuffled, in standard deviations of the shuffles."""
    _, codes = np.unique(labels.astype(str), return_inverse=True)
    one, other = np.nonzero(np.triu(codes[:, None] == codes[None, :], 1))
    if not one.size:
        return 0.0
    among = closeness[np.ix_(rows, rows)]
    shuffled = np.array([among[order[one], order[other]].mean() for order in _orders(rng, len(rows))])
    spread = float(shuffled.std())
    return float((among[one, other].mean() - shuffled.mean()) / spread) if spread > 0 else 0.0


def _orders(rng: np.random.Generator, number: int) -> list[NDArray[np.intp]]:
    return [rng.permutation(number) for _ in range(PERMUTATIONS)]
