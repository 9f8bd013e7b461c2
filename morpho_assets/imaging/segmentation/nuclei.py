"""Nuclei of one plane: each with a threshold of its own, or CellProfiler's way with one for all."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from morpho_assets.imaging.segmentation.config import NetworkNucleiConfig, NucleiConfig
from morpho_assets.imaging.segmentation.objects import EIGHT, Labels, areas, filled
from morpho_assets.imaging.segmentation.own_thresholds import nuclei_by_own_thresholds
from morpho_assets.imaging.segmentation.thresholds import HALF_WITHIN, foreground, is_flat

Plane = NDArray[np.float32]

FOUR = ndimage.generate_binary_structure(2, 1)

_FULL_WIDTH_AT_HALF = 2.35  # of a Gaussian, in standard deviations: CellProfiler's "artifact diameter"


def find_nuclei(plane: Plane, config: NucleiConfig) -> Labels:
    """All nuclei of (H, W), those at the border and of odd sizes included, numbered 1..n; none in a flat image."""
    if is_flat(plane):
        return np.zeros(plane.shape, dtype=np.int32)
    if config.background_size:
        plane = np.maximum(plane - _background(plane, config.background_size, config.background_block), 0)
    if config.threshold is None:
        return nuclei_by_own_thresholds(plane, config.boundary, fill_holes=config.fill_holes)
    nuclei = _declumped(plane, foreground(plane, config.threshold), config)
    return filled(nuclei) if config.fill_holes else nuclei


def size_limits(nuclei: Labels, config: NucleiConfig | NetworkNucleiConfig) -> tuple[float, float]:
    """Least and largest area, pixels: of the configured diameters, or a tenth of the image's median nucleus."""
    area = areas(nuclei)
    median = float(np.median(area[area > 0])) if area.any() else 0.0
    least = np.pi * config.min_diameter**2 / 4 if config.min_diameter else median / 10
    most = np.pi * config.max_diameter**2 / 4 if config.max_diameter else np.inf
    return least, most


def _background(plane: Plane, size: float, side: float) -> Plane:
    """CellProfiler's Background: least value of each block of `side` pixels, smoothed over `size` pixels."""
    blocks = [max(1, math.ceil(extent / side)) for extent in plane.shape]
    block = [np.arange(extent) * count // extent for extent, count in zip(plane.shape, blocks, strict=True)]
    starts = [np.flatnonzero(np.diff(index, prepend=-1)) for index in block]
    least = np.minimum.reduceat(np.minimum.reduceat(plane, starts[0], axis=0), starts[1], axis=1)
    return ndimage.gaussian_filter(least[np.ix_(*block)], size / _FULL_WIDTH_AT_HALF)


def _declumped(plane: Plane, mask: NDArray[np.bool_], config: NucleiConfig) -> Labels:
    """CellProfiler's IdentifyPrimaryObjects: maxima of shape or intensity within each clump, then watershed on it."""
    from skimage.segmentation import watershed

    clumps, _ = ndimage.label(mask, structure=EIGHT)
    if config.declump == "none":
        return clumps.astype(np.int32)
    if config.declump == "shape":
        height = ndimage.distance_transform_edt(filled(clumps) > 0)
        # Distances of whole pixels tie, and which of two tied maxima stays decides where a lobed nucleus is cut.
        # CellProfiler adds the first numbers of this generator, so we must to cut where it does.
        height += np.random.RandomState(0).uniform(0, 0.001, height.shape)
        peaks_in = height
    else:
        height = plane
        peaks_in = ndimage.gaussian_filter(plane, config.declump_smoothing / HALF_WITHIN)
    peaks = _local_maxima(peaks_in, clumps, max(1.0, config.declump_distance - 0.5))
    seeds, _ = ndimage.label(peaks, structure=EIGHT)
    return watershed(-height, seeds, connectivity=EIGHT, mask=mask).astype(np.int32)


def _local_maxima(values: NDArray[np.floating], labels: NDArray[np.integer], radius: float) -> NDArray[np.bool_]:
    """Labelled pixels above zero that no pixel of the same label within `radius`, 1 or more, exceeds.

    Labels are connected pieces, so that neighbours are of one label.
    """
    reach = int(radius)
    offset = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    offset = offset[:, np.hypot(*offset) <= radius]
    highest = ndimage.maximum_filter(np.where(labels > 0, values, -np.inf), footprint=FOUR)
    rows, columns = np.nonzero((labels > 0) & (values > 0) & (values >= highest))
    around, owner = (np.pad(array, reach) for array in (values, labels))
    at = rows[:, None] + reach + offset[0], columns[:, None] + reach + offset[1]
    exceeded = (owner[at] == labels[rows, columns][:, None]) & (around[at] > values[rows, columns][:, None])
    peaks = np.zeros(values.shape, dtype=bool)
    peaks[rows, columns] = ~exceeded.any(axis=1)
    return peaks
