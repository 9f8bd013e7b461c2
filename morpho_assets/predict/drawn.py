"""Classes drawn in another tool: GeoJSON as QuPath exports it (and others write), a file per image.

A point is a label as any other. An outline gives its class to every cell whose centre lies in it: what was drawn around
one cell, and what was drawn around a region, mean the cells inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.store import Store
from morpho_assets.predict.labels import LABEL, SITE, DrawnLabels, Labels

POINTS_SCHEMA = {
    SITE[0]: pl.String, SITE[1]: pl.String, SITE[2]: pl.Int32, "x": pl.Float64, "y": pl.Float64, LABEL: pl.String,
}  # fmt: skip
Shape = tuple[str, str, list[NDArray[np.float64]]]
"""(class, point or outline, rings (n, 2) of x and y: of an outline the outer one first, then its holes)."""


def drawn_points(
    config: DrawnLabels, sites: Sequence[tuple[str, str, int]], labels: Labels, store: Store | None = None
) -> pl.DataFrame:
    """Points of the drawings of `sites` (plate, well, site), as `attach_points` takes them: drawn points as they are,
    outlines as the centres of the cells in them (of an outline without any its own middle, which then is a miss).

    Sites without a file were not drawn on. InputError for a file that is no GeoJSON, a drawing without a class or of
    another kind, and where no site has a file.
    """
    store, rows, files = store or Store(), [], 0
    for plate, well, site in sites:
        file = config.file.format(plate=plate, well=well, site=site)
        if not store.stamps(file):
            continue
        files += 1
        try:
            body = store.read(file).body
        except ImageError as error:
            raise InputError(file, "", f"a file that {error.reason}", "GeoJSON", "Export it again.") from None
        image: NDArray[np.int32] | None = None
        for name, kind, rings in read_shapes(body, file):
            if kind == "point":
                places = rings[0]
            else:
                image = labels(plate, well, site) if image is None else image
                places = np.empty((0, 2)) if image is None else _inside(_centres(image), rings)
                places = places if len(places) else rings[0].mean(axis=0)[None]
            rows += [(plate, well, site, float(x), float(y), name) for x, y in places]
    if not files:
        raise InputError(config.file, "", "no such file of any site", "GeoJSON named by plate, well and site",
                         "Check the path: {plate}, {well} (A01) and {site} stand for a site's.")  # fmt: skip
    return pl.DataFrame(rows, POINTS_SCHEMA, orient="row")


def read_shapes(body: bytes, file: str) -> Iterator[Shape]:
    """The drawings of a GeoJSON file: Point, MultiPoint, Polygon and MultiPolygon, whose class is
    `properties.classification.name` (QuPath) or `properties.class`. InputError names the drawing by its number."""
    try:
        read = json.loads(body)
    except ValueError as error:
        raise InputError(file, "", str(error), "GeoJSON", "Export it again.") from None
    features = read.get("features") if isinstance(read, dict) and "features" in read else read
    if isinstance(features, dict):
        features = [features]
    if not isinstance(features, list):
        raise InputError(file, "", type(read).__name__, "a FeatureCollection", "Export the objects as GeoJSON.")
    for number, feature in enumerate(features, start=1):
        where = f"drawing {number}"
        name = _class_of(feature if isinstance(feature, dict) else {})
        if name is None:
            raise InputError(file, where, "no class", "properties.classification.name or properties.class",
                             "Give it a class, or leave it out of the export.")  # fmt: skip
        yield from _shapes(feature.get("geometry") or {}, name, file, where)


def _class_of(feature: Mapping[str, Any]) -> str | None:
    properties = feature.get("properties") or {}
    given = properties.get("classification")
    name = given.get("name") if isinstance(given, dict) else given
    name = name or properties.get("class")
    return str(name).strip() if name else None


def _shapes(geometry: Mapping[str, Any], name: str, file: str, where: str) -> Iterator[Shape]:
    kind, given = geometry.get("type"), geometry.get("coordinates") or []
    try:
        if kind in ("Point", "MultiPoint"):
            yield name, "point", [np.asarray(given, float).reshape(-1, 2)]
        elif kind in ("Polygon", "MultiPolygon"):
            for polygon in [given] if kind == "Polygon" else given:
                yield name, "outline", [np.asarray(ring, float).reshape(-1, 2) for ring in polygon]
        else:
            raise InputError(file, where, f"a {kind}", "a Point, MultiPoint, Polygon or MultiPolygon",
                             "Draw points or areas, or leave it out of the export.")  # fmt: skip
    except (TypeError, ValueError) as error:
        raise InputError(file, where, str(error), "coordinates x, y", "Export it again.") from None


def _centres(image: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n, 2) x and y of the middle of each object."""
    rows, columns = np.nonzero(image)
    numbers = image[rows, columns]
    count = np.bincount(numbers)
    there = np.flatnonzero(count)
    sums = [np.bincount(numbers, weights=axis)[there] / count[there] for axis in (columns, rows)]
    return np.column_stack(sums)


def _inside(places: NDArray[np.float64], rings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Places in an outline and in none of its holes: a ray to the right crosses the rings an odd number of times."""
    crossings = np.zeros(len(places), np.int64)
    for ring in rings:
        start, end = ring, np.roll(ring, -1, axis=0)
        for (x0, y0), (x1, y1) in zip(start, end, strict=True):
            if y0 == y1:
                continue
            between = (places[:, 1] >= min(y0, y1)) & (places[:, 1] < max(y0, y1))
            at = x0 + (places[:, 1] - y0) * (x1 - x0) / (y1 - y0)
            crossings += between & (at > places[:, 0])
    return places[crossings % 2 == 1]
