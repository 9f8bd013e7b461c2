"""What an evaluator says: rows of the metrics table and scores of single treatments, each beside what chance gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.evaluate.intervals import mean_interval

METRICS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "evaluator": pl.String, "scope": pl.String, "metric": pl.String, "value": pl.Float64, "chance": pl.Float64,
    "ci_low": pl.Float64, "ci_high": pl.Float64, "p_value": pl.Float64, "n": pl.Int64,
    "at_least": pl.Float64, "at_most": pl.Float64, "holds": pl.Boolean,
}  # fmt: skip
SCORES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "treatment": pl.String, "score": pl.String, "value": pl.Float64, "chance": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """`metrics`: rows of METRICS_SCHEMA; `details`: frames by name, of which `treatments` are rows of the table of that
    name; `scores`: rows of SCORES_SCHEMA, what single treatments (or labels) score; `note`: what has to stand beside
    the numbers."""

    metrics: pl.DataFrame
    details: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    scores: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SCORES_SCHEMA))
    note: str = ""


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


def nothing_to_ask(evaluator: str, metrics: Sequence[str], note: str = "") -> Evaluation:
    """Rows without a value, of n = 0: the profiles have the columns, but nothing in them that could be compared."""
    rows = metrics_frame([metric_row(evaluator, "overall", name, np.nan, 0) for name in metrics])
    return Evaluation(rows, note=note)


def averaged(draws: Sequence[Evaluation]) -> Evaluation:
    """One evaluation from those of several draws: means of every metric and score. The interval of a metric holds 95 %
    of the draws; p-values, details and the note are those of the first draw. A single one comes back as it is."""
    first = draws[0]
    if len(draws) == 1:
        return first
    rows = pl.concat([draw.metrics for draw in draws])
    key = ["evaluator", "scope", "metric"]
    ends = {"ci_low": 0.025, "ci_high": 0.975}
    means = rows.group_by(key, maintain_order=True).agg(
        pl.col("value", "chance").mean(),
        *(pl.col("value").quantile(share, "linear").alias(name) for name, share in ends.items()),
        pl.col("p_value").first(),
        pl.col("n").mean().round().cast(pl.Int64),
        pl.col("at_least", "at_most", "holds").first(),
    )
    scores = pl.concat([draw.scores for draw in draws])
    scores = scores.group_by("treatment", "score", maintain_order=True).agg(pl.col("value", "chance").mean())
    return Evaluation(means.select(list(METRICS_SCHEMA)), first.details, scores, first.note)


def treatment_names(treatments: pl.DataFrame) -> pl.Series:
    """One text per row of the columns that name a treatment: `A | B`."""
    return treatments.select(pl.concat_str(pl.all(), separator=" | ")).to_series().alias("treatment")


def scores_frame(treatments: pl.DataFrame, scores: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> pl.DataFrame:
    """Rows of SCORES_SCHEMA: each score's values and chance for the treatments that the columns of `treatments` name.

    Unknown values (NaN) have no row; several rows of one treatment become their mean.
    """
    names = treatment_names(treatments)
    frames = [
        pl.DataFrame({
            "treatment": names, "score": pl.repeat(score, len(names), eager=True, dtype=pl.String),
            "value": np.broadcast_to(np.asarray(value, dtype=float), len(names)),
            "chance": np.broadcast_to(np.asarray(chance, dtype=float), len(names)),
        }, schema=SCORES_SCHEMA)
        for score, (value, chance) in scores.items()
    ]  # fmt: skip
    known = pl.concat(frames).drop_nans("value").drop_nulls("treatment")
    return known.group_by("treatment", "score", maintain_order=True).agg(pl.col("value", "chance").mean())


def paired_differences(
    before: pl.DataFrame, after: pl.DataFrame, evaluator: str, scope: str, seed: int, resamples: int = 1000
) -> list[dict[str, object]]:
    """A metric row per score that `before` and `after` (SCORES_SCHEMA) both have: the mean of after - before over the
    treatments that both score, beside the same of their chances, with an interval that resamples treatments."""
    both = before.join(after, on=["treatment", "score"], suffix="_after", maintain_order="left")
    rows = []
    for (score,), pairs in both.group_by("score", maintain_order=True):
        gain = (pairs["value_after"] - pairs["value"]).to_numpy()
        interval = mean_interval(gain, seed, resamples)
        chance = float((pairs["chance_after"] - pairs["chance"]).to_numpy().mean())
        rows.append(metric_row(evaluator, scope, str(score), float(gain.mean()), gain.size, chance, interval))
    return rows
