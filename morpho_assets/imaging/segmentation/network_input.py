"""What the shipped network sees: flattened light at the power of two that brings nuclei to 14 to 28 pixels.

Scaling is by powers of two only, with weights that are exact in binary, and levels are whole numbers 0 to 255, so that
every machine gives the network the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.own_thresholds import diameter_of, flattened
from morpho_assets.imaging.segmentation.plane_kernels import doubled
from morpho_assets.imaging.segmentation.thresholds import is_flat

Plane = NDArray[np.float32]

LARGE = 800  # pixels: least side of an image that is looked at in half its size first
LEAST_DIAMETER = 14.0  # pixels that the nuclei's network sees a nucleus as, at least; twice that at most
DARK, BRIGHT, BRIGHTEST = 0.25, 2.0, 8.0  # light that the planes reach to, in units of the median bright pixel


def octave(diameter: float) -> int:
    """The power of two to scale by, so that `diameter` pixels become 14 to 28; at most 1, twice the size."""
    return min(1, -math.floor(math.log2(diameter / LEAST_DIAMETER)))


def rescaled(plane: Plane, step: int) -> Plane:
    """(H, W) at 2**step of its size: means of blocks (the last ones padded with the edge), or linear between pixels."""
    if step < 0:
        side = 2**-step
        padded = np.pad(plane, [(0, -extent % side) for extent in plane.shape], mode="edge")
        blocks = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side)
        # Pairs are added in this order on every machine; a library's sum may use another.
        while blocks.shape[1] > 1:
            blocks = blocks[:, ::2] + blocks[:, 1::2]
        while blocks.shape[3] > 1:
            blocks = blocks[..., ::2] + blocks[..., 1::2]
        return np.ascontiguousarray(blocks[:, 0, :, 0] / np.float32(side * side))
    for _ in range(step):
        larger = np.empty((2 * plane.shape[0], 2 * plane.shape[1]), np.float32)
        doubled(plane, larger)
        plane = larger
    return np.ascontiguousarray(plane)


@dataclass(frozen=True)
class Light:
    """`plane` (h, w) is 1 at the median of what is above the nuclei's threshold; it is at 2**`step` of the image."""

    plane: Plane
    step: int


def nuclear_light(plane: Plane, diameter: float | None = None) -> Light | None:
    """`plane` (H, W) without its background, at the power of two that brings nuclei of `diameter` pixels (none: an
    estimate) to `LEAST_DIAMETER` to twice that.

    A large image is looked at in half its size first, which is enough where its nuclei are not small. None where
    nothing stands clear of the noise: an empty field.
    """
    if is_flat(plane):
        return None
    if min(plane.shape) >= LARGE:
        found = _light_at(rescaled(plane, -1), diameter and diameter / 2)
        if found is not None and found[1] <= 0:
            return Light(rescaled(*found), found[1] - 1)
    found = _light_at(plane, diameter)
    return None if found is None else Light(rescaled(*found), found[1])


def _light_at(plane: Plane, diameter: float | None) -> tuple[Plane, int] | None:
    """The light of a plane as it is, and the power of two that it should be scaled by."""
    smooth, light, middle = flattened(plane)
    if middle <= 0:
        return None
    unit = np.float32(np.median(smooth[smooth > middle]))
    return (light / unit).astype(np.float32), octave(diameter or diameter_of(smooth, middle))


def cell_light(planes: Sequence[Plane], step: int = 0) -> Plane:
    """The mean of stains (H, W) at 2**step of their size, each without its dark level, 1 being the median of its bright
    pixels."""
    return np.mean([_stain_light(rescaled(plane, step)) for plane in planes], axis=0, dtype=np.float32)


def _stain_light(plane: Plane) -> Plane:
    from skimage.filters import threshold_otsu

    if is_flat(plane):
        return np.zeros_like(plane)
    root = np.sqrt(np.maximum(plane, 0))
    bright = root > threshold_otsu(root)
    dark = np.float32(np.median(plane[~bright]))
    return ((plane - dark) / np.float32(max(np.median(plane[bright]) - dark, 1e-6))).astype(np.float32)


def levels_of(light: Plane) -> NDArray[np.float32]:
    """(H, W) -> (2, H, W) whole numbers 0 to 255: light as it is up to `BRIGHT`, and its root up to `BRIGHTEST`."""
    plain = (light + np.float32(DARK)) / np.float32(DARK + BRIGHT)
    root = np.sqrt(np.clip(light, 0, BRIGHTEST) / np.float32(BRIGHTEST))
    return np.round(np.clip(np.stack([plain, root]), 0, 1) * np.float32(255)).astype(np.float32)
