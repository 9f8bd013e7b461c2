"""The imaging stages of a plate: illumination functions, image quality, masks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

from morpho_assets.compute import map_items
from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.text import decoding
from morpho_assets.imaging.fields import flag_fields, flag_same_picture, measure_field
from morpho_assets.imaging.illumination import Illumination, IlluminationConfig, estimate_illumination
from morpho_assets.imaging.images import write_labels
from morpho_assets.imaging.movies import WRITTEN, recipe_of
from morpho_assets.imaging.quality import QualityConfig, flag_quality, measure_quality
from morpho_assets.imaging.segmentation import (
    SegmentationConfig,
    by_site,
    corrected_sites,
    fetch_weights,
    made_with,
    make_segmenter,
)
from morpho_assets.imaging.segmentation.objects import areas
from morpho_assets.imaging.sites import (
    Site,
    SiteReader,
    commonest_shape,
    complete_sites,
    illumination_paths,
    site_rows,
)
from morpho_assets.lake.digests import digest
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work, process_sites


def illuminate_plate(work: Work) -> None:
    """Write an illumination function per channel, and `illumination_functions`.

    Method `none` writes no function, `gallery` takes the gallery's own (InputError where the plate has none); the
    others estimate one from the plate's images, a few in memory at a time. An image that cannot be read, or has another
    size than most, is left out. A channel without any signal gets a function of ones, from 0 images. Functions of the
    last commit stay as they are while few of the plate's images are new (`illumination.renew`). Of movies (`frames`)
    the recipe is written, by which each frame's function is estimated when it is read; InputError for images that are
    no planes of a file.
    """
    config: IlluminationConfig = work.settings
    sites = complete_sites(work.inputs, work.key)
    if config.frames is not None:
        _write_recipes(work, sites, config)
        return
    if config.method in ("regular", "basic") and _functions_stay(work, sites, config.renew):
        return
    channels = list(sites[0].channels) if sites and config.method != "none" else []
    reader = _reader(work, sites)
    uris = dict(work.read("sites").unique("channel").select("channel", "illumination_uri").iter_rows())
    function = partial(_illuminate, config, reader, sites, uris)
    rows = []
    for channel, found in map_items(function, channels, work.compute, work.progress, "illumination"):
        if isinstance(found, ImageError):
            expected = "an illumination function for each channel"
            raise InputError(
                found.path, "", f"a file that {found.reason}", expected, "Restore it, or use method: regular."
            )
        rows.append(_written(work, channel, config.method, found))
    order = {channel: i for i, channel in enumerate(channels)}
    frame = pl.DataFrame(sorted(rows, key=lambda row: order[row["channel"]]), schema=None if rows else _FUNCTIONS)
    work.write("illumination_functions", frame.with_columns(Metadata_Plate=pl.lit(work.key)))
    work.basis = {"method": work.method, "images": _checksums(sites)}


def _write_recipes(work: Work, sites: Sequence[Site], config: IlluminationConfig) -> None:
    for site in sites:
        if any(plane.frame is None for plane in site.planes):
            raise InputError("illumination", "frames", f"images of {site.key} that are no planes of a file",
                             "movies, whose samplesheet names each image's `frame`", "Leave `frames` out.")  # fmt: skip
    path = work.write_file("illumination", f"frames{WRITTEN}", recipe_of(config)) if sites else ""
    rows = [{"channel": channel, "path": path, "method": f"{config.method}, {config.frames} frames before and after"}
            for channel in (sites[0].channels if sites else ())]  # fmt: skip
    frame = pl.DataFrame(rows, schema=_FUNCTIONS)
    work.write("illumination_functions", frame.with_columns(Metadata_Plate=pl.lit(work.key)))


def grade_plate(work: Work) -> None:
    """Measure the quality of every raw image of a plate and write `image_quality` with its flags."""
    config: QualityConfig = work.settings
    sites = complete_sites(work.inputs, work.key)
    reader = _reader(work, sites)
    tables = ("field_fingerprints", "image_quality")
    finished = process_sites(
        work, sites, partial(_grade, config, reader), tables, lambda site: [site.channels, site.content, reader.shape]
    )
    frames = [_unflagged(frame) for frame in finished.frames("image_quality")]
    frame = pl.DataFrame(schema=_QUALITY)
    fingerprints = pl.concat([table("field_fingerprints").empty(), *finished.frames("field_fingerprints")])
    if frames:
        frame = flag_quality(pl.concat(frames), config)
        frame = flag_fields(frame, fingerprints, config.fields, config.least_sites)
        frame = flag_same_picture(frame, pl.concat(_pictures(site) for site in sites))
    work.write("field_fingerprints", fingerprints)
    work.write("image_quality", frame)


def segment_plate(work: Work) -> None:
    """Segment every site of a plate: label images as TIFF, `objects` and `masks`.

    What is in a network's weights or in label images that exist already is among the work's sources: other contents
    under the same name make other masks. The commit says which sites a person corrected.
    """
    config: SegmentationConfig = work.settings
    make_segmenter(config)  # settings that cannot work stop here, before any site
    fetch_weights(config)
    sites = complete_sites(work.inputs, work.key)
    functions = illumination_paths(work.inputs, work.key)
    reader = _reader(work, sites, functions)
    function = partial(_segment, config, reader, f"label_images/{work.partition.folder}")
    common = made_with(config, [site.names for site in sites])

    def made_from(site: Site) -> object:
        own = made_with(config, [site.names]) if by_site(config) else common
        return [site.channels, site.content, reader.shape, functions, own]

    if corrected := [sites[number].key for number in corrected_sites(config, [site.names for site in sites])]:
        work.notes["corrected"] = f"{len(corrected)} of {len(sites)} sites by hand: {', '.join(corrected)}"
    finished = process_sites(work, sites, function, ("objects", "masks"), made_from)
    work.write_stream("objects", finished.frames("objects"))
    work.write_stream("masks", finished.frames("masks"))


_KEYS = {"Metadata_Plate": pl.String, "Metadata_Well": pl.String, "Metadata_Site": pl.Int32}
_QUALITY = {**_KEYS, "channel": pl.String}
_FUNCTIONS = {"channel": pl.String, "path": pl.String, "method": pl.String}


def _reader(
    work: Work, sites: Sequence[Site], illumination: Mapping[str, tuple[str, str | None]] | None = None
) -> SiteReader:
    """Reads the plate's images, all of which have the size of most."""
    reader = SiteReader(work.lake, work.source.store(), illumination or {})
    return replace(reader, shape=commonest_shape(reader, sites))


