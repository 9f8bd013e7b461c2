"""Rows of the metrics table: no value without what chance gives and how many it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

METRICS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "evaluator": pl.String, "scope": pl.String, "metric": pl.String, "value": pl.Float64, "chance": pl.Float64,
    "ci_low": pl.Float64, "ci_high": pl.Float64, "p_value": pl.Float64, "n": pl.Int64,
    "at_least": pl.Float64, "at_most": pl.Float64, "holds": pl.Boolean,
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """`metrics`: rows of METRICS_SCHEMA; `details`: frames by name (per treatment, per pair …) for the report."""

    metrics: pl.DataFrame
    details: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def metric_row(
    evaluator: str, scope: str, metric: str, value: float, n: int, chance: float | None = None,
    interval: tuple[float, float] | None = None, p_value: float | None = None,
) -> dict[str, object]:  # fmt: skip
    """One row; NaN becomes null, `n` is the number of independent units behind the value."""
    low, high = interval or (None, None)
    numbers = {"value": value, "chance": chance, "ci_low": low, "ci_high": high, "p_value": p_value}
    known = {name: None if x is None or np.isnan(x) else float(x) for name, x in numbers.items()}
    return {"evaluator": evaluator, "scope": scope, "metric": metric, **known, "n": int(n)}


def metrics_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """The rows as a frame of METRICS_SCHEMA."""
    return pl.DataFrame(rows, schema=METRICS_SCHEMA)


def bootstrap_interval(
    units: npt.ArrayLike, statistic: Callable[..., npt.ArrayLike], seed: int, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of `statistic` over resampled `units` (treatments, never images); None for fewer than two.

    `statistic` takes an array (resamples, units) and `axis=1`, as np.mean and np.median do. NaN units are left out.
    """
    values = np.asarray(units, dtype=float)
    values = values[~np.isnan(values)]
    if values.size < 2:
        return None
    drawn = np.random.default_rng(seed).integers(values.size, size=(resamples, values.size))
    low, high = np.quantile(np.asarray(statistic(values[drawn], axis=1)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
