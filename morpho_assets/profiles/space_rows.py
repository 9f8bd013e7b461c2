"""Where the rows of a space come from: one reader per source, which gives the rows of one plate at a time.

What belongs here: a source is a config model and an entry of SOURCES in `space.py`, and a reader here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import polars as pl

from morpho_assets.compute import map_items
from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.published import read_wells
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, plate_reader, site_rows
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.profiles.aggregate import CELL_COUNT
from morpho_assets.profiles.features import COMPARTMENTS, FEATURES, feature_columns
from morpho_assets.profiles.normalize import NORMALIZED_ON, NormalizeConfig, normalize
from morpho_assets.profiles.rejected import PLACE, rejected_sites
from morpho_assets.profiles.space import (
    FINE,
    KEYS,
    SOURCES,
    CellsSpace,
    EmbeddingSpace,
    Level,
    NoiseSpace,
    OtherSpace,
    PhenotypesSpace,
    PixelsSpace,
    SpaceConfig,
    TableSpace,
    source_of,
)

SPACE_PREFIXES = (*FEATURES, *(family.prefix for family in table("profiles").families if family.prefix != "Metadata_"))
"""Starts of every kind of feature that a space may have."""
COUNT = NormalizeConfig(prefixes=("Count_",), flat="zero", too_few="all")

STREAMED_SOURCES = ("cells", "embedding", "tile_embedding", "pixels")

Rows = Callable[[str], pl.LazyFrame]


@dataclass(frozen=True)
class SpaceRows:
    """The rows of a space: their `level`, and `rows`, which gives those of one of the `plates` whenever it is asked,
    with the keys of the level and the `features`. `wells` is the annotation of every plate's wells; rows of sites and
    wells have it too. `notes` are sentences on what was left out. Rows that are `streamed` are made anew each time."""

    level: Level
    plates: tuple[str, ...]
    rows: Rows
    features: tuple[str, ...]
    wells: pl.DataFrame
    notes: tuple[str, ...] = field(default=())
    streamed: bool = False

    def all(self) -> pl.DataFrame:
        """The rows of all plates, in their order; features that a plate lacks are null there."""
        frames = [self.rows(plate).collect() for plate in self.plates]
        return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()

    def held(
        self, frame: pl.DataFrame, level: Level | None = None, features: tuple[str, ...] | None = None
    ) -> SpaceRows:
        """The same with the rows of `frame` in their place."""
        by_plate = frame.partition_by("Metadata_Plate", as_dict=True, maintain_order=True)
        frames = {str(key): rows.lazy() for (key,), rows in by_plate.items()}
        empty = frame.clear().lazy()
        return replace(
            self, level=level or self.level, rows=lambda plate: frames.get(plate, empty),
            features=features or self.features, streamed=False,
        )  # fmt: skip


def read_rows(work: Work, name: str, config: SpaceConfig, made: Mapping[str, SpaceRows]) -> SpaceRows:
    """The rows of a study's space `name`; `made` are the spaces that it may be made from. InputError where a plate
    lacks what the source is."""
    if isinstance(config, OtherSpace):
        return replace(made[config.space], notes=())
    plates = tuple(work.source)
    wells = work.inputs.scan("normalized_profiles", plates).select(pl.col("^Metadata_.*$")).collect()
    wells = wells.drop(NORMALIZED_ON, strict=False)
    source = source_of(config)
    rows, features, notes = READERS[source](work, config, name)
    level = SOURCES[source].level
    mine = _without_rejected(work, rows) if "Metadata_Site" in KEYS[level] else rows
    found = mine if level in FINE else lambda plate: annotated(mine(plate), wells)
    return SpaceRows(level, plates, found, tuple(features), wells, tuple(notes), source in STREAMED_SOURCES)


def _without_rejected(work: Work, rows: Rows) -> Rows:
    """The rows of each plate, without those of sites that a person rejected."""
    rejected = rejected_sites(work.inputs, work.source)

    def left(plate: str) -> pl.LazyFrame:
        return rows(plate).join(rejected.lazy(), on=PLACE, how="anti", maintain_order="left")

    return left if rejected.height else rows


def annotated(rows: pl.LazyFrame, wells: pl.DataFrame) -> pl.LazyFrame:
    """Rows of sites or wells with the annotation of their wells, those of the study alone, in the order of the wells.
    What the rows have already stays as it is; counts of a well are not those of its sites."""
    names = rows.collect_schema().names()
    annotation = wells.lazy().drop([name for name in names if name in wells.columns and name not in KEYS["well"]])
    if "Metadata_Site" in names:
        annotation = annotation.drop(pl.selectors.starts_with("Metadata_Count_"))
    return annotation.join(rows, on=KEYS["well"], how="inner", maintain_order="left_right")


Found = tuple[Rows, list[str], list[str]]
"""The rows of each plate, their features, and what is worth knowing of them."""


def _cells(work: Work, config: CellsSpace, name: str) -> Found:
    scans = {plate: work.inputs.scan("single_cells", [plate]) for plate in work.source}
    found = {plate: feature_columns(scan, COMPARTMENTS) for plate, scan in scans.items()}
    bare = [plate for plate, names in found.items() if not names]
    if bare:
        raise InputError("spaces", name, f"plate {bare[0]} without single cells", "plates that were measured",
                         "Its profiles were published: take `of: wells` or `of: normalized`.")  # fmt: skip
    features = list(dict.fromkeys(each for names in found.values() for each in names))
    if not config.implausible:
        hit = {plate: work.inputs.scan("implausible_cells", [plate]).select(KEYS["cell"]) for plate in work.source}
        scans = {plate: scan.join(hit[plate], on=KEYS["cell"], how="anti") for plate, scan in scans.items()}

    def rows(plate: str) -> pl.LazyFrame:
        absent = set(features) - set(found[plate])
        return scans[plate].select(
            *KEYS["cell"], *(pl.lit(None, pl.Float32).alias(each) if each in absent else each for each in features)
        )

    return rows, features, []


def _wells(work: Work, config: SpaceConfig, name: str) -> Found:
    wells = work.inputs.scan("well_profiles", list(work.source)).collect()
    measured = _measured(wells)
    absent = sorted(set(wells["Metadata_Plate"]) - set(measured["Metadata_Plate"]))
    if absent:
        raise InputError("spaces", name, f"plate {absent[0]} with profiles that were published normalised",
                         "profiles before normalisation, with which the recipe begins",
                         "Name the unnormalised files in the source (normalized: false), or use `select` and "
                         "`corrections` in place of the recipe.")  # fmt: skip
    return _by_plate(measured)


def _normalized(work: Work, config: SpaceConfig, name: str) -> Found:
    wells = work.inputs.scan("normalized_profiles", list(work.source)).collect()
    rows, features, _ = _by_plate(_measured(wells))
    return rows, features, lacking(wells)


def _images(work: Work, config: SpaceConfig, name: str) -> Found:
    families = tuple(family.prefix for family in table("image_quality").families if family.dtype == pl.Float32)
    quality = work.inputs.scan("image_quality", list(work.source)).collect()
    if not quality.height:
        raise InputError("spaces", name, "plates without graded images", "plates with images",
                         "Their profiles were published: leave the space out.")  # fmt: skip
    named = feature_columns(quality, families)
    sites = quality.select(KEYS["site"]).unique(maintain_order=True)
    features = []
    for (channel,), rows in quality.group_by("channel", maintain_order=True):
        here = rows.select(*KEYS["site"], pl.col(named).name.suffix(f"_{channel}"))
        sites = sites.join(here, on=KEYS["site"], how="left", maintain_order="left")
        features += [f"{each}_{channel}" for each in named]
    return _by_plate(sites, features)


def _pixels(work: Work, config: PixelsSpace, name: str) -> Found:
    readers = {plate: plate_reader(work.inputs, source.store(), plate) for plate, source in work.source.items()}
    sites = {plate: complete_sites(work.inputs, plate) for plate in work.source}
    bare = [plate for plate, found in sites.items() if not found]
    if bare:
        raise InputError("spaces", name, f"plate {bare[0]} without images", "plates with images",
                         "Leave the space or the plate out.")  # fmt: skip
    there = sites[next(iter(sites))][0].channels
    channels = config.channels or there
    for plate, found in sites.items():
        if absent := [channel for channel in channels if channel not in found[0].channels]:
            raise InputError("spaces", name, f"no channel {absent[0]} on plate {plate}",
                             f"channels of {', '.join(found[0].channels)}", "Name other `channels`.")  # fmt: skip
    places = [(row, column) for row in range(config.size) for column in range(config.size)]
    features = [f"Pixel_{channel}_{row}_{column}" for channel in channels for row, column in places]

    def rows(plate: str) -> pl.LazyFrame:
        look = partial(_resized, readers[plate], channels, config.size)
        done = map_items(look, sites[plate], work.compute, work.progress, f"pixels of {plate}")
        read = {site.key: (site, image) for site, image in done if not isinstance(image, ImageError)}
        frames = [
            site_rows(site, pl.DataFrame(image[None], schema=features, orient="row"))
            for site, image in (read[each.key] for each in sites[plate] if each.key in read)
        ]
        empty = pl.DataFrame(schema={**{key: table("sites").dtype(key) for key in KEYS["site"]}, **_floats(features)})
        return pl.concat([empty, *frames]).lazy()

    return rows, features, []


def _resized(reader: SiteReader, channels: tuple[str, ...], size: int, site: Site) -> np.ndarray:
    """(channels * size * size,) float32 of a site: each pixel the mean of the part of the image that it stands for."""
    from skimage.transform import resize

    images = [reader.read_channel(site, site.channels.index(channel)) for channel in channels]
    return np.concatenate([resize(each, (size, size), anti_aliasing=True).ravel() for each in images]).astype(
        np.float32
    )


def _embedding(work: Work, config: EmbeddingSpace, name: str) -> Found:
    encoder = config.encoder or name
    source = SOURCES[source_of(config)]

    def vectors(plate: str) -> pl.LazyFrame:
        rows = work.inputs.scan(source.tables[0], [plate])
        return rows.filter(pl.col("study") == work.key, pl.col("encoder") == encoder)

    first = pl.concat([vectors(plate).select("embedding").head(1) for plate in work.source]).head(1).collect()
    size = len(first["embedding"][0]) if first.height else 0
    features = [f"Embedding_{i}" for i in range(size)]
    columns = [pl.col("embedding").list.get(i).alias(each) for i, each in enumerate(features)]
    rows = lambda plate: vectors(plate).select(*KEYS[source.level], *columns)  # noqa: E731
    if source.level in FINE:
        return rows, features, []
    return _by_plate(pl.concat([rows(plate) for plate in work.source]).collect(), features)


def _noise(work: Work, config: NoiseSpace, name: str) -> Found:
    wells = work.inputs.scan("normalized_profiles", list(work.source)).select(KEYS["well"]).collect()
    features = [f"Noise_{number}" for number in range(config.numbers)]
    draws = [
        np.random.default_rng([config.seed, *"/".join(well).encode()]).normal(size=config.numbers)
        for well in wells.iter_rows()
    ]
    numbers = pl.DataFrame(np.reshape(draws, (-1, config.numbers)), schema=_floats(features), orient="row")
    return _by_plate(wells.hstack(numbers), features)


def _cell_count(work: Work, config: SpaceConfig, name: str) -> Found:
    """The cell count in units of the controls (of a plate without any, of all its wells, which the rows say), and a
    constant 1: the cosine of one number would only be its sign.

    Raises InputError for a plate of published profiles that do not say how many cells are behind a well.
    """
    wells = work.inputs.scan("normalized_profiles", list(work.source)).collect()
    uncounted = wells.filter(pl.col(CELL_COUNT).is_null().all().over("Metadata_Plate"))
    if uncounted.height:
        todo = "Leave the space out of the study."
        found = "profiles that were published without a count"
        raise InputError("spaces", f"plate {uncounted['Metadata_Plate'][0]}", found, CELL_COUNT, todo)
    counts = wells.select(pl.col("^Metadata_.*$"), pl.col(CELL_COUNT).cast(pl.Float64).alias("Count_Cells"))
    return _by_plate(normalize(counts, COUNT).with_columns(Count_Unit=pl.lit(1.0)))


def _table(work: Work, config: TableSpace, name: str) -> Found:
    given = read_wells(config.file, features=config.features)
    features = feature_columns(given, SPACE_PREFIXES)
    wells = work.inputs.scan("normalized_profiles", list(work.source)).select(KEYS["well"]).collect()
    found = wells.join(given.select(*KEYS["well"], *features), on=KEYS["well"], how="inner", maintain_order="left")
    absent = sorted(set(work.source) - set(found["Metadata_Plate"]))
    if absent:
        raise InputError(config.file, f"plate {absent[0]}", "no row of its wells", "a row per well of every plate",
                         "Add the plate, or name the study's plates without it.")  # fmt: skip
    left = wells.height - found.height
    notes = [f"{left} of {wells.height} wells are not in {config.file}"] if left else []
    return _by_plate(found, features)[0], features, notes


def _phenotypes(work: Work, config: PhenotypesSpace, name: str) -> Found:
    """Wells without a called cell have no place in the space."""
    rows = work.inputs.read("phenotype_profiles", work.key).filter(pl.col("model") == (config.phenotype or name))
    features = [each for each in feature_columns(rows, ("Phenotype_",)) if rows[each].count()]
    return _by_plate(rows.select(*KEYS["well"], *features), features)


READERS: dict[str, Callable[..., Found]] = {
    "cells": _cells,
    "wells": _wells,
    "normalized": _normalized,
    "images": _images,
    "pixels": _pixels,
    "embedding": _embedding,
    "tile_embedding": _embedding,
    "site_embedding": _embedding,
    "noise": _noise,
    "cell_count": _cell_count,
    "table": _table,
    "phenotypes": _phenotypes,
}
"""The reader of each source of SOURCES but `space`: the work, the space and its name in; rows of each plate out."""


def lacking(wells: pl.DataFrame) -> list[str]:
    """A sentence for each plate that lacks features which other plates have."""
    features = feature_columns(wells, SPACE_PREFIXES)
    counts = wells.group_by("Metadata_Plate", maintain_order=True).agg(pl.col(features).count())
    sentences = []
    for plate, *numbers in counts.rows():
        absent = [name for name, number in zip(features, numbers, strict=True) if not number]
        some = [name for name in absent if counts[name].sum()]
        if some and len(absent) < len(features):
            shown = ", ".join(some[:8]) + (" …" if len(some) > 8 else "")
            sentences.append(f"plate {plate} lacks {len(some)} of {len(features)} features that others have: {shown}")
    return sentences


def _measured(wells: pl.DataFrame) -> pl.DataFrame:
    """The wells that have any measurement; none where nothing was measured."""
    features = feature_columns(wells, SPACE_PREFIXES)
    return wells.filter(pl.any_horizontal(pl.col(features).is_not_null())) if features else wells.clear()


def _by_plate(frame: pl.DataFrame, features: list[str] | None = None) -> Found:
    parts = frame.partition_by("Metadata_Plate", as_dict=True, maintain_order=True)
    named = feature_columns(frame, SPACE_PREFIXES) if features is None else features
    return lambda plate: parts.get((plate,), frame.clear()).lazy(), named, []


def _floats(features: list[str]) -> dict[str, type[pl.DataType]]:
    return dict.fromkeys(features, pl.Float32)
