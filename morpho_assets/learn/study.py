"""The encoder stages of a study: windows around its plates' cells, fitting, embeddings, maps of spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
from morpho_assets.learn.cells import Cells, joined
from morpho_assets.learn.crops import CROPS_FOR_SCALING, DIMMED, Scaling, crop_cells, fit_scaling, own_pixels
from morpho_assets.learn.encoders import Trained, fit_encoder, load_encoder, save_encoder
from morpho_assets.learn.kinds import EncoderConfig
from morpho_assets.learn.projection import project
from morpho_assets.profiles.study import as_wells, read_space, space_features, space_steps

WELL = ["Metadata_Plate", "Metadata_Well"]
CELLS_AT_ONCE = 512  # of several sites: a network's call costs the same for five cells as for fifty
LEFT = {"keep": 1.0, "dim": DIMMED, "mask": 0.0}
"""What is left of the light of other cells in a window."""


def train_encoder_of_study(work: Work) -> None:
    """Fit one encoder of a study (the second part of the partition) on cells of its plates, drawn evenly from the wells
    that it may see; writes its card, its weights and its row of `encoders`."""
    name, config = work.partition.part, work.settings
    plates = {key: _plate(work.inputs, source.store(), key) for key, source in work.source.items()}
    annotated = work.inputs.scan("wells", list(plates)).collect()
    allowed = _allowed(annotated, config)
    objects = work.inputs.scan("objects", list(plates)).join(allowed.lazy().select(WELL), on=WELL, how="semi").collect()
    if objects.height < 2:
        do = "Check the masks of the wells that `trains_on` names."
        raise InputError(f"encoder {name}", "cells", str(objects.height), "at least two cells", do)
    chosen = _drawn(objects, config.max_cells, config.seed)
    parts, wells = [], []
    scalings = {key: _scaling_of(work.inputs, plate, config) for key, plate in plates.items()}
    for key, plate in plates.items():
        for site, cells in plate.cells(chosen):
            parts.append(plate.windows(site, cells, config))
            wells += [f"{key} {site.well}"] * cells.height
    treatments = dict(zip(_names(allowed), allowed["Metadata_Perturbation"].fill_null(""), strict=True))
    report = _epochs(work.progress, f"encoder {name}", getattr(config, "epochs", 1))
    labels = [treatments[well] for well in wells]
    known = {key: scaling for key, scaling in scalings.items() if scaling is not None}
    trained = fit_encoder(config, joined(parts), labels, wells, scalings=known, progress=report)
    card, weights = save_encoder(trained)
    files = {
        "path": work.write_file("checkpoints", f"{name}.json", card),
        "weights": work.write_file("checkpoints", f"{name}.safetensors", weights),
    }
    work.write("encoders", pl.DataFrame([{"study": work.key, "encoder": name, **files, **_row(trained)}]))


def _row(trained: Trained) -> dict[str, Any]:
    """An encoder's row of `encoders`, but its name and its files."""
    card = trained.card
    return {
        "kind": card.kind,
        "untrained": card.config.untrained,
        "sha256": card.sha256,
        "numbers": card.numbers,
        "cells": card.seen.cells,
        "wells": list(card.seen.wells),
        "labels": list(card.seen.labels),
        "best_epoch": card.losses.best_epoch,
        "split": card.seen.split,
        "train_loss": list(card.losses.train),
        "validation_loss": list(card.losses.validation),
        "licence": card.licence,
    }


def embed_plate(work: Work) -> None:
    """Embed every cell of a plate with one encoder (the second part of the partition: study/encoder)."""
    study, _, name = work.partition.part.partition("/")
    row = work.inputs.read("encoders", study).row(by_predicate=pl.col("encoder") == name, named=True)
    card, weights = (work.lake.read_bytes(row[part]) for part in ("path", "weights"))
    encoder = load_encoder(card, weights, file=row["path"])
    config = encoder.card.config.model_copy(update={"channels": encoder.card.inputs.channels})
    plate = _plate(work.inputs, work.source.store(), work.key)
    scaling = _scaling_of(work.inputs, plate, config)

    def frames() -> Iterator[pl.DataFrame]:
        keys: list[pl.DataFrame] = []
        parts: list[Cells] = []
        for done, (site, cells) in enumerate(plate.cells(work.read("objects")), start=1):
            parts.append(plate.windows(site, cells, config))
            keys.append(site_rows(site, cells.select("ObjectNumber")))
            if sum(frame.height for frame in keys) >= CELLS_AT_ONCE:
                yield _embedded(study, name, encoder, pl.concat(keys), joined(parts), scaling)
                keys, parts = [], []
            work.progress(f"embeddings {name}", done, len(plate.sites))
        if keys:
            yield _embedded(study, name, encoder, pl.concat(keys), joined(parts), scaling)

    work.write_stream("embeddings", frames())


