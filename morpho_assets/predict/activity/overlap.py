"""Who predicts which assays well, and what predictors add to each other: counts, unions and regions of overlap.

As in Moshkov 2023 (10.1038/s41467-023-37570-1): an assay is well predicted by what scores above a threshold in the
median over folds; the retrospective union counts assays that any of several predictors predicts well, as if one had
known beforehand which to take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import polars as pl

Assays = frozenset[str]
THRESHOLDS = (0.9, 0.7)


def well_predicted(scores: pl.DataFrame, threshold: float, names: Iterable[str] | None = None) -> dict[str, Assays]:
    """By predictor the assays whose `auroc` is above `threshold`, of rows with `predictor`, `assay` and `auroc`.

    A score that is null or NaN (no fold had both classes) is above nothing. `names` gives the predictors in order, by
    default all in the order of the rows; one without a row has no assay.
    """
    wanted = list(names) if names is not None else scores["predictor"].unique(maintain_order=True).to_list()
    above = scores.filter(pl.col("auroc").fill_nan(None) > threshold)
    return {name: frozenset(above.filter(pl.col("predictor") == name)["assay"]) for name in wanted}


def union(well: Mapping[str, Assays], names: Iterable[str]) -> Assays:
    """Assays that any of the named predictors predicts well: the retrospective union."""
    return frozenset().union(*(well[name] for name in names))


def shared(well: Mapping[str, Assays], names: Iterable[str]) -> Assays:
    """Assays that every one of the named predictors predicts well."""
    first, *others = (well[name] for name in names)
    return first.intersection(*others)


def regions(well: Mapping[str, Assays], names: Sequence[str]) -> dict[tuple[str, ...], Assays]:
    """The parts of the Venn diagram: for every set of the named predictors (fewest first) the assays that these predict
    well and no other of the named does. Disjoint; together they are the union of all."""
    found = {}
    for number in range(1, len(names) + 1):
        for chosen in combinations(names, number):
            others = union(well, [name for name in names if name not in chosen])
            found[chosen] = shared(well, chosen) - others
    return found


def overlap_table(scores: pl.DataFrame, names: Sequence[str], thresholds: Sequence[float] = THRESHOLDS) -> pl.DataFrame:
    """A row per threshold and set of the named predictors: `predictors` (joined by ` + `), `number` how many of them,
    `union` assays that any, `shared` all, `alone` these and no other of the named predict well."""
    rows = []
    for threshold in thresholds:
        well = well_predicted(scores, threshold, names)
        for chosen, assays in regions(well, names).items():
            rows.append((threshold, " + ".join(chosen), len(chosen), len(union(well, chosen)),
                         len(shared(well, chosen)), len(assays)))  # fmt: skip
    kinds = {"threshold": pl.Float64, "predictors": pl.String, "number": pl.Int32, "union": pl.Int32,
             "shared": pl.Int32, "alone": pl.Int32}  # fmt: skip
    return pl.DataFrame(rows, kinds, orient="row")
