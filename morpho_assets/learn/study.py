"""The encoder stages of a study: crops of its plates' cells, training, embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import ImageError, InputError
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, site_rows
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.learn.crops import crop_cells
from morpho_assets.learn.encoders import EncoderConfig, TrainedEncoder, load_encoder, save_encoder, train_encoder
from morpho_assets.learn.projection import project
from morpho_assets.profiles.study import read_space, space_features

WELL = ["Metadata_Plate", "Metadata_Well"]
CELLS_AT_ONCE = 1024  # of several sites: a network's call costs the same for five cells as for fifty


def train_encoders(
    lake: Lake,
    study: str,
    made: Provenance,
    configs: Mapping[str, EncoderConfig],
    readers: Mapping[str, SiteReader],
    progress: Progress = no_progress,
) -> pl.DataFrame:
    """Train each encoder on cells of the plates (`readers`: plate to reader), drawn evenly from their wells.

    Writes a checkpoint each and `encoders`, which this returns. Whole wells are held out to validate.
    """
    rows = []
    for name, config in configs.items():
        crops, wells, channels = _training_crops(lake, config, readers)
        report = _epochs(progress, f"encoder {name}", config.epochs)
        trained = train_encoder(crops, config, wells, report, channels=channels, plates=tuple(readers))
        path = f"checkpoints/study={study}/{made.fingerprint}/{name}.pt"
        lake.write_bytes(path, save_encoder(trained))
        history = trained.history
        losses = {"train_loss": list(history.train), "validation_loss": list(history.validation)}
        record = {"cells": len(crops), "best_epoch": history.best_epoch, "split": trained.split, **losses}
        rows.append({"study": study, "encoder": name, "path": path, "sha256": trained.sha256, **record})
    frame = pl.DataFrame(rows) if rows else pl.DataFrame(schema={"study": pl.String, "encoder": pl.String})
    lake.write("encoders", study, frame, made)
    return frame


def embed_cells(
    lake: Lake, study: str, made: Provenance, readers: Mapping[str, SiteReader], progress: Progress = no_progress
) -> int:
    """Embed every cell of the plates with every encoder, site by site; writes `embeddings`, returns its rows."""
    encoders = {
        row["encoder"]: load_encoder(lake.read_bytes(row["path"]), row["path"])
        for row in lake.read("encoders", study).iter_rows(named=True)
    }
    sites = [(plate, site) for plate in readers for site in _segmented(lake, plate)]

    def frames() -> Iterator[pl.DataFrame]:
        objects = {plate: lake.read("objects", plate) for plate in readers}
        keys: list[pl.DataFrame] = []
        crops: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
        for done, (plate, site) in enumerate(sites, start=1):
            cells = _of_site(objects[plate], site)
            try:
                image = readers[plate].read(site)
            except ImageError:
                continue  # its failure stands in site_failures, from the stage that measured it
            for name, encoder in encoders.items():
                _same_channels(encoder.channels, site, name)
                crops[name].append(_cut(lake, image, site, cells, encoder.config))
            keys.append(site_rows(site, cells.select("ObjectNumber")))
            if sum(frame.height for frame in keys) >= CELLS_AT_ONCE:
                yield from _embedded(study, encoders, pl.concat(keys), crops)
                keys, crops = [], {name: [] for name in encoders}
            progress("embeddings", done, len(sites))
        if keys:
            yield from _embedded(study, encoders, pl.concat(keys), crops)

    return lake.write_stream("embeddings", study, frames() if encoders else [], made)


def _embedded(
    study: str, encoders: Mapping[str, TrainedEncoder], keys: pl.DataFrame, crops: Mapping[str, list[np.ndarray]]
) -> Iterator[pl.DataFrame]:
    """The rows of `embeddings` of these cells, a frame for each encoder."""
    for name, encoder in encoders.items():
        vectors = encoder.encode(np.concatenate(crops[name]))
        embedding = pl.Series("embedding", vectors.tolist(), dtype=pl.List(pl.Float32))
        yield keys.select(pl.lit(study).alias("study"), pl.lit(name).alias("encoder"), pl.all(), embedding)


def project_spaces(
    lake: Lake, study: str, made: Provenance, steps: Mapping[str, Sequence[str]], seed: int
) -> pl.DataFrame:
    """Write `projections`: a map of each space after its last step; returns them with `group`, the treatment's kind."""
    frames = []
    for space, names in steps.items():
        wells = read_space(lake, study, space, names[-1])
        features = space_features(wells)
        if len(features) < 3:
            continue  # two numbers need no map
        points = project(wells.select(features).fill_null(0).to_numpy(), seed)
        keys = wells.select("study", "space", "step", *WELL, _group().alias("group"))
        frames.append(keys.with_columns(x=pl.Series(points[:, 0]), y=pl.Series(points[:, 1])))
    columns = dict.fromkeys(("study", "space", "step", *WELL, "group"), pl.String)
    frame = pl.concat(frames) if frames else pl.DataFrame(schema={**columns, "x": pl.Float32, "y": pl.Float32})
    lake.write("projections", study, frame.drop("group"), made)
    return frame


