"""The imaging stages of a plate: illumination functions, image quality, masks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

from morpho_assets.compute import ComputeConfig, Progress, map_items, no_progress
from morpho_assets.errors import ImageError, InputError
from morpho_assets.imaging.fields import flag_fields, flag_same_picture, measure_field
from morpho_assets.imaging.illumination import Illumination, IlluminationConfig, estimate_illumination
from morpho_assets.imaging.images import write_labels
from morpho_assets.imaging.planes import ONLY
from morpho_assets.imaging.quality import QualityConfig, flag_quality, measure_quality
from morpho_assets.imaging.segmentation import SegmentationConfig, fetch_weights, made_with, make_segmenter
from morpho_assets.imaging.sites import Site, SiteReader, commonest_shape, complete_sites, site_rows
from morpho_assets.lake.failures import write_failures
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.work import Outcome, process_sites


def illuminate_plate(
    lake: Lake,
    plate: str,
    made: Provenance,
    config: IlluminationConfig,
    reader: SiteReader,
    compute: ComputeConfig,
    progress: Progress = no_progress,
) -> pl.DataFrame:
    """Write an illumination function per channel, and `illumination_functions`, which this returns.

    Method `none` writes no function, `gallery` takes the gallery's own (InputError where the plate has none); the
    others estimate one from the plate's images, a few in memory at a time. An image that cannot be read, or has another
    size than most, is left out. A channel without any signal gets a function of ones, from 0 images.
    """
    folder = f"illumination/plate={plate}/{made.fingerprint}"
    sites = complete_sites(lake, plate)
    channels = list(sites[0].channels) if sites and config.method != "none" else []
    reader = replace(reader, shape=commonest_shape(reader, sites))
    uris = dict(lake.read("sites", plate).unique("channel").select("channel", "illumination_uri").iter_rows())
    function = partial(_illuminate, config, reader, sites, uris, folder)
    rows = [row for _, row in map_items(function, channels, compute, progress, "illumination")]
    for row in rows:
        if isinstance(row, ImageError):
            expected = "an illumination function for each channel"
            raise InputError(row.path, "", f"a file that {row.reason}", expected, "Restore it, or use method: regular.")
    order = {channel: i for i, channel in enumerate(channels)}
    frame = pl.DataFrame(sorted(rows, key=lambda row: order[row["channel"]]), schema=None if rows else _FUNCTIONS)
    frame = frame.with_columns(Metadata_Plate=pl.lit(plate))
    write_failures(lake, plate, "illumination", [], made)
    lake.write("illumination_functions", plate, frame, made)
    _remove_others(lake, f"illumination/plate={plate}", made.fingerprint)
    return frame


def grade_plate(
    lake: Lake,
    plate: str,
    made: Provenance,
    config: QualityConfig,
    reader: SiteReader,
    compute: ComputeConfig,
    progress: Progress = no_progress,
) -> Outcome:
    """Measure the quality of every raw image of a plate and write `image_quality` with its flags."""
    sites = complete_sites(lake, plate)
    reader = replace(reader, shape=commonest_shape(reader, sites))
    work, failed = process_sites(
        lake, "image_quality", plate, made, sites, partial(_grade, config, reader), compute, progress
    )
    keys = [site.key for site in sites]
    frames = list(work.frames("image_quality", keys))
    frame = pl.DataFrame(schema=_QUALITY)
    if frames:
        fingerprints = pl.concat(work.frames("fingerprints", keys))
        frame = flag_quality(pl.concat(frames), config)
        frame = flag_fields(frame, fingerprints, config.fields, config.least_sites)
        frame = flag_same_picture(frame, pl.concat(_pictures(site) for site in sites))
    lake.write("image_quality", plate, frame, made)
    work.clear()
    return Outcome(frame.height, len(sites), failed)


def segment_plate(
    lake: Lake,
    plate: str,
    made: Provenance,
    config: SegmentationConfig,
    reader: SiteReader,
    compute: ComputeConfig,
    progress: Progress = no_progress,
) -> Outcome:
    """Segment every site of a plate: label images as TIFF, `objects` and `masks`; the rows are the cells.

    What is in a network's weights or in label images that exist already counts among the inputs: other contents under
    the same name make other masks, and what an earlier run has finished with the old ones is not taken up.
    """
    make_segmenter(config)  # settings that cannot work stop here, before any site
    fetch_weights(config)
    sites = complete_sites(lake, plate)
    made = replace(made, inputs={**made.inputs, **made_with(config, [site.names for site in sites])})
    reader = replace(reader, shape=commonest_shape(reader, sites))
    folder = f"label_images/plate={plate}/{made.fingerprint}"
    function = partial(_segment, config, reader, folder)
    work, failed = process_sites(lake, "masks", plate, made, sites, function, compute, progress)
    keys = [site.key for site in sites]
    cells = lake.write_stream("objects", plate, work.frames("objects", keys), made)
    lake.write_stream("masks", plate, work.frames("masks", keys), made)
    work.clear()
    _remove_others(lake, f"label_images/plate={plate}", made.fingerprint)
    return Outcome(cells, len(sites), failed)


_KEYS = {"Metadata_Plate": pl.String, "Metadata_Well": pl.String, "Metadata_Site": pl.Int32}
_PICTURES = {"channel": pl.String, "sha256": pl.String, "series": pl.Int32, "frame": pl.Int32}
_QUALITY = {**_KEYS, "channel": pl.String}
_FUNCTIONS = {"channel": pl.String, "path": pl.String, "method": pl.String}


@dataclass(frozen=True)
class _ChannelImages:
    """The images of one channel of a plate, read anew each time they are gone through; without those that cannot be
    read or have another size than the reader's."""

    reader: SiteReader
    sites: Sequence[Site]
    channel: int

    def __iter__(self) -> Iterator[np.ndarray]:
        for site in self.sites:
            try:
                yield self.reader.read_channel(site, self.channel)
            except ImageError:
                continue  # the stages that need this site report it


