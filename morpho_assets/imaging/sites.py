"""Sites of a plate: their image files, and reading them as one array, corrected for illumination."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import polars as pl

from morpho_assets.errors import ImageError, LakeError
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.illumination import Illumination, IlluminationConfig, apply_illumination
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.movies import WRITTEN, function_of_frame, read_recipe
from morpho_assets.imaging.planes import ONLY, Plane
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.lake.tables import PLATE, SITE, WELL

SHAPE_SITES = 16  # enough for a majority unless a plate is half of one size; read in a second


@dataclass(frozen=True)
class Site:
    """One field of view: its place on the plate and one image file per channel, in the plate's order of channels.

    `planes` say which plane of a file shows a channel, where a file holds several.
    """

    plate: str
    well: str
    site: int
    channels: tuple[str, ...]
    paths: tuple[str, ...]
    uris: tuple[str, ...]
    sha256: tuple[str, ...]
    planes: tuple[Plane, ...] = ()

    @property
    def key(self) -> str:
        """Names the site within its plate and in file names: `A01-1`."""
        return f"{self.well}-{self.site}"

    @property
    def content(self) -> tuple[str, ...]:
        """What its images are: the checksum of each channel's file, and the plane where that holds several."""
        planes = self.planes or (ONLY,) * len(self.sha256)
        return tuple(
            checksum if plane == ONLY else f"{checksum} {plane.series} {plane.frame}"
            for checksum, plane in zip(self.sha256, planes, strict=True)
        )

    @property
    def place(self) -> dict[str, object]:
        """Its key columns in the lake's tables."""
        return {"Metadata_Plate": self.plate, "Metadata_Well": self.well, "Metadata_Site": self.site}

    @property
    def files(self) -> tuple[str, ...]:
        """Its images that lie in folders: those of an object store a worker can fetch itself."""
        places = zip(self.paths, self.uris, strict=True)
        return tuple(path for path, uri in places if "://" not in uri and os.path.exists(path))

    @property
    def names(self) -> dict[str, object]:
        """What stands in the braces of paths that a person configures: `{plate}/{well}-{site}.tif`."""
        return {"plate": self.plate, "well": self.well, "site": self.site}

    def channel_of(self, path: str) -> str:
        """The channel whose image a path or an address names; * where it is none of the site's, or several."""
        places = zip(self.channels, self.paths, self.uris, strict=True)
        channels = [channel for channel, *named in places if path in named]
        return channels[0] if len(channels) == 1 else "*"