def _group() -> pl.Expr:
    """What a well is coloured by: its control type, else its treatment."""
    return pl.coalesce("Metadata_control_type", "Metadata_Perturbation")


def _training_crops(
    lake: Lake, config: EncoderConfig, readers: Mapping[str, SiteReader]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(n, C, S, S) crops of at most `max_cells` cells, the well of each, and the channels."""
    objects = pl.concat([lake.read("objects", plate) for plate in readers])
    if objects.height < 2:
        raise InputError("encoder", "cells", str(objects.height), "at least two cells", "Check the plates' masks.")
    share = max(1, config.max_cells // objects.select(WELL).n_unique())
    chosen = objects.filter(pl.int_range(pl.len()).shuffle(seed=config.seed).over(WELL) < share)
    crops, wells = [], []
    channels: tuple[str, ...] = ()
    for plate, reader in readers.items():
        for site in _segmented(lake, plate):
            cells = _of_site(chosen, site)
            if cells.height:
                channels = channels or site.channels
                _same_channels(channels, site, config.name)
                crops.append(_cut(lake, reader.read(site), site, cells, config))
                wells += [f"{plate} {site.well}"] * cells.height
    return np.concatenate(crops), np.asarray(wells), channels


def _segmented(lake: Lake, plate: str) -> list[Site]:
    masks = set(lake.read("masks", plate).select("Metadata_Well", "Metadata_Site").iter_rows())
    return [site for site in complete_sites(lake, plate) if (site.well, site.site) in masks]


def _of_site(objects: pl.DataFrame, site: Site) -> pl.DataFrame:
    return objects.filter(pl.all_horizontal(pl.col(name) == value for name, value in site.place.items()))


def _cut(lake: Lake, image: np.ndarray, site: Site, cells: pl.DataFrame, config: EncoderConfig) -> np.ndarray:
    centers = cells.select("Nuclei_Center_Y", "Nuclei_Center_X").to_numpy()
    labels = None
    if config.mask_neighbours:
        masks = lake.read("masks", site.plate)
        path = masks.filter(Metadata_Well=site.well, Metadata_Site=site.site)["cells"][0]
        labels = read_labels(lake.read_bytes(path), name=path)
    objects = cells["ObjectNumber"].to_numpy()
    return crop_cells(image, centers, config.crop_size, labels, objects, config.shrink)


def _same_channels(channels: tuple[str, ...], site: Site, encoder: str) -> None:
    if site.channels != channels:
        found, expected = ", ".join(site.channels), ", ".join(channels)
        todo = "Give the sources of all plates the same `channels`."
        raise InputError(f"encoder {encoder}", f"plate {site.plate}", f"the channels {found}", expected, todo)


def _epochs(progress: Progress, label: str, total: int) -> Any:
    return lambda epoch, train, validation: progress(label, epoch, total)
