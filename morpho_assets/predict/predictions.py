"""The stage `predictions`: every cell of a study's plates by the models of its phenotypes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.lake.work import Work
from morpho_assets.predict.cells import CellReader
from morpho_assets.predict.labels import CELL
from morpho_assets.predict.models import Model, load_model

Floats = NDArray[np.float64]
FINAL, SHUFFLED = "model", "shuffled"
"""By what rows of `predictions` were made: the final model, or that of shuffled features; others are held out."""
PROBABILITY = "Probability_"


def held_out_by(by: str) -> str:
    """How `predictions` calls rows by models that did not see their image, well …"""
    return f"held out by {by}"


def predict_cells(work: Work) -> None:
    """Write `predictions`: every cell of the study's plates by the final models, and by those of shuffled features
    where treatments are called. Plate by plate, a few wells at a time."""
    models = work.inputs.read("models", work.key)
    labels = work.inputs.read("labels", work.key)
    readers = {
        name: [CellReader(work.inputs, work.key, plate, config.features) for plate in work.source]
        for name, config in work.settings.phenotypes.items()
    }
    total = sum(len(each) for each in readers.values())
    # of all models the same columns, so that rows of one after the other make one file
    classes = list(dict.fromkeys(each for of_model in models["classes"] for each in of_model))
    columns = {f"{PROBABILITY}{each}": pl.Float32 for each in classes}

    def frames() -> Iterator[pl.DataFrame]:
        done = 0
        for name, config in work.settings.phenotypes.items():
            fitted = {
                row["predicted_by"]: load_model(
                    work.lake.read_bytes(row["path"]), work.lake.read_bytes(row["weights"]), row["path"]
                )
                for row in models.filter(model=name).iter_rows(named=True)
            }
            wanted = [FINAL, SHUFFLED] if config.calls.shuffled else [FINAL]
            given = labels.filter(model=name, status="given").select(*CELL, label="class", in_training="trains")
            given = given.unique(CELL, keep="first", maintain_order=True)
            for reader in readers[name]:
                features = fitted[FINAL].card.features
                for keys, values in reader.batches(features):
                    for by in wanted:
                        rows = prediction_rows(name, by, keys, fitted[by], _checked(fitted[by], reader, values))
                        marks = given if by == FINAL else given.clear()
                        rows = rows.join(marks, on=CELL, how="left", maintain_order="left")
                        yield rows.select(
                            pl.lit(work.key).alias("study"), pl.exclude("^Probability_.*$", "in_training"),
                            pl.col("in_training").fill_null(False),
                            *(pl.col(name) if name in rows.columns else pl.lit(None, kind).alias(name)
                              for name, kind in columns.items()),
                        )  # fmt: skip
                done += 1
                work.progress("predictions", done, total)

    work.write_stream("predictions", frames())


def prediction_rows(
    name: str, by: str, keys: pl.DataFrame, model: Model | Sequence[str], probability: Floats
) -> pl.DataFrame:
    """Rows of `predictions`: the keys of cells with the most probable class of `probability` (n, k), its probability
    and all of them; a cell whose probabilities are NaN has no class. `model` is a model, or its classes."""
    classes = model.card.classes if isinstance(model, Model) else model
    known = ~np.isnan(probability).any(axis=1)
    best = np.where(known, np.nan_to_num(probability, nan=-1).argmax(axis=1), 0)
    columns = {f"{PROBABILITY}{each}": probability[:, i].astype(np.float32) for i, each in enumerate(classes)}
    called = np.asarray(classes)[best] if len(best) else np.empty(0, dtype=str)
    return keys.select(CELL).with_columns(
        pl.lit(name).alias("model"), pl.lit(by).alias("predicted_by"),
        pl.when(pl.Series(known)).then(pl.Series(called, dtype=pl.String)).alias("class"),
        pl.Series("probability", probability.max(axis=1) if len(best) else [], dtype=pl.Float32),
        **{column: pl.Series(values, dtype=pl.Float32) for column, values in columns.items()},
    )  # fmt: skip


def _checked(model: Model, reader: CellReader, values: Floats) -> Floats:
    """Probabilities; InputError where the plate lacks features and the model does not fill them."""
    there = set(reader.features)
    absent = [name for name in model.card.features if name not in there]
    if absent and model.config.missing == "error":
        shown = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
        raise InputError(f"plate {reader.plate}", "features", f"no {shown} ({len(absent)} features)",
                         "all features of the model", "Measure them, or give the model `missing: mean`.")  # fmt: skip
    return model.predict(values)
