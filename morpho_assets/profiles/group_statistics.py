"""Statistics of one feature in every group of rows: exact, in one pass over memory, without a lock.

The median is selected, not sorted for: the level that half of a group's values do not exceed is closed in on by
interpolating counts (regula falsi), and a processor counts eight values at a time. That takes half the time of
selecting by comparisons, and no copy of the values; loading the compiled code costs a process a second once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Values = NDArray[np.float64]
Ends = NDArray[np.intp]
kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")
PASSES = 12  # of counting; values that still are not told apart (ties, extreme outliers) are sorted


@kernel
def median(values: Values) -> float:
    """Median of (n,) finite float64; NaN of none."""
    n = values.size
    if n == 0:
        return np.nan
    least, most = _extremes(values)
    if least == most:
        return least
    half = (n + 1) // 2
    low, high, low_count, high_count = least, most, 1, n
    for _ in range(PASSES):
        share = (half - low_count + 0.5) / (high_count - low_count + 1)
        level = low + min(max(share, 0.05), 0.95) * (high - low)
        count = _not_above(values, level)
        if count == half:
            below, above = _neighbours(values, level, least, most)
            return below if n % 2 else (below + above) / 2
        if count < half:
            low, low_count = level, count
        else:
            high, high_count = level, count
    ordered = np.sort(values)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


@kernel
def mean(values: Values) -> float:
    """Mean of (n,) finite float64; NaN of none."""
    return values.sum() / values.size


@kernel
def trimmed_mean(values: Values, trim: float) -> float:
    """Mean of (n,) finite float64 without the floor(n * trim) lowest and highest; NaN of none."""
    cut = int(values.size * trim)
    return mean(np.sort(values)[cut : values.size - cut])


# One loop per statistic: a compiled function is another object in every process, so that a kernel which took one as an
# argument would never find itself on disk, and every process would add an entry.


@kernel
def _medians(values: Values, ends: Ends, gaps: bool, trim: float, result: Values) -> None:
    first = 0
    for i in range(ends.size):
        result[i] = median(_known(values[first : ends[i]], gaps))
        first = ends[i]


@kernel
def _means(values: Values, ends: Ends, gaps: bool, trim: float, result: Values) -> None:
    first = 0
    for i in range(ends.size):
        result[i] = mean(_known(values[first : ends[i]], gaps))
        first = ends[i]


@kernel
def _trimmed_means(values: Values, ends: Ends, gaps: bool, trim: float, result: Values) -> None:
    first = 0
    for i in range(ends.size):
        result[i] = trimmed_mean(_known(values[first : ends[i]], gaps), trim)
        first = ends[i]


@kernel
def _mads(values: Values, ends: Ends, gaps: bool, trim: float, result: Values) -> None:
    first = 0
    for i in range(ends.size):
        known = _known(values[first : ends[i]], gaps)
        result[i] = median(np.abs(known - median(known)))
        first = ends[i]


@kernel
def _known(group: Values, gaps: bool) -> Values:
    return group[np.isfinite(group)] if gaps else group


OVER_GROUPS = {"median": _medians, "mean": _means, "trimmed_mean": _trimmed_means, "mad": _mads}
"""The aggregators by name. Kernels (values, ends, gaps, trim, result): fill `result` (groups,) with the statistic of
the rows of `values` up to each of `ends` (groups,); with `gaps`, NaN and infinities are left out first; `trim` is that
of trimmed_mean."""


# Loops by index and without infinities as sentinels: so written they become vector instructions.


@kernel
def _not_above(values: Values, level: float) -> int:
    count = 0
    for i in range(values.size):
        count += 1 if values[i] <= level else 0
    return count


@kernel
def _extremes(values: Values) -> tuple[float, float]:
    least = most = values[0]
    for i in range(values.size):
        value = values[i]
        least = value if value < least else least
        most = value if value > most else most
    return least, most


@kernel
def _neighbours(values: Values, level: float, least: float, most: float) -> tuple[float, float]:
    """The largest value not above `level` and the smallest above it, given that all lie within [least, most]."""
    below, above = least, most
    for i in range(values.size):
        value = values[i]
        under = value if value <= level else least
        over = most if value <= level else value
        below = under if under > below else below
        above = over if over < above else above
    return below, above
