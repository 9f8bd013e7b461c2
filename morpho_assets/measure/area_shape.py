"""AreaShape: size, outline, ellipse, radii, Feret diameters and Zernike shape features (MeasureObjectSizeShape).

The definitions are scikit-image's region properties, which CellProfiler reports; lengths are in pixels, Orientation
in degrees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import AreaShapeConfig
from morpho_assets.measure.hulls import hull_statistics
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel, sums
from morpho_assets.measure.objects import Objects
from morpho_assets.measure.zernike import shape_zernikes, zernike_orders

FEATURES = (
    "Area", "BoundingBoxArea", "BoundingBoxMaximum_X", "BoundingBoxMaximum_Y", "BoundingBoxMinimum_X",
    "BoundingBoxMinimum_Y", "Center_X", "Center_Y", "Compactness", "ConvexArea", "Eccentricity", "EquivalentDiameter",
    "EulerNumber", "Extent", "FormFactor", "MajorAxisLength", "MaxFeretDiameter", "MaximumRadius", "MeanRadius",
    "MedianRadius", "MinFeretDiameter", "MinorAxisLength", "Orientation", "Perimeter", "Solidity",
)  # fmt: skip


def columns(compartment: str, channels: Sequence[str], config: AreaShapeConfig) -> list[str]:
    zernikes = [f"Zernike_{n}_{m}" for n, m in zernike_orders(config.zernike_degree)]
    return [f"AreaShape_{name}" for name in (*FEATURES, *zernikes)]


def measure(site: Site, compartment: str, config: AreaShapeConfig) -> NDArray[np.float64]:
    objects = site.objects[compartment]
    extents, circles = hull_statistics(objects)
    shape = {
        **box_features(objects),
        **ellipse_features(objects),
        **outline_features(objects),
        **radius_features(objects, site.framed_distance(compartment)),
        "ConvexArea": extents[:, 0],
        "MinFeretDiameter": extents[:, 1],
        "MaxFeretDiameter": extents[:, 2],
        "Solidity": objects.areas / extents[:, 0],
    }
    zernikes = shape_zernikes(objects, circles, config.zernike_degree)
    return np.column_stack([*(shape[name] for name in FEATURES), zernikes])


def box_features(objects: Objects) -> dict[str, NDArray[np.float64]]:
    """Area and bounding box; the box's maximum is exclusive, as CellProfiler's."""
    areas = objects.areas.astype(np.float64)
    top, left, bottom, right = objects.boxes.T.astype(np.float64)
    box = (bottom - top) * (right - left)
    return {
        "Area": areas,
        "BoundingBoxArea": box,
        "BoundingBoxMinimum_X": left,
        "BoundingBoxMinimum_Y": top,
        "BoundingBoxMaximum_X": right,
        "BoundingBoxMaximum_Y": bottom,
        "EquivalentDiameter": np.sqrt(4 * areas / np.pi),
        "Extent": areas / box,
    }


def ellipse_features(objects: Objects) -> dict[str, NDArray[np.float64]]:
    """Centre, and the ellipse with the object's second moments; a symmetric object points to 45 or 90 degrees."""
    row, col, down, across, both = second_moments(objects.rows, objects.cols, objects.starts).T
    spread = np.sqrt((down - across) ** 2 + 4 * both**2)
    major, minor = (down + across + spread) / 2, np.maximum((down + across - spread) / 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        eccentricity = np.where(major == 0, 0.0, np.sqrt(1 - minor / major))
    tilt = 0.5 * np.arctan2(2 * both, down - across)
    orientation = np.where(down == across, np.where(both > 0, -np.pi / 4, np.pi / 4), tilt)
    return {
        "Center_X": col,
        "Center_Y": row,
        "Eccentricity": eccentricity,
        "MajorAxisLength": 4 * np.sqrt(major),
        "MinorAxisLength": 4 * np.sqrt(minor),
        "Orientation": np.degrees(orientation),
    }


def outline_features(objects: Objects) -> dict[str, NDArray[np.float64]]:
    """Perimeter, Euler number and their ratios with the area; FormFactor is NaN where the perimeter is zero."""
    perimeter, euler = outlines(objects.framed, objects.rows, objects.cols, objects.starts)
    disc = 4 * np.pi * objects.areas
    with np.errstate(divide="ignore"):
        form_factor = np.where(perimeter > 0, disc / perimeter**2, np.nan)
    return {
        "Perimeter": perimeter,
        "EulerNumber": euler,
        "FormFactor": form_factor,
        "Compactness": perimeter**2 / np.maximum(disc, 1),
    }


def radius_features(objects: Objects, squared: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    """Maximum, mean and median distance of the pixels to the object's edge."""
    maximum, mean, median = radii(squared, objects.starts).T
    return {"MaximumRadius": maximum, "MeanRadius": mean, "MedianRadius": median}


@sums
def second_moments(rows, cols, starts):
    """(n, 5) mean row, mean column, variances along rows and columns, covariance.

    Sums are of whole numbers, so that a symmetric object has exactly equal or zero moments.
    """
    count = len(starts) - 1
    moments = np.empty((count, 5))
    for i in range(count):
        area = starts[i + 1] - starts[i]
        top, left = rows[starts[i]], cols[starts[i]]
        y = x = yy = xx = yx = np.int64(0)
        for place in range(starts[i], starts[i + 1]):
            dy, dx = np.int64(rows[place] - top), np.int64(cols[place] - left)
            y += dy
            x += dx
            yy += dy * dy
            xx += dx * dx
            yx += dy * dx
        n, fy, fx = float(area), float(y), float(x)
        moments[i, 0] = top + fy / n
        moments[i, 1] = left + fx / n
        moments[i, 2] = (n * float(yy) - fy * fy) / (n * n)
        moments[i, 3] = (n * float(xx) - fx * fx) / (n * n)
        moments[i, 4] = (n * float(yx) - fy * fx) / (n * n)
    return moments


@kernel
def outlines(framed, rows, cols, starts):
    """(n,) perimeter and (n,) Euler number (8-connected).

    The perimeter adds a length per outline pixel (4-connected outline; the frame is outside) that depends on how many
    of its 8 neighbours are outline of the same object (Benkrid and Crookes 2000). The Euler number is vertices minus
    edges plus faces of the union of the pixel squares, each counted at the first pixel in raster order that has it.
    """
    count = len(starts) - 1
    outline = np.zeros(framed.shape, np.uint8)
    euler = np.zeros(count)
    for i in range(count):
        for place in range(starts[i], starts[i + 1]):
            row, col = rows[place] + 1, cols[place] + 1
            label = framed[row, col]
            north = framed[row - 1, col] != label
            west = framed[row, col - 1] != label
            if north or west or framed[row + 1, col] != label or framed[row, col + 1] != label:
                outline[row, col] = 1
            if north:
                euler[i] += (framed[row - 1, col + 1] != label) + (west and framed[row - 1, col - 1] != label) - 1
    lengths = np.zeros(50)
    for beside in (5, 7, 15, 17, 25, 27):
        lengths[beside] = 1
    lengths[21] = lengths[33] = np.sqrt(2)
    lengths[13] = lengths[23] = (1 + np.sqrt(2)) / 2
    perimeter = np.zeros(count)
    for i in range(count):
        for place in range(starts[i], starts[i + 1]):
            row, col = rows[place] + 1, cols[place] + 1
            if outline[row, col]:
                label, beside = framed[row, col], 1
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if outline[row + dy, col + dx] and framed[row + dy, col + dx] == label:
                            beside += 10 if dy != 0 and dx != 0 else 2 if dy != 0 or dx != 0 else 0
                perimeter[i] += lengths[beside]
    return perimeter, euler


@kernel
def radii(squared, starts):
    """(n, 3) maximum, mean and median of the square roots; medians by counting, the values being whole."""
    count = len(starts) - 1
    result = np.empty((count, 3))
    for i in range(count):
        first, last = starts[i], starts[i + 1]
        largest, total = 0, 0.0
        for place in range(first, last):
            largest = max(largest, squared[place])
            total += np.sqrt(squared[place])
        counts = np.zeros(largest + 1, np.int64)
        for place in range(first, last):
            counts[squared[place]] += 1
        area = last - first
        low = high = -1
        seen = 0
        for value in range(largest + 1):
            seen += counts[value]
            if low < 0 and seen > (area - 1) // 2:
                low = value
            if seen > area // 2:
                high = value
                break
        result[i, 0] = np.sqrt(largest)
        result[i, 1] = total / area
        result[i, 2] = (np.sqrt(low) + np.sqrt(high)) / 2
    return result
