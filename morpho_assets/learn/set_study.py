"""The stage `sets`: heads over the cells of wells, fitted on the wells that they may see, and every well by them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.learn.config import TrainsOn
from morpho_assets.learn.cross_fit import groups_of_plates
from morpho_assets.learn.seen import names_of, wells_allowed
from morpho_assets.learn.sets import FittedSet, Lesson, SetConfig, fit_set, in_units_of
from morpho_assets.learn.windows import WELL, drawn
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.rejected import PLACE, rejected_sites

CELL = [*WELL, "Metadata_Site", "ObjectNumber"]
CONTROLS = 2_000
"""Cells of a plate's negative controls, at most, whose spread is the unit."""
AT_ONCE = 16
"""Wells whose cells are in memory."""
WHERE = re.compile(r"_(Location|Number|Parent|Children)_")
"""Measurements that say where a cell lies, or which one it is."""


def learn_sets(work: Work) -> None:
    """Fit every set of a study; writes its card and weights, its row of `encoders`, and its wells: `set_profiles`."""
    rows: list[dict[str, Any]] = []
    profiles = [table("set_profiles").empty()]
    sets: Mapping[str, SetConfig] = work.settings.sets
    cells: dict[tuple[str | None, bool], PlatesCells] = {}
    for number, (name, config) in enumerate(sets.items(), start=1):
        asked = config.encoder, config.features
        of = cells.setdefault(asked, PlatesCells(work, *asked))
        try:
            folds = _folds(of, config)
        except InputError as error:
            where = f"sets.{name}, {error.where}"
            raise InputError(f"study {work.key}", where, error.found, error.expected, error.do) from error
        rows += [_row(work, name, fold, held, fitted) for fold, (held, fitted) in enumerate(folds)]
        by_plate = {plate: fitted for held, fitted in reversed(folds) for plate in held or work.source}
        for plate in work.source:
            fitted = by_plate.get(plate, folds[0][1])
            profiles += [wells_by(work.key, name, fitted, keys, blocks) for keys, blocks in of.wells([plate])]
        work.progress("sets", number, len(sets))
    work.write("encoders", pl.DataFrame(rows, infer_schema_length=None) if rows else table("encoders").empty())
    work.write("set_profiles", pl.concat(profiles))


def _folds(of: PlatesCells, config: SetConfig) -> list[tuple[tuple[str, ...], FittedSet]]:
    """The plates that each fold sums up and has not seen (none: all), and the fold, on the axes of the first."""
    asked = config.trains_on.plates
    plates = list(of.work.source) if asked == "all" else list(asked)
    found: list[tuple[tuple[str, ...], FittedSet]] = []
    for held in groups_of_plates(plates, config.cross_fit):
        fitted = fit_set(config, of.lesson(config, held))
        if found:
            own, onto = (np.concatenate([each.encode(blocks) for blocks in of.of_controls()])
                         for each in (fitted, found[0][1]))  # fmt: skip
            fitted = fitted.turned(own, onto)
        found.append((held, fitted))
    return found


