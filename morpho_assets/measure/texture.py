"""Texture: Haralick's thirteen features of grey-level co-occurrence (doi:10.1109/TSMC.1973.4309314; MeasureTexture).

The image is quantised once (0 to 1 onto the grey levels, rounded); pairs with level 0 do not count; a pair counts in
both directions. Each object's pairs of all scales and directions are counted in one pass over its pixels, in tables as
wide as its own range of levels. A table with fewer cells than the object has pixels is read whole; a wider one is
read, and cleared, by a second pass over the pairs. So the cost is that of the pixels, whatever the range.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import TextureConfig
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel

FEATURES = (
    "AngularSecondMoment", "Contrast", "Correlation", "Variance", "InverseDifferenceMoment", "SumAverage",
    "SumVariance", "SumEntropy", "Entropy", "DifferenceVariance", "DifferenceEntropy", "InfoMeas1", "InfoMeas2",
)  # fmt: skip
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Row and column steps of the directions _00 to _03."""


def columns(compartment: str, channels: Sequence[str], config: TextureConfig) -> list[str]:
    return [
        f"Texture_{feature}_{channel}_{scale}_{direction:02d}_{config.gray_levels}"
        for channel in channels
        for scale in config.scales
        for direction in range(len(DIRECTIONS))
        for feature in FEATURES
    ]


def measure(site: Site, compartment: str, config: TextureConfig) -> NDArray[np.float64]:
    objects = site.objects[compartment]
    steps = np.array([(dy * scale, dx * scale) for scale in config.scales for dy, dx in DIRECTIONS])
    table = entropy_terms(2 * int(objects.areas.max(initial=0)))
    blocks = []
    for pixels in site.values(compartment):
        levels = quantise(pixels, config.gray_levels)
        features = haralick(levels, objects.rows, objects.cols, objects.starts, objects.boxes, steps, table)
        by_scale = features.reshape(len(objects), len(config.scales), -1)
        # CellProfiler's value for an object that has no pair in some direction.
        by_scale[np.isnan(by_scale).any(axis=2)] = 0.0
        blocks.append(by_scale.reshape(len(objects), -1))
    return np.concatenate(blocks, axis=1)


def quantise(pixels: NDArray[np.float32], gray_levels: int) -> NDArray[np.uint8]:
    """Intensities 0 to 1 to 256 levels by rounding, then to fewer by truncation, as CellProfiler does."""
    levels = np.clip(np.rint(pixels * np.float32(255)), 0, 255)
    return (levels / 255 * (gray_levels - 1)).astype(np.uint8) if gray_levels != 256 else levels.astype(np.uint8)


def entropy_terms(largest: int) -> NDArray[np.float64]:
    """m log2 m for counts 0 to `largest`, at most 65,536 of them."""
    counts = np.arange(min(largest, 65535) + 1, dtype=np.float64)
    return counts * np.log2(np.maximum(counts, 1))


@kernel
def haralick(levels, rows, cols, starts, boxes, steps, table):
    """(n, steps, 13) features; NaN where an object has no pair.

    levels (N,) uint8 in the order of the objects' pixels; steps (steps, 2) row and column step of a pair, rows >= 0,
    an even number of them.
    """
    count, kinds = len(starts) - 1, len(steps)
    features = np.full((count, kinds, 13), np.nan)
    margin = np.max(np.abs(steps))
    single = np.zeros(256, np.int64)
    total = np.zeros(512, np.int64)
    difference = np.zeros(256, np.int64)
    pairs = np.zeros(1, np.uint32)
    for i in range(count):
        first, last = starts[i], starts[i + 1]
        low, high = 255, 0
        for place in range(first, last):
            level = levels[place]
            high = max(high, level)
            if level > 0:
                low = min(low, level)
        if high == 0:
            continue
        side = high - low + 2
        if kinds * side * side > len(pairs):
            pairs = np.zeros(kinds * side * side, np.uint32)
        width = boxes[i, 3] - boxes[i, 1] + 2 * margin
        # The object's levels, counted from 1, in a frame of 0 that no step leaves.
        patch = np.zeros((boxes[i, 2] - boxes[i, 0] + margin) * width, np.uint8)
        spots = np.empty(last - first, np.int32)
        size = 0
        for place in range(first, last):
            if levels[place] > 0:
                spot = (rows[place] - boxes[i, 0]) * width + cols[place] - boxes[i, 1] + margin
                patch[spot] = levels[place] - low + 1
                spots[size] = spot
                size += 1
        spots = spots[:size]
        count_pairs(pairs, patch, spots, steps[:, 0] * width + steps[:, 1], side)
        for k in range(kinds):
            cells = pairs[k * side * side : (k + 1) * side * side]
            single[:side] = 0
            total[: 2 * side] = 0
            difference[:side] = 0
            if side * side <= 2 * size:
                squares, terms = read_table(cells, side, single, total, difference, table)
            else:
                step = steps[k, 0] * width + steps[k, 1]
                squares, terms = read_pairs(cells, patch, spots, step, side, single, total, difference, table)
            describe(features[i, k], squares, terms, single[:side], total, difference, low - 1, high, table)
    return features


