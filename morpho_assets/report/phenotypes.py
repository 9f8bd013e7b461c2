"""The chapter "Phenotypes": how well cells are called, beside what knows nothing, and which treatments change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.imaging.sites import SiteReader, complete_sites
from morpho_assets.lake.lake import Snapshot
from morpho_assets.predict.labels import CELL
from morpho_assets.predict.predictions import FINAL, PROBABILITY, SHUFFLED, held_out_by
from morpho_assets.predict.scores import confusion_counts, precision_recall
from morpho_assets.predict.tested import ELSEWHERE
from morpho_assets.report.coefficients import coefficient_pictures
from morpho_assets.report.figures import (
    cell_strips,
    composite,
    confusion_chart,
    plate_heatmap,
    precision_recall_chart,
)
from morpho_assets.report.page import Picture, Section, Table, frame_table, number

if TYPE_CHECKING:
    from morpho_assets.predict.config import PhenotypeConfig
    from morpho_assets.studies.model import Study

MOST_CLASSES = 6  # of which cells are shown
CELLS_SHOWN = 10  # from one end of a phenotype to the other
MOST_MAPS = 4  # plate maps of enrichment
OVERALL = ("weighted_F1", "balanced_accuracy", "accuracy", "top_5", "rank_1", "rank_2")


def phenotype_sections(
    inputs: Snapshot, study: Study, readers: Mapping[str, SiteReader], metrics: pl.DataFrame
) -> list[Section]:
    """A chapter per phenotype of the study: scores, confusion, precision and recall, cells from one end of a phenotype
    to the other, and enrichment as plate maps."""
    return [_section(inputs, study.name, name, config, readers, metrics) for name, config in study.phenotypes.items()]


def _section(
    inputs: Snapshot, study: str, name: str, config: PhenotypeConfig, readers: Mapping[str, SiteReader],
    metrics: pl.DataFrame,
) -> Section:  # fmt: skip
    model = inputs.read("models", study).row(
        by_predicate=(pl.col("model") == name) & (pl.col("predicted_by") == FINAL), named=True
    )
    of_model = metrics.filter(
        (pl.col("evaluator") == "phenotypes")
        & ((pl.col("variant") == name) | pl.col("variant").str.starts_with(f"{name}, "))
    )
    predictions = inputs.scan("predictions", [study]).filter(pl.col("model") == name)
    held = predictions.filter(pl.col("predicted_by").str.starts_with("held out")).collect()
    calls = inputs.read("phenotype_calls", study).filter(model=name)
    pictures = [
        *_confusions(held, config, name),
        *coefficient_pictures(inputs, model),
        *_montage(inputs, predictions, readers, model["classes"]),
        *_maps(inputs, study, name, calls),
    ]
    answer = _answer(of_model, model, calls)
    return Section(f"Phenotypes: {name}", _caption(of_model, model, calls, config), pictures, _tables(
        of_model, calls, inputs.read("feature_shifts", study).filter(model=name)
    ), answer)  # fmt: skip


def _answer(metrics: pl.DataFrame, model: dict[str, object], calls: pl.DataFrame) -> str:
    """How well cells are called beside what knows nothing, and how many treatments change them."""
    name = str(model["model"])
    rows = metrics.filter(pl.col("scope").str.starts_with(f"by {model['split']}"), metric="weighted_F1")
    value = {str(variant): score for variant, score in rows.select("variant", "value").iter_rows()}
    final = calls.filter(predicted_by=FINAL)
    called = (
        f"; {final['called'].count()} of {final.height} pairs of treatment and phenotype are called on wells"
        if final.height else ""
    )  # fmt: skip
    return (
        f"Cells are called with a weighted F1 of {number(value.get(name))}, where shuffled features give "
        f"{number(value.get(f'{name}, shuffled features'))}{called}."
    )


def _caption(metrics: pl.DataFrame, model: dict[str, object], calls: pl.DataFrame, config: PhenotypeConfig) -> str:
    name = str(model["model"])
    by = str(model["split"])
    rows = metrics.filter(pl.col("scope").str.starts_with(f"by {by}"), metric="weighted_F1")
    value = {str(variant): score for variant, score in rows.select("variant", "value").iter_rows()}
    text = (
        f"A {model['kind']} model of {model['features']} features calls {len(model['classes'])} classes of cells. "  # type: ignore[arg-type]
        f"Weighted F1 {number(value.get(name))} on cells whose {by} the model did not see; with shuffled features "
        f"{number(value.get(f'{name}, shuffled features'))}, always the commonest class "
        f"{number(value.get(f'{name}, always the commonest class'))}. "
    )
    notes = rows.filter(variant=name)["note"].drop_nulls().to_list()
    text += f"This result is {notes[0]}. " if notes else ""
    if metrics.filter(pl.col("scope") == ELSEWHERE).height:
        there = metrics.filter(scope=ELSEWHERE, metric="balanced_accuracy", variant=name)["value"][0]
        text += f"On labelled cells of plates that it was not trained on its balanced accuracy is {number(there)}. "
    final = calls.filter(predicted_by=FINAL)
    if final.height:
        shuffled = calls.filter(predicted_by=SHUFFLED)
        beside = f" ({shuffled['called'].count()} with a model of shuffled features)" if shuffled.height else ""
        text += (
            f"{final['called'].count()} of {final.height} pairs of treatment and phenotype are called at q < "
            f"{config.calls.threshold:g}{beside}, on wells: the cells of a well depend on each other, so p-values over "
            "cells are in the table and call nothing. "
        )
    return text + f"Labels: {model['notes']}."


def _confusions(held: pl.DataFrame, config: PhenotypeConfig, name: str) -> list[Picture]:
    if not held.height:
        return []
    elsewhere = held.filter(predicted_by=held_out_by("plate of no training label"))
    first = held["predicted_by"].unique(maintain_order=True)[0]
    rows = elsewhere if elsewhere.height else held.filter(predicted_by=first)
    where = ELSEWHERE if elsewhere.height else str(first)
    names = sorted(set(rows["label"]))
    truth = np.searchsorted(names, rows["label"].to_numpy())
    called = rows["class"].replace_strict({each: i for i, each in enumerate(names)}, default=-1).fill_null(-1)
    counts = confusion_counts(truth, called.to_numpy().astype(np.int64), len(names))
    curves = {}
    for code, each in enumerate(names):
        column = f"{PROBABILITY}{each}"
        if column in rows.columns:
            score = rows[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
            _, precision, recall = precision_recall(truth == code, score)
            curves[each] = (recall.tolist(), precision.tolist())
    return [
        Picture(confusion_chart(counts, names, f"{name}: {where}"), f"What cells of each class were called, {where}: "
                "predicted by models that did not see them.", "chart"),
        Picture(precision_recall_chart(curves, f"{name}: precision over recall"), "Precision over recall of each class "
                "for the same cells; a line along the top is a class that is never mistaken.", "chart"),
    ]  # fmt: skip


def _montage(
    inputs: Snapshot, predictions: pl.LazyFrame, readers: Mapping[str, SiteReader], classes: Sequence[str]
) -> list[Picture]:
    """Cells of one plate in the order of each class's probability, evenly over its ranks."""
    plate = next((each for each in readers if inputs.read("masks", each).height), None)
    if plate is None:
        return []
    of_plate = predictions.filter(pl.col("predicted_by") == FINAL, pl.col("Metadata_Plate") == plate)
    objects = inputs.read("objects", plate)
    side = int(np.clip(1.6 * np.sqrt(float(objects["Cells_Area"].median() or 900)), 24, 96)) // 2 * 2  # type: ignore[arg-type]
    sites = {(site.well, site.site): site for site in complete_sites(inputs, plate)}
    seen: dict[tuple[str, int], NDArray[np.float32]] = {}
    strips = []
    for name in classes[:MOST_CLASSES]:
        column = f"{PROBABILITY}{name}"
        cells = of_plate.select(*CELL, column).collect().drop_nulls().sort(column, *CELL)
        if not cells.height:
            continue
        places = np.unique(np.linspace(0, cells.height - 1, CELLS_SHOWN).round().astype(int))
        chosen = cells[places].join(objects, on=CELL, how="inner", maintain_order="left")
        strip = []
        for row in chosen.iter_rows(named=True):
            key = row["Metadata_Well"], row["Metadata_Site"]
            if key not in seen and key in sites:
                site = sites[key]
                seen[key] = composite(readers[plate].read(site), site.channels)
            if key in seen:
                strip.append(_window(seen[key], row["Nuclei_Center_Y"], row["Nuclei_Center_X"], side))
        strips.append(strip)
    if not any(strips):
        return []
    text = (
        f"Cells of {plate} from the least (left) to the most (right) probable of each class, a row per class: "
        f"{', '.join(classes[:MOST_CLASSES])}. Evenly over all cells: a phenotype that few cells have is at the end."
    )
    return [Picture(cell_strips(strips), text, "field", wide=True)]


