"""The encoder stages of a study: crops of its plates' cells, training, embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from morpho_assets.compute import Progress
from morpho_assets.errors import InputError
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, plate_reader, site_rows
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.learn.crops import crop_cells
from morpho_assets.learn.encoders import EncoderConfig, TrainedEncoder, load_encoder, save_encoder, train_encoder
from morpho_assets.learn.projection import project
from morpho_assets.profiles.study import as_wells, read_space, space_features, space_steps

WELL = ["Metadata_Plate", "Metadata_Well"]
CELLS_AT_ONCE = 1024  # of several sites: a network's call costs the same for five cells as for fifty


def train_encoder_of_study(work: Work) -> None:
    """Train one encoder of a study (the second part of the partition) on cells of its plates, drawn evenly from their
    wells; writes its checkpoint and its row of `encoders`. Whole wells are held out to validate."""
    name, config = work.partition.part, work.settings
    readers = {plate: plate_reader(work.inputs, source.store(), plate) for plate, source in work.source.items()}
    crops, wells, channels = _training_crops(work.inputs, config, readers)
    report = _epochs(work.progress, f"encoder {name}", config.epochs)
    trained = train_encoder(crops, config, wells, report, channels=channels, plates=tuple(readers))
    path = work.write_file("checkpoints", f"{name}.pt", save_encoder(trained))
    history = trained.history
    losses = {"train_loss": list(history.train), "validation_loss": list(history.validation)}
    record = {"cells": len(crops), "best_epoch": history.best_epoch, "split": trained.split, **losses}
    row = {"study": work.key, "encoder": name, "path": path, "sha256": trained.sha256, **record}
    work.write("encoders", pl.DataFrame([row]))


def embed_plate(work: Work) -> None:
    """Embed every cell of a plate with one encoder (the second part of the partition: study/encoder)."""
    study, _, name = work.partition.part.partition("/")
    row = work.inputs.read("encoders", study).row(by_predicate=pl.col("encoder") == name, named=True)
    encoder = load_encoder(work.lake.read_bytes(row["path"]), row["path"])
    reader = plate_reader(work.inputs, work.source.store(), work.key)
    sites = _segmented(work.inputs, work.key)
    objects = work.read("objects").partition_by("Metadata_Well", "Metadata_Site", as_dict=True)
    paths = _cell_labels(work.inputs, work.key)

    def frames() -> Iterator[pl.DataFrame]:
        keys: list[pl.DataFrame] = []
        crops: list[np.ndarray] = []
        for done, site in enumerate(sites, start=1):
            cells = objects.get((site.well, site.site))
            if cells is not None:
                _same_channels(encoder.channels, site, name)
                crops.append(_cut(reader, site, cells, encoder.config, paths))
                keys.append(site_rows(site, cells.select("ObjectNumber")))
            if sum(frame.height for frame in keys) >= CELLS_AT_ONCE or (keys and done == len(sites)):
                yield _embedded(study, name, encoder, pl.concat(keys), np.concatenate(crops))
                keys, crops = [], []
            work.progress(f"embeddings {name}", done, len(sites))

    work.write_stream("embeddings", frames())


def _embedded(study: str, name: str, encoder: TrainedEncoder, keys: pl.DataFrame, crops: np.ndarray) -> pl.DataFrame:
    """The rows of `embeddings` of these cells."""
    vectors = np.asarray(encoder.encode(crops), np.float32)
    embedding = pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])).arr.to_list()
    return keys.select(pl.lit(study).alias("study"), pl.lit(name).alias("encoder"), pl.all(), embedding)


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


def _training_crops(
    inputs: Snapshot, config: EncoderConfig, readers: Mapping[str, SiteReader]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(n, C, S, S) crops of at most `max_cells` cells, the well of each, and the channels."""
    objects = inputs.scan("objects", list(readers)).collect()
    if objects.height < 2:
        raise InputError("encoder", "cells", str(objects.height), "at least two cells", "Check the plates' masks.")
    share = max(1, config.max_cells // objects.select(WELL).n_unique())
    chosen = objects.filter(pl.int_range(pl.len()).shuffle(seed=config.seed).over(WELL) < share)
    crops, wells = [], []
    channels: tuple[str, ...] = ()
    for plate, reader in readers.items():
        paths = _cell_labels(inputs, plate)
        for site in _segmented(inputs, plate):
            cells = _of_site(chosen, site)
            if cells.height:
                channels = channels or site.channels
                _same_channels(channels, site, config.name)
                crops.append(_cut(reader, site, cells, config, paths))
                wells += [f"{plate} {site.well}"] * cells.height
    return np.concatenate(crops), np.asarray(wells), channels


def _segmented(inputs: Snapshot, plate: str) -> list[Site]:
    masks = set(inputs.read("masks", plate).select("Metadata_Well", "Metadata_Site").iter_rows())
    return [site for site in complete_sites(inputs, plate) if (site.well, site.site) in masks]


def _cell_labels(inputs: Snapshot, plate: str) -> dict[str, str]:
    """The path of each site's label image of cells, by the site's key."""
    masks = inputs.read("masks", plate).select("Metadata_Well", "Metadata_Site", "cells")
    return {f"{well}-{site}": path for well, site, path in masks.iter_rows()}


def _of_site(objects: pl.DataFrame, site: Site) -> pl.DataFrame:
    return objects.filter(pl.all_horizontal(pl.col(name) == value for name, value in site.place.items()))


def _cut(
    reader: SiteReader, site: Site, cells: pl.DataFrame, config: EncoderConfig, paths: Mapping[str, str]
) -> np.ndarray:
    centers = cells.select("Nuclei_Center_Y", "Nuclei_Center_X").to_numpy()
    labels = None
    if config.mask_neighbours:
        labels = read_labels(reader.lake.read_bytes(paths[site.key]), name=paths[site.key])
    objects = cells["ObjectNumber"].to_numpy()
    return crop_cells(reader.read(site), centers, config.crop_size, labels, objects, config.shrink)


def _same_channels(channels: tuple[str, ...], site: Site, encoder: str) -> None:
    if site.channels != channels:
        found, expected = ", ".join(site.channels), ", ".join(channels)
        todo = "Give the sources of all plates the same `channels`."
        raise InputError(f"encoder {encoder}", f"plate {site.plate}", f"the channels {found}", expected, todo)


def _epochs(progress: Progress, label: str, total: int) -> Any:
    return lambda epoch, train, validation: progress(label, epoch, total)
