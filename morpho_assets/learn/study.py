"""The encoder stages of a study: fitting on windows of its plates, embeddings, maps of spaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.compute import Progress
from morpho_assets.errors import InputError
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.learn.cells import Cells, joined
from morpho_assets.learn.crops import Scaling
from morpho_assets.learn.cross_fit import WINDOWS as ALIGNED_BY
from morpho_assets.learn.cross_fit import aligned, groups_of_plates
from morpho_assets.learn.encoders import Trained, fit_encoder, load_encoder, save_encoder
from morpho_assets.learn.kinds import EncoderConfig
from morpho_assets.learn.projection import project
from morpho_assets.learn.seen import encoder_of_plate
from morpho_assets.learn.windows import WELL, PlateWindows, controls_of, drawn, one_pixel_size
from morpho_assets.profiles.rejected import PLACE, rejected_sites
from morpho_assets.profiles.study import as_wells, read_space, space_features, space_steps

SCORES = ("chance", "majority", "top_1", "top_5", "balanced_accuracy", "train_top_1")
"""Of a classifier's naming of treatments, as columns of `encoders`."""


def train_encoder_of_study(work: Work) -> None:
    """Fit one encoder of a study (the second part of the partition) on cells, tiles or sites of its plates, drawn
    evenly from the wells that it may see; writes its card, its weights and its row of `encoders`. A cross-fitted one
    has such files and a row for each group of plates."""
    name, config = work.partition.part, work.settings
    plates = {key: PlateWindows.of(work.inputs, source.store(), key, config) for key, source in work.source.items()}
    allowed = _allowed(work.inputs.scan("wells", list(plates)).collect(), config)
    rejected = rejected_sites(work.inputs, plates)
    size = one_pixel_size({key: plate.pixel_size for key, plate in plates.items()})
    groups = groups_of_plates(list(plates), config.cross_fit)
    scalings = {key: scaling for key, plate in plates.items() if (scaling := plate.scaling()) is not None}
    folds: list[Trained] = []
    for number, held in enumerate(groups):
        label = f"encoder {name}" + (f", fold {number + 1} of {len(groups)}" if len(groups) > 1 else "")
        report = _epochs(work.progress, label, getattr(config, "epochs", 1))
        seen = {key: plate for key, plate in plates.items() if key not in held}
        windows, wells, treatments, controls = _lesson(seen, allowed, rejected, config, label)
        draw = folds[0].card.drawn_seed if folds else None  # one network for all folds, or none of their axes is shared
        keep = KeptInWork(work, f"{number}.training")
        fold = fit_encoder(config, windows, treatments, wells, None, scalings, report, size, draw, controls, keep)
        folds.append(_with_wells_of_draw(fold, folds[0]) if draw is not None else fold)
    if len(folds) > 1:
        folds = aligned(folds, *_controls(plates, folds, scalings))
    rows = []
    for number, (fold, held) in enumerate(zip(folds, groups, strict=True)):
        card, weights = save_encoder(fold)
        stem = name if len(folds) == 1 else f"{name}-{number + 1}"
        files = {
            "path": work.write_file("checkpoints", f"{stem}.json", card),
            "weights": work.write_file("checkpoints", f"{stem}.safetensors", weights),
        }
        place = {"study": work.key, "encoder": name, "fold": number, "plates": list(held)}
        rows.append({**place, **files, **_row(fold)})
    work.write("encoders", pl.DataFrame(rows, infer_schema_length=None))


def _lesson(
    plates: Mapping[str, PlateWindows], allowed: pl.DataFrame, rejected: pl.DataFrame, config: EncoderConfig, label: str
) -> tuple[Cells, list[str], list[str], list[bool]]:
    """Windows drawn evenly from the allowed wells of these plates, but rejected sites, and of each its well, its
    treatment, and whether it lies in a negative control."""
    seen = {key: plate.rows(allowed).join(rejected, on=PLACE, how="anti") for key, plate in plates.items()}
    wells = pl.concat(rows.select(WELL).unique() for rows in seen.values())
    parts, names = [], []
    for key, plate in plates.items():
        rows = drawn(seen[key], config.max_cells, config.seed, wells)
        for keys, windows in plate.stream(rows):
            parts.append(windows)
            names += _names(keys)
    if len(names) < 2:
        do = "Check the masks of the wells that `trains_on` names."
        raise InputError(label, f"{config.unit}s", str(len(names)), f"at least two {config.unit}s", do)
    treatments = dict(zip(_names(allowed), allowed["Metadata_Perturbation"].fill_null(""), strict=True))
    controls = set(_names(allowed.filter(Metadata_control_type="negcon")))
    return joined(parts), names, [treatments[well] for well in names], [well in controls for well in names]


def _controls(
    plates: Mapping[str, PlateWindows], folds: Sequence[Trained], scalings: Mapping[str, Scaling]
) -> tuple[list[NDArray[np.float32]], list[str]]:
    """The embeddings of windows of all plates' negative controls by each fold, and the well of each window."""
    controls = {key: plate.rows(controls_of(plate.inputs, key)) for key, plate in plates.items()}
    wells = pl.concat(rows.select(WELL).unique() for rows in controls.values())
    found: list[list[NDArray[np.float32]]] = [[np.empty((0, fold.card.numbers), np.float32)] for fold in folds]
    names: list[str] = []
    for key, plate in plates.items():
        for keys, windows in plate.stream(drawn(controls[key], ALIGNED_BY, 0, wells)):
            names += _names(keys)
            for vectors, fold in zip(found, folds, strict=True):
                vectors.append(fold.encode(windows, scalings.get(key)))
    return [np.concatenate(vectors) for vectors in found], names


