"""What spaces are worth beside each other, in a sentence each, from differences that are paired by treatment."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.profiles.study import SHUFFLED
from morpho_assets.report.page import Section

_SCORE = "mAP"


def compared_sections(metrics: pl.DataFrame, finals: Sequence[str], answer: str = "") -> list[Section]:
    """The report's first chapter: every space after its last step (`finals`, the variants' names) beside those that it
    was compared with, after the study's `answer`; none where there is neither."""
    sentences = comparisons(metrics, finals)
    return [Section("In a sentence", " ".join(sentences), answer=answer)] if sentences or answer else []


def comparisons(metrics: pl.DataFrame, finals: Sequence[str]) -> list[str]:
    """A sentence for each pair of variants in `finals`, from the rows `against …` of `metrics`; the shuffled twins have
    their own rows. A pair without an interval (fewer than two treatments) is left out."""
    others = [f"against {name}" for name in finals]
    rows = metrics.filter(
        pl.col("metric") == _SCORE, pl.col("variant").is_in(finals), pl.col("scope").is_in(others),
        pl.col("ci_low").is_not_null(), ~pl.col("variant").str.ends_with(SHUFFLED),
    )  # fmt: skip
    return [_sentence(row) for row in rows.iter_rows(named=True)]


def _sentence(row: dict[str, float | str]) -> str:
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not to be told from"
    size = _shown(abs(value) if low > 0 or high < 0 else value)
    ends = (low, high) if low > 0 or high >= 0 else (-high, -low)
    interval = " to ".join(map(_shown, ends))
    other = str(row["scope"]).removeprefix("against ")
    return (
        f"{row['variant']} is {verdict} {other} by {size} ({interval}) in mean average precision ({row['evaluator']}, "
        f"{row['n']} treatments)."
    )


def _shown(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
