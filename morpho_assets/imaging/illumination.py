"""The flat field of a plate: how evenly its microscope lights and sees each channel.

Estimated per channel from all sites of a plate in one stream, and applied by division. `regular` is CellProfiler's
way (average the images, smooth, rescale); `basic` fits rank by rank, which bears bright cells and few images better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.errors import InputError

Plane = NDArray[np.float32]

LEAST_IMAGES = 3  # for `basic`: fewer have no ranks to speak of
LEAST_LIGHT = 0.05  # of the mean: where less comes back there was nothing to see but noise to divide
DARK_DEGREE = 2  # of the polynomial that a dark field is: the offset of a camera bends little
_LOG_BINS = 512


class IlluminationConfig(BaseModel):
    """How the illumination of a plate is estimated and whether it is corrected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["none", "regular", "basic", "gallery"] = Field(
        default="regular",
        description="none; regular (CellProfiler); basic (low rank); gallery (the functions it ships)",
    )
    statistic: Literal["mean", "median"] = Field(
        default="mean", description="regular: what is taken over a plate's images"
    )
    smoothing: Literal["median", "gaussian", "none"] = Field(
        default="gaussian", description="regular: filter of the average"
    )
    smoothing_size: float | None = Field(
        default=None, gt=0, description="regular: width of the filter, pixels; none: a quarter of the shorter side"
    )
    rescale: Literal["minimum", "mean"] = Field(
        default="minimum",
        description="value set to 1: the robust minimum (2nd percentile, as CellProfiler) or the mean",
    )
    working_size: int = Field(
        default=128, ge=16, description="longer side, pixels, at which medians, large filters and basic are computed"
    )
    dark_field: bool = Field(default=False, description="basic: estimate an additive dark field too, and subtract it")
    degree: int = Field(default=5, ge=1, le=10, description="basic: degree of the polynomial that the flat field is")
    max_images: int = Field(
        default=384, ge=3, description="basic: images kept at working size, spread evenly over the plate"
    )
    frames: int | None = Field(
        default=None,
        ge=1,
        description="movies (files whose planes are frames of one channel): each image is corrected by the function of "
        "so many frames before it, itself, and as many after; by default all images of the plate make one",
    )
    renew: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of a plate's sites that must be new or changed before its functions are made anew",
    )

    @model_validator(mode="after")
    def _frames_are_estimated(self) -> IlluminationConfig:
        if self.frames is not None and self.method not in ("regular", "basic"):
            raise ValueError(f"frames needs a method that estimates: regular or basic, not {self.method}")
        return self


@dataclass(frozen=True)
class Illumination:
    """The illumination of one channel: `flat` (H, W) float32, positive; `dark` (H, W) float32 or None.

    `images` says how many went in (0: nothing was estimated, and `flat` is 1).
    """

    flat: Plane
    dark: Plane | None = None
    images: int = 0

    def __post_init__(self) -> None:
        if self.flat.ndim != 2 or not (np.isfinite(self.flat).all() and (self.flat > 0).all()):
            raise ValueError(f"a flat field is a (H, W) array of positive numbers, not {self.flat.shape}")
        if self.dark is not None and self.dark.shape != self.flat.shape:
            raise ValueError(f"dark field {self.dark.shape} and flat field {self.flat.shape} differ in shape")


def estimate_illumination(images: Iterable[Plane], config: IlluminationConfig | None = None) -> Illumination:
    """The illumination of one channel from all images of a plate, read once, a few in memory at a time.

    `images` yields (H, W) float32 planes of one shape. Images without any signal (constant) are skipped: an empty
    file says nothing about the lamp. Where too few are left, or their average is 0 everywhere, nothing is estimated:
    `flat` is 1 and `images` 0. An empty stack, fewer than three images for `basic`, images of several shapes, or method
    `gallery`, whose functions come with the plate, are an InputError.
    """
    config = config or IlluminationConfig()
    if config.method in ("none", "gallery"):
        raise InputError(
            "illumination", "method", config.method, "regular or basic", "Nothing is estimated with this method."
        )
    signal = _Signal(images)
    found = (_regular if config.method == "regular" else _basic)(signal, config)
    least = 1 if config.method == "regular" else LEAST_IMAGES
    if signal.seen < least:
        found_images = f"{signal.seen} images"
        todo = "Choose another method: none needs no image."
        raise InputError("illumination", f"method {config.method}", found_images, f"at least {least}", todo)
    return found or Illumination(np.ones(signal.shape, np.float32))


