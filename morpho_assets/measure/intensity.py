"""Intensity and Location: statistics of the intensities of an object, and where they lie (MeasureObjectIntensity)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import IntensityConfig
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel, sums
from morpho_assets.measure.ties import places_of_maxima

QUANTILES = (
    "Intensity_LowerQuartileIntensity", "Intensity_MedianIntensity", "Intensity_UpperQuartileIntensity",
    "Intensity_MADIntensity",
)  # fmt: skip
TOTALS = (
    "Intensity_IntegratedIntensity", "Intensity_MeanIntensity", "Intensity_StdIntensity", "Intensity_MinIntensity",
    "Intensity_MaxIntensity",
)  # fmt: skip
EDGES = tuple(f"{name}Edge" for name in TOTALS)
PLACES = (
    "Location_CenterMassIntensity_X", "Location_CenterMassIntensity_Y", "Location_CenterMassIntensity_Z",
    "Location_MaxIntensity_X", "Location_MaxIntensity_Y", "Location_MaxIntensity_Z", "Intensity_MassDisplacement",
)  # fmt: skip


def columns(compartment: str, channels: Sequence[str], config: IntensityConfig) -> list[str]:
    return [f"{name}_{channel}" for channel in channels for name in (*TOTALS, *EDGES, *QUANTILES, *PLACES)]


def measure(site: Site, compartment: str, config: IntensityConfig) -> NDArray[np.float64]:
    objects = site.objects[compartment]
    ranking = site.ranking(compartment)
    on_edge = edge_pixels(objects.framed, objects.rows, objects.cols)
    edge_starts = np.searchsorted(on_edge, objects.starts)
    blocks = []
    for pixels, ascending, ranks in zip(site.values(compartment), ranking.ascending, ranking.ranks, strict=True):
        tops = places_of_maxima(ranks, objects, config.ties, with_background=False)
        blocks += [
            statistics(pixels, objects.starts),
            statistics(pixels[on_edge], edge_starts),
            quantiles(ascending, objects.starts),
            places(pixels, objects.rows, objects.cols, objects.starts, tops),
        ]
    return np.concatenate(blocks, axis=1)


@kernel
def edge_pixels(framed, rows, cols):
    """Places of the pixels with a 4-neighbour of another label inside the image (the frame is no edge)."""
    bottom, right = framed.shape[0] - 2, framed.shape[1] - 2
    edge = np.empty(len(rows), np.int64)
    size = 0
    for place in range(len(rows)):
        row, col = rows[place] + 1, cols[place] + 1
        label = framed[row, col]
        if (
            (row > 1 and framed[row - 1, col] != label)
            or (row < bottom and framed[row + 1, col] != label)
            or (col > 1 and framed[row, col - 1] != label)
            or (col < right and framed[row, col + 1] != label)
        ):
            edge[size] = place
            size += 1
    return edge[:size]


@sums
def statistics(pixels, starts):
    """(n, 5) sum, mean, standard deviation, minimum and maximum per stretch; NaN but for the sum where it is empty."""
    count = len(starts) - 1
    result = np.full((count, 5), np.nan)
    for i in range(count):
        stretch = pixels[starts[i] : starts[i + 1]]
        total = 0.0
        for value in stretch:
            total += value
        result[i, 0] = total
        if len(stretch) == 0:
            continue
        mean = total / len(stretch)
        squares = 0.0
        low = high = stretch[0]
        for value in stretch:
            squares += (value - mean) ** 2
            low = value if value < low else low
            high = value if value > high else high
        result[i, 1] = mean
        result[i, 2] = np.sqrt(squares / len(stretch))
        result[i, 3] = low
        result[i, 4] = high
    return result


@kernel
def quantiles(ascending, starts):
    """(n, 4) lower quartile, median, upper quartile and median absolute deviation of ascending stretches.

    CellProfiler's quantile q of n values lies at position n q, not (n - 1) q, between its two neighbours.
    """
    count = len(starts) - 1
    result = np.empty((count, 4))
    for i in range(count):
        first, size = starts[i], starts[i + 1] - starts[i]
        for k, fraction in enumerate((0.25, 0.5, 0.75)):
            position = size * fraction
            low = int(position)
            value = float(ascending[first + low])
            if low < size - 1:
                value += (ascending[first + low + 1] - value) * (position - low)
            result[i, k] = value
        result[i, 3] = absolute_deviation(ascending[first : first + size], result[i, 1])
    return result


@kernel
def absolute_deviation(ascending, median):
    """Median of |value - median|: of the nearest values it takes some to the left and the others to the right, and how
    many of each is found by halving."""
    size = len(ascending)
    if size == 0:
        return 0.0
    middle = np.searchsorted(ascending, median)
    position = size / 2
    nearest = min(int(position) + 2, size)
    left, most = max(0, nearest - (size - middle)), min(middle, nearest)
    while left < most:
        more = (left + most) // 2
        if median - ascending[middle - more - 1] <= ascending[middle + nearest - more - 1] - median:
            left = more + 1
        else:
            most = more
    current, left, right = farthest(ascending, median, middle, left, nearest - left)
    previous = farthest(ascending, median, middle, left, right)[0]
    return previous + (current - previous) * (position - int(position)) if int(position) < size - 1 else current


@kernel
def farthest(ascending, median, middle, left, right):
    """Distance from the median of the farthest of `left` values before `middle` and `right` from there on, and how many
    of each there are without it; 0 where there are none."""
    before = median - ascending[middle - left] if left > 0 else -1.0
    beyond = ascending[middle + right - 1] - median if right > 0 else -1.0
    if left + right == 0:
        return 0.0, 0, 0
    return (beyond, left, right - 1) if beyond > before else (before, left - 1, right)


@sums
def places(pixels, rows, cols, starts, tops):
    """(n, 7) centre of mass x, y, z, place of the maximum x, y, z, mass displacement; tops (n,): the maxima."""
    count = len(starts) - 1
    result = np.zeros((count, 7))
    for i in range(count):
        first, last = starts[i], starts[i + 1]
        total = down = across = y = x = 0.0
        for place in range(first, last):
            value = float(pixels[place])
            total += value
            down += value * rows[place]
            across += value * cols[place]
            y += rows[place]
            x += cols[place]
        area = last - first
        result[i, 0] = across / total if total != 0 else np.nan
        result[i, 1] = down / total if total != 0 else np.nan
        result[i, 2] = 0 if total != 0 else np.nan
        result[i, 3] = cols[tops[i]]
        result[i, 4] = rows[tops[i]]
        result[i, 6] = np.hypot(result[i, 0] - x / area, result[i, 1] - y / area)
    return result
