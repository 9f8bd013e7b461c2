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
from morpho_assets.profiles.rows import first_of_well, rows_where

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.floating]
ENOUGH = 12  # controls that the default scale of a plate needs (`NormalizeConfig`)
PARTS = 4, 8  # least and most folds
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
    """`number` (n,) is the fold of each profile, 0 … `count` - 1, and `controls` (n,) says which are in folds: those
    that rank, or made a scale. `plain` (n, features) are the profiles; `refit` says how they were made, None if no
    control had a part in it. `everywhere`: all queries are ranked in folds, not only those with positives beside them.
    """

    plain: Matrix
    refit: Refit | None
    number: npt.NDArray[np.int64]
    controls: Flags
    count: int
    everywhere: bool

    def out(self, *folds: int) -> Matrix:
        """(n, features) profiles made without the controls of these folds."""
        if self.refit is None:
            return self.plain
        return self.refit.without(self.controls & np.isin(self.number, folds))

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

    def scores(
        self, profiles: pl.DataFrame, config: RetrievalConfig, rows: Rows, without: int | None = None
    ) -> QueryScores:
        """What the queries `rows` score in the mean over folds, each ranked among the fold's controls on a scale that
        was made without them; `without` one fold altogether, as if there were no such controls. A fold without rivals
        for a query does not count for it; candidates are those of one fold."""
        left_out = () if without is None else (without,)
        every = [
            average_precision(
                self.out(*sorted((fold, *left_out))), profiles, config, rows, self.controls & (self.number == fold)
            )
            for fold in range(self.count)
            if fold != without
        ]
        ranked = np.array([scores.n_total > scores.n_positives for scores in every])

        def mean(name: str) -> npt.NDArray[np.float64]:
            values = np.where(ranked, [getattr(scores, name) for scores in every], 0.0).sum(axis=0)
            return np.where(ranked.any(axis=0), values / np.maximum(ranked.sum(axis=0), 1), np.nan)

        return QueryScores(rows, mean("ap"), mean("chance"), mean("n_positives"), mean("n_total"), every[0].beside)


def drawn_folds(
    matrix: Matrix, profiles: pl.DataFrame, config: RetrievalConfig, refit: Refit | None, seed: int
) -> tuple[Folds | None, bool]:
    """Folds of the controls that rank or that a step of `refit` was fitted on, None if there are none; and whether any
    ranking needs them, because a step was fitted on rivals and not on queries."""
    queries = rows_where(profiles, config.queries).to_numpy()
    rivals = rows_where(profiles, config.rivals.where).to_numpy() & ~queries
    used = [refit.fitted(across) & ~queries for across in (True, False)] if refit is not None else []
    fair = [refit is None or (refit.fitted(across) & queries).any() for across in (True, False)]
    unfair = [bool((rows & rivals).any()) and not even for rows, even in zip(used, fair, strict=False)]
    controls = np.logical_or.reduce([rivals, *used])
    if not controls.any():
        return None, False
    everywhere = any(unfair[:1]) or (refit is not None and refit.together and bool(rivals.any()))
    made_by = refit if any(rows.any() for rows in used) else None
    plate = plate_codes(profiles, config)
    count = config.folds or _parts(plate[controls & (first_of_well(profiles) == np.arange(profiles.height))])
    number = _drawn(profiles, controls, plate, count, seed)
    return Folds(matrix, made_by, number, controls, count, everywhere), any(unfair) or everywhere


def _parts(plates: npt.NDArray[np.int64]) -> int:
    """Folds for controls on these plates (one code each): pairs are compared without two folds, and fewer than ENOUGH
    controls make a noisy scale, which hides effects. Every part more costs time, and rivals of a fold."""
    fewest = int(np.unique(plates, return_counts=True)[1].min())
    wanted = fewest if fewest <= ENOUGH else np.ceil(2 * fewest / (fewest - ENOUGH))
    return int(np.clip(wanted, *PARTS))


def _drawn(
    profiles: pl.DataFrame, controls: Flags, plate: npt.NDArray[np.int64], count: int, seed: int
) -> npt.NDArray[np.int64]:
    """(n,) a fold of each profile: the controls of each plate, and its other profiles, in parts as equal as can be, at
    random. The others have one since a pair of them is compared as a pair of controls is. The sites of a well have one
    fold: those that stay would tell of those that are left out."""
    rng = np.random.default_rng(seed)
    place, well = places(profiles), first_of_well(profiles)
    first = well == np.arange(profiles.height)
    number = np.zeros(profiles.height, dtype=np.int64)
    for code in np.unique(plate):
        for kind in (controls, ~controls):
            rows = np.flatnonzero((plate == code) & kind & first)
            number[rng.permutation(rows[np.argsort(place[rows])])] = np.arange(rows.size) % count
    return number[well]