def _illuminate(
    config: IlluminationConfig,
    reader: SiteReader,
    sites: Sequence[Site],
    uris: dict[str, str | None],
    folder: str,
    channel: str,
) -> dict[str, object]:
    images = _ChannelImages(reader, sites, sites[0].channels.index(channel))
    if config.method == "gallery":
        uri = uris[channel]
        if uri is None:
            expected = f"an illumination function of {channel} (load_data_with_illum)"
            raise InputError("illumination.method", "gallery", "a plate without one", expected, "Use method: regular.")
        function = _gallery_function(reader.store.resolve(uri), reader.store.read(uri).body, next(iter(images), None))
    else:
        function = _estimated(images, config, channel)
    path = _save(reader.lake, f"{folder}/Illum{channel}.npy", function.flat)
    dark = None if function.dark is None else _save(reader.lake, f"{folder}/Illum{channel}_dark.npy", function.dark)
    extent = {"minimum": float(function.flat.min()), "maximum": float(function.flat.max())}
    row = {"channel": channel, "path": path, "dark_path": dark, "method": config.method}
    return {**row, "images": function.images, **extent}


def _estimated(images: _ChannelImages, config: IlluminationConfig, channel: str) -> Illumination:
    try:
        return estimate_illumination(images, config)
    except InputError as error:
        raise InputError(error.file, f"{channel}, {error.where}", error.found, error.expected, error.do) from None


def _gallery_function(uri: str, body: bytes, image: np.ndarray | None) -> Illumination:
    """The gallery's function in a .npy file, for images such as `image`. Raises InputError where it does not fit."""
    todo = "Restore the file, or use method: regular."
    try:
        function = Illumination(np.load(io.BytesIO(body)).astype(np.float32))
    except (ValueError, OSError, EOFError) as error:
        raise InputError(uri, "", f"no illumination function ({error})", "a .npy of positive numbers", todo) from None
    if image is not None and function.flat.shape != image.shape:
        found, expected = (f"{height} x {width} pixels" for height, width in (function.flat.shape, image.shape))
        raise InputError(uri, "", f"a function of {found}", f"{expected}, as the images have", todo)
    return function


def _save(lake: Lake, path: str, array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array)
    lake.write_bytes(path, buffer.getvalue())
    return path


def _grade(config: QualityConfig, reader: SiteReader, site: Site) -> dict[str, pl.DataFrame]:
    image = reader.read(site)
    quality = measure_quality(image, site.channels, config)
    field, fingerprint = measure_field(image, config.fields)
    fingerprints = pl.DataFrame({"fingerprint": [fingerprint]}, schema={"fingerprint": pl.List(pl.Float32)})
    return {
        "fingerprints": site_rows(site, fingerprints),
        "image_quality": site_rows(site, quality.hstack(field)),
    }


def _pictures(site: Site) -> pl.DataFrame:
    """What tells the images of a site apart, in `flag_same_picture`'s columns."""
    planes = site.planes or (ONLY,) * len(site.channels)
    columns = {
        "sha256": site.sha256,
        "series": [plane.series for plane in planes],
        "frame": [plane.frame for plane in planes],
    }
    return site_rows(site, pl.DataFrame({"channel": site.channels, **columns}, schema=_PICTURES))


def _segment(config: SegmentationConfig, reader: SiteReader, folder: str, site: Site) -> dict[str, pl.DataFrame]:
    found = make_segmenter(config, site.names).segment(reader.read(site), site.channels)
    paths = {name: f"{folder}/{site.key}_{name}.tif" for name in ("nuclei", "cells")}
    for name, path in paths.items():
        reader.lake.write_bytes(path, write_labels(getattr(found, name)))
    objects = _objects(found.nuclei, found.cells)
    counts = {"Count_Cells": objects.height, "Count_Dropped": found.dropped_nuclei + found.dropped_cells}
    return {"objects": site_rows(site, objects), "masks": site_rows(site, pl.DataFrame({**paths, **counts}))}


def _objects(nuclei: np.ndarray, cells: np.ndarray) -> pl.DataFrame:
    """Where each cell lies, from (H, W) label images; n rows."""
    number = int(nuclei.max(initial=0))
    area = np.bincount(nuclei.ravel(), minlength=number + 1)[1:]
    rows, columns = np.nonzero(nuclei)
    labels = nuclei[rows, columns]
    centre = [np.bincount(labels, weights=axis, minlength=number + 1)[1:] / area for axis in (columns, rows)]
    return pl.DataFrame(
        {
            "ObjectNumber": np.arange(1, number + 1, dtype=np.int32),
            "Nuclei_Center_X": centre[0].astype(np.float32),
            "Nuclei_Center_Y": centre[1].astype(np.float32),
            "Nuclei_Area": area.astype(np.int32),
            "Cells_Area": np.bincount(cells.ravel(), minlength=number + 1)[1:].astype(np.int32),
        }
    )


def _remove_others(lake: Lake, folder: str, fingerprint: str) -> None:
    """Remove what other settings left in a folder of fingerprints, now that nothing names it any more."""
    for path in lake.files_in(folder):
        if path.rsplit("/", 1)[-1] != fingerprint:
            lake.remove(path)