@kernel
def count_pairs(pairs, patch, spots, offsets, side):
    """Add 1 to table k, cell (level, level at offset k), for every pixel; level 0 is outside the object.

    Two tables at a time fit the nearest cache, and one's increment need not wait for the other's. Unsigned places
    spare the innermost loop a test for negative ones.
    """
    wide, size = np.uint64(side), side * side
    for k in range(0, len(offsets), 2):
        one, two = pairs[k * size : (k + 1) * size], pairs[(k + 1) * size : (k + 2) * size]
        step_one, step_two = offsets[k], offsets[k + 1]
        for spot in spots:
            row = np.uint64(patch[spot]) * wide
            one[row + np.uint64(patch[np.uint64(spot + step_one)])] += np.uint32(1)
            two[row + np.uint64(patch[np.uint64(spot + step_two)])] += np.uint32(1)


@kernel
def entropy_term(m, table):
    return table[m] if m < len(table) else m * np.log2(m)


@kernel
def enter(a, b, times, single, total, difference):
    """Note that the unordered pair of levels a <= b occurs `times` times in the symmetric table."""
    single[a] += times
    single[b] += times
    total[a + b] += 2 * times
    difference[b - a] += 2 * times


@kernel
def read_table(cells, side, single, total, difference, table):
    """Sum of squares and of m log2 m over the symmetric table; fills the marginals and clears the table."""
    squares, terms = 0, 0.0
    for a in range(1, side):
        for b in range(a, side):
            times = np.int64(cells[a * side + b])
            if b > a:
                times += np.int64(cells[b * side + a])
            if times == 0:
                continue
            enter(a, b, times, single, total, difference)
            if a == b:
                squares += 4 * times * times
                terms += entropy_term(2 * times, table)
            else:
                squares += 2 * times * times
                terms += 2 * entropy_term(times, table)
    cells[:] = 0
    return squares, terms


@kernel
def read_pairs(cells, patch, spots, step, side, single, total, difference, table):
    """As `read_table`, for a table of which few cells are used: visit those that the pairs name."""
    squares, terms = 0, 0.0
    for spot in spots:
        a, b = np.int64(patch[spot]), np.int64(patch[spot + step])
        times = np.int64(cells[a * side + b])
        cells[a * side + b] = 0
        if b == 0:
            continue
        if a != b:
            times += np.int64(cells[b * side + a])
            cells[b * side + a] = 0
        if times == 0:
            continue
        enter(min(a, b), max(a, b), times, single, total, difference)
        if a == b:
            squares += 4 * times * times
            terms += entropy_term(2 * times, table)
        else:
            squares += 2 * times * times
            terms += 2 * entropy_term(times, table)
    return squares, terms


@kernel
def describe(feature, squares, terms, single, total, difference, shift, high, table):
    """The thirteen features from the marginals of the symmetric table of counts.

    Levels are counted from `shift`; `high` is the object's highest level. With equal marginals X and Y,
    HXY1 = HXY2 = 2 HX, and the covariance is a quarter of Var(X + Y) - E[(X - Y)^2].
    """
    side = len(single)
    pairs = np.sum(single)
    if pairs == 0:
        return
    one_level = np.max(single) == pairs
    mean = second = single_terms = 0.0
    for a in range(side):
        mean += a * single[a]
        second += a * a * single[a]
        single_terms += entropy_term(single[a], table)
    contrast = homogeneity = difference_squares = difference_terms = 0.0
    for d in range(side):
        m = difference[d]
        if m > 0:
            contrast += float(d * d) * m
            homogeneity += m / (1.0 + d * d)
            difference_squares += float(m) * m
            difference_terms += entropy_term(m, table)
    sum_second = sum_terms = 0.0
    for s in range(2 * side):
        m = total[s]
        if m > 0:
            sum_second += float(s * s) * m
            sum_terms += entropy_term(m, table)
    mean /= pairs
    variance = second / pairs - mean * mean
    sum_variance = sum_second / pairs - 4 * mean * mean
    whole = np.log2(pairs)
    # Of one level both are 0, not what is left of rounding: InfoMeas1 divides one by the other.
    entropy = 0.0 if one_level else whole - terms / pairs
    single_entropy = 0.0 if one_level else whole - single_terms / pairs
    feature[0] = squares / (float(pairs) * pairs)
    feature[1] = contrast / pairs
    feature[2] = (sum_variance - feature[1]) / (4 * variance) if variance > 0 else 1.0
    feature[3] = variance
    feature[4] = homogeneity / pairs
    feature[5] = 2 * (mean + shift)
    feature[6] = sum_variance
    feature[7] = whole - sum_terms / pairs
    feature[8] = entropy
    # The variance of the probabilities of the differences 0 to `high`, not of the differences.
    feature[9] = difference_squares / (float(pairs) * pairs) / (high + 1) - 1.0 / ((high + 1) * (high + 1))
    feature[10] = whole - difference_terms / pairs
    feature[11] = (entropy - 2 * single_entropy) / single_entropy if single_entropy > 0 else 0.0
    feature[12] = np.sqrt(max(0.0, 1 - np.exp(-2 * (2 * single_entropy - entropy))))
