"""Costes: Manders' coefficients above thresholds that the two channels set themselves (Costes et al. 2004,
doi:10.1529/biophysj.103.038422).

A line is fitted through the pairs of intensities by orthogonal regression. A candidate threshold of the first channel
has its partner on that line; the background is what lies below either of them. The threshold is the one at which the
background's correlation, as the candidates descend, ceases to be positive.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import CostesConfig
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel, sums

# The first that applies: a background correlated above the bound lets the fast search skip that many levels.
STRIDES = ((0.45, 10), (0.35, 5), (0.25, 2))


def costes(site: Site, compartment: str, config: CostesConfig) -> NDArray[np.float64]:
    """(n, pairs, 2) Costes coefficients of all channel pairs, in either order; NaN where undefined."""
    objects, values = site.objects[compartment], site.values(compartment)
    if config.within == "object":
        limits = thresholds(values, objects.starts, config.levels, config.search)
    else:
        limits = site.once("costes", lambda: image_thresholds(site.image, config))
    return shares(values, objects.starts, np.broadcast_to(limits, (len(objects), *limits.shape[1:])))


def image_thresholds(image: NDArray[np.float32], config: CostesConfig) -> NDArray[np.float32]:
    """(1, pairs, 2) thresholds over all pixels of (C, H, W)."""
    pixels = image.reshape(len(image), -1)
    return thresholds(pixels, np.array([0, pixels.shape[1]]), config.levels, config.search)


def thresholds(values: NDArray[np.float32], starts: NDArray[np.int64], levels: int, search: str) -> NDArray[np.float32]:
    """(n, pairs, 2) thresholds of the stretches starts[i]:starts[i + 1] of values (C, N) in [0, 1].

    levels: candidates are the multiples of 1 / levels. search: `faster`, `fast` or `accurate`, see `CostesConfig`.
    NaN where less than three pixels are not black in both channels, or a channel is constant there; without a linear
    relation; with a background of less than three pixels, or constant in a channel. Single precision, because a pixel
    at exactly the threshold is the rule in integer images and must not be a matter of rounding.
    """
    pairs = list(combinations(range(len(values)), 2))
    result = np.full((len(starts) - 1, len(pairs), 2), np.nan, np.float32)
    find = bisection if search == "faster" else descent
    strides = np.array(STRIDES if search == "fast" else STRIDES[:0]).reshape(-1, 2)
    for i, (first, last) in enumerate(pairwise(starts)):
        for pair, (a, b) in enumerate(pairs):
            x, y = values[a, first:last], values[b, first:last]
            line = regression(x, y)
            if np.isfinite(line[0]):
                level = find(x, y, line, levels, strides)
                limits = at_level(level, levels, line)
                if np.isfinite(background_correlation(x, y, limits, line)):
                    result[i, pair] = limits
    return result


@sums
def regression(x, y):
    """Slope and intercept of the orthogonal regression of y on x, and their means; a NaN slope where undefined.

    Pixels that are 0 in both do not count.
    """
    size, mean_x, mean_y = 0, 0.0, 0.0
    for k in range(len(x)):
        if x[k] > 0 or y[k] > 0:
            size += 1
            mean_x += x[k]
            mean_y += y[k]
    if size < 3:
        return np.nan, np.nan, np.nan, np.nan
    mean_x, mean_y = mean_x / size, mean_y / size
    xx = yy = xy = 0.0
    for k in range(len(x)):
        if x[k] > 0 or y[k] > 0:
            dx, dy = x[k] - mean_x, y[k] - mean_y
            xx += dx * dx
            yy += dy * dy
            xy += dx * dy
    # No relation, or one that rounding could have made; a constant channel has none.
    if abs(xy) <= 8 * np.finfo(np.float64).eps * max(xx, yy):
        return np.nan, np.nan, np.nan, np.nan
    slope = (yy - xx + np.sqrt((yy - xx) ** 2 + 4 * xy * xy)) / (2 * xy)
    return slope, mean_y - slope * mean_x, mean_x, mean_y


@kernel
def at_level(level, levels, line):
    """The two thresholds of a candidate; NaN of NaN."""
    first = level / levels
    return np.float32(first), np.float32(line[0] * first + line[1])


@sums
def background_correlation(x, y, limits, line):
    """Pearson's correlation of the pixels below either limit; NaN of less than three pixels, or of a constant."""
    size = 0
    sum_x = sum_y = xx = yy = xy = 0.0
    low_x = low_y = np.float32(np.inf)
    high_x = high_y = np.float32(-np.inf)
    for k in range(len(x)):
        if x[k] < limits[0] or y[k] < limits[1]:
            size += 1
            low_x, high_x = min(low_x, x[k]), max(high_x, x[k])
            low_y, high_y = min(low_y, y[k]), max(high_y, y[k])
            dx, dy = x[k] - line[2], y[k] - line[3]
            sum_x += dx
            sum_y += dy
            xx += dx * dx
            yy += dy * dy
            xy += dx * dy
    if size < 3 or not (low_x < high_x and low_y < high_y):
        return np.nan
    spread = (size * xx - sum_x * sum_x) * (size * yy - sum_y * sum_y)
    return (size * xy - sum_x * sum_y) / np.sqrt(spread)


