"""A plate as OME-Zarr 0.5 in HCS layout: images of every site, and label images of nuclei, cells and cytoplasm.

The metadata follow OME-NGFF 0.5 (https://ngff.openmicroscopy.org/0.5/, doi:10.1038/s41592-021-01326-w) over Zarr format
3. The group of the plate is written last, so that a viewer sees a plate only when all of it is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import ImageError, InputError, LakeError
from morpho_assets.export.plate import Plate, each_site
from morpho_assets.export.written import Written
from morpho_assets.gallery.wells import FORMATS, well_name, well_position
from morpho_assets.imaging.sites import Site, SiteReader

VERSION = "0.5"
COLOURS = {"DNA": "0000FF", "ER": "00FF00", "RNA": "FFFF00", "AGP": "FFA500", "Mito": "FF0000"}
"""Of the stains of Cell Painting; another stain is white."""
SMALLEST = 256
"""Pixels: levels are added until the larger side is no longer than this."""
CHUNK = 2_048
CONTRAST_SITES = 8
CONTRAST = (1, 99.7)
"""Percentiles of the plate's pixels between which a viewer begins: the same for every site of a plate."""


def export_plate(
    plate: Plate, out: Written, corrected: bool = False, progress: Progress = no_progress
) -> tuple[str, list[str]]:
    """Write `<plate>.ome.zarr`; returns its name, and a sentence for every site that cannot be read.

    Pixels are those of the files, uint16 (8 bits are spread over 16); with `corrected` they are divided by the plate's
    illumination functions, float32. Fields of a well are numbered from 0, in the order of its sites. Raises LakeError
    for a plate without images, and InputError without zarr.
    """
    _require_zarr()
    if not plate.sites:
        raise LakeError(f"plate {plate.name} has no images: it was measured elsewhere, or none could be fetched")
    name = f"{plate.name}.ome.zarr"
    reader = plate.reader(corrected)
    seen = Contrast.of(reader, plate.sites)
    fields = _fields(plate.sites)
    stages = ["plate_manifest", "raw_images", *(["illumination"] if corrected else [])]
    about = plate.made_from(*stages)[len(stages) :]
    wells: dict[str, list[Site]] = {}

    def write(site: Site) -> None:
        labels = plate.masks.get((site.well, site.site), {}) if plate.segmentable else {}
        made_from = [site.content, labels.get("nuclei"), labels.get("cells"), sorted(reader.illumination.items()),
                     seen.windows, about, VERSION, plate.about.pixel_size]  # fmt: skip
        where = f"{name}/{_well_path(site.well)}/{fields[site.key]}"
        out.put(where, made_from, partial(_write_site, plate, reader, site, seen))
        wells.setdefault(site.well, []).append(site)

    failed = each_site(plate.sites, name, progress, write)
    failed_keys = {text.split(":", 1)[0] for text in failed}
    done = [site for site in plate.sites if site.key not in failed_keys]
    _write_groups(plate, out, name, done, fields)
    return name, failed