def _with_wells_of_draw(fold: Trained, first: Trained) -> Trained:
    """An untrained fold whose draw was chosen on the wells of the first has seen those too."""
    wells = tuple(sorted({*fold.card.seen.wells, *first.card.seen.wells}))
    seen = fold.card.seen.model_copy(update={"wells": wells})
    return replace(fold, card=fold.card.model_copy(update={"seen": seen}))


@dataclass(frozen=True)
class KeptInWork:
    """A training that is kept beside the work's other unfinished parts."""

    work: Work
    name: str

    def read(self) -> bytes | None:
        return self.work.kept(self.name)

    def write(self, content: bytes) -> None:
        self.work.keep(self.name, content)


def _row(trained: Trained) -> dict[str, Any]:
    """An encoder's row of `encoders`, but its name and its files."""
    card = trained.card
    return {
        "kind": card.kind,
        "untrained": card.config.untrained,
        "sha256": card.sha256,
        "numbers": card.numbers,
        "unit": card.inputs.unit,
        "pixel_size": card.inputs.pixel_size,
        "window_size": card.inputs.window_size,
        "agreement": card.alignment.agreement if card.alignment else None,
        "cells": card.seen.cells,
        "wells": list(card.seen.wells),
        "labels": list(card.seen.labels),
        "classes": len(card.classes),
        "verdict": card.verdict,
        **{name: card.scores.get(name) for name in SCORES},
        "best_epoch": card.losses.best_epoch,
        "trivial_loss": card.losses.trivial,
        "split": card.seen.split,
        "train_loss": list(card.losses.train),
        "validation_loss": list(card.losses.validation),
        "licence": card.licence,
    }


def embed_plate(work: Work) -> None:
    """Embed every cell, tile or site of a plate with one encoder (the second part of the partition: study/encoder)."""
    study, _, name = work.partition.part.partition("/")
    row = encoder_of_plate(work.inputs.read("encoders", study).filter(encoder=name), work.key)
    card, weights = (work.lake.read_bytes(row[part]) for part in ("path", "weights"))
    encoder = load_encoder(card, weights, file=row["path"])
    config = encoder.card.config.model_copy(update={"channels": encoder.card.inputs.channels})
    plate = PlateWindows.of(work.inputs, work.source.store(), work.key, config)
    one_pixel_size({work.key: plate.pixel_size}, encoder.card.inputs.pixel_size)
    scaling = plate.scaling()

    def frames() -> Iterator[pl.DataFrame]:
        rows = plate.rows()
        done = 0
        for keys, windows in plate.stream(rows):
            yield _embedded(study, name, config.unit, keys, encoder.encode(windows, scaling))
            done += keys.height
            work.progress(f"embeddings {name}", done, rows.height)

    of_cells = config.unit == "cell"
    work.write_stream("embeddings" if of_cells else "tile_embeddings", frames())
    other = "tile_embeddings" if of_cells else "embeddings"
    work.write(other, table(other).empty())


def _embedded(study: str, name: str, unit: str, keys: pl.DataFrame, vectors: NDArray[np.float32]) -> pl.DataFrame:
    """The rows of `embeddings`, or of `tile_embeddings`, of these windows."""
    embedding = pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])).arr.to_list()
    if unit == "cell":
        places = [pl.col("number").alias("ObjectNumber")]
    else:
        corner = [pl.col(column).cast(pl.Int32).alias(f"first_{column}") for column in ("row", "column")]
        places = [pl.col("number").alias("Metadata_Tile"), *corner]
    labels = [pl.lit(study).alias("study"), pl.lit(name).alias("encoder")]
    return keys.select(*labels, *WELL, "Metadata_Site", *places, embedding)


def project_spaces(work: Work) -> None:
    """Write `projections`: maps of each space of a study after its last step, of sites by their wells."""
    study = work.settings
    frames = [table("projections").empty()]
    for space, names in space_steps(study.spaces, study.corrections).items():
        wells = as_wells(read_space(work.inputs, work.key, space, names[-1]))
        features = space_features(wells)
        if len(features) < 3:
            continue  # two numbers need no map
        keys, values = wells.select("study", "space", "step", *WELL), wells.select(features).fill_null(0).to_numpy()
        for method in study.projection.methods:
            points = project(values, study.projection.seed, method)
            place = {axis: pl.Series(points[:, i], dtype=pl.Float32) for i, axis in enumerate("xy")}
            frames.append(keys.with_columns(**place, method=pl.lit(method)))
    work.write("projections", pl.concat(frames, how="diagonal"))


def _names(wells: pl.DataFrame) -> list[str]:
    return wells.select(pl.concat_str(WELL, separator=" ")).to_series().to_list()


def _allowed(wells: pl.DataFrame, config: EncoderConfig) -> pl.DataFrame:
    """The wells that the encoder may see. InputError for one that is named and not there."""
    asked = config.trains_on.wells
    unknown = sorted(set(config.trains_on.without) - set(wells["Metadata_Perturbation"].drop_nulls()))
    if unknown:
        do = "Name treatments as Metadata_Perturbation does."
        raise InputError("encoder", "trains_on.without", unknown[0], "treatments of its plates", do)
    wells = wells.filter(pl.col("Metadata_Perturbation").is_in(list(config.trains_on.without)).not_().fill_null(True))
    if asked == "all":
        return wells
    if asked == "controls":
        return wells.filter(Metadata_control_type="negcon")
    missing = sorted(set(asked) - set(wells["Metadata_Well"]))
    if missing:
        raise InputError("encoder", "trains_on.wells", f"the well {missing[0]}", "wells of its plates", "Name others.")
    return wells.filter(pl.col("Metadata_Well").is_in(list(asked)))


def _epochs(progress: Progress, label: str, total: int) -> Any:
    return lambda epoch, train, validation: progress(label, epoch, total)