def apply_illumination(image: Plane, functions: Sequence[Illumination | Plane | None]) -> Plane:
    """(C, H, W) in [0, 1] with each channel divided by its function, clipped to [0, 1].

    `functions` has one entry per channel: an `Illumination`, a bare flat field such as the gallery's .npy, or None
    to leave the channel alone. Raises InputError where a function's shape or values cannot be divided by.
    """
    if len(functions) != image.shape[0]:
        raise ValueError(f"{len(functions)} illumination functions for {image.shape[0]} channels")
    corrected = np.empty(image.shape, dtype=np.float32)
    for channel, (plane, function) in enumerate(zip(image, functions, strict=True)):
        if function is None:
            corrected[channel] = plane
        else:
            _divide(plane, function, channel, corrected[channel])
    return corrected


def _divide(plane: Plane, function: Illumination | Plane, channel: int, out: Plane) -> None:
    flat, dark = (function.flat, function.dark) if isinstance(function, Illumination) else (function, None)
    if flat.shape != plane.shape or not flat.min() > 0:
        found = f"shape {flat.shape}, smallest value {flat.min():.6g}"
        expected = f"shape {plane.shape}, positive values"
        raise InputError("illumination function", f"channel {channel}", found, expected, "Estimate it for this plate.")
    light = plane if dark is None else plane - dark
    np.divide(light, flat.astype(np.float32, copy=False), out=out)
    np.clip(out, 0, 1, out=out)


@dataclass
class _Signal:
    """The images that are not constant, gone through once; `shape` and `seen` are of all that have come by."""

    images: Iterable[Plane]
    shape: tuple[int, ...] = ()
    seen: int = 0

    def __iter__(self) -> Iterator[Plane]:
        for image in self.images:
            self.seen += 1
            if self.shape and image.shape != self.shape:
                found, expected = (f"shape {shape}" for shape in (image.shape, self.shape))
                raise InputError("illumination", f"image {self.seen}", found, expected, "Correct one size at a time.")
            self.shape = image.shape
            if np.ptp(image) > 0:
                yield image


def _regular(images: _Signal, config: IlluminationConfig) -> Illumination | None:
    """CellProfiler's CorrectIlluminationCalculate, Regular, All: statistic over images, smooth, rescale."""
    average, count = (_mean if config.statistic == "mean" else _median)(images, config)
    smooth = None if average is None else _smoothed(average, config)
    if smooth is None or not smooth.any():
        return None
    return Illumination(_rescaled(smooth, config.rescale).astype(np.float32), images=count)


def _mean(images: _Signal, config: IlluminationConfig) -> tuple[NDArray[np.float64] | None, int]:
    total, count = None, 0
    for image in images:
        total = image.astype(np.float64) if total is None else np.add(total, image, out=total)
        count += 1
    return None if total is None else total / count, count


def _median(images: _Signal, config: IlluminationConfig) -> tuple[NDArray[np.float64] | None, int]:
    """Per-pixel median at working size from histograms of log intensity (2 % bins, interpolated), enlarged again."""
    low = np.log(1 / 65535)
    counts, count = None, 0
    for image in images:
        small = _shrunk(image, config.working_size)
        if counts is None:
            counts = np.zeros((small.size, _LOG_BINS), dtype=np.uint16)
        bins = (np.log(np.maximum(small.ravel(), 1 / 65535)) / low * (_LOG_BINS - 1)).astype(np.intp)
        counts[np.arange(small.size), _LOG_BINS - 1 - bins.clip(0, _LOG_BINS - 1)] += 1
        count += 1
    if counts is None:
        return None, 0
    below = np.cumsum(counts, axis=1, dtype=np.int64)
    place = (below < count / 2).sum(1)
    rows = np.arange(counts.shape[0])
    inside = (count / 2 - (below[rows, place] - counts[rows, place])) / counts[rows, place]
    median = np.exp(low * (1 - (place + inside) / _LOG_BINS)).reshape(_small_shape(images.shape, config.working_size))
    return _enlarged(median, images.shape), count


