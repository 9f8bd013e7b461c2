"""Cells of a plate as rows of features, read from the lake a few wells at a time, on the scale a model wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.lake.lake import Snapshot
from morpho_assets.predict.config import CellFeaturesConfig
from morpho_assets.predict.labels import CELL
from morpho_assets.profiles.features import feature_columns

Floats = NDArray[np.float64]
AT_ONCE = 40_000
"""Cells that are read together, about: whole wells."""


@dataclass(frozen=True)
class CellReader:
    """The cells of one plate of a study."""

    inputs: Snapshot
    study: str
    plate: str
    config: CellFeaturesConfig

    @cached_property
    def measured(self) -> list[str]:
        """Names of the measurements, in the table's order."""
        if not self.config.prefixes:
            return []
        names = feature_columns(self._cells(), self.config.prefixes)
        return [name for name in names if not any(part in name for part in self.config.leave_out)]

    @cached_property
    def lengths(self) -> dict[str, int]:
        """The length of each encoder's embedding; 0 on a plate without cells."""
        found = {}
        for encoder in self.config.encoders:
            first = self._vectors(encoder).head(1).collect()
            found[encoder] = len(first["embedding"][0]) if first.height else 0
        return found

    @property
    def features(self) -> list[str]:
        """Measurements first, then each encoder's numbers: `Embedding_<encoder>_<number>`."""
        embedded = [f"Embedding_{name}_{i}" for name, length in self.lengths.items() for i in range(length)]
        return self.measured + embedded

    @cached_property
    def sizes(self) -> pl.DataFrame:
        """Cells of each well, in the table's order."""
        table = self._cells() if self.config.prefixes else self._vectors(self.config.encoders[0])
        return table.select("Metadata_Well").collect().group_by("Metadata_Well", maintain_order=True).len()

    def batches(self, features: Sequence[str]) -> Iterator[tuple[pl.DataFrame, Floats]]:
        """(keys, values of `features` on the plate's scale; NaN for one that the plate lacks) of about AT_ONCE cells
        after the other: whole wells, and every cell once. The next are read while the caller is at these."""
        groups = list(self._together(self.sizes["Metadata_Well"].to_list()))
        if groups and self.config.scale == "controls":
            self._scale(features)
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.of_wells, groups[0], features) if groups else None
            for wells in groups[1:]:
                assert coming is not None
                ready, coming = coming.result(), ahead.submit(self.of_wells, wells, features)
                yield ready
            if coming is not None:
                yield coming.result()

    def _together(self, wells: Sequence[str]) -> Iterator[list[str]]:
        """The wells in their order, as many at a time as have about AT_ONCE cells."""
        size = dict(self.sizes.iter_rows())
        group: list[str] = []
        total = 0
        for well in wells:
            if group and total + size.get(well, 0) > AT_ONCE:
                yield group
                group, total = [], 0
            group.append(well)
            total += size.get(well, 0)
        if group:
            yield group

    def of_wells(
        self, wells: Sequence[str], features: Sequence[str], cells: pl.DataFrame | None = None
    ) -> tuple[pl.DataFrame, Floats]:
        """The same of some wells, or of those of `cells` (keys) in them."""
        keys, values = self._read(wells, features, cells)
        if self.config.scale == "controls" and len(values):
            centre, spread = self._scale(features)
            if not values.flags.writeable:
                values = values.copy()
            values -= centre
            values /= spread
        return keys, values

    def _read(
        self, wells: Sequence[str], features: Sequence[str], cells: pl.DataFrame | None = None
    ) -> tuple[pl.DataFrame, Floats]:
        here = pl.col("Metadata_Well").is_in(list(wells))
        measured = set(self.measured) & set(features)
        frame = None
        if self.config.prefixes:
            wanted = [name for name in features if name in measured]
            frame = self._some(self._cells().filter(here).select(*CELL, *wanted), cells)
        for encoder in self.config.encoders:
            rows = self._vectors(encoder).filter(here).select(*CELL, pl.col("embedding").alias(f"of {encoder}"))
            vectors = self._some(rows, cells)
            frame = vectors if frame is None else frame.join(vectors, on=CELL, how="inner", maintain_order="left")
        assert frame is not None
        wanted = [name for name in features if name in measured]
        # column after column, as the table has them: nothing is turned round on the way to a product with them
        found = frame.select(pl.col(wanted).cast(pl.Float64)).to_numpy(order="fortran") if wanted else None
        if found is not None and len(wanted) == len(features):
            values = found
        else:
            place = {name: number for number, name in enumerate(features)}
            values = np.full((frame.height, len(features)), np.nan)
            if found is not None:
                values[:, [place[name] for name in wanted]] = found
        for encoder, length in self.lengths.items():
            place = {name: number for number, name in enumerate(features)}
            columns = [place.get(f"Embedding_{encoder}_{i}", -1) for i in range(length)]
            kept = [i for i, column in enumerate(columns) if column >= 0]
            if kept and frame.height:
                vectors_of = np.array(frame[f"of {encoder}"].to_list(), dtype=float)
                values[:, [columns[i] for i in kept]] = vectors_of[:, kept]
        known = np.isfinite(values)
        if not known.all():
            values = np.where(known, values, np.nan)
        return frame.select(CELL), values

    def _scale(self, features: Sequence[str]) -> tuple[Floats, Floats]:
        """(mean, standard deviation) of each feature over the cells of the plate's negative controls, 1 where there is
        no spread. InputError for a plate without any."""
        known: dict[tuple[str, ...], tuple[Floats, Floats]] = self._scales
        key = tuple(features)
        if key not in known:
            wells = self.inputs.read("wells", self.plate).filter(Metadata_control_type="negcon")["Metadata_Well"]
            count, total, squares = 0.0, np.zeros(len(features)), np.zeros(len(features))
            number = np.zeros(len(features))
            first: Floats | None = None
            for group in self._together(wells.sort().to_list()):
                _, values = self._read(group, features)
                if not len(values):
                    continue
                if first is None:  # some are enough: what is taken off keeps sums of squares exact
                    some = values[:1000]
                    first = np.nan_to_num(np.nanmean(np.vstack([some, np.zeros_like(some[:1])]), axis=0))
                away = values - first
                there = np.isfinite(away)
                if not there.all():
                    away = np.where(there, away, 0)
                count += len(values)
                number += there.sum(axis=0)
                total += away.sum(axis=0)
                squares += np.einsum("ij,ij->j", away, away)
            if count < 2 or first is None:
                raise InputError(f"plate {self.plate}", "features.scale", "no cells in negative controls",
                                 "cells to scale by", "Mark the plate's negative controls, or give the phenotype's "
                                 "features `scale: training`.")  # fmt: skip
            mean = np.divide(total, number, out=np.zeros_like(total), where=number > 0)
            variance = np.divide(squares, number, out=np.zeros_like(total), where=number > 0) - mean**2
            spread = np.sqrt(np.maximum(variance, 0))
            flat = spread <= 1e-9 * np.maximum(np.abs(first + mean), 1e-9)
            known[key] = first + mean, np.where(flat, 1.0, spread)
        return known[key]

    @cached_property
    def _scales(self) -> dict[tuple[str, ...], tuple[Floats, Floats]]:
        return {}

    def _cells(self) -> pl.LazyFrame:
        return self.inputs.scan("single_cells", [self.plate])

    def _vectors(self, encoder: str) -> pl.LazyFrame:
        rows = self.inputs.scan("embeddings", [self.plate])
        return rows.filter(pl.col("study") == self.study, pl.col("encoder") == encoder)

    @staticmethod
    def _some(rows: pl.LazyFrame, cells: pl.DataFrame | None) -> pl.DataFrame:
        if cells is not None:
            rows = rows.join(cells.lazy().select(CELL), on=CELL, how="semi", maintain_order="left")
        return rows.collect()