def _embedded(
    study: str, name: str, encoder: Trained, keys: pl.DataFrame, cells: Cells, scaling: Scaling | None
) -> pl.DataFrame:
    """The rows of `embeddings` of these cells."""
    vectors = encoder.encode(cells, scaling)
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


@dataclass(frozen=True)
class _Plate:
    """A plate's segmented sites, how they are read, and the path of each one's label image of cells, by its key."""

    name: str
    reader: SiteReader
    sites: list[Site]
    labels: dict[str, str]

    def cells(self, objects: pl.DataFrame) -> Iterator[tuple[Site, pl.DataFrame]]:
        """The sites that have rows of `objects`, in order, with these."""
        of_plate = objects.filter(Metadata_Plate=self.name)
        by_site = of_plate.partition_by("Metadata_Well", "Metadata_Site", as_dict=True, maintain_order=True)
        for site in self.sites:
            if (site.well, site.site) in by_site:
                yield site, by_site[site.well, site.site]

    def windows(self, site: Site, cells: pl.DataFrame, config: EncoderConfig, beyond: float = 0.0) -> Cells:
        """The cells of a site as an encoder sees them; `beyond` stands past the image's border. InputError for a
        channel that the plate does not have."""
        centers = cells.select("Nuclei_Center_Y", "Nuclei_Center_X").to_numpy()
        numbers = cells["ObjectNumber"].to_numpy()
        labels = None
        if config.neighbours != "keep" or config.sees_own_pixels:
            path = self.labels[site.key]
            labels = read_labels(self.reader.lake.read_bytes(path), name=path)
        others = None if config.neighbours == "keep" else labels
        left = LEFT[config.neighbours]
        image = self.reader.read(site)
        crops = crop_cells(image, centers, config.crop_size, others, numbers, config.shrink, left, beyond)
        own = None
        if config.sees_own_pixels:
            assert labels is not None
            own = own_pixels(labels, centers, config.crop_size, numbers, config.shrink)
        plates = np.full(len(crops), self.name)
        found = Cells(crops, site.channels, own, plates)
        try:
            return found.seeing(config.channels or site.channels, config.side, config.sees_own_pixels)
        except InputError as error:
            do = "Give the sources of all plates the same `channels`, or name those that all have in the encoder's."
            raise InputError(f"plate {self.name}", error.where, error.found, error.expected, do) from error


def _plate(inputs: Snapshot, store: Any, plate: str) -> _Plate:
    masks = inputs.read("masks", plate).select("Metadata_Well", "Metadata_Site", "cells")
    labels = {f"{well}-{site}": path for well, site, path in masks.iter_rows()}
    sites = [site for site in complete_sites(inputs, plate) if site.key in labels]
    return _Plate(plate, plate_reader(inputs, store, plate), sites, labels)


def _names(wells: pl.DataFrame) -> list[str]:
    return wells.select(pl.concat_str(WELL, separator=" ")).to_series().to_list()


def _allowed(wells: pl.DataFrame, config: EncoderConfig) -> pl.DataFrame:
    """The wells that the encoder may see. InputError for one that is named and not there."""
    asked = config.trains_on.wells
    if asked == "all":
        return wells
    if asked == "controls":
        return wells.filter(Metadata_control_type="negcon")
    missing = sorted(set(asked) - set(wells["Metadata_Well"]))
    if missing:
        raise InputError("encoder", "trains_on.wells", f"the well {missing[0]}", "wells of its plates", "Name others.")
    return wells.filter(pl.col("Metadata_Well").is_in(list(asked)))


def _drawn(objects: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """At most `most` cells, evenly from their wells."""
    share = max(1, most // objects.select(WELL).n_unique())
    return objects.filter(pl.int_range(pl.len()).shuffle(seed=seed).over(WELL) < share)


def _scaling_of(inputs: Snapshot, plate: _Plate, config: EncoderConfig) -> Scaling | None:
    """The scaling by a plate's negative controls, of windows as the encoder sees them; None where it asks for another.
    InputError for a plate without cells in negative controls."""
    if config.scaling != "controls":
        return None
    controls = inputs.read("wells", plate.name).filter(Metadata_control_type="negcon").select(WELL)
    objects = inputs.read("objects", plate.name).join(controls, on=WELL, how="semi")
    if not objects.height:
        do = "Mark the plate's negative controls, or give the encoder `scaling: training` or `image`."
        found = "no cells in negative controls"
        raise InputError(f"plate {plate.name}", "scaling", found, "cells to scale by", do)
    chosen = _drawn(objects, CROPS_FOR_SCALING, seed=0)
    unknown = float("nan")  # past the border there is nothing to scale by
    windows = joined([plate.windows(site, cells, config, unknown) for site, cells in plate.cells(chosen)])
    return fit_scaling(windows.crops, config.percentiles)


def _epochs(progress: Progress, label: str, total: int) -> Any:
    return lambda epoch, train, validation: progress(label, epoch, total)
