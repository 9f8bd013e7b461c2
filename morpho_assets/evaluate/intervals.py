"""95 % intervals over treatments: what another draw of treatments, and of controls, would give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]
LEAST_RESAMPLED = 8  # units; of fewer there are too few resamples: Student's t


def mean_interval(
    units: npt.ArrayLike, seed: int, resamples: int = 1000, shared: float = 0.0, parts: int = 0, level: float = 0.95
) -> Interval | None:
    """Interval of the mean of `units` (treatments, never images); None for fewer than two.

    Bias-corrected and accelerated bootstrap (Efron 1987, 10.1080/01621459.1987.10478410), which scores that are skewed
    need, with the quantiles of Student's t and the spread of n - 1, which few units need (Hesterberg 2015,
    10.1080/00031305.2015.1089789). `shared` is the variance of the mean from what all units share, such as controls;
    it was estimated from so many `parts` of it (0: known), few of which widen the interval. NaN units are left out;
    equal units without `shared` give their value twice, infinite ones none.
    """
    from scipy.stats import norm, t

    values = np.asarray(units, dtype=float)
    values = values[~np.isnan(values)]
    n = values.size
    if n < 2 or not np.isfinite(values).all():
        return None
    mean, own = values.mean(), values.var() / n
    tails = t.ppf([(1 - level) / 2, (1 + level) / 2], n - 1)
    error = np.sqrt(own * n / (n - 1) + shared) * _widened(own * n / (n - 1), n, shared, parts, level)
    if n < LEAST_RESAMPLED or own == 0:
        low, high = mean + tails * error
        return float(low), float(high)
    off = values[np.random.default_rng(seed).integers(n, size=(resamples, n))].mean(axis=1) - mean
    bias = norm.ppf(np.clip(np.mean(off < 0) + np.mean(off == 0) / 2, 1 / resamples, 1 - 1 / resamples))
    influence = values - mean
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    places = norm.cdf(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = mean + np.quantile(off, places) * error / np.sqrt(own)
    return float(low), float(high)


def median_interval(units: npt.ArrayLike, level: float = 0.95) -> Interval | None:
    """Interval of the median by order statistics, whatever the distribution: at least `level`, or as near as so few
    units come. None for fewer than two; NaN units are left out."""
    from scipy.stats import binom

    values = np.sort(np.asarray(units, dtype=float))
    values = values[~np.isnan(values)]
    if values.size < 2:
        return None
    below = max(int(binom.ppf((1 - level) / 2, values.size, 0.5)), 1)
    return float(values[below - 1]), float(values[values.size - below])


def share_interval(
    share: float, n: int, variance: float | None = None, shared: float = 0.0, parts: int = 0, level: float = 0.95
) -> Interval | None:
    """Wilson's interval of a share of `n` units (10.1080/01621459.1927.10502953): 0 of 31 reaches up to 11 %.

    `variance` is that of the share where it is more than that of `n` independent units, as for discoveries among tests
    that depend on each other: there are then fewer units in effect. `shared` and `parts` as in `mean_interval`. None
    for no unit or a share that is none.
    """
    from scipy.stats import norm

    if n < 1 or not 0 <= share <= 1:
        return None
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)  # of the plain interval: none found is not none for sure
    alone = middle * (1 - middle) / n
    own = max(alone, variance or 0.0)
    effective = n * alone / ((own + shared) * _widened(own, n, shared, parts, level) ** 2)
    centre = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = np.sqrt(z2) / (1 + z2 / effective) * np.sqrt(share * (1 - share) / effective + z2 / (4 * effective**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _widened(own: float, n: int, shared: float, parts: int, level: float) -> float:
    """By what an interval is wider than that of Student's t for `n` units, because a part of its variance was estimated
    from few `parts`: the quantile is the mean of both by their share of the variance (Cochran & Cox 1950, Experimental
    Designs, 4.14)."""
    from scipy.stats import t

    if shared <= 0 or parts < 2 or n < 2:
        return 1.0
    few, many = t.ppf((1 + level) / 2, [parts - 1, n - 1])
    return float(max(1.0, (own + shared * few / many) / (own + shared)))
