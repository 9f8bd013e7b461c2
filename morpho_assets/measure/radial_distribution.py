"""RadialDistribution: intensity in rings from an object's centre to its edge (MeasureObjectIntensityDistribution).

A ring is a range of d / (d + e), where d is the way from the centre inside the object (8-connected, diagonal steps of
sqrt 2) and e the distance to the object's edge. The centre is the pixel farthest from the edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import RadialDistributionConfig
from morpho_assets.measure.hulls import hull_statistics
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.ties import places_of_maxima
from morpho_assets.measure.zernike import intensity_zernikes, zernike_orders

FEATURES = ("FracAtD", "MeanFrac", "RadialCV")


def columns(compartment: str, channels: Sequence[str], config: RadialDistributionConfig) -> list[str]:
    rings = [
        f"RadialDistribution_{feature}_{channel}_{ring + 1}of{config.bins}"
        for channel in channels
        for feature in FEATURES
        for ring in range(config.bins)
    ]
    orders = [] if config.zernike_degree is None else zernike_orders(config.zernike_degree)
    zernikes = [
        f"RadialDistribution_Zernike{part}_{channel}_{n}_{m}"
        for channel in channels
        for part in ("Magnitude", "Phase")
        for n, m in orders
    ]
    return rings + zernikes


def measure(site: Site, compartment: str, config: RadialDistributionConfig) -> NDArray[np.float64]:
    objects = site.objects[compartment]
    values = site.values(compartment)
    squared = site.edge_distance(compartment)
    centres = places_of_maxima(squared, objects, config.ties, with_background=True)
    cells = ring_cells(squared, objects.rows, objects.cols, objects.starts, objects.boxes, centres, config.bins)
    areas, rings, wedges = ring_sums(cells, values, objects.starts, config.bins + 1)
    blocks = [ring_features(areas, *sums, config.bins) for sums in zip(rings, wedges, strict=True)]
    if config.zernike_degree is not None:
        _, circles = hull_statistics(objects)
        blocks += [intensity_zernikes(objects, circles, channel, config.zernike_degree) for channel in values]
    return np.concatenate(blocks, axis=1)


def ring_features(
    areas: NDArray[np.float64], rings: NDArray[np.float32], wedges: NDArray[np.float32], bins: int
) -> NDArray[np.float64]:
    """(n, 3 bins) FracAtD, MeanFrac and RadialCV.

    areas (n, bins + 1, 8): pixels per wedge; intensity sums per ring (n, bins + 1) and wedge (n, bins + 1, 8).
    Fractions are of the whole object, so they are NaN where its intensity is zero; RadialCV is the coefficient of
    variation of the mean intensity of the wedges that have pixels, 0 where the ring has none or is dark.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = rings / rings.sum(axis=1, dtype=np.float64)[:, None]
        share = areas.sum(axis=2) / areas.sum(axis=(1, 2))[:, None]
        means = np.where(areas > 0, wedges / areas, 0.0)
        filled = (areas > 0).sum(axis=2)
        mean = means.sum(axis=2) / filled
        spread = np.sqrt(np.where(areas > 0, (means - mean[:, :, None]) ** 2, 0.0).sum(axis=2) / filled)
        variation = np.where((filled > 0) & (mean != 0), spread / mean, 0.0)
    mean_fraction = fraction / (share + np.finfo(np.float64).eps)
    return np.concatenate([part[:, :bins] for part in (fraction, mean_fraction, variation)], axis=1)


@kernel
def ring_cells(squared, rows, cols, starts, boxes, centres, bins):
    """(N,) int64 ring * 8 + wedge of each pixel; -1 where the centre cannot be reached inside the object.

    Wedges are the octants around the centre: below it, right of it, nearer to the vertical than to the horizontal.
    """
    cells = np.empty(len(rows), np.int64)
    for i in range(len(starts) - 1):
        first, last = starts[i], starts[i + 1]
        centre = centres[i]
        width = boxes[i, 3] - boxes[i, 1] + 2
        spots = np.empty(last - first, np.uint32)  # unsigned: a place that could be negative costs a test
        for place in range(first, last):
            spots[place - first] = (rows[place] - boxes[i, 0] + 1) * width + cols[place] - boxes[i, 1] + 1
        ways = np.full((boxes[i, 2] - boxes[i, 0] + 2) * width, np.inf)
        ways[spots[centre - first]] = 0.0
        walk(ways, spots, width)
        for place in range(first, last):
            way = ways[spots[place - first]]
            if way == np.inf:
                cells[place] = -1
                continue
            ring = min(int(way / (way + np.sqrt(squared[place]) + 0.001) * bins), bins)
            down, across = rows[place] - rows[centre], cols[place] - cols[centre]
            cells[place] = ring * 8 + (down > 0) + 2 * (across > 0) + 4 * (abs(down) > abs(across))
    return cells


@kernel
def walk(ways, spots, width):
    """Shortest ways from the spot that is 0 to the others, by sweeps to and fro until none gets shorter."""
    diagonal, one, line = np.sqrt(2.0), np.uint32(1), np.uint32(width)
    shorter = True
    while shorter:
        shorter = False
        for spot in spots:
            above = spot - line
            best = min(min(ways[spot - one], ways[above]) + 1.0, min(ways[above - one], ways[above + one]) + diagonal)
            if best < ways[spot]:
                ways[spot] = best
                shorter = True
        for spot in spots[::-1]:
            below = spot + line
            best = min(min(ways[spot + one], ways[below]) + 1.0, min(ways[below - one], ways[below + one]) + diagonal)
            if best < ways[spot]:
                ways[spot] = best
                shorter = True


@kernel
def ring_sums(cells, values, starts, rings):
    """(n, rings, 8) pixels per ring and wedge; (C, n, rings) and (C, n, rings, 8) intensities.

    Intensities are added in single precision, pixel by pixel, as CellProfiler's are: on tens of thousands of pixels
    that rounds more than the tolerance between the two.
    """
    channels, count = len(values), len(starts) - 1
    areas = np.zeros((count, rings * 8))
    by_ring = np.zeros((channels, count, rings), np.float32)
    by_wedge = np.zeros((channels, count, rings * 8), np.float32)
    for i in range(count):
        for place in range(starts[i], starts[i + 1]):
            cell = cells[place]
            if cell >= 0:
                areas[i, cell] += 1
                for channel in range(channels):
                    by_ring[channel, i, cell // 8] += values[channel, place]
                    by_wedge[channel, i, cell] += values[channel, place]
    return areas.reshape(count, rings, 8), by_ring, by_wedge.reshape(channels, count, rings, 8)
