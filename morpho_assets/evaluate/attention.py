"""What heat maps of an encoder say in numbers (row Z10): areas by treatment, compartments, right against wrong names.

Windows of a well are no independent units: intervals, and the analysis of variance, are of wells.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import metric_row
from morpho_assets.lake.tables import table
from morpho_assets.learn.kinds import UNTRAINED

WELL = ["Metadata_Plate", "Metadata_Well"]
COMPARTMENTS = ("nucleus", "cytoplasm", "outside")
MEASURES = ("area", "mean_inside", *(f"density_{name}" for name in COMPARTMENTS))
LEAST = 8
"""Windows that are named rightly, and wrongly, below which they are not compared."""


def attention_metrics(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `metrics` (the encoder is the variant) from those of `attributions`.

    `area` and `mean_inside` as there; `density_nucleus` and so on: the share of heat in a compartment over its share
    of the window, 1 by chance. By treatment, and overall the mean over treatments. `area_F`: variance of wells' areas
    between treatments over that within; `area_and_accuracy`: Spearman's correlation over treatments; `area_right`: how
    often a window that is named rightly has the larger area than one that is not, 0.5 by chance. Scope `against` the
    untrained twin: the mean difference over treatments of the same windows.
    """
    if not rows.height:
        return table("metrics").empty()
    density = [
        pl.when(pl.col(f"share_{name}") > 0)
        .then(pl.col(f"heat_{name}") / pl.col(f"share_{name}"))
        .alias(f"density_{name}")
        for name in COMPARTMENTS
    ]  # fmt: skip
    wells = rows.with_columns(density).group_by(
        "attribution", "encoder", "method", "treatment", *WELL, maintain_order=True
    ).agg(pl.col(MEASURES).mean(), pl.col("level").first())  # fmt: skip
    found = []
    for (name, method), of in wells.group_by("attribution", "method", maintain_order=True):
        evaluator = f"attributions {name}, {method}"
        by_encoder = {str(key[0]): frame for key, frame in of.group_by("encoder", maintain_order=True)}
        for encoder, mine in by_encoder.items():
            single = rows.filter(attribution=name, method=method, encoder=encoder)
            twin = by_encoder.get(f"{encoder}{UNTRAINED}")
            found += [{"variant": encoder, **row} for row in _of_encoder(evaluator, mine, single, twin, encoder)]
    return pl.DataFrame(found, schema_overrides=dict(table("metrics").schema), infer_schema_length=None)


def _of_encoder(
    evaluator: str, wells: pl.DataFrame, windows: pl.DataFrame, twin: pl.DataFrame | None, encoder: str
) -> Iterator[dict[str, object]]:
    level = wells["level"][0]
    chances: dict[str, float | None] = dict.fromkeys(MEASURES, 1.0)
    chances |= {"area": None if level is None else 1 - level, "mean_inside": None}
    for measure in MEASURES:
        for (treatment,), of in wells.group_by("treatment", maintain_order=True):
            yield _mean(evaluator, str(treatment), measure, of[measure], chances[measure])
        mine = _by_treatment(wells, measure)
        yield _mean(evaluator, "overall", measure, mine[measure], chances[measure])
        if twin is not None:
            both = mine.join(_by_treatment(twin, measure), on="treatment", suffix="_twin")
            gain = both[measure] - both[f"{measure}_twin"]
            yield _mean(evaluator, f"against {encoder}{UNTRAINED}", measure, gain, 0.0)
    value, p_value, chance, n = variance_ratio(
        [of["area"].drop_nulls().to_numpy() for _, of in wells.group_by("treatment", maintain_order=True)]
    )
    yield metric_row(evaluator, "overall", "area_F", value, n, chance, None, p_value)
    yield from _of_names(evaluator, windows.drop_nulls("right"))


def _of_names(evaluator: str, windows: pl.DataFrame) -> Iterator[dict[str, object]]:
    """What areas have to do with right names."""
    from scipy.stats import mannwhitneyu, spearmanr

    if not windows.height:
        return
    by = (
        windows.group_by("treatment", maintain_order=True)
        .agg(pl.col("right").mean(), pl.col("area").mean())
        .drop_nulls()
    )
    classes = float(windows["classes"][0])
    yield _mean(evaluator, "overall", "named_rightly", by["right"], 1 / classes)
    if by.height > 2 and by["right"].n_unique() > 1 and by["area"].n_unique() > 1:
        found = spearmanr(by["area"], by["right"])
        yield metric_row(evaluator, "overall", "area_and_accuracy", found.statistic, by.height, 0.0, None, found.pvalue)
    right, wrong = (windows.filter(right=each)["area"].drop_nulls().to_numpy() for each in (True, False))
    if min(len(right), len(wrong)) >= LEAST:
        test = mannwhitneyu(right, wrong)
        value = test.statistic / (len(right) * len(wrong))
        yield metric_row(evaluator, "overall", "area_right", value, len(right) + len(wrong), 0.5, None, test.pvalue)


def variance_ratio(groups: list[NDArray[np.float64]]) -> tuple[float, float, float, int]:
    """F of a one-way analysis of variance, its p-value, its mean where groups do not differ, and the number of units.
    Groups of one unit have no spread, and are left out; NaN for fewer than two groups, or where none has a spread."""
    from scipy.stats import f_oneway

    groups = [each for each in groups if len(each) > 1]
    n = sum(map(len, groups))
    if len(groups) < 2 or not any(each.std() > 0 for each in groups):
        return float("nan"), float("nan"), float("nan"), n
    found = f_oneway(*groups)
    within = n - len(groups)
    return float(found.statistic), float(found.pvalue), within / (within - 2) if within > 2 else float("nan"), n


def _by_treatment(wells: pl.DataFrame, measure: str) -> pl.DataFrame:
    return wells.group_by("treatment", maintain_order=True).agg(pl.col(measure).mean()).drop_nulls()


def _mean(evaluator: str, scope: str, measure: str, values: pl.Series, chance: float | None) -> dict[str, object]:
    units = values.drop_nulls().to_numpy()
    mean = float(units.mean()) if len(units) else float("nan")
    return metric_row(evaluator, scope, measure, mean, len(units), chance, mean_interval(units, seed=0))
