"""Neighbors: the objects around an object, in the same compartment (MeasureObjectNeighbors).

Two objects are neighbours when a disc of the given radius around a pixel of one meets the other; `Adjacent` is the
radius 1. Distances, numbers and angle refer to the two objects with the nearest centres, neighbours or not; of equally
near ones the lowest number comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from morpho_assets.measure.config import NeighborsConfig
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.objects import Objects

EQUAL = 1e-6
"""Distances between centres that differ by less are equal, in pixels: rounding must not choose between them."""
FEATURES = (
    "NumberOfNeighbors", "PercentTouching", "FirstClosestDistance", "FirstClosestObjectNumber",
    "SecondClosestDistance", "SecondClosestObjectNumber", "AngleBetweenNeighbors",
)  # fmt: skip


def columns(compartment: str, channels: Sequence[str], config: NeighborsConfig) -> list[str]:
    distances = config.distances.get(compartment, ())
    return [f"Neighbors_{feature}_{distance}" for distance in distances for feature in FEATURES]


def measure(site: Site, compartment: str, config: NeighborsConfig) -> NDArray[np.float64]:
    objects = site.objects[compartment]
    nearest = nearest_objects(objects)
    blocks = []
    for distance in config.distances.get(compartment, ()):
        radius = 1 if distance == "Adjacent" else distance
        near = disc(radius)
        beyond = disc(radius + 0.5)
        beyond = beyond[(beyond**2).sum(axis=1) > radius * radius]
        found = contacts(objects.framed, objects.rows, objects.cols, objects.starts, near, beyond)
        blocks += [found, nearest]
    return np.concatenate(blocks, axis=1)


def nearest_objects(objects: Objects) -> NDArray[np.float64]:
    """(n, 5) distance and number of the nearest and of the second nearest centre, and the angle between them, degrees.

    Distances, numbers and the angle are 0 where there are too few objects.
    """
    count = len(objects)
    result = np.zeros((count, 5))
    if count < 2:
        return result
    centres = np.column_stack([np.add.reduceat(axis, objects.starts[:-1]) for axis in (objects.rows, objects.cols)])
    centres = centres / objects.areas[:, None]
    # More than two are looked up, so that all that are equally near are among them.
    lengths, found = cKDTree(centres).query(centres, k=min(count, 16))
    lengths[found == np.arange(count)[:, None]] = np.inf
    near = min(count - 1, 2)
    others = np.empty((count, near), np.int64)
    for k in range(near):
        equal = lengths <= lengths.min(axis=1, keepdims=True) + EQUAL
        others[:, k] = np.where(equal, found, count).min(axis=1)
        lengths[found == others[:, [k]]] = np.inf
    ways = centres[others] - centres[:, None]
    lengths = np.hypot(ways[:, :, 0], ways[:, :, 1])
    for k in range(near):
        result[:, 2 * k] = lengths[:, k]
        result[:, 2 * k + 1] = objects.numbers[others[:, k]]
    if near == 2:
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = (ways[:, 0] * ways[:, 1]).sum(axis=1) / np.sqrt((lengths[:, 0] * lengths[:, 1]) ** 2)
        result[:, 4] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return result


def disc(radius: float) -> NDArray[np.int64]:
    """(k, 2) row and column steps no longer than `radius`, without the middle."""
    reach = int(radius)
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    length = (steps**2).sum(axis=1)
    return steps[(length <= radius * radius) & (length > 0)]


@kernel
def contacts(framed, rows, cols, starts, near, beyond):
    """(n, 2) number of objects met by the steps `near` from an object's pixels, and percent of its outline pixels

    from which a step of `near` or `beyond` meets another object. The outline is 8-connected and includes the image's
    frame.
    """
    count = len(starts) - 1
    height, width = framed.shape
    flat = framed.reshape(-1)  # its places are unsigned: one that could be negative costs a test
    result = np.zeros((count, 2))
    seen = np.zeros(count + 1, np.int64)
    for i in range(count):
        label = i + 1
        neighbours = touched = outline = 0
        for place in range(starts[i], starts[i + 1]):
            row, col = rows[place] + 1, cols[place] + 1
            if not on_outline(flat, np.uint32(row * width + col), np.uint32(width), label):
                continue
            outline += 1
            met = False
            for k in range(len(near)):
                y, x = row + near[k, 0], col + near[k, 1]
                if 0 <= y < height and 0 <= x < width:
                    other = flat[np.uint32(y * width + x)]
                    if other > 0 and other != label:
                        met = True
                        if seen[other] != label:
                            seen[other] = label
                            neighbours += 1
            for k in range(0 if met else len(beyond)):
                y, x = row + beyond[k, 0], col + beyond[k, 1]
                if 0 <= y < height and 0 <= x < width:
                    other = flat[np.uint32(y * width + x)]
                    if other > 0 and other != label:
                        met = True
                        break
            touched += met
        result[i, 0] = neighbours
        result[i, 1] = 100.0 * touched / outline
    return result


@kernel
def on_outline(flat, spot, width, label):
    """Whether one of the eight neighbours of a spot of the framed image has another label or lies outside the image."""
    one = np.uint32(1)
    above, below = spot - width, spot + width
    for beside in (above - one, above, above + one, spot - one, spot + one, below - one, below, below + one):
        if flat[beside] != label:
            return True
    return False
