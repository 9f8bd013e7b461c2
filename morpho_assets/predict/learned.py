"""The stage `models`: what is learned from the labels of each phenotype of a study, and how well it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.predict.config import PhenotypeConfig
from morpho_assets.predict.labelled import labelled_cells
from morpho_assets.predict.labels import LABEL
from morpho_assets.predict.models import Model, fit_model
from morpho_assets.predict.predictions import FINAL, SHUFFLED
from morpho_assets.predict.splits import Splits, split_rows
from morpho_assets.predict.tested import image_metrics, metrics_elsewhere, split_metrics


def learn_phenotypes(work: Work) -> None:
    """Write `labels`, `models`, `metrics` and the held-out part of `predictions` of every phenotype of a study.

    Scores stand beside those of always the commonest class, of classes drawn by their shares, of a model of shuffled
    features and of the number of cells in the image alone. A cell that was in training is never scored as test: by
    splits every cell is predicted by a model of others, and on plates whose labels do not train by the final one.
    InputError names the phenotype.
    """
    frames: dict[str, list[pl.DataFrame]] = {name: [] for name in ("labels", "models", "predictions", "metrics")}
    frames["shifts"] = []
    for number, (name, config) in enumerate(work.settings.phenotypes.items()):
        try:
            found = _learned(work, name, config)
        except InputError as error:
            where = f"phenotypes.{name}: {error.file}" + (f", {error.where}" if error.where else "")
            raise InputError(f"study {work.key}", where, error.found, error.expected, error.do) from error
        for key, frame in found.items():
            frames[key].append(frame)
        work.progress("phenotypes", number + 1, len(work.settings.phenotypes))
    place = {"study": pl.lit(work.key)}
    for key in ("labels", "models", "predictions", "metrics"):
        parts = [frame.with_columns(**place) for frame in frames[key] if frame.height]
        work.write(key, pl.concat(parts, how="diagonal_relaxed") if parts else table(key).empty())
    parts = [frame.with_columns(**place) for frame in frames["shifts"] if frame.height]
    work.write("feature_shifts", pl.concat(parts) if parts else table("feature_shifts").empty())


def _learned(work: Work, name: str, config: PhenotypeConfig) -> dict[str, pl.DataFrame]:
    found, shifts = labelled_cells(work, config)
    trains = np.flatnonzero(found.trains)
    if not len(trains):
        raise InputError("labels", "plates", "no labelled cell on the plates that train", "some",
                         f"Check the labels: {found.words}.")  # fmt: skip
    cells, values = found.cells[trains], found.values[trains]
    truth = cells[LABEL].to_list()
    metrics: list[dict[str, Any]] = []
    predictions: list[pl.DataFrame] = []
    notes: list[str] = []
    apart: tuple[str, ...] = ()
    kept = np.arange(len(trains))
    first: Splits | None = None
    for number, split in enumerate(config.splits):
        splits = split_rows(cells[kept], [truth[row] for row in kept], split, config.least if number == 0 else 2)
        if first is None:
            first, apart = splits, splits.apart
            inside = ~np.isin(truth, apart)
            kept = np.flatnonzero(inside)
            if apart:
                splits = split_rows(cells[kept], [truth[row] for row in kept], split, config.least)
                first = splits
        if splits.note:
            notes.append(splits.note)
        metrics += split_metrics(name, config, split, splits, cells[kept], values[kept], found, predictions)
    assert first is not None
    cells, values = cells[kept], values[kept]
    truth = cells[LABEL].to_list()
    units = first.units
    models = {}
    for by in (FINAL, SHUFFLED):
        rows = values if by == FINAL else np.random.default_rng([config.seed, 1]).permuted(values, axis=0)
        scale = config.features.scale
        models[by] = fit_model(config.model, rows, truth, found.features, list(units), first.by, scale)
    if config.each_image:
        metrics += image_metrics(name, config, models, values, cells)
    metrics += metrics_elsewhere(name, config, found, models, predictions)
    words = [found.words]
    if apart:
        words.append(f"classes of fewer than {config.least} units stand apart: {', '.join(apart)}")
    frame = pl.DataFrame([
        _model_row(work, name, by, model, [*words, *notes, *model.card.notes]) for by, model in models.items()
    ], table("models").schema)  # fmt: skip
    listed = found.listed.with_columns(model=pl.lit(name))
    if apart:
        outside = pl.col("class").is_in(list(apart))
        listed = listed.with_columns(trains=pl.col("trains") & ~outside)
    return {
        "labels": listed, "models": frame,
        "metrics": pl.DataFrame(metrics, table("metrics").schema),
        "predictions": pl.concat(predictions, how="diagonal_relaxed") if predictions else pl.DataFrame(),
        "shifts": shifts.with_columns(model=pl.lit(name)) if shifts.height else shifts,
    }  # fmt: skip


def _model_row(work: Work, name: str, by: str, model: Model, notes: Sequence[str]) -> dict[str, Any]:
    card, weights = model.save()
    chosen = {each: model.card.config.get(each) for each in type(model.config).CHOICES}
    return {
        "study": work.key, "model": name, "predicted_by": by, "kind": model.card.config["kind"],
        "path": work.write_file("models", f"{name}-{by}.json", card),
        "weights": work.write_file("models", f"{name}-{by}.safetensors", weights),
        "features": len(model.card.features), "classes": list(model.card.classes),
        "cells": [model.card.of_class[each] for each in model.card.classes], "units": list(model.card.units),
        "split": model.card.by, "settings": ", ".join(f"{key} {_plain(value)}" for key, value in chosen.items()),
        "notes": "; ".join(notes),
    }  # fmt: skip


def _plain(value: Any) -> str:
    return ", ".join(f"{each:g}" for each in value) if isinstance(value, list | tuple) else str(value)