def _window(image: NDArray[np.float32], y: float, x: float, side: int) -> NDArray[np.float32]:
    padded = np.zeros((side, side, 3), dtype=np.float32)
    top, left = round(y) - side // 2, round(x) - side // 2
    rows = slice(max(0, top), min(image.shape[0], top + side))
    columns = slice(max(0, left), min(image.shape[1], left + side))
    padded[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    return padded


def _maps(inputs: Snapshot, study: str, name: str, calls: pl.DataFrame) -> list[Picture]:
    """Plate maps of the phenotype with the surest call."""
    final = calls.filter(predicted_by=FINAL).sort("p_value", "phenotype")
    if not final.height:
        return []
    phenotype = final["phenotype"][0]
    rows = inputs.read("enrichments", study).filter(model=name, predicted_by=FINAL, phenotype=phenotype)
    pictures = []
    for (plate,), wells in list(rows.group_by("Metadata_Plate", maintain_order=True))[:MOST_MAPS]:
        image = plate_heatmap(
            wells["Metadata_Well"].to_list(), wells["excess"].to_list(), f"{plate}: {phenotype}", "excess"
        )
        text = (
            f"How much further above the even share the probabilities of {phenotype} lie in each well of {plate} than "
            "in its controls: by this treatments are called. Controls are compared with the other controls."
        )
        pictures.append(Picture(image, text, "field"))
    return pictures


def _tables(metrics: pl.DataFrame, calls: pl.DataFrame, shifts: pl.DataFrame) -> list[Table]:
    overall = metrics.filter(pl.col("metric").is_in(OVERALL))
    columns = ["variant", "scope", "metric", "value", "chance", "ci_low", "ci_high", "n"]
    tables = [frame_table(overall.select(columns), "Scores, beside what knows nothing; intervals over whole units")]
    classes = metrics.filter(pl.col("metric").is_in(["F1", "precision", "recall", "average_precision"]))
    if classes.height:
        each = classes.pivot("metric", index=["scope", "n"], values="value", aggregate_function="first")
        tables.append(frame_table(each, "Every class"))
    final = calls.filter(predicted_by=FINAL).drop("study", "model", "predicted_by", strict=False)
    if final.height:
        tables.append(frame_table(final.sort("p_value", "phenotype", "treatment"), "Treatments, the surest first"))
    if shifts.height:
        shown = shifts.select("feature", "ks", "sd", "chance", "kept")
        tables.append(frame_table(shown, "Features that shift between plates that train and the others"))
    return tables