def _smoothed(average: NDArray[np.float64], config: IlluminationConfig) -> NDArray[np.float64]:
    """Smooth at working size where the filter is wider than the reduction, which loses nothing and saves minutes.

    Beyond the image's edges its slope goes on: light falls off towards them, and a filter that met their own value
    instead would level that off (CellProfiler's does).
    """
    if config.smoothing == "none":
        return average
    from scipy import ndimage

    size = config.smoothing_size or min(average.shape) / 4
    factor = max(1.0, max(average.shape) / config.working_size)
    reduce = size >= 4 * factor
    small = _shrunk(average, config.working_size) if reduce else average
    width = size / factor if reduce else size
    reach = math.ceil(2 * width if config.smoothing == "gaussian" else width / 2) + 1
    padded = np.pad(small, reach, mode="reflect", reflect_type="odd")
    if config.smoothing == "gaussian":
        # CellProfiler's artefact width is the full width at half maximum.
        smooth = ndimage.gaussian_filter(padded, width / 2.35)
    else:
        span = np.arange(-(width // 2), width // 2 + 1)
        disk = np.hypot(span[:, None], span[None, :]) <= max(width / 2, 1)
        smooth = ndimage.median_filter(padded, footprint=disk)
    smooth = np.maximum(smooth[reach:-reach, reach:-reach], 0)
    return _enlarged(smooth, average.shape) if reduce else smooth


def _rescaled(flat: NDArray[np.float64], rescale: str) -> NDArray[np.float64]:
    if rescale == "mean":
        return np.maximum(flat / flat.mean(), LEAST_LIGHT)
    # CellProfiler's robust minimum: darker pixels are raised to it, so no pixel is ever brightened.
    floor = np.partition(flat, int(flat.size * 0.02), axis=None)[int(flat.size * 0.02)]
    return np.maximum(flat, floor) / floor if floor > 0 else np.maximum(flat / flat.mean(), 1.0)


def _small_shape(shape: tuple[int, ...], working_size: int) -> tuple[int, int]:
    scale = min(1.0, working_size / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _shrunk(image: NDArray[np.floating], working_size: int) -> NDArray[np.float64]:
    """Mean over nearly equal blocks, down to a longer side of `working_size`."""
    rows, columns = (
        np.linspace(0, extent, small + 1).astype(int)[:-1]
        for extent, small in zip(image.shape, _small_shape(image.shape, working_size), strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, axis=0), columns, axis=1)
    heights, widths = np.diff(rows, append=image.shape[0]), np.diff(columns, append=image.shape[1])
    return sums / np.outer(heights, widths)


def _enlarged(small: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Linear interpolation between block centres, continued flat beyond the outermost."""
    if small.shape == tuple(shape):
        return small
    rows, columns = (
        (np.arange(extent) + 0.5) * count / extent - 0.5 for extent, count in zip(shape, small.shape, strict=True)
    )
    tall = _interpolated(small, rows)
    return _interpolated(tall.T, columns).T


def _interpolated(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    at = at.clip(0, values.shape[0] - 1)
    low = np.minimum(at.astype(int), max(values.shape[0] - 2, 0))
    high = np.minimum(low + 1, values.shape[0] - 1)
    part = (at - low)[:, None]
    return values[low] * (1 - part) + values[high] * part


def _basic(images: _Signal, config: IlluminationConfig) -> Illumination | None:
    """Flat field (and dark field) such that each pixel's sorted intensities are rank brightness x flat + dark.

    After Peng et al. 2017, doi:10.1038/ncomms14836 (BaSiC): the stack is sorted along its images, fitted by a
    rank-one term with robust (L1) residuals, and the fields are smooth. Smooth means polynomial here (the paper shrinks
    cosines, which bend at the image's edges), solved by reweighted least squares (the paper: augmented Lagrangian).
    """
    stack, count = _sample(images, config)
    if count < LEAST_IMAGES:
        return None
    ranks = np.sort(stack.reshape(len(stack), -1), axis=0)
    small = stack.shape[1:]
    flat, dark = _fit_rank_one(ranks, small, config)
    flat_full = np.maximum(_enlarged(flat.reshape(small), images.shape), LEAST_LIGHT)
    dark_full = _enlarged(dark.reshape(small), images.shape).astype(np.float32) if config.dark_field else None
    return Illumination(_rescaled(flat_full, config.rescale).astype(np.float32), dark_full, count)


def _sample(images: _Signal, config: IlluminationConfig) -> tuple[NDArray[np.float64], int]:
    """At most `max_images` shrunken images, evenly spread: every second kept one goes whenever the store is full."""
    kept: list[NDArray[np.float64]] = []
    stride, count = 1, 0
    for image in images:
        if count % stride == 0:
            if len(kept) == config.max_images:
                kept, stride = kept[::2], stride * 2
            if count % stride == 0:
                kept.append(_shrunk(image, config.working_size))
        count += 1
    return np.array(kept), count


def _fit_rank_one(
    ranks: NDArray[np.float64], shape: tuple[int, ...], config: IlluminationConfig, rounds: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`ranks` (N, P) -> flat (P,), mean 1, and dark (P,), 0 where no dark field is asked for."""
    smooth = _polynomials(shape, config.degree)
    coarse = _polynomials(shape, DARK_DEGREE)
    flat, dark = np.ones(ranks.shape[1]), np.zeros(ranks.shape[1])
    weight = np.ones_like(ranks)
    for _ in range(rounds):
        brightness = ((ranks - dark) * flat * weight).sum(1) / (flat**2 * weight).sum(1)
        # Where all images are equally bright, an offset cannot be told from light.
        if config.dark_field and np.ptp(brightness) > 1e-6 * brightness.mean():
            slope, dark = _line_per_pixel(ranks, brightness, weight)
            dark = _evenest(coarse @ (coarse.T @ dark), coarse @ (coarse.T @ slope))
        # Once the offset is known, a line through it is steadier than one with an intercept of its own.
        flat = ((ranks - dark) * brightness[:, None] * weight).sum(0) / (brightness[:, None] ** 2 * weight).sum(0)
        flat = smooth @ (smooth.T @ flat)
        flat /= flat.mean()
        residual = np.abs(ranks - brightness[:, None] * flat - dark)
        weight = 1 / (residual / brightness.mean() + 1e-2)
    return flat, dark


def _evenest(dark: NDArray[np.float64], flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most even of the dark fields that fit alike: any multiple of the flat field may move into the brightness."""
    uneven = flat - flat.mean()
    variance = (uneven**2).mean()
    if variance < 1e-6:
        return np.zeros_like(dark)  # under an even lamp an offset cannot be told from light
    return np.maximum(dark - (uneven @ dark) / dark.size / variance * flat, 0)


def _polynomials(shape: tuple[int, ...], degree: int) -> NDArray[np.float64]:
    """Orthonormal polynomials of the pixels' places up to `degree`: (P, terms)."""
    row, column = (np.linspace(-1, 1, extent) for extent in shape)
    terms = np.polynomial.legendre.legvander2d(
        np.repeat(row, shape[1]), np.tile(column, shape[0]), [degree, degree]
    ).reshape(shape[0] * shape[1], degree + 1, degree + 1)
    power = np.arange(degree + 1)
    return np.linalg.qr(terms[:, power[:, None] + power[None, :] <= degree])[0]


def _line_per_pixel(
    ranks: NDArray[np.float64], brightness: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted least-squares slope and intercept of each pixel's ranks against the ranks' brightness."""
    total = weight.sum(0)
    x_mean, y_mean = (brightness[:, None] * weight).sum(0) / total, (ranks * weight).sum(0) / total
    x = brightness[:, None] - x_mean
    slope = (weight * x * (ranks - y_mean)).sum(0) / np.maximum((weight * x**2).sum(0), 1e-12)
    return slope, y_mean - slope * x_mean