class PlatesCells:
    """The cells of a study's plates as a set reads them: embeddings, features, or both of the cells that have both, in
    units of each plate's negative controls."""

    def __init__(self, work: Work, encoder: str | None, features: bool) -> None:
        self.work, self.encoder, self.takes_features = work, encoder, features
        self.annotated = work.inputs.scan("wells", list(work.source)).collect()
        self.rejected = rejected_sites(work.inputs, work.source)
        self.measured: list[str] = []
        if features:
            shared = [feature_columns(work.inputs.scan("single_cells", [plate])) for plate in work.source]
            others = set(shared[0]).intersection(*shared[1:])
            self.measured = [name for name in shared[0] if name in others and not WHERE.search(name)]
        self.controls: dict[str, dict[str, NDArray[np.float64]]] = {}
        for plate in work.source:
            controls = self.annotated.filter(Metadata_Plate=plate, Metadata_control_type="negcon").select(WELL)
            chosen = drawn(self._keys(plate, controls), CONTROLS, seed=0)
            if not chosen.height:
                raise InputError(f"plate {plate}", "sets", "no cells in negative controls", "controls, whose spread is "
                                 "the unit", "Mark them, or name the study's plates without it.")  # fmt: skip
            self.controls[plate] = self._raw(plate, chosen)

    def lesson(self, config: SetConfig, held: Sequence[str] = ()) -> Lesson:
        """Cells drawn evenly from the wells that a set may see, on other plates than these."""
        trains: TrainsOn = config.trains_on
        plates = list(self.work.source) if trains.plates == "all" else list(trains.plates)
        unknown = sorted(set(plates) - set(self.work.source))
        if unknown:
            expected = f"plates of the study: {', '.join(self.work.source)}"
            raise InputError("sets", "trains_on.plates", unknown[0], expected, "Name these.")
        plates = [plate for plate in plates if plate not in held]
        allowed = wells_allowed(self.annotated.filter(pl.col("Metadata_Plate").is_in(plates)), trains)
        keys = {plate: self._keys(plate, allowed) for plate in plates}
        wells = pl.concat(each.select(WELL).unique() for each in keys.values())
        parts, found = [], []
        for plate, rows in keys.items():
            chosen = drawn(rows, config.max_cells, config.seed, wells)
            if chosen.height:
                found.append(chosen)
                parts.append(self.scaled(plate, self._raw(plate, chosen)))
        if not parts:
            raise InputError("sets", "trains_on", "no cells in the wells that it may see", "some", "Name others.")
        of = pl.concat(found).join(allowed, on=WELL, how="left", maintain_order="left")
        blocks = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        treatments = of["Metadata_Perturbation"].fill_null("").to_numpy().astype(str)
        names = np.array(names_of(of))
        return Lesson(blocks, self.names(blocks), names, of["Metadata_Plate"].to_numpy().astype(str), treatments)

    def names(self, blocks: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, ...]]:
        """Of each block the names of its numbers."""
        every = {"features": tuple(self.measured)}
        return {
            name: every.get(name, tuple(f"Embedding_{number}" for number in range(block.shape[1])))
            for name, block in blocks.items()
        }

    def of_controls(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Blocks of cells of negative controls, plate by plate."""
        for plate, controls in self.controls.items():
            yield self.scaled(plate, controls)

    def wells(
        self, plates: Sequence[str] | None = None
    ) -> Iterator[tuple[pl.DataFrame, dict[str, NDArray[np.float32]]]]:
        """Cells (their keys) of plates (none: all) with their blocks, AT_ONCE wells at a time."""
        for plate in plates or self.work.source:
            wells = self.annotated.filter(Metadata_Plate=plate).select(WELL)
            for part in wells.iter_slices(AT_ONCE):
                keys = self._keys(plate, part)
                if keys.height:
                    yield keys, self.scaled(plate, self._raw(plate, keys))

    def scaled(self, plate: str, blocks: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float32]]:
        return {name: in_units_of(block, self.controls[plate][name]) for name, block in blocks.items()}

    def _keys(self, plate: str, wells: pl.DataFrame) -> pl.DataFrame:
        """The cells of wells that have all that is read, sorted."""
        scans = [self._scan(plate, name).select(CELL) for name in self._blocks]
        found = scans[0].join(wells.lazy().select(WELL), on=WELL, how="semi")
        for other in scans[1:]:
            found = found.join(other, on=CELL, how="semi")
        return found.sort(CELL).collect().join(self.rejected, on=PLACE, how="anti", maintain_order="left")

    @property
    def _blocks(self) -> list[str]:
        return ["embedding"] * (self.encoder is not None) + ["features"] * self.takes_features

    def _scan(self, plate: str, name: str) -> pl.LazyFrame:
        if name == "features":
            return self.work.inputs.scan("single_cells", [plate])
        rows = self.work.inputs.scan("embeddings", [plate])
        return rows.filter(pl.col("study") == self.work.key, pl.col("encoder") == self.encoder)

    def _raw(self, plate: str, keys: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
        """The blocks of these cells, as they were measured."""
        found: dict[str, NDArray[np.float64]] = {}
        for name in self._blocks:
            columns = ["embedding"] if name == "embedding" else self.measured
            wells = keys["Metadata_Well"].unique().to_list()
            scan = self._scan(plate, name).filter(pl.col("Metadata_Well").is_in(wells)).select(*CELL, *columns)
            rows = keys.select(CELL).join(scan.collect(), on=CELL, how="left", maintain_order="left")
            if name == "embedding":
                found[name] = np.array(rows["embedding"].to_list(), np.float64)
            else:
                found[name] = to_matrix(rows, columns)
        return found


def wells_by(
    study: str, name: str, fitted: FittedSet, keys: pl.DataFrame, blocks: Mapping[str, NDArray[np.float32]]
) -> pl.DataFrame:
    """The rows of `set_profiles` of the wells of cells."""
    vectors = fitted.encode(blocks)
    rows = []
    for (plate, well), of in keys.with_row_index("at").group_by(WELL, maintain_order=True):
        profile = fitted.well(vectors[of["at"].to_numpy()])
        place = {"study": study, "set": name, "Metadata_Plate": plate, "Metadata_Well": well}
        rows.append({**place, "cells": of.height, "embedding": profile.tolist()})
    return pl.DataFrame(rows, schema=table("set_profiles").schema)


def _row(work: Work, name: str, fold: int, held: Sequence[str], fitted: FittedSet) -> dict[str, Any]:
    """The row of `encoders` of a set: with all that the encoder whose embedding it reads saw and was told."""
    card, (content, weights) = fitted.card, fitted.save()
    stem = f"{name}-{fold + 1}" if held else name
    before = _before(work, card.config.encoder)
    return {
        "study": work.key, "encoder": name, "fold": fold, "plates": list(held), "kind": "set",
        "untrained": card.config.untrained,
        "path": work.write_file("checkpoints", f"{stem}.json", content),
        "weights": work.write_file("checkpoints", f"{stem}.safetensors", weights),
        "sha256": hashlib.sha256(content + weights).hexdigest(), "numbers": card.numbers, "unit": "well",
        "pixel_size": None, "window_size": None, "agreement": None, "cells": card.seen.cells,
        "wells": sorted({*card.seen.wells, *before["wells"]}), "labels": sorted({*card.seen.labels, *before["labels"]}),
        "licence": "that of the plates it learned from", "verdict": card.verdict, "classes": 0,
        "chance": None, "majority": None, "top_1": None, "top_5": None, "balanced_accuracy": None, "train_top_1": None,
        "trivial_loss": card.losses.trivial, "best_epoch": card.losses.best_epoch, "split": card.seen.split,
        "train_loss": list(card.losses.train), "validation_loss": list(card.losses.validation), "redrawn": None,
    }  # fmt: skip


def _before(work: Work, encoder: str | None) -> dict[str, Sequence[str]]:
    if encoder is None:
        return {"wells": (), "labels": ()}
    rows = work.inputs.read("encoders", work.key).filter(encoder=encoder)
    return {name: rows[name].explode().drop_nulls().unique().to_list() for name in ("wells", "labels")}
