"""The windows of a plate as an encoder sees them: around cells, tiles of sites, or whole sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, plate_reader, site_rows
from morpho_assets.lake.lake import Snapshot
from morpho_assets.learn.cells import Cells, joined
from morpho_assets.learn.crops import CROPS_FOR_SCALING, DIMMED, Scaling, crop_cells, fit_scaling, own_pixels
from morpho_assets.learn.kinds import EncoderConfig
from morpho_assets.learn.tiles import cut_tiles, tile_corners, whole_site

WELL = ["Metadata_Plate", "Metadata_Well"]
SITE = ["Metadata_Well", "Metadata_Site"]
AT_ONCE = 512
"""Windows in memory when they are only passed on; of several sites, since a network's call costs the same for five
windows as for fifty, and of part of a site that holds more."""
LEFT = {"keep": 1.0, "dim": DIMMED, "mask": 0.0}
"""What is left of the light of other cells in a window."""
SAME_PIXEL = 0.05
"""Relative: sizes of pixels that differ by less are one, for microscopes of one kind are calibrated one by one."""


@dataclass(frozen=True)
class PlateWindows:
    """A plate's segmented sites, how they are read, and the paths of each one's label images of cells and of nuclei, by
    its key.

    A row of a window has Metadata_Plate, _Well and _Site, `number` (of the cell, or of the tile from 1; 0 is the whole
    site) and `row` and `column`: of a cell its centre, of a tile its upper left pixel.
    """

    name: str
    config: EncoderConfig
    inputs: Snapshot
    reader: SiteReader
    sites: Sequence[Site]
    labels: dict[str, str]
    nuclei: dict[str, str]

    @classmethod
    def of(cls, inputs: Snapshot, store: Store, plate: str, config: EncoderConfig) -> PlateWindows:
        """The windows of a plate that an encoder with this config sees."""
        masks = inputs.read("masks", plate).select("Metadata_Well", "Metadata_Site", "cells", "nuclei").rows()
        labels = {f"{well}-{site}": path for well, site, path, _ in masks}
        nuclei = {f"{well}-{site}": path for well, site, _, path in masks}
        sites = [site for site in complete_sites(inputs, plate) if site.key in labels]
        return cls(plate, config, inputs, plate_reader(inputs, store, plate), sites, labels, nuclei)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the plate's images."""
        height, width = self.reader.read_channel(self.sites[0], 0).shape
        return int(height), int(width)

    @cached_property
    def pixel_size(self) -> float | None:
        """µm of a pixel of the windows as the encoder is given them, by the settings or the plate's first image; None
        where neither says. Of whole sites that along a column."""
        if not self.sites:
            return None
        given = self.config.pixel_size or pixel_size(self.reader.content(self.sites[0], 0))
        if given is None:
            return None
        return given * (self.shape[0] / self.config.side if self.config.unit == "site" else self.config.shrink)

    def rows(self, wells: pl.DataFrame | None = None) -> pl.DataFrame:
        """A row for each window, of these wells alone (rows with Metadata_Plate and _Well)."""
        if self.config.unit == "cell":
            place = {"number": "ObjectNumber", "row": "Nuclei_Center_Y", "column": "Nuclei_Center_X"}
            found = self.inputs.scan("objects", [self.name]).select(
                *WELL, "Metadata_Site", *(pl.col(name).alias(short) for short, name in place.items())
            )
            if wells is not None:
                found = found.join(wells.lazy().select(WELL), on=WELL, how="semi")
            return found.collect()
        corners = np.zeros((1, 2), dtype=np.int64)
        if self.config.unit == "tile" and self.sites:
            corners = tile_corners(self.shape, self.config.crop_size)
        first = int(self.config.unit == "tile")
        each = pl.DataFrame(
            {"number": np.arange(first, first + len(corners)), "row": corners[:, 0], "column": corners[:, 1]},
            schema={"number": pl.Int32, "row": pl.Float64, "column": pl.Float64},
        )
        nowhere = site_rows(Site(self.name, "", 0, (), (), (), ()), each.clear())
        windows = pl.concat([nowhere, *(site_rows(site, each) for site in self.sites)])
        return windows if wells is None else windows.join(wells.select(WELL), on=WELL, how="semi")

    def stream(self, rows: pl.DataFrame, beyond: float = 0.0) -> Iterator[tuple[pl.DataFrame, Cells]]:
        """Rows, in the order of the sites, with their windows: of never more than twice AT_ONCE windows and one site,
        whatever the plate holds. `beyond` stands past an image's border. InputError for a channel that the plate does
        not have."""
        keys: list[pl.DataFrame] = []
        parts: list[Cells] = []
        by_site = rows.partition_by(SITE, as_dict=True, maintain_order=True)
        for site in self.sites:
            if (site.well, site.site) not in by_site:
                continue
            for of_site, windows in self._of_site(site, by_site[site.well, site.site], beyond):
                keys.append(of_site)
                parts.append(windows)
                if sum(map(len, parts)) >= AT_ONCE:
                    yield pl.concat(keys), joined(parts)
                    keys, parts = [], []
        if parts:
            yield pl.concat(keys), joined(parts)

    def compartments(self, rows: pl.DataFrame) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """(n, S, S) each: which pixels of windows lie in the cell (of a tile or site, in any), and which in its
        nucleus; of these rows in the order of `stream`, site by site."""
        by_site = rows.partition_by(SITE, as_dict=True, maintain_order=True)
        for site in self.sites:
            if (site.well, site.site) in by_site:
                paths = self.labels[site.key], self.nuclei[site.key]
                labels = [read_labels(self.reader.lake.read_bytes(path), name=path) for path in paths]
                cells, nuclei = (self._own(each, by_site[site.well, site.site]) for each in labels)
                yield cells, nuclei

    def scaling(self) -> Scaling | None:
        """The scaling by the plate's negative controls, of windows as the encoder sees them; None where it asks for
        another. InputError for a plate without windows in negative controls."""
        if self.config.scaling != "controls":
            return None
        rows = drawn(self.rows(controls_of(self.inputs, self.name)), CROPS_FOR_SCALING, seed=0)
        if not rows.height:
            do = "Mark the plate's negative controls, or give the encoder `scaling: training` or `image`."
            found = f"no {self.config.unit}s in negative controls"
            raise InputError(f"plate {self.name}", "scaling", found, f"{self.config.unit}s to scale by", do)
        unknown = float("nan")  # past the border there is nothing to scale by
        windows = joined([part for _, part in self.stream(rows, unknown)])
        return fit_scaling(windows.crops, self.config.percentiles)

    def _of_site(self, site: Site, rows: pl.DataFrame, beyond: float) -> Iterator[tuple[pl.DataFrame, Cells]]:
        """The windows of one site, at most AT_ONCE at a time."""
        config = self.config
        labels = None
        if config.neighbours != "keep" or config.sees_own_pixels:
            path = self.labels[site.key]
            labels = read_labels(self.reader.lake.read_bytes(path), name=path)
        image = self.reader.read(site)
        for part in rows.iter_slices(AT_ONCE):
            crops, own = self._cut(image, labels, part, beyond)
            found = Cells(crops, site.channels, own, np.full(len(crops), self.name))
            try:
                yield part, found.seeing(config.channels or site.channels, config.side, config.sees_own_pixels)
            except InputError as error:
                do = "Give the sources of all plates the same `channels`, or name those that all have in the encoder's."
                raise InputError(f"plate {self.name}", error.where, error.found, error.expected, do) from error

    def _cut(
        self, image: NDArray[np.float32], labels: NDArray[np.int32] | None, rows: pl.DataFrame, beyond: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """The windows of an image, and which of their pixels are the cell's own; of a tile or site, any cell's."""
        config = self.config
        own = self._own(labels, rows) if config.sees_own_pixels and labels is not None else None
        places = rows.select("row", "column").to_numpy()
        if config.unit == "site":
            return whole_site(image, config.side), own
        if config.unit == "tile":
            return cut_tiles(image, places.astype(np.int64), config.crop_size, config.shrink), own
        others, left = (None if config.neighbours == "keep" else labels), LEFT[config.neighbours]
        numbers = rows["number"].to_numpy()
        return crop_cells(image, places, config.crop_size, others, numbers, config.shrink, left, beyond), own

    def _own(self, labels: NDArray[np.int32], rows: pl.DataFrame) -> NDArray[np.bool_]:
        """(n, S, S): which pixels of windows bear the number of their cell in a label image; of a tile or site, any."""
        config, places = self.config, rows.select("row", "column").to_numpy()
        if config.unit == "cell":
            return own_pixels(labels, places, config.crop_size, rows["number"].to_numpy(), config.shrink)
        plane = (labels > 0).astype(np.float32)[None]
        if config.unit == "site":
            return whole_site(plane, config.side)[:, 0] >= 0.5
        return cut_tiles(plane, places.astype(np.int64), config.crop_size, config.shrink)[:, 0] >= 0.5


def controls_of(inputs: Snapshot, plate: str) -> pl.DataFrame:
    """The negative controls of a plate: Metadata_Plate and _Well."""
    return inputs.read("wells", plate).filter(Metadata_control_type="negcon").select(WELL)


def drawn(rows: pl.DataFrame, most: int, seed: int, wells: pl.DataFrame | None = None) -> pl.DataFrame:
    """At most `most` of these rows and those of other plates, evenly from the `wells` of all (None: of these), or from
    as many of these as rows are wanted, whatever the study holds."""
    wells = rows.select(WELL).unique() if wells is None else wells
    if wells.height > most:
        chosen = wells.sort(WELL).sample(most, seed=seed, shuffle=True)
        rows = rows.join(chosen, on=WELL, how="semi", maintain_order="left")
    share = max(1, most // max(1, wells.height))
    return rows.filter(pl.int_range(pl.len()).shuffle(seed=seed).over(WELL) < share)


def one_pixel_size(sizes: dict[str, float | None], known: float | None = None) -> float | None:
    """The size of a pixel, µm, that these (by plate) and the `known` agree on; None where nobody knows. InputError
    naming a plate of another."""
    for plate, size in sizes.items():
        if size is None:
            continue
        known = known or size
        if abs(size / known - 1) > SAME_PIXEL:
            do = "Make an encoder for each magnification, or, where the files are wrong, give the encoder `pixel_size`."
            raise InputError(f"plate {plate}", "pixel size", f"{size:.4g} µm", f"{known:.4g} µm, as on the others", do)
    return known
