"""Single-cell crops: windows cut around cells, which of their pixels are whose, and the scaling that networks see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError

# Percentiles of so many evenly spaced crops differ from those of all of them by less than camera noise.
CROPS_FOR_SCALING = 500
DIMMED = 0.3
"""What is left of the light of a neighbour that is dimmed: its shape is seen, and that it is another cell."""


@dataclass(frozen=True)
class Scaling:
    """Intensities that become 0 and 1, one pair per channel, as fitted on training crops."""

    low: tuple[float, ...]
    high: tuple[float, ...]


def crop_cells(
    image: NDArray[np.float32],
    centers: NDArray[np.floating],
    size: int,
    labels: NDArray[np.int32] | None = None,
    objects: NDArray[np.integer] | None = None,
    shrink: int = 1,
    neighbours: float = 0.0,
    beyond: float = 0.0,
) -> NDArray[np.float32]:
    """Cut one square window per cell.

    `image` is (C, H, W); `centers` (n, 2) row and column in pixels; a centre lands on pixel `size // 2` of its window.
    Beyond the border the window is `beyond`: a mirrored border would show cells that do not exist. `labels` (H, W)
    blanks the neighbours: every pixel of another object is multiplied by `neighbours`, background stays. Whose window
    it is says `objects` (n,), the label of each cell; without it, the label under the centre, and a centre on
    background blanks nothing.
    `shrink` averages blocks of shrink x shrink pixels afterwards. Returns (n, C, size / shrink, size / shrink) float32;
    no centres give n = 0. Raises InputError for a centre that is not finite and a size that `shrink` does not divide.
    """
    centers = _checked(centers, size, shrink)
    channels, height, width = image.shape
    corners = _corners(centers, size, height, width)
    padded = np.pad(image, ((0, 0), (size, size), (size, size)), constant_values=beyond)
    windows = np.empty((len(centers), channels, size, size), dtype=np.float32)
    for window, (row, column) in zip(windows, corners, strict=True):
        window[:] = padded[:, row : row + size, column : column + size]
    if labels is not None:
        own = _labels_under(labels, centers) if objects is None else np.asarray(objects)
        _blank_neighbours(windows, np.pad(labels, size), corners, own, neighbours)
    return shrunk(windows, shrink)


def own_pixels(
    labels: NDArray[np.int32],
    centers: NDArray[np.floating],
    size: int,
    objects: NDArray[np.integer] | None = None,
    shrink: int = 1,
) -> NDArray[np.bool_]:
    """Which pixels of each window are the cell's own: (n, size / shrink, size / shrink) bool, of the windows that
    `crop_cells` cuts. A block is the cell's where half of it is. A cell without a pixel in its window has none."""
    centers = _checked(centers, size, shrink)
    corners, padded = _corners(centers, size, *labels.shape), np.pad(labels, size)
    numbers = _labels_under(labels, centers) if objects is None else np.asarray(objects)
    own = np.zeros((len(centers), 1, size, size), dtype=np.float32)
    for window, (row, column), number in zip(own, corners, numbers, strict=True):
        if number > 0:
            window[0] = padded[row : row + size, column : column + size] == number
    return shrunk(own, shrink)[:, 0] >= 0.5


def fit_scaling(crops: NDArray[np.float32], percentiles: tuple[float, float]) -> Scaling:
    """Per-channel intensities at two percentiles of (n, C, H, W) training crops; n >= 1. NaN pixels are left out."""
    sample = crops[:: -(-len(crops) // CROPS_FOR_SCALING)]
    low, high = np.nanpercentile(sample, percentiles, axis=(0, 2, 3))
    return Scaling(tuple(map(float, low)), tuple(map(float, high)))


def scale_each(crops: NDArray[np.float32], percentiles: tuple[float, float]) -> NDArray[np.float32]:
    """Crops (n, C, H, W), each channel of each crop with its own percentiles at 0 and 1, clipped. This deletes how
    bright a cell is; a constant channel becomes 0, NaN stays."""
    low, high = np.nanpercentile(crops, percentiles, axis=(2, 3)) if len(crops) else np.empty((2, *crops.shape[:2]))
    low, high = (each[:, :, None, None].astype(np.float32) for each in (low, high))
    return np.clip((crops - low) / np.where(high > low, high - low, np.inf), 0, 1)


def scale_crops(crops: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Crops (n, C, H, W) with `scaling.low` at 0 and `scaling.high` at 1, clipped; a constant channel becomes 0."""
    low = np.asarray(scaling.low, dtype=np.float32)[:, None, None]
    span = np.asarray(scaling.high, dtype=np.float32)[:, None, None] - low
    return np.clip((crops - low) / np.where(span > 0, span, np.inf), 0, 1)


def _checked(centers: NDArray[np.floating], size: int, shrink: int) -> NDArray[np.float64]:
    """(n, 2) centres that windows can be cut around."""
    if size < 1 or shrink < 1 or size % shrink:
        raise InputError("crops", "size", f"size {size}, shrink {shrink}", "a size that shrink divides", "Change one.")
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(centers).all():
        row = int(np.flatnonzero(~np.isfinite(centers).all(axis=1))[0])
        raise InputError(
            "crops", f"centre {row}", str(centers[row]), "finite row and column", "Drop cells without one."
        )
    return centers


def shrunk(images: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(n, C, S // factor, S // factor): blocks of pixels averaged, what is left over at the end cut off."""
    if factor == 1:
        return images
    n, channels, side, _ = images.shape
    small = side // factor
    cut = images[:, :, : small * factor, : small * factor]
    return cut.reshape(n, channels, small, factor, small, factor).mean(axis=(3, 5))


def _corners(centers: NDArray[np.float64], size: int, height: int, width: int) -> NDArray[np.int64]:
    """Upper left corner of each window in the image padded by `size`; a window wholly outside moves to the padding."""
    corners = np.floor(centers + 0.5).astype(np.int64) - size // 2 + size
    return np.clip(corners, 0, (height + size, width + size))


def _labels_under(labels: NDArray[np.int32], centers: NDArray[np.float64]) -> NDArray[np.int32]:
    pixels = np.floor(centers + 0.5).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < labels.shape)).all(axis=1)
    rows, columns = np.where(inside[:, None], pixels, 0).T
    return np.where(inside, labels[rows, columns], 0)


def _blank_neighbours(
    windows: NDArray[np.float32],
    labels: NDArray[np.int32],
    corners: NDArray[np.int64],
    own: NDArray[np.integer],
    left: float,
) -> None:
    size = windows.shape[-1]
    for window, (row, column), label in zip(windows, corners, own, strict=True):
        if label > 0:
            around = labels[row : row + size, column : column + size]
            others = (around != label) & (around > 0)
            window[:, others] = left * window[:, others] if left else 0