@dataclass(frozen=True)
class SiteReader:
    """Reads sites; picklable, so that each worker reads its own.

    `illumination` maps a channel to the lake's paths of its function (of movies the recipe of one) and of its dark
    field, or None; without it images come as they were acquired.
    `shape` is what every image must have (`commonest_shape` of a plate); without it a site's first channel says.
    A fetched image that is gone (policy stream) is read from its source again.
    """

    lake: Lake
    store: Store
    illumination: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None

    def read(self, site: Site) -> np.ndarray:
        """(C, H, W) float32 in [0, 1]. Raises ImageError for a file that cannot be used, or shapes that differ."""
        first = self.read_channel(site, 0)
        image = np.empty((len(site.channels), *first.shape), np.float32)
        image[0] = first
        for index in range(1, len(site.channels)):
            image[index] = self.read_channel(site, index, first.shape)
        return image

    def read_channel(self, site: Site, index: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """(H, W) float32 in [0, 1] of one channel, divided by its illumination function where there is one."""
        plane = site.planes[index] if site.planes else ONLY
        content = self.content(site, index)
        image = read_image(content, plane, shape=self.shape or shape, name=site.paths[index])
        paths = self.illumination.get(site.channels[index])
        if paths is None:
            return image
        if paths[0].endswith(WRITTEN):
            function = function_of_frame(content, plane, _recipe(self.lake, paths[0]), site.paths[index])
        else:
            function = _function(self.lake, *paths)
        if function.flat.shape != image.shape:
            shape = function.flat.shape
            reason = f"is {image.shape}, but the illumination function of {site.channels[index]} is {shape}"
            raise ImageError(site.paths[index], reason)
        return np.asarray(apply_illumination(image[None], [function])[0])

    def content(self, site: Site, index: int) -> bytes:
        """An image's file, the one that was fetched. Raises LakeError for another, or none: that is no fault of the
        image, and what was made without it would not be what the commit says it was made from."""
        path = site.paths[index]
        try:
            if os.path.exists(path):
                with open(path, "rb") as file:
                    body = file.read()
            else:
                body = self.store.read(site.uris[index]).body
        except (OSError, ImageError) as error:
            raise LakeError(
                f"{path} was fetched, but cannot be read now: {error}. Materialise raw_images again."
            ) from None
        if hashlib.sha256(body).hexdigest() != site.sha256[index]:
            raise LakeError(f"{path} is another file than was fetched. Materialise raw_images again.")
        return body


def complete_sites(inputs: Snapshot, plate: str) -> list[Site]:
    """The sites of a plate of which every channel was fetched, in the order of the manifest."""
    wanted = inputs.read("sites", plate)
    channels = tuple(wanted["channel"].unique(maintain_order=True))
    files = inputs.read("image_files", plate)
    sites = []
    for (well, number), rows in files.group_by("Metadata_Well", "Metadata_Site", maintain_order=True):
        if set(rows["channel"]) == set(channels):
            by_channel = {row["channel"]: row for row in rows.iter_rows(named=True)}
            of = [by_channel[channel] for channel in channels]
            paths, uris, sums = (tuple(row[name] for row in of) for name in ("path", "uri", "sha256"))
            planes = tuple(Plane(row["series"], row["frame"]) for row in of)
            sites.append(Site(plate, str(well), int(number), channels, paths, uris, sums, planes))
    return sites


def commonest_shape(reader: SiteReader, sites: Sequence[Site]) -> tuple[int, ...] | None:
    """The (H, W) of most images of a plate, by all channels of `SHAPE_SITES` sites spread evenly over it.

    The first met of equally common ones; None where no image can be read.
    """
    plain = replace(reader, illumination={}, shape=None)
    counts: Counter[tuple[int, ...]] = Counter()
    for site in sites[:: math.ceil(len(sites) / SHAPE_SITES) or 1]:
        for index in range(len(site.channels)):
            try:
                counts[plain.read_channel(site, index).shape] += 1
            except ImageError:
                continue  # the stages that need this image report it
    return counts.most_common(1)[0][0] if counts else None


def illumination_paths(inputs: Snapshot, plate: str) -> dict[str, tuple[str, str | None]]:
    """Channel to the lake's paths of its function and of its dark field, or None; empty where nothing is corrected."""
    functions = inputs.read("illumination_functions", plate).select("channel", "path", "dark_path")
    return {channel: (path, dark) for channel, path, dark in functions.iter_rows()}


def plate_reader(inputs: Snapshot, store: Store, plate: str) -> SiteReader:
    """Reads a plate's sites, divided by its illumination functions."""
    return SiteReader(inputs.lake, store, illumination_paths(inputs, plate))


def site_rows(site: Site, frame: pl.DataFrame) -> pl.DataFrame:
    """A frame of one site with the site's key columns in front."""
    place = {name: [value] * frame.height for name, value in site.place.items()}
    return pl.DataFrame(place, schema={column.name: column.dtype for column in (PLATE, WELL, SITE)}).hstack(frame)


@lru_cache(maxsize=16)
def _function(lake: Lake, path: str, dark: str | None) -> Illumination:
    """An illumination function, read once in a process: its digest is in its path, so it never changes."""
    return Illumination(_array(lake, path), None if dark is None else _array(lake, dark))


@lru_cache(maxsize=16)
def _recipe(lake: Lake, path: str) -> IlluminationConfig:
    return read_recipe(lake.read_bytes(path))


def _array(lake: Lake, path: str) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(lake.read_bytes(path))), np.float32)
