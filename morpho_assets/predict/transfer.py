"""Is what was learned here at home there? Which features look alike in two sets of cells.

A model that was trained on one screen meets another: features whose distributions differ make it call stains and
optics. The test of Tomkinson 2024 (10.1186/s44330-024-00014-3): a two-sample Kolmogorov-Smirnov distance of each
feature, over resamples of matched size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError

KOLMOGOROV_MEAN = float(np.sqrt(np.pi / 2) * np.log(2))  # mean of Kolmogorov's distribution
MOST_POOLED = 20_000


class ShiftConfig(BaseModel):
    """Which features a model may use that is applied to other plates than those it was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_most: float = Field(
        default=0.3, gt=0, le=1, description="greatest Kolmogorov-Smirnov distance of a feature that is kept"
    )
    resamples: int = Field(default=100, ge=1, description="resamples of matched size (published: 1,000)")
    size: int = Field(default=2000, ge=10, description="most cells of each side in a resample")
    seed: int = Field(default=0, ge=0, description="seed of the resamples")


def shift_test(
    first: NDArray[np.floating], second: NDArray[np.floating], features: Sequence[str],
    config: ShiftConfig | None = None,
) -> pl.DataFrame:  # fmt: skip
    """A row per feature: `ks` the mean distance between resamples of `first` (n, d) and of `second` (m, d), `sd` over
    resamples, `chance` what two samples of one population have in the mean, `n` cells of each side in a resample, and
    `kept`. Sorted by `ks`; a feature without values on one side has none and is not kept.

    Resamples are drawn without repeats: the smaller side's number of cells (at most `size`, and a half of it where both
    are as many, so that resamples differ), of each side. NaN cells of a feature are left out of it.
    """
    config = config or ShiftConfig()
    if first.shape[1] != len(features) or second.shape[1] != len(features):
        raise ValueError(f"{first.shape} and {second.shape} values of {len(features)} features")
    if len(first) < 2 or len(second) < 2:
        raise InputError("shift", "cells", f"{len(first)} and {len(second)}", "two cells of each side at least",
                         "Take more plates, or leave the shift test out.")  # fmt: skip
    rng = np.random.default_rng(config.seed)
    sides = [_at_most(np.asarray(side, float), MOST_POOLED, rng) for side in (first, second)]
    size = min(config.size, len(sides[0]), len(sides[1]))
    if size == len(sides[0]) == len(sides[1]):
        size = max(1, size // 2)
    pooled = np.concatenate(sides)
    order = np.argsort(pooled, axis=0, kind="stable")  # NaN last
    placed = np.take_along_axis(pooled, order, axis=0)
    known = np.isfinite(placed)
    last = np.ones(placed.shape, bool)  # of equal values: where both steps have been taken
    last[:-1] = placed[1:] != placed[:-1]
    last &= known
    drawn = np.empty((config.resamples, len(features)))
    split = len(sides[0])
    for number in range(config.resamples):
        drawn[number] = _distance(order, last, known, split, len(pooled), size, rng)
    ks = drawn.mean(axis=0)
    found = pl.DataFrame({
        "feature": list(features), "ks": ks, "sd": drawn.std(axis=0), "chance": KOLMOGOROV_MEAN * np.sqrt(2 / size),
        "n": np.full(len(features), size),
    })  # fmt: skip
    kept = (pl.col("ks") <= config.at_most).fill_null(False)
    return (
        found.with_columns(pl.col("ks", "sd").fill_nan(None))
        .with_columns(kept.alias("kept"))
        .sort("ks", "feature", nulls_last=True)
    )


def family_of(feature: str) -> str:
    """The kind of a measurement: its module, with Zernike shapes apart from other shapes."""
    if "Zernike" in feature and "AreaShape" in feature:
        return "Zernike"
    parts = feature.split("_")
    return parts[1] if parts[0] in ("Nuclei", "Cells", "Cytoplasm") and len(parts) > 1 else parts[0]


def shift_of_families(shifts: pl.DataFrame) -> pl.DataFrame:
    """The mean distance of each kind of feature, least first: family, ks, features."""
    named = shifts.with_columns(pl.col("feature").map_elements(family_of, pl.String).alias("family"))
    return named.group_by("family").agg(pl.col("ks").mean(), pl.len().alias("features")).sort("ks", "family")


def ks_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[float, float]:
    """(D, the same with the sign of the difference of medians, of means where these are equal) of two samples without
    NaN; positive where `first` is greater. NaN for an empty one."""
    if not len(first) or not len(second):
        return float("nan"), float("nan")
    one, two = np.sort(first), np.sort(second)
    values = np.concatenate([one, two])
    below_one = np.searchsorted(one, values, side="right") / len(one)
    below_two = np.searchsorted(two, values, side="right") / len(two)
    d = float(np.abs(below_one - below_two).max())
    side = float(np.median(one) - np.median(two)) or float(one.mean() - two.mean())
    return d, d * float(np.sign(side))


def excess_above(first: NDArray[np.floating], second: NDArray[np.floating], least: float) -> float:
    """By how much further above `least` the values of `first` lie than those of `second` (without NaN) in the mean,
    what lies below counting nothing: the area between the two distributions above `least`, negative where `second` has
    more there. NaN for an empty one."""
    if not len(first) or not len(second):
        return float("nan")
    one, two = (np.maximum(np.asarray(each, float) - least, 0).mean() for each in (first, second))
    return float(one - two)


def ks_p_value(d: float, n: int, m: int) -> float:
    """The two-sided asymptotic p of independent cells, which cells of one well are not."""
    from scipy.special import kolmogorov

    return float(kolmogorov(np.sqrt(n * m / (n + m)) * d)) if n and m else float("nan")


def _distance(
    order: NDArray[np.int64], last: NDArray[np.bool_], known: NDArray[np.bool_], split: int, total: int, size: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    picked = np.zeros(total)
    picked[rng.choice(split, size, replace=False)] = 1
    picked[split + rng.choice(total - split, size, replace=False)] = -1
    steps = np.where(known, picked[order], 0)
    ups, downs = (np.where(steps > 0, 1.0, 0.0), np.where(steps < 0, 1.0, 0.0))
    n, m = ups.sum(axis=0), downs.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.abs(np.cumsum(ups, axis=0) / n - np.cumsum(downs, axis=0) / m)
    found = np.where(last, away, 0).max(axis=0)
    return np.where((n > 0) & (m > 0), found, np.nan)


def _at_most(rows: NDArray[np.float64], most: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rows if len(rows) <= most else rows[np.sort(rng.choice(len(rows), most, replace=False))]
