"""Labelled cells of a study: which cells labels mean, their annotation, and their features on the model's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.truth import truth_folders
from morpho_assets.imaging.images import read_labels
from morpho_assets.lake.work import Work
from morpho_assets.predict.cells import CellReader
from morpho_assets.predict.config import PhenotypeConfig
from morpho_assets.predict.drawn import drawn_points
from morpho_assets.predict.labels import (
    CELL,
    LABEL,
    SITE,
    Attached,
    DrawnLabels,
    MetadataLabels,
    PointLabels,
    TruthLabels,
    attach_points,
    compared_annotators,
    metadata_labels,
    read_points,
    renamed,
)
from morpho_assets.predict.transfer import shift_test
from morpho_assets.profiles.rejected import rejected_sites

Floats = NDArray[np.float64]
MOST_SHIFTED = 2000  # cells of each plate that the shift test sees


@dataclass(frozen=True)
class Labelled:
    """Labelled cells with annotation, their features on scale, and what became of labels. `trains` (n,)."""

    cells: pl.DataFrame
    values: Floats
    features: list[str]
    trains: NDArray[np.bool_]
    listed: pl.DataFrame
    words: str
    missed: pl.DataFrame


def labelled_cells(work: Work, config: PhenotypeConfig) -> tuple[Labelled, pl.DataFrame]:
    """(the labelled cells of a study's plates, rows of `feature_shifts`, none where no shift is asked for).

    InputError where nothing is labelled, for features or plates that are not there.
    """
    wells = work.inputs.scan("wells", list(work.source)).collect()
    rejected = rejected_sites(work.inputs, work.source)
    found = _attached(work, config, wells)
    attached = found.outside(rejected)
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
    missed = (
        found.misses.join(rejected, on=SITE, how="anti", maintain_order="left") if found.misses.height else found.misses
    )
    marks = cells.select(CELL).with_columns(trains=pl.Series(trains))
    return Labelled(cells, matrix, features, trains, _listed(attached, config, marks), _words(attached),
                    _merged(missed, LABEL, config)), shifts  # fmt: skip


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
    elif isinstance(labels, TruthLabels):
        points = true_points(work, labels)
    known = {
        (plate, well, site): path
        for plate in work.source
        for well, site, path in work.inputs.read("masks", plate).select(*SITE[1:], "nuclei").iter_rows()
    }

    def image(plate: str, well: str, site: int) -> NDArray[np.int32] | None:
        path = known.get((plate, well, site))
        return None if path is None else read_labels(work.lake.read_bytes(path), name=path)

    if isinstance(labels, DrawnLabels):
        points = drawn_points(labels, list(known), image)
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
    listed = _merged(listed, "class", config)
    listed = listed.join(marks, on=CELL, how="left", maintain_order="left")
    return listed.with_columns(
        pl.col("trains").fill_null(False) & (pl.col("status") == "given"), pl.col("point").cast(pl.Int32)
    )


def _merged(points: pl.DataFrame, column: str, config: PhenotypeConfig) -> pl.DataFrame:
    """Points with the classes that are merged under their new name; all are kept."""
    if column not in points.columns:
        return points
    return points.with_columns(pl.col(column).replace({
        old: new for new, olds in config.labels.merge.items() for old in olds
    }))  # fmt: skip


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