@dataclass(frozen=True)
class Contrast:
    """Channel to the intensities between which a viewer begins, in [0, 1]."""

    windows: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, reader: SiteReader, sites: Sequence[Site]) -> Contrast:
        """From some sites spread over the plate; those that cannot be read are left out."""
        seen: dict[str, list[NDArray[np.float32]]] = {}
        for site in sites[:: -(-len(sites) // CONTRAST_SITES)]:
            try:
                image = reader.read(site)
            except ImageError:
                continue
            for channel, plane in zip(site.channels, image, strict=True):
                seen.setdefault(channel, []).append(plane[::4, ::4].ravel())
        found = {channel: np.percentile(np.concatenate(planes), CONTRAST) for channel, planes in seen.items()}
        return cls({channel: (float(low), float(max(high, low + 1e-6))) for channel, (low, high) in found.items()})


# A site


def _write_site(plate: Plate, reader: SiteReader, site: Site, seen: Contrast, path: Path) -> None:
    import zarr

    image = reader.read(site)
    whole = not reader.illumination
    pixels = _counts(image) if whole else image
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    levels = image_levels(pixels)
    for number, level in enumerate(levels):
        _write_array(group, str(number), level, ("c", "y", "x"))
    scale = 65_535 if whole and pixels.dtype == np.uint16 else 1
    multiscales = _multiscales(site.key, "cyx", len(levels), plate.about.pixel_size, shifted=True)
    omero = {"name": site.key, "channels": [_channel(plate, name, seen, scale) for name in site.channels]}
    ome = {"version": VERSION, "multiscales": multiscales, "omero": omero}
    attributes: dict[str, Any] = {
        "ome": ome,
        "morpho": {**site.place, "channels": list(site.channels), **plate.about.plain()},
    }
    group.attrs.update(attributes)
    labels = plate.labels(site) if plate.segmentable else {}
    if labels:
        names = [compartment.lower() for compartment in labels]
        below = group.create_group("labels", attributes={"ome": {"version": VERSION, "labels": names}})
        for name, array in zip(names, labels.values(), strict=True):
            _write_labels(below.create_group(name), name, array, plate.about.pixel_size)


def _write_labels(group: Any, name: str, labels: NDArray[np.int32], pixel_size: float | None) -> None:
    levels = label_levels(labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32))
    for number, level in enumerate(levels):
        _write_array(group, str(number), level, ("y", "x"))
    multiscales = _multiscales(name, "yx", len(levels), pixel_size, shifted=False)
    image_label = {"source": {"image": "../../"}}
    group.attrs.update({"ome": {"version": VERSION, "multiscales": multiscales, "image-label": image_label}})


def image_levels(image: NDArray[Any]) -> list[NDArray[Any]]:
    """(C, H, W) and its halves, each the mean of 2 x 2 pixels (an odd border repeats), down to SMALLEST."""
    levels = [image]
    while max(levels[-1].shape[1:]) > SMALLEST:
        above = levels[-1]
        odd = [(0, side % 2) for side in above.shape[1:]]
        even = np.pad(above, [(0, 0), *odd], mode="edge").astype(np.float32)
        channels, height, width = even.shape
        mean = even.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        levels.append(np.rint(mean).astype(image.dtype) if image.dtype.kind == "u" else mean.astype(image.dtype))
    return levels


def label_levels(labels: NDArray[Any]) -> list[NDArray[Any]]:
    """(H, W) and every second pixel of it, as many levels as the image of the same size has."""
    levels = [labels]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(levels[-1][::2, ::2])
    return levels


def _counts(image: NDArray[np.float32]) -> NDArray[Any]:
    """Intensities in [0, 1] as uint16 where that loses nothing, as it does of integers, else as they are."""
    counts = np.rint(image.astype(np.float64) * 65_535).astype(np.uint16)
    same = np.array_equal(counts.astype(np.float32) / np.float32(65_535), image)
    return counts if same else image


def _write_array(group: Any, name: str, values: NDArray[Any], axes: Sequence[str]) -> None:
    from zarr.codecs import BloscCodec

    chunks = (1,) * (values.ndim - 2) + tuple(min(side, CHUNK) for side in values.shape[-2:])
    compressor = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=values.dtype.itemsize)
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks, compressors=compressor,
                               dimension_names=list(axes))  # fmt: skip
    array[...] = values


# Metadata


def _multiscales(name: str, axes: str, levels: int, pixel_size: float | None, shifted: bool) -> list[dict[str, Any]]:
    """One pyramid. `shifted` where a pixel of a level is the mean of those above: its centre lies between theirs.

    Without a known size of a pixel, the unit is a pixel of the first level, and is not named.
    """
    size = pixel_size or 1.0
    unit = {"unit": "micrometer"} if pixel_size else {}
    kinds = [
        {"name": "c", "type": "channel"} if axis == "c" else {"name": axis, "type": "space", **unit} for axis in axes
    ]
    datasets = []
    for level in range(levels):
        across = size * 2**level
        scale = [1.0 if axis == "c" else across for axis in axes]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if shifted and level:
            moved = size * (2**level - 1) / 2
            shift = [0.0 if axis == "c" else moved for axis in axes]
            transformations.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    return [{"name": name, "axes": kinds, "datasets": datasets, "type": "mean" if shifted else "nearest"}]


