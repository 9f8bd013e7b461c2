"""A lake with a few small plates, made by hand: images, label images, objects, wells; and encoders on them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tifffile

from morpho_assets.gallery.sources import SamplesheetSource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table as declared
from morpho_assets.lake.work import Work
from morpho_assets.learn.study import embed_plate, train_encoder_of_study
from morpho_assets.profiles.study import build_spaces
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import commit_tables, commit_work, make_work, plate, study, study_work
from morpho_assets_tests.learn.cells import two_populations

SIDE = 24  # of a cell
ACROSS = 3  # cells along each side of a site
WELLS = [f"{row}{column:02d}" for row in "AB" for column in (1, 2, 3)]
CONTROLS = ("A01", "A02", "A03")
EMPTY = "B03"
"""A well without cells."""


def write_plates(
    folder: Path, lake: Lake, plates: Sequence[str], sites: int = 1, micrometres: Mapping[str, float] | None = None
) -> dict[str, SamplesheetSource]:
    """Plates of six wells, three of them controls; sites of 3 x 3 cells of one population (B01, B02) or of both
    (controls), 72 x 72 pixels, channels DNA and RNA. `micrometres` of a pixel, by plate, stand in the files."""
    found = {}
    for number, key in enumerate(plates):
        rows: dict[str, list[dict[str, Any]]] = {"sites": [], "image_files": [], "masks": [], "objects": []}
        for well in WELLS:
            for site in range(1, sites + 1):
                place = {"Metadata_Plate": key, "Metadata_Well": well, "Metadata_Site": site}
                _write_site(folder, lake, place, rows, [number, WELLS.index(well), site], (micrometres or {}).get(key))
        kinds = ["negcon" if well in CONTROLS else None for well in WELLS]
        names = ["DMSO" if well in CONTROLS else f"drug {well}" for well in WELLS]
        wells = pl.DataFrame({
            "Metadata_Plate": key, "Metadata_Well": WELLS, "Metadata_control_type": kinds,
            "Metadata_Perturbation": names,
        })  # fmt: skip
        frames = {name: pl.DataFrame(each, declared(name).schema) for name, each in rows.items()}
        commit_tables(
            lake, "plate_manifest", plate(key), {"sites": frames["sites"], "wells": declared("wells").cast(wells)}
        )
        commit_tables(lake, "raw_images", plate(key), {"image_files": frames["image_files"]})
        commit_tables(lake, "illumination", plate(key),
                      {"illumination_functions": declared("illumination_functions").empty()})  # fmt: skip
        commit_tables(lake, "masks", plate(key), {"masks": frames["masks"], "objects": frames["objects"]})
        profiles = wells.with_columns(
            pl.lit(1.0).alias("Cells_AreaShape_Area"), Metadata_normalized_on=pl.lit("negcon")
        )
        named = {"well_profiles": profiles.drop("Metadata_normalized_on"), "normalized_profiles": profiles}
        commit_tables(lake, "well_profiles", plate(key), named)
        found[key] = SamplesheetSource(kind="samplesheet", name="lab", path="none.csv")
    return found


def _write_site(
    folder: Path, lake: Lake, place: dict[str, Any], rows: dict[str, list[dict[str, Any]]], seed: list[int],
    micrometres: float | None,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    crops, population = two_populations(40, int(rng.integers(1 << 30)))
    if place["Metadata_Well"] not in CONTROLS:
        crops = crops[population == (place["Metadata_Well"] == "B01")]
    count = 0 if place["Metadata_Well"] == EMPTY else ACROSS**2
    image = rng.normal(0, 0.05, (2, ACROSS * SIDE, ACROSS * SIDE))
    labels = np.zeros(image.shape[1:], np.int32)
    for number in range(count):
        row, column = divmod(number, ACROSS)
        window = (slice(row * SIDE, (row + 1) * SIDE), slice(column * SIDE, (column + 1) * SIDE))
        image[:, *window] = crops[number]
        labels[window][4:-4, 4:-4] = number + 1
        centre = {"Nuclei_Center_X": column * SIDE + SIDE // 2, "Nuclei_Center_Y": row * SIDE + SIDE // 2}
        rows["objects"].append({**place, "ObjectNumber": number + 1, **centre, "Nuclei_Area": 256, "Cells_Area": 256})
    stem = "-".join(map(str, place.values()))
    pixels = (np.clip(image + 0.2, 0, 2) / 2 * 60_000).astype(np.uint16)
    tags = {} if micrometres is None else {"resolution": (1e4 / micrometres,) * 2, "resolutionunit": "CENTIMETER"}
    for channel, values in zip(("DNA", "RNA"), pixels, strict=True):
        path = folder / f"{stem}-{channel}.tif"
        tifffile.imwrite(path, values, **tags)
        named = {**place, "channel": channel, "uri": str(path)}
        rows["sites"].append({**named, "source": "lab"})
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        rows["image_files"].append({**named, "path": str(path), "sha256": checksum})
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, labels.astype(np.uint16))
    path_of_labels = lake.write_named("labels", f"{stem}.tif", buffer.getvalue())
    counts = {"Count_Cells": count, "Count_Dropped": 0}
    rows["masks"].append({**place, "nuclei": path_of_labels, "cells": path_of_labels, **counts})


def study_with(encoders: Mapping[str, Any], spaces: Mapping[str, Any]) -> Study:
    return Study.model_validate({"name": "s", "title": "S", "encoders": encoders, "spaces": spaces, "evaluators": {}})


def train(lake: Lake, asked: Study, name: str, sources: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of an encoder of a study."""
    work = make_work(lake, "encoder", study(asked.name, name), asked.encoders[name], source=sources)
    train_encoder_of_study(work)
    commit_work(work)
    return lake.latest(["encoder"], [study(asked.name, name)]).read("encoders", asked.name)


def embedding_work(lake: Lake, asked: Study, name: str, key: str, source: Any) -> Work:
    return make_work(lake, "embeddings", plate(key, f"{asked.name}/{name}"), source=source)


def embed(lake: Lake, asked: Study, name: str, sources: Mapping[str, Any]) -> pl.DataFrame:
    """The embeddings of plates by an encoder, of cells or of tiles."""
    own = "embeddings" if asked.encoders[name].unit == "cell" else "tile_embeddings"
    frames = []
    for key, source in sources.items():
        work = embedding_work(lake, asked, name, key, source)
        embed_plate(work)
        commit_work(work)
        found = lake.latest(["embeddings"], [plate(key, f"{asked.name}/{name}")])
        frames.append(found.read(own, key))
        assert found.read({"embeddings", "tile_embeddings"}.difference([own]).pop(), key).is_empty()
    return pl.concat(frames)


def spaces_of(lake: Lake, asked: Study, sources: Mapping[str, Any]) -> None:
    """Make the spaces of a study."""
    work = study_work(lake, "feature_space", asked, sources)
    build_spaces(work)
    commit_work(work)
