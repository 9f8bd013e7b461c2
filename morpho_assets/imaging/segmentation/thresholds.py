"""One threshold for an image, under CellProfiler's names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from morpho_assets.imaging.segmentation.config import ThresholdConfig

Plane = NDArray[np.float32]

_DARKEST = np.float32(1e-4)  # a few grey levels of 16 bits
_LOG_DARKEST = np.log(_DARKEST)

HALF_WITHIN = 0.6744 * 2  # a Gaussian has half of its weight within this many standard deviations across


def is_flat(plane: Plane) -> bool:
    """Whether (H, W) shows nothing: it has no pixels, or they differ by less than a tenth of a 16-bit grey level."""
    return not plane.size or float(np.ptp(plane)) < 0.1 / 65535


def foreground(plane: Plane, config: ThresholdConfig) -> NDArray[np.bool_]:
    """Pixels of (H, W) at or above the threshold after smoothing; nothing of a flat image is foreground."""
    if is_flat(plane):
        return np.zeros(plane.shape, dtype=bool)
    sigma = config.smoothing_scale / HALF_WITHIN
    smooth = ndimage.gaussian_filter(plane, sigma, mode="constant") if sigma else plane
    return smooth >= threshold_of(plane, config)


def threshold_of(plane: Plane, config: ThresholdConfig) -> float | Plane:
    """The corrected and bounded threshold of a plane that is not flat; (H, W) for method local."""
    if config.log:
        logs = np.log(np.maximum(plane, _DARKEST))
        # Minimum cross-entropy needs positive values.
        raw = np.exp(_METHODS[config.method](logs - _LOG_DARKEST, config) + _LOG_DARKEST)
    else:
        raw = _METHODS[config.method](plane, config)
    return np.clip(raw * config.correction, config.lower, config.upper)


def _minimum_cross_entropy(plane: Plane, config: ThresholdConfig) -> float:
    from skimage.filters import threshold_li

    # Half a grey level of 16-bit data: a finer answer would be about nothing in the image.
    return float(threshold_li(plane, tolerance=0.5 / 65536))


def _otsu(plane: Plane, config: ThresholdConfig) -> float:
    from skimage.filters import threshold_otsu

    # In double precision: a narrow range of floats leaves no room for the histogram's bins.
    return float(threshold_otsu(plane.astype(np.float64)))


def _otsu_three_classes(plane: Plane, config: ThresholdConfig) -> float:
    from skimage.filters import threshold_multiotsu

    counts, edges = np.histogram(plane.astype(np.float64), bins=128)
    if np.count_nonzero(counts) < 3:
        return _otsu(plane, config)  # too few grey levels for three classes
    return float(threshold_multiotsu(hist=(counts, (edges[:-1] + edges[1:]) / 2), classes=3)[0])


def _local(plane: Plane, config: ThresholdConfig) -> Plane:
    """Otsu's threshold within each window, interpolated; kept within 0.7 to 1.5 times that of the whole image."""
    from skimage.filters import threshold_otsu

    plane = plane.astype(np.float64)
    whole = float(threshold_otsu(plane))
    counts = [max(1, round(extent / config.window)) for extent in plane.shape]
    grid = np.array(
        [
            [
                float(threshold_otsu(tile)) if np.ptp(tile) > 0 else whole
                for tile in np.array_split(band, counts[1], axis=1)
            ]
            for band in np.array_split(plane, counts[0], axis=0)
        ]
    )
    grid = grid.clip(0.7 * whole, 1.5 * whole)
    at = np.meshgrid(
        *((np.arange(e) + 0.5) * c / e - 0.5 for e, c in zip(plane.shape, counts, strict=True)), indexing="ij"
    )
    return ndimage.map_coordinates(grid, at, order=1, mode="nearest").astype(np.float32)


_METHODS: dict[str, Callable[[Plane, ThresholdConfig], float | Plane]] = {
    "minimum_cross_entropy": _minimum_cross_entropy,
    "otsu": _otsu,
    "otsu_three_classes": _otsu_three_classes,
    "local": _local,
}
