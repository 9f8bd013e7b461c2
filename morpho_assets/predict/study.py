"""The phenotype stages of a study: models from labels, predictions of cells, phenotypes of wells and treatments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.truth import truth_folders
from morpho_assets.imaging.images import read_labels
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.predict.cells import CellReader
from morpho_assets.predict.classifiers.linear import ElasticNetConfig, leave_each_out
from morpho_assets.predict.config import PhenotypeConfig
from morpho_assets.predict.enriched import call_treatments, enrich_plate
from morpho_assets.predict.labels import (
    CELL,
    LABEL,
    SITE,
    Attached,
    MetadataLabels,
    PointLabels,
    TruthLabels,
    attach_points,
    compared_annotators,
    metadata_labels,
    read_points,
    renamed,
)
from morpho_assets.predict.models import Model, fit_model, load_model, predict_held_out, prepared
from morpho_assets.predict.scores import (
    Scores,
    image_ranks,
    rank_chance,
    rank_shares,
    resampled,
    scores_of,
    trivial_scores,
    true_class_ranks,
)
from morpho_assets.predict.splits import SplitConfig, Splits, split_rows, units_of
from morpho_assets.predict.transfer import shift_test

Floats = NDArray[np.float64]
EVALUATOR = "phenotypes"
"""The evaluator of the rows of `metrics` that models leave."""
FINAL, SHUFFLED = "model", "shuffled"
"""By what rows of `predictions` were made: the final model, or that of shuffled features; others are held out."""
PROBABILITY, PHENOTYPE = "Probability_", "Phenotype_"
ELSEWHERE = "plates without training labels"
MOST_SHIFTED = 2000  # cells of each plate that the shift test sees


def held_out_by(by: str) -> str:
    """How `predictions` calls rows by models that did not see their image, well …"""
    return f"held out by {by}"


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
                        rows = _prediction_rows(name, by, keys, fitted[by], _checked(fitted[by], reader, values))
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


def _checked(model: Model, reader: CellReader, values: Floats) -> Floats:
    """Probabilities; InputError where the plate lacks features and the model does not fill them."""
    there = set(reader.features)
    absent = [name for name in model.card.features if name not in there]
    if absent and model.config.missing == "error":
        shown = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
        raise InputError(f"plate {reader.plate}", "features", f"no {shown} ({len(absent)} features)",
                         "all features of the model", "Measure them, or give the model `missing: mean`.")  # fmt: skip
    return model.predict(values)


def phenotypes_of_study(work: Work) -> None:
    """Write `phenotype_profiles` (the probability of each phenotype by well), `enrichments` (each well against its
    plate's controls) and `phenotype_calls` (treatments, pooled over plates) of every phenotype of a study."""
    profiles, enriched, calls = [], [], []
    for name, config in work.settings.phenotypes.items():
        for by in [FINAL, SHUFFLED] if config.calls.shuffled else [FINAL]:
            of_model = []
            for plate in work.source:
                rows = work.scan("predictions").filter(
                    pl.col("model") == name, pl.col("predicted_by") == by, pl.col("Metadata_Plate") == plate
                )
                columns = [each for each in rows.collect_schema().names() if each.startswith(PROBABILITY)]
                cells = rows.select("Metadata_Well", *columns).collect()
                columns = [each for each in columns if cells[each].count()]
                classes = [each.removeprefix(PROBABILITY) for each in columns]
                wells = work.inputs.read("wells", plate)
                if by == FINAL:
                    profiles.append(_well_profiles(cells, columns, wells, config, name, plate))
                negative = wells.filter(Metadata_control_type="negcon")["Metadata_Well"].to_list()
                named = [each for each in config.calls.treatment if each in wells.columns]
                if len(named) < len(config.calls.treatment):
                    absent = sorted(set(config.calls.treatment) - set(named))[0]
                    raise InputError(f"study {work.key}", f"phenotypes.{name}.calls.treatment", f"no column {absent}",
                                     "columns of the wells", "Name another.")  # fmt: skip
                treatment = pl.when(pl.col("Metadata_control_type").fill_null("") != "negcon").then(
                    pl.concat_str(named, separator=" | ")
                )
                values = cells.select(columns).cast(pl.Float64).fill_null(np.nan).to_numpy()
                found = enrich_plate(cells["Metadata_Well"].to_list(), values, classes, negative, config.calls)
                names = wells.select("Metadata_Well", treatment.alias("treatment"))
                found = found.join(names, on="Metadata_Well", how="left", maintain_order="left")
                of_model.append(found.with_columns(Metadata_Plate=pl.lit(plate)))
            together = pl.concat(of_model)
            mark = {"study": pl.lit(work.key), "model": pl.lit(name), "predicted_by": pl.lit(by)}
            enriched.append(together.with_columns(**mark))
            calls.append(call_treatments(together, config.calls.threshold).with_columns(**mark))
    for key, parts in (("phenotype_profiles", profiles), ("enrichments", enriched), ("phenotype_calls", calls)):
        filled = [part.with_columns(study=pl.lit(work.key)) for part in parts if part.height]
        work.write(key, pl.concat(filled, how="diagonal_relaxed") if filled else table(key).empty())


# Below: how


@dataclass(frozen=True)
class _Labelled:
    """Labelled cells with annotation, their features on scale, and what became of labels. `trains` (n,)."""

    cells: pl.DataFrame
    values: Floats
    features: list[str]
    trains: NDArray[np.bool_]
    listed: pl.DataFrame
    words: str
    missed: pl.DataFrame


def _learned(work: Work, name: str, config: PhenotypeConfig) -> dict[str, pl.DataFrame]:
    found, shifts = _labelled(work, config)
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
        metrics += _split_metrics(name, config, split, splits, cells[kept], values[kept], found, predictions)
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
        metrics += _each_image(name, config, models[FINAL], values, cells)
    metrics += _elsewhere(name, config, found, models, predictions)
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


def _labelled(work: Work, config: PhenotypeConfig) -> tuple[_Labelled, pl.DataFrame]:
    wells = work.inputs.scan("wells", list(work.source)).collect()
    attached = _attached(work, config, wells)
    cells = renamed(attached.cells, config.labels)
    if not cells.height:
        raise InputError("labels", "", "no labelled cell", "some", f"Check plates and places: {attached.words}.")
    named = [each for each in wells.columns if each not in cells.columns or each in SITE[:2]]
    cells = cells.join(wells.select(named), on=SITE[:2], how="left", maintain_order="left")
    readers = {plate: CellReader(work.inputs, work.key, plate, config.features) for plate in work.source}
    here = [plate for plate in work.source if plate in set(cells["Metadata_Plate"])]
    features = _shared([readers[plate].features for plate in here])
    if not features:
        raise InputError("features", "prefixes", "no feature of these names", "features that all labelled plates have",
                         "Name other prefixes or encoders.")  # fmt: skip
    training = here if config.plates == "all" else list(config.plates)
    strange = sorted(set(training) - set(work.source))
    if strange:
        raise InputError("phenotype", "plates", f"the plate {strange[0]}", "plates of the study", "Name others.")
    shifts = pl.DataFrame()
    if config.features.shift is not None:
        features, shifts = _shifted(config, readers, features, training)
    keys, values = [], []
    for plate in here:
        wanted = cells.filter(Metadata_Plate=plate)
        of_plate = readers[plate].of_wells(wanted["Metadata_Well"].unique().to_list(), features, wanted)
        keys.append(of_plate[0])
        values.append(of_plate[1])
    matrix = np.concatenate(values)
    place = pl.concat(keys).with_row_index("row")
    cells = cells.join(place, on=CELL, how="inner", maintain_order="left")
    matrix = matrix[cells["row"].to_numpy()]
    cells = cells.drop("row")
    trains = cells["Metadata_Plate"].is_in(training).to_numpy()
    marks = cells.select(CELL).with_columns(trains=pl.Series(trains))
    return _Labelled(cells, matrix, features, trains, _listed(attached, config, marks), _words(attached),
                     attached.misses), shifts  # fmt: skip


def _attached(work: Work, config: PhenotypeConfig, wells: pl.DataFrame) -> Attached:
    labels = config.labels
    if isinstance(labels, MetadataLabels):
        of_wells = metadata_labels(wells, labels.model_copy(update={"merge": {}, "drop": ()}))
        rows = [_some_cells(work, plate, labels, config) for plate in work.source]
        cells = pl.concat(rows).join(of_wells, on=SITE[:2], how="inner", maintain_order="left")
        cells = cells.with_columns(distance=pl.lit(0.0), points=pl.lit(1, pl.Int32))
        return Attached(cells, cells.clear(), pl.DataFrame(schema={"reason": pl.String}), cells)
    if isinstance(labels, PointLabels):
        points = read_points(Store().read(labels.file).body, labels.file, labels.columns)
        points = points.filter(pl.col("Metadata_Plate").is_in(list(work.source)))
        if not points.height:
            raise InputError(labels.file, "column plate", "no plate of the study", ", ".join(list(work.source)[:5]),
                             "Check the barcodes.")  # fmt: skip
    else:
        points = true_points(work, labels)
    known = {
        (plate, well, site): path
        for plate in work.source
        for well, site, path in work.inputs.read("masks", plate).select(*SITE[1:], "nuclei").iter_rows()
    }

    def image(plate: str, well: str, site: int) -> NDArray[np.int32] | None:
        path = known.get((plate, well, site))
        return None if path is None else read_labels(work.lake.read_bytes(path), name=path)

    return attach_points(points, image, labels.radius, labels.conflict)


def true_points(work: Work, labels: TruthLabels) -> pl.DataFrame:
    """The true cells of simulated plates as points. InputError where no plate of the study has a truth."""
    parts = []
    for plate, folder in truth_folders(work.inputs, work.source).items():
        if folder.exists:
            cells = folder.table("cells")
            if labels.column not in cells.columns:
                raise InputError("labels", "column", labels.column, f"one of {', '.join(cells.columns)}", "Name it.")
            parts.append(cells.select(
                pl.lit(plate).alias(SITE[0]), SITE[1], pl.col(SITE[2]).cast(pl.Int32),
                x=pl.col("center_x").cast(pl.Float64), y=pl.col("center_y").cast(pl.Float64),
                **{LABEL: pl.col(labels.column).cast(pl.String)},
            ))  # fmt: skip
    if not parts:
        raise InputError("labels", "of: truth", "no plate with a known truth", "plates of the simulator",
                         "Label real plates by points.")  # fmt: skip
    return pl.concat(parts)


def _some_cells(work: Work, plate: str, labels: MetadataLabels, config: PhenotypeConfig) -> pl.DataFrame:
    """Keys of at most `labels.cells` cells of each well, drawn by the seed."""
    keys = work.inputs.scan("single_cells", [plate]).select(CELL).collect()
    return keys.filter(pl.int_range(pl.len()).shuffle(seed=config.seed).over("Metadata_Well") < labels.cells)


def _shared(of_plates: Sequence[Sequence[str]]) -> list[str]:
    common = set(of_plates[0]).intersection(*of_plates[1:]) if of_plates else set()
    return [name for name in of_plates[0] if name in common] if of_plates else []


def _words(attached: Attached) -> str:
    text = attached.words
    for first, second, cells, agreement, kappa in compared_annotators(attached.given).rows():
        beyond = f", kappa {kappa:.2f}" if kappa is not None else ""
        text += f"; {first} and {second} agree on {100 * agreement:.0f} % of {cells} cells{beyond}"
    return text


def _listed(attached: Attached, config: PhenotypeConfig, marks: pl.DataFrame) -> pl.DataFrame:
    """Rows of `labels`: every labelled cell, every point of a conflict and every miss."""
    place = ("x", "y", "annotator", "distance", "ObjectNumber")
    parts = []
    for frame, status in ((attached.cells, "given"), (attached.conflicts, "conflict"), (attached.misses, None)):
        if not frame.height:
            continue
        shown = [name for name in (*SITE, *place) if name in frame.columns]
        said = pl.col("reason") if status is None else pl.lit(status)
        parts.append(frame.select(*shown, pl.col(LABEL).alias("class"), said.alias("status")))
    listed = pl.concat(parts, how="diagonal_relaxed").with_row_index("point", offset=1)
    listed = listed.with_columns(pl.col("class").replace({
        old: new for new, olds in config.labels.merge.items() for old in olds
    }))  # fmt: skip
    listed = listed.join(marks, on=CELL, how="left", maintain_order="left")
    return listed.with_columns(
        pl.col("trains").fill_null(False) & (pl.col("status") == "given"), pl.col("point").cast(pl.Int32)
    )


def _shifted(
    config: PhenotypeConfig, readers: dict[str, CellReader], features: list[str], training: Sequence[str]
) -> tuple[list[str], pl.DataFrame]:
    """(the features that look alike on plates that train and on all others, the test)."""
    assert config.features.shift is not None
    sides: dict[bool, list[Floats]] = {True: [], False: []}
    for plate, reader in readers.items():
        wells = reader.sizes["Metadata_Well"].to_list()
        if wells:
            rng = np.random.default_rng(config.features.shift.seed)
            _, values = reader.of_wells(wells[:: max(1, len(wells) // 24)], features)
            drawn = rng.permutation(len(values))[:MOST_SHIFTED]
            sides[plate in training].append(values[np.sort(drawn)])
    if not sides[False] or not sides[True]:
        raise InputError("features", "shift", "no plate beside those that train", "plates to compare with",
                         "Leave the shift test out, or name the plates that train.")  # fmt: skip
    found = shift_test(np.concatenate(sides[True]), np.concatenate(sides[False]), features, config.features.shift)
    keep = set(found.filter("kept")["feature"])
    if not keep:
        least = found["ks"][0]
        raise InputError("features", "shift.at_most", f"{config.features.shift.at_most:g}, least distance {least:.2f}",
                         "a bound that some feature keeps", "Raise it.")  # fmt: skip
    return [name for name in features if name in keep], found


def _split_metrics(
    name: str, config: PhenotypeConfig, split: SplitConfig, splits: Splits, cells: pl.DataFrame, values: Floats,
    found: _Labelled, predictions: list[pl.DataFrame],
) -> list[dict[str, Any]]:  # fmt: skip
    truth = cells[LABEL].to_list()
    counts = cells.select(pl.len().over(SITE).cast(pl.Float64)).to_numpy()
    scope = f"by {splits.by}" + (f", {splits.note.split(':')[0]}" if splits.note else "")
    rows: list[dict[str, Any]] = []
    for variant, x, shuffled, features in (
        (name, values, None, found.features),
        (f"{name}, shuffled features", values, config.seed, found.features),
        (f"{name}, labelled cells in the image", counts, None, ["Count_Cells"]),
    ):
        model = config.model if variant == name else _quick(config)
        held = predict_held_out(model, x, truth, features, splits, shuffled)
        tested = np.flatnonzero(held.fold >= 0)
        codes = np.searchsorted(held.classes, np.asarray(truth)[tested])
        train = np.searchsorted(held.classes, np.asarray(truth)[np.isin(truth, held.classes)])
        probability, units = held.probability[tested], splits.units[tested]
        trivial = trivial_scores(codes, train, len(held.classes))
        # of random rows, intervals are over wells: cells of a well are no units of their own
        whole = units if splits.by != "random" else units_of(cells[tested], SplitConfig(by="well"))
        scores = scores_of(codes, probability, held.classes)
        note = splits.note or None
        rows += _score_rows(variant, scope, scores, trivial, codes, probability, whole, held.classes, config, note)
        if variant == name:
            rows += _trivial_rows(name, scope, trivial, len(tested), note)
            rows += _class_rows(variant, scope, scores, note)
            rows += _with_missed(variant, scope, codes, probability, held.classes, found)
            shown = _prediction_rows(name, held_out_by(splits.by), cells[tested], held.classes, probability)
            predictions.append(shown.with_columns(
                label=pl.Series(np.asarray(truth)[tested]), in_training=pl.lit(False),
                fold=pl.Series(held.fold[tested], dtype=pl.Int32),
            ))  # fmt: skip
    return rows


def _quick(config: PhenotypeConfig) -> Any:
    """The model of a null: its settings are not chosen, the middle one is taken."""
    model = config.model
    return model.candidates[len(model.candidates) // 2]


def _score_rows(
    variant: str, scope: str, scores: Scores, trivial: dict[str, dict[str, float]], codes: NDArray[np.int64],
    probability: Floats, units: NDArray[np.str_], names: Sequence[str], config: PhenotypeConfig, note: str | None,
) -> list[dict[str, Any]]:  # fmt: skip
    rows = []
    for metric, value in scores.overall.items():
        interval = resampled(codes, probability, units, metric, names, config.seed)
        chance = max(each.get(metric, np.nan) for each in trivial.values())
        rows.append(_row(variant, scope, metric, value, len(np.unique(units)), chance, interval, note))
    return rows


def _trivial_rows(
    name: str, scope: str, trivial: dict[str, dict[str, float]], n: int, note: str | None
) -> list[dict[str, Any]]:
    words = {"majority": "always the commonest class", "stratified": "classes drawn by their shares"}
    return [
        _row(f"{name}, {words[kind]}", scope, metric, value, n, None, None, note)
        for kind, of_kind in trivial.items()
        for metric, value in of_kind.items()
    ]


def _class_rows(variant: str, scope: str, scores: Scores, note: str | None) -> list[dict[str, Any]]:
    rows = []
    total = max(1, int(scores.classes["n"].sum()))
    for row in scores.classes.iter_rows(named=True):
        chance = {"average_precision": row["n"] / total}
        for metric in ("F1", "precision", "recall", "average_precision"):
            where = f"{scope}, {row['class']}"
            rows.append(_row(variant, where, metric, row[metric], row["n"], chance.get(metric), None, note))
    return rows


def _with_missed(
    variant: str, scope: str, codes: NDArray[np.int64], probability: Floats, names: Sequence[str], found: _Labelled
) -> list[dict[str, Any]]:
    """The same with labelled points that no mask holds, as errors."""
    training = set(found.cells.filter(pl.Series(found.trains))["Metadata_Plate"])
    return _missed_rows(variant, scope, codes, probability, names, found, training)


def _missed_rows(
    variant: str, scope: str, codes: NDArray[np.int64], probability: Floats, names: Sequence[str], found: _Labelled,
    plates: set[str],
) -> list[dict[str, Any]]:  # fmt: skip
    missed = found.missed
    if not missed.height or LABEL not in missed.columns:
        return []
    here = missed.filter(pl.col("Metadata_Plate").is_in(list(plates)) & pl.col(LABEL).is_in(list(names)))
    if not here.height:
        return []
    more = np.searchsorted(names, here[LABEL].to_numpy())
    nothing = np.full((len(more), len(names)), np.nan)
    scores = scores_of(np.r_[codes, more], np.concatenate([probability, nothing]), names)
    where = f"{scope}, cells without a mask as errors"
    return [_row(variant, where, metric, scores.overall[metric], len(codes) + len(more), None, None, None)
            for metric in ("weighted_F1", "balanced_accuracy")]  # fmt: skip


def _each_image(
    name: str, config: PhenotypeConfig, model: Model, values: Floats, cells: pl.DataFrame
) -> list[dict[str, Any]]:
    """Ranks of the true class in images that were left out one by one, with the settings of the final model; the scale
    of features is that of all labelled cells, in which classes are not seen."""
    images = units_of(cells, SplitConfig(by="image"))
    named, members = np.unique(images, return_inverse=True)
    codes = np.searchsorted(model.card.classes, cells[LABEL].to_numpy())
    rows = []
    settings = model.config
    assert isinstance(settings, ElasticNetConfig)
    for variant in (name, f"{name}, shuffled features"):
        x = prepared(model, values)
        if variant != name:
            x = np.random.default_rng([config.seed, 2]).permuted(x, axis=0)
        logs = leave_each_out(settings, x, codes, len(model.card.classes), members)
        of_images = image_ranks(list(images), cells[LABEL].to_list(), true_class_ranks(codes, logs))
        for metric, value in rank_shares(of_images).items():
            chance = np.mean([rank_chance(n, len(model.card.classes), int(metric[-1])) for n in of_images["n"]])
            rows.append(_row(variant, "each image left out", metric, value, len(named), float(chance), None, None))
    return rows


def _elsewhere(
    name: str, config: PhenotypeConfig, found: _Labelled, models: dict[str, Model], predictions: list[pl.DataFrame]
) -> list[dict[str, Any]]:
    """Scores of the final models on labelled cells of plates that do not train."""
    model = models[FINAL]
    rows: list[dict[str, Any]] = []
    known = np.isin(found.cells[LABEL].to_numpy(), model.card.classes)
    tested = np.flatnonzero(~found.trains & known)
    if not len(tested):
        return rows
    cells = found.cells[tested]
    names = model.card.classes
    codes = np.searchsorted(names, cells[LABEL].to_numpy())
    train = np.repeat(np.arange(len(names)), [model.card.of_class[each] for each in names])
    trivial = trivial_scores(codes, train, len(names))
    wells = units_of(cells, SplitConfig(by="well"))
    for by, each in models.items():
        variant = name if by == FINAL else f"{name}, shuffled features"
        probability = each.predict(found.values[tested])
        scores = scores_of(codes, probability, names)
        rows += _score_rows(variant, ELSEWHERE, scores, trivial, codes, probability, wells, names, config, None)
        if by == FINAL:
            rows += _trivial_rows(name, ELSEWHERE, trivial, len(tested), None)
            rows += _class_rows(variant, ELSEWHERE, scores, None)
            plates = set(cells["Metadata_Plate"])
            rows += _missed_rows(variant, ELSEWHERE, codes, probability, names, found, plates)
            shown = _prediction_rows(name, held_out_by("plate of no training label"), cells, names, probability)
            predictions.append(shown.with_columns(label=cells[LABEL], in_training=pl.lit(False)))
    return rows


def _row(
    variant: str, scope: str, metric: str, value: float | None, n: int, chance: float | None,
    interval: tuple[float, float] | None, note: str | None,
) -> dict[str, Any]:  # fmt: skip
    low, high = interval or (None, None)
    return {
        "variant": variant, "evaluator": EVALUATOR, "scope": scope, "metric": metric, "value": value, "chance": chance,
        "ci_low": low, "ci_high": high, "n": int(n), "note": note,
    }  # fmt: skip


def _prediction_rows(
    name: str, by: str, keys: pl.DataFrame, model: Model | Sequence[str], probability: Floats
) -> pl.DataFrame:
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


def _well_profiles(
    cells: pl.DataFrame, columns: Sequence[str], wells: pl.DataFrame, config: PhenotypeConfig, name: str, plate: str
) -> pl.DataFrame:
    summed = [getattr(pl.col(each).drop_nulls(), config.well)() for each in columns]
    named = [
        each.alias(PHENOTYPE + column.removeprefix(PROBABILITY)) for each, column in zip(summed, columns, strict=True)
    ]
    shares = cells.group_by("Metadata_Well", maintain_order=True).agg(pl.len().alias("cells").cast(pl.Int32), *named)
    found = wells.join(shares, on="Metadata_Well", how="inner", maintain_order="left")
    return found.drop("described", strict=False).with_columns(model=pl.lit(name))