def _functions_stay(work: Work, sites: Sequence[Site], renew: float) -> bool:
    """Take the functions of the last commit where they were made in the same way and few of the plate's sites are
    new, changed or gone since they were; says so in the commit."""
    basis = work.earlier.get("basis", {})
    if work.previous is None or basis.get("method") != work.method or work.lake.damage(work.previous, deep=True):
        return False
    then, now = basis["images"], _checksums(sites)
    changed = sum(then.get(key) != now.get(key) for key in then | now)
    if changed / max(len(now), 1) >= renew:
        return False
    work.take_over(work.previous)
    if changed:
        work.notes["kept"] = f"{changed} of {len(now)} sites are new: under illumination.renew ({renew:.0%})"
    return True


def _checksums(sites: Sequence[Site]) -> dict[str, str]:
    return {site.key: digest(site.content) for site in sites}


def _unflagged(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows as they were measured: of an earlier commit they have its flags, and NaN was stored as null."""
    measured = frame.drop("^flag_.*$", "same_field_as", strict=False)
    return measured.with_columns(pl.col("^ImageQuality_.*$").fill_null(float("nan")))


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
    channel: str,
) -> Illumination:
    images = _ChannelImages(reader, sites, sites[0].channels.index(channel))
    if config.method == "gallery":
        uri = uris[channel]
        if uri is None:
            expected = f"an illumination function of {channel} (load_data_with_illum)"
            raise InputError("illumination.method", "gallery", "a plate without one", expected, "Use method: regular.")
        return gallery_function(reader.store.resolve(uri), reader.store.read(uri).body, next(iter(images), None))
    return _estimated(images, config, channel)


def _written(work: Work, channel: str, method: str, function: Illumination) -> dict[str, object]:
    """Write a channel's function and dark field; its row of `illumination_functions`."""
    path = work.write_file("illumination", f"Illum{channel}.npy", _npy(function.flat))
    dark = None
    if function.dark is not None:
        dark = work.write_file("illumination", f"Illum{channel}_dark.npy", _npy(function.dark))
    extent = {"minimum": float(function.flat.min()), "maximum": float(function.flat.max())}
    row = {"channel": channel, "path": path, "dark_path": dark, "method": method}
    return {**row, "images": function.images, **extent}


def _estimated(images: _ChannelImages, config: IlluminationConfig, channel: str) -> Illumination:
    try:
        return estimate_illumination(images, config)
    except InputError as error:
        raise InputError(error.file, f"{channel}, {error.where}", error.found, error.expected, error.do) from None


def gallery_function(uri: str, body: bytes, image: np.ndarray | None) -> Illumination:
    """The gallery's function in a .npy file, for images such as `image`. Raises InputError where it does not fit."""
    todo = "Restore the file, or use method: regular."
    with decoding(uri, ".npy file of positive numbers", todo):
        function = Illumination(np.load(io.BytesIO(body)).astype(np.float32))
    if image is not None and function.flat.shape != image.shape:
        found, expected = (f"{height} x {width} pixels" for height, width in (function.flat.shape, image.shape))
        raise InputError(uri, "", f"a function of {found}", f"{expected}, as the images have", todo)
    return function


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _grade(config: QualityConfig, reader: SiteReader, site: Site) -> dict[str, pl.DataFrame]:
    image = reader.read(site)
    quality = measure_quality(image, site.channels, config)
    field, fingerprint = measure_field(image, config.fields)
    fingerprints = pl.DataFrame({"fingerprint": [fingerprint]}, schema={"fingerprint": pl.List(pl.Float32)})
    return {
        "field_fingerprints": site_rows(site, fingerprints),
        "image_quality": site_rows(site, quality.hstack(field)),
    }


def _pictures(site: Site) -> pl.DataFrame:
    return site_rows(site, pl.DataFrame({"channel": site.channels, "content": site.content}))


def _segment(config: SegmentationConfig, reader: SiteReader, folder: str, site: Site) -> dict[str, pl.DataFrame]:
    found = make_segmenter(config, site.names).segment(reader.read(site), site.channels)
    paths = {
        name: reader.lake.write_named(folder, f"{site.key}_{name}.tif", write_labels(getattr(found, name)))
        for name in ("nuclei", "cells")
    }
    objects = _objects(found.nuclei, found.cells)
    counts = {"Count_Cells": objects.height, "Count_Dropped": found.dropped_nuclei + found.dropped_cells}
    return {"objects": site_rows(site, objects), "masks": site_rows(site, pl.DataFrame({**paths, **counts}))}


def _objects(nuclei: np.ndarray, cells: np.ndarray) -> pl.DataFrame:
    """Where each cell lies, from (H, W) label images; n rows."""
    from morpho_assets.imaging.segmentation.label_kernels import moments

    number = int(nuclei.max(initial=0))
    area, rows, columns, *_ = moments(nuclei, number)
    return pl.DataFrame(
        {
            "ObjectNumber": np.arange(1, number + 1, dtype=np.int32),
            "Nuclei_Center_X": columns.astype(np.float32),
            "Nuclei_Center_Y": rows.astype(np.float32),
            "Nuclei_Area": area.astype(np.int32),
            "Cells_Area": areas(cells)[1:].astype(np.int32),
        }
    )
