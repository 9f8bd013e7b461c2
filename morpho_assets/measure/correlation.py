"""Correlation: how two channels go together within an object (MeasureColocalization).

Pearson's Correlation and Overlap are symmetric; K, Manders and RWC (rank-weighted, Singan et al. 2011,
doi:10.1186/1471-2105-12-407) have a value for either order of the pair. All but Correlation look at the pixels
where both channels reach a share of their maxima in the object; costes.py has the Costes coefficients, if wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import CorrelationConfig
from morpho_assets.measure.costes import costes
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import sums


def columns(compartment: str, channels: Sequence[str], config: CorrelationConfig) -> list[str]:
    ordered = ("K", "Manders", "RWC", *(["Costes"] if config.costes else []))
    return [
        f"Correlation_{feature}"
        for a, b in combinations(channels, 2)
        for feature in (
            *(f"{name}_{a}_{b}" for name in ("Correlation", "Overlap")),
            *(f"{name}_{pair}" for name in ordered for pair in (f"{a}_{b}", f"{b}_{a}")),
        )
    ]


def measure(site: Site, compartment: str, config: CorrelationConfig) -> NDArray[np.float64]:
    objects = site.objects[compartment]
    ranks = site.ranking(compartment).ranks
    features = correlate(site.values(compartment), ranks, objects.starts, config.threshold_percent / 100)
    if config.costes:
        features = np.concatenate([features, costes(site, compartment, config.costes)], axis=2)
    return features.reshape(len(objects), -1)


@sums
def correlate(values, ranks, starts, share):
    """(n, pairs, 8) features of all channel pairs.

    values (C, N) float32 and ranks (C, N) int32 in the order of the objects' pixels. Undefined ratios are NaN:
    Correlation of a constant, the others without foreground.
    """
    channels, count = len(values), len(starts) - 1
    pairs = channels * (channels - 1) // 2
    features = np.full((count, pairs, 8), np.nan)
    levels = np.zeros(channels)
    for channel in range(channels):
        if len(ranks[channel]) > 0:
            levels[channel] = np.max(ranks[channel]) + 1.0
    means = np.empty(channels)
    squares = np.empty(channels)
    thresholds = np.empty(channels, np.float32)
    foregrounds = np.empty(channels)
    for i in range(count):
        first, last = starts[i], starts[i + 1]
        for channel in range(channels):
            total, low, high = 0.0, values[channel, first], values[channel, first]
            for value in values[channel, first:last]:
                total += value
                low = value if value < low else low
                high = value if value > high else high
            # In single precision, as CellProfiler's: a pixel at exactly the threshold is not rare in 16-bit images.
            mean, threshold = total / (last - first), np.float32(share) * high
            square = above = 0.0
            for value in values[channel, first:last]:
                square += (value - mean) ** 2
                above += value if value >= threshold else 0.0
            # A constant has no variance, whatever the rounding of its mean leaves.
            means[channel], squares[channel] = mean, square if high > low else 0.0
            thresholds[channel], foregrounds[channel] = threshold, above
        pair = 0
        for a in range(channels):
            for b in range(a + 1, channels):
                x, y = values[a, first:last], values[b, first:last]
                rank_x, rank_y = ranks[a, first:last], ranks[b, first:last]
                covariance = product = square_x = square_y = sum_x = sum_y = weighted_x = weighted_y = 0.0
                top = max(levels[a], levels[b])
                for k in range(len(x)):
                    both = 1.0 if x[k] >= thresholds[a] and y[k] >= thresholds[b] else 0.0
                    u, v = np.float64(x[k]), np.float64(y[k])
                    covariance += (u - means[a]) * (v - means[b])
                    weight = (top - abs(rank_x[k] - rank_y[k])) / top
                    u, v = u * both, v * both
                    product += u * v
                    square_x += u * u
                    square_y += v * v
                    sum_x += u
                    sum_y += v
                    weighted_x += u * weight
                    weighted_y += v * weight
                feature = features[i, pair]
                spread = np.sqrt(squares[a] * squares[b])
                feature[0] = covariance / spread if spread > 0 else np.nan
                feature[1] = product / np.sqrt(square_x * square_y)
                feature[2] = product / square_x
                feature[3] = product / square_y
                feature[4] = sum_x / foregrounds[a]
                feature[5] = sum_y / foregrounds[b]
                feature[6] = weighted_x / foregrounds[a]
                feature[7] = weighted_y / foregrounds[b]
                pair += 1
    return features