@kernel
def bisection(x, y, line, levels, strides):
    """The level below the least one found whose background is not negatively correlated; NaN if none is.

    The candidate is a sixth of the window below its upper end: correlations of small backgrounds are erratic.
    """
    left, right, last, found = 1.0, float(levels), 0.0, np.nan
    middle = (right - left) // 1.2 + left
    while last != middle:
        correlation = background_correlation(x, y, at_level(middle, levels, line), line)
        if correlation >= 0:
            right = middle + 1
            found = middle
        else:
            left = middle - 1
        last = middle
        middle = (right - left) // (1.2 if right - left > 6 else 2.0) + left
    return found - 1


@kernel
def descent(x, y, line, levels, strides):
    """The first level, from the brightest pixel down, whose background is not positively correlated.

    NaN where a background on the way has no correlation. strides (s, 2): see `STRIDES`.
    """
    high_x, high_y = max(x), max(y)
    # Not the product with `levels`: CellProfiler's quotient starts one level lower where rounding has it so.
    level = np.float64(max(high_x, high_y)) // (1 / levels) + 1
    first, second = at_level(level, levels, line)
    while first > high_x and second > high_y:
        level -= 1
        first, second = at_level(level, levels, line)
    tried = level
    while level > 1:
        tried = level
        correlation = background_correlation(x, y, at_level(level, levels, line), line)
        if not correlation > 0:
            return level if correlation <= 0 else np.nan
        stride = 1.0
        if level >= 10:
            for k in range(len(strides)):
                if correlation > strides[k, 0]:
                    stride = strides[k, 1]
                    break
        level -= stride
    return tried


@sums
def shares(values, starts, limits):
    """(n, pairs, 2) share of a channel's intensity at or above its threshold that lies above both, for either channel.

    limits (n, pairs, 2). NaN where a channel has no such intensity, and where the thresholds are NaN.
    """
    channels, count = len(values), len(starts) - 1
    result = np.full((count, channels * (channels - 1) // 2, 2), np.nan)
    for i in range(count):
        pair = 0
        for a in range(channels):
            for b in range(a + 1, channels):
                low_x, low_y = limits[i, pair]
                total_x = total_y = both_x = both_y = 0.0
                for k in range(starts[i], starts[i + 1]):
                    u, v = values[a, k], values[b, k]
                    above = u > low_x and v > low_y
                    total_x += u if u >= low_x else 0.0
                    total_y += v if v >= low_y else 0.0
                    both_x += u if above else 0.0
                    both_y += v if above else 0.0
                result[i, pair, 0] = both_x / total_x
                result[i, pair, 1] = both_y / total_y
                pair += 1
    return result
