"""Objects as outlines that other programs wrote: ImageJ's ROIs, GeoJSON, cellpose's text; made into label images.

Outlines run along the edges of pixels, as ImageJ and QuPath have them: a pixel belongs to an object whose outline its
middle lies in, and of two objects to the one that comes first in the file. cellpose writes the pixels at the rim
themselves, which belong to the object.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import ImageError, InputError
from morpho_assets.imaging.segmentation.objects import Labels

Ring = NDArray[np.float64]
Outline = list[Ring]
"""Rings (n, 2) of x and y of one object; what lies in an even number of them is outside."""

SUFFIXES = (".zip", ".roi", ".geojson", ".json", ".txt")


def read_outlines(path: Path, shape: tuple[int, int], compartment: str) -> Labels:
    """The outlines of a file as labels, int32 (H, W), 1..n in the file's order without those that hold no pixel.

    `compartment` is nuclei or cells: QuPath's cells have an outline of each. Raises ImageError for a file that cannot
    be read, that holds something other than outlines, or an outline that lies outside the image.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ImageError(str(path), f"cannot be read: {error.strerror or error}") from error
    try:
        outlines = list(_READERS[path.suffix.lower()](body, compartment))
    except (ValueError, TypeError, KeyError, IndexError, zipfile.BadZipFile, OverflowError) as error:
        raise ImageError(str(path), f"cannot be read as {_NAMES[path.suffix.lower()]}: {error}") from error
    return _drawn(outlines, shape, str(path))


def _drawn(outlines: list[Outline], shape: tuple[int, int], path: str) -> Labels:
    from skimage.draw import polygon

    labels = np.zeros(shape, np.int32)
    extent = np.array(shape[::-1])
    count = 0
    for number, rings in enumerate(outlines, start=1):
        places = np.concatenate(rings)
        if not np.isfinite(places).all() or (places.max(axis=0) <= 0).any() or (places.min(axis=0) >= extent).any():
            found = f"outline {number} lies outside the image of {shape[0]} x {shape[1]} pixels"
            raise ImageError(path, f"{found}; export outlines in pixels of this image")
        low = np.clip(np.floor(places.min(axis=0)).astype(int), 0, extent)
        high = np.clip(np.ceil(places.max(axis=0)).astype(int), 0, extent)
        inside = np.zeros((high - low)[::-1], bool)
        for ring in rings:
            # Middles of pixels are at whole numbers for skimage, at halves here.
            at = polygon(ring[:, 1] - 0.5 - low[1], ring[:, 0] - 0.5 - low[0], inside.shape)
            inside[at] ^= True
        part = labels[low[1] : high[1], low[0] : high[0]]
        free = inside & (part == 0)
        if free.any():
            count += 1
            part[free] = count
    return labels


def _imagej(body: bytes, compartment: str) -> Iterator[Outline]:
    """ImageJ's ROI or a zip of them, as StarDist and cellpose export them too."""
    try:
        from roifile import ImagejRoi
    except ImportError as error:
        todo = 'Run `pip install "morpho-assets[roi]"`, or export label images.'
        raise InputError("label images", "package", "no roifile", "the package roifile", todo) from error
    rois = [("ROI", body)]
    if body[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            rois = [(name, archive.read(name)) for name in archive.namelist() if name.lower().endswith(".roi")]
    for name, content in rois:
        roi = ImagejRoi.frombytes(content)
        if roi.roitype.name not in ("POLYGON", "FREEHAND", "TRACED", "RECT", "OVAL"):
            raise ValueError(f"{name} is a {roi.roitype.name.lower()}, expected an outline")
        rings = [np.asarray(ring, float) for ring in roi.coordinates(multi=True) if len(ring) > 2]
        if rings:
            yield rings


def _geojson(body: bytes, compartment: str) -> Iterator[Outline]:
    """Polygons of a FeatureCollection; of QuPath's cells the nucleus, where nuclei are asked for."""
    read = json.loads(body)
    features = read.get("features", [read]) if isinstance(read, dict) else read
    for number, feature in enumerate(features, start=1):
        geometry: Mapping[str, Any] = feature.get("geometry") or {}
        if compartment == "nuclei":
            geometry = feature.get("nucleusGeometry") or geometry
        kind, given = geometry.get("type"), geometry.get("coordinates") or []
        if kind not in ("Polygon", "MultiPolygon"):
            raise ValueError(f"drawing {number} is a {kind}, expected a Polygon or MultiPolygon")
        polygons = [given] if kind == "Polygon" else given
        rings = [np.asarray(ring, float).reshape(-1, 2) for polygon in polygons for ring in polygon]
        if rings:
            yield rings


def _cellpose(body: bytes, compartment: str) -> Iterator[Outline]:
    """cellpose's `_cp_outlines.txt`: a line x,y,x,y,… of rim pixels per object."""
    for line in body.decode("ascii").split():
        places = np.array(line.split(","), float).reshape(-1, 2) + 0.5
        middle = places.mean(axis=0)
        # The rim's own pixels are the object's: out by a little more than half a pixel, and their middles lie inside.
        yield [places + 0.51 * np.sign(places - middle)]


_READERS = {".zip": _imagej, ".roi": _imagej, ".geojson": _geojson, ".json": _geojson, ".txt": _cellpose}
_NAMES = {
    ".zip": "a zip of ImageJ's ROIs", ".roi": "ImageJ's ROI", ".geojson": "GeoJSON", ".json": "GeoJSON",
    ".txt": "cellpose's outlines",
}  # fmt: skip