def _channel(plate: Plate, name: str, seen: Contrast, scale: int) -> dict[str, Any]:
    low, high = seen.windows.get(name, (0.0, 1.0))
    window = {"min": 0.0, "max": float(scale), "start": low * scale, "end": high * scale}
    stain = plate.about.stains.get(name)
    label = {"label": f"{name} ({stain})" if stain else name}
    return {**label, "color": COLOURS.get(name, "FFFFFF"), "active": True, "window": window}


def _fields(sites: Sequence[Site]) -> dict[str, int]:
    """The number of each site within its well, from 0: viewers take it that wells count their fields alike."""
    seen: dict[str, int] = {}
    fields = {}
    for site in sorted(sites, key=lambda each: (each.well, each.site)):
        fields[site.key] = seen.get(site.well, 0)
        seen[site.well] = fields[site.key] + 1
    return fields


def _well_path(well: str) -> str:
    """`A/01` of `A01`."""
    return f"{well[:-2]}/{well[-2:]}"


def _write_groups(plate: Plate, out: Written, name: str, sites: Sequence[Site], fields: Mapping[str, int]) -> None:
    """The groups of wells and rows, then that of the plate."""
    about = plate.about.plain()
    by_well: dict[str, list[Site]] = {}
    for site in sorted(sites, key=lambda each: (each.well, each.site)):
        by_well.setdefault(site.well, []).append(site)
    treated = {row["Metadata_Well"]: row for row in plate.wells.iter_rows(named=True)}
    for well, own in by_well.items():
        images = [{"path": str(fields[site.key])} for site in own]
        what = {key: value for key, value in treated.get(well, {}).items() if value is not None}
        numbers = {str(fields[site.key]): site.site for site in own}
        attributes = {"ome": {"version": VERSION, "well": {"images": images}}, "morpho": {**what, "sites": numbers}}
        _put_group(out, f"{name}/{_well_path(well)}", attributes)
    for row in sorted({well[:-2] for well in by_well}):
        _put_group(out, f"{name}/{row}", {})
    rows, columns = _format([*plate.wells["Metadata_Well"], *by_well])
    wells = [
        {"path": _well_path(well), "rowIndex": place[0] - 1, "columnIndex": place[1] - 1}
        for well, place in sorted((well, well_position(well)) for well in by_well)
    ]
    described = {
        "name": plate.name,
        "rows": [{"name": well_name(row, 1)[:-2]} for row in range(1, rows + 1)],
        "columns": [{"name": f"{column:02d}"} for column in range(1, columns + 1)],
        "wells": wells,
        "field_count": max((len(own) for own in by_well.values()), default=0),
    }
    _put_group(out, name, {"ome": {"version": VERSION, "plate": described}, "morpho": about})


def _format(wells: Sequence[str]) -> tuple[int, int]:
    """Rows and columns of the smallest plate that has all these wells."""
    places = pl.DataFrame([well_position(well) for well in wells], schema=["row", "column"], orient="row")
    last = places.max().row(0)
    return next(size for size in sorted(FORMATS.values()) if size[0] >= last[0] and size[1] >= last[1])


def _put_group(out: Written, where: str, attributes: Mapping[str, Any]) -> None:
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, ensure_ascii=False, indent=1)

    def write(path: Path) -> None:
        path.write_text(text)

    out.put(f"{where}/zarr.json", text, write)


def _require_zarr() -> None:
    try:
        import zarr  # noqa: F401
    except ImportError:
        todo = 'Install "morpho-assets[anndata]".'
        raise InputError("morpho export", "", "no zarr", "zarr, which writes OME-Zarr", todo) from None
