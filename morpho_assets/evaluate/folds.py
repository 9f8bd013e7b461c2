"""Rankings among controls that a scale or correction was fitted on: fold by fold, each on a scale made without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.evaluate.average_precision import QueryScores, RetrievalConfig, average_precision, plate_codes
from morpho_assets.evaluate.similarity import similarity_to
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.rows import rows_where

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
PLACE = ("Metadata_Plate", "Metadata_Well", "Metadata_Row", "Metadata_Col", "Metadata_Site")


def places(profiles: pl.DataFrame) -> npt.NDArray[np.int64]:
    """(n,) the place of each profile by plate and well, whatever the order of rows; that of the rows without such
    columns."""
    names = [name for name in PLACE if name in profiles.columns]
    if not names:
        return np.arange(profiles.height)
    order = profiles.select(names).with_row_index("__row").sort(names, nulls_last=True, maintain_order=True)
    place = np.empty(profiles.height, dtype=np.int64)
    place[order["__row"].to_numpy()] = np.arange(profiles.height)
    return place


@dataclass(frozen=True)
class Folds:
    """`number` (n,) is the fold of each profile, 0 … `count` - 1, and `rivals` (n,) the controls that are folded: those
    that the steps of `refit` were fitted on, which the profiles are ranked against."""

    refit: Refit
    number: npt.NDArray[np.int64]
    rivals: Flags
    count: int

    def out(self, *folds: int) -> npt.NDArray[np.float32]:
        """(n, features) profiles made without the controls of these folds."""
        return self.refit.without(self.rivals & np.isin(self.number, folds))

    def apart(self, columns: Rows, kind: str, block_bytes: int) -> Iterator[tuple[Rows, npt.NDArray[np.float32]]]:
        """Yields (block of positions in `columns`, (block, columns) similarity) of profiles in a scale that neither of
        a pair has made: the folds of both are left out, of two of one fold also the next."""
        height = max(1, block_bytes // (8 * columns.size))
        number = self.number[columns]
        for fold in range(self.count):
            own = np.flatnonzero(number == fold)
            for start in range(0, own.size, height):
                block = own[start : start + height]
                similarity = np.empty((block.size, columns.size), dtype=np.float32)
                for other in range(self.count):
                    there = np.flatnonzero(number == other)
                    values = self.out(*sorted((fold, other if other != fold else (fold + 1) % self.count)))
                    similarity[:, there] = similarity_to(values[columns[block]], values[columns[there]], kind)
                yield block, similarity


def needed_folds(
    profiles: pl.DataFrame, config: RetrievalConfig, refit: Refit | None, seed: int
) -> tuple[Folds | None, bool]:
    """The folds of the controls among the rivals, if a step of `refit` was fitted on them and not on the queries; and
    whether all queries need them, as after a correction, or only those with a positive on their own plate."""
    if refit is None:
        return None, False
    queries = rows_where(profiles, config.queries).to_numpy()
    controls = rows_where(profiles, config.rivals.where).to_numpy() & ~queries
    for across_plates in (True, False):
        fitted = refit.fitted(across_plates)
        if (fitted & controls).any() and not (fitted & queries).any():
            return _drawn(refit, profiles, controls, plate_codes(profiles, config), config.folds, seed), across_plates
    return None, False


def fold_scores(folds: Folds, profiles: pl.DataFrame, config: RetrievalConfig, rows: Rows) -> QueryScores:
    """What the queries `rows` score in the mean over folds, each ranked among the fold's controls on a scale that was
    made without them. A fold without rivals for a query does not count for it; candidates are those of one fold."""
    every = [
        average_precision(folds.out(fold), profiles, config, rows, folds.rivals & (folds.number == fold))
        for fold in range(folds.count)
    ]
    ranked = np.array([scores.n_total > scores.n_positives for scores in every])

    def mean(name: str) -> npt.NDArray[np.float64]:
        values = np.where(ranked, [getattr(scores, name) for scores in every], 0.0).sum(axis=0)
        return np.where(ranked.any(axis=0), values / np.maximum(ranked.sum(axis=0), 1), np.nan)

    return QueryScores(rows, mean("ap"), mean("chance"), mean("n_positives"), mean("n_total"), every[0].beside)


def _drawn(
    refit: Refit, profiles: pl.DataFrame, rivals: Flags, plate: npt.NDArray[np.int64], count: int, seed: int
) -> Folds:
    """Folds of the `rivals` (n,) of each plate, as equal in size as can be, drawn at random; the other profiles are
    spread over the same folds, since a pair of them is compared as a pair of rivals is."""
    rng = np.random.default_rng(seed)
    place = places(profiles)
    number = np.zeros(profiles.height, dtype=np.int64)
    for code in np.unique(plate):
        for kind in (rivals, ~rivals):
            rows = np.flatnonzero((plate == code) & kind)
            number[rng.permutation(rows[np.argsort(place[rows])])] = np.arange(rows.size) % count
    return Folds(refit, number, rivals, count)
