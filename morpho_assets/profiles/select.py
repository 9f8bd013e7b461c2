"""Which features to keep: an ordered list of rules, each on what the previous left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError, NothingLeft
from morpho_assets.profiles.features import COMPARTMENTS, require_columns, require_features, to_matrix
from morpho_assets.profiles.normalize import column_mad, column_median, column_quantiles
from morpho_assets.profiles.rows import groups_of, rows_where

Matrix = npt.NDArray[np.float64]


class _Operation(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DropNaColumns(_Operation):
    """Drop features with more than a share `cutoff` of missing values (0: any). pycytominer uses 0.05."""

    operation: Literal["drop_na_columns"] = "drop_na_columns"
    cutoff: float = Field(default=0.0, ge=0, le=1, description="largest share of missing values that stays")


class FrequencyThreshold(_Operation):
    """Drop features dominated by one value, or with few distinct values (what pycytominer <= 1.6.1 called variance)."""

    operation: Literal["frequency_threshold"] = "frequency_threshold"
    freq_cut: float = Field(default=0.05, ge=0, le=1, description="least ratio of the two largest counts")
    unique_cut: float = Field(default=0.01, ge=0, le=1, description="least ratio of distinct values to rows")


class VarianceThreshold(_Operation):
    """Drop features with a variance (ddof 0) not above `min_variance`; assumes normalised features."""

    operation: Literal["variance_threshold"] = "variance_threshold"
    min_variance: float = Field(default=1e-6, ge=0, description="variance that must be exceeded")


class CorrelationThreshold(_Operation):
    """Of each pair correlated above `threshold`, drop the feature with the larger sum of |r| over all features."""

    operation: Literal["correlation_threshold"] = "correlation_threshold"
    threshold: float = Field(default=0.9, ge=0, le=1, description="correlation that must not be exceeded")
    method: Literal["pearson", "spearman"] = Field(default="pearson", description="kind of correlation")
    absolute: bool = Field(default=False, description="also drop for r < -threshold; pycytominer keeps those")


class Blocklist(_Operation):
    """Drop named features: the field's list of unreliable nuclear ones (Way 2019, 10.6084/m9.figshare.10255811)."""

    operation: Literal["blocklist"] = "blocklist"
    features: tuple[str, ...] | None = Field(default=None, description="exact names; null is the list of Way 2019")


class DropPrefix(_Operation):
    """Drop features by the beginning of their names, such as Image_."""

    operation: Literal["drop_prefix"] = "drop_prefix"
    prefixes: tuple[str, ...] = Field(description="beginnings of the names to drop")


class DropOutliers(_Operation):
    """Drop features with an absolute value above `cutoff` (normalised), at `quantile` of the rows."""

    operation: Literal["drop_outliers"] = "drop_outliers"
    cutoff: float = Field(default=500.0, gt=0, description="largest absolute value that stays")
    quantile: float = Field(default=1.0, ge=0, le=1, description="quantile of the absolute values that is compared")


class NoiseRemoval(_Operation):
    """Drop features whose standard deviation within replicates, averaged over `group`, exceeds `cutoff`."""

    operation: Literal["noise_removal"] = "noise_removal"
    group: tuple[str, ...] = Field(default=("Metadata_Perturbation",), description="columns that name a treatment")
    cutoff: float = Field(default=0.8, gt=0, description="largest mean SD that stays")


class SpreadThreshold(_Operation):
    """Drop features with MAD / |median| under `min_ratio` on any plate (JUMP's `var`); assumes raw features."""

    operation: Literal["spread_threshold"] = "spread_threshold"
    min_ratio: float = Field(default=1e-3, ge=0, description="least ratio of MAD to |median|; a MAD of 0 never passes")
    plate: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a plate")


Operation = Annotated[
    DropNaColumns | FrequencyThreshold | VarianceThreshold | CorrelationThreshold | Blocklist | DropPrefix
    | DropOutliers | NoiseRemoval | SpreadThreshold,
    Field(discriminator="operation"),
]  # fmt: skip


class SelectConfig(BaseModel):
    """The rules in their order. The default leaves no missing value, so that every later step can run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operations: tuple[Operation, ...] = Field(
        default=(DropNaColumns(), FrequencyThreshold(), VarianceThreshold(), CorrelationThreshold(), Blocklist(),
         DropOutliers()),
        description="rules, each applied to what the previous left",
    )  # fmt: skip
    among: str = Field(default="all", description="rows that the rules look at: 'all', 'negcon' or an SQL condition")
    prefixes: tuple[str, ...] = Field(default=COMPARTMENTS, description="prefixes of the feature columns")

    @property
    def reads_labels(self) -> bool:
        """Whether what is kept depends on which well has which treatment."""
        return any(rule.operation == "noise_removal" for rule in self.operations)


@dataclass(frozen=True)
class Selection:
    """`kept` feature names in the order of the frame, and `dropped`: one row of feature, operation and value each.

    `empty_rows` counts the rows without any value, on which no rule looked.
    """

    kept: tuple[str, ...]
    dropped: pl.DataFrame
    empty_rows: int = 0

    def apply(self, profiles: pl.DataFrame) -> pl.DataFrame:
        """`profiles` without the dropped features."""
        return profiles.drop(self.dropped["feature"].to_list(), strict=False)


def unreliable_features() -> list[str]:
    """The 95 names of Way 2019: nuclear Manders and RWC of every ordered stain pair, granularity 14 to 16."""
    stains = ("AGP", "DNA", "ER", "Mito", "RNA")
    pairs = [f"Nuclei_Correlation_{kind}_{a}_{b}" for kind in ("Manders", "RWC") for a, b in permutations(stains, 2)]
    return pairs + [f"Nuclei_Granularity_{step}_{stain}" for step in (14, 15, 16) for stain in stains]


_ROUNDING = 1e-9  # relative; a sum of a thousand correlations is known to some 1e-13
Drop = dict[int, float]  # column of the matrix -> the value that condemned it


def _drop_na(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: DropNaColumns) -> Drop:
    share = np.isnan(matrix).mean(axis=0)
    return _columns(share > rule.cutoff, share)


def _frequency(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: FrequencyThreshold) -> Drop:
    dropped: Drop = {}
    for column in range(matrix.shape[1]):
        values = matrix[:, column]
        counts = np.unique(values[~np.isnan(values)], return_counts=True)[1]
        ratio = 0.0 if counts.size < 2 else float(np.divide(*np.sort(counts)[-2:]))
        if ratio < rule.freq_cut:
            dropped[column] = ratio
        elif counts.size / len(matrix) < rule.unique_cut:
            dropped[column] = counts.size / len(matrix)
    return dropped


def _variance(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: VarianceThreshold) -> Drop:
    known = ~np.isnan(matrix)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.sum(matrix, axis=0, where=known) / counts
    variance = np.sum((matrix - mean) ** 2, axis=0, where=known) / counts
    return _columns(~(variance > rule.min_variance), variance)


def _correlation(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: CorrelationThreshold) -> Drop:
    correlation = correlations(matrix, rule.method)
    above = correlation > rule.threshold
    if rule.absolute:
        above |= correlation < -rule.threshold
    later, earlier = np.nonzero(np.tril(above, -1))
    values = correlation[later, earlier]
    size = np.abs(correlation, out=correlation)
    sums = size.sum(axis=0)
    if np.isnan(sums).any():
        sums = np.nansum(size, axis=0)
    rank = _ranks(sums, features)
    losers = np.where(rank[later] > rank[earlier], later, earlier)
    worst: Drop = {}
    for loser, value in zip(losers.tolist(), values.tolist(), strict=True):
        worst[loser] = max(value, worst.get(loser, value), key=abs)
    return worst


def _ranks(sums: Matrix, features: Sequence[str]) -> npt.NDArray[np.intp]:
    """(features,) the order of the sums; those that are equal but for rounding, which depends on the order of rows and
    columns, are ordered by name."""
    order = np.argsort(sums, kind="stable")
    steps = np.diff(sums[order]) > _ROUNDING * np.abs(sums[order][1:])
    equal = np.empty(len(sums), dtype=np.intp)
    equal[order] = np.concatenate([[0], np.cumsum(steps)])
    rank = np.empty(len(sums), dtype=np.intp)
    rank[np.lexsort((np.asarray(features), equal))] = np.arange(len(sums))
    return rank


def correlations(matrix: Matrix, method: str = "pearson") -> Matrix:
    """(features, features) correlation of the columns; NaN for a constant one. Pairs use the rows both know.

    Rounding may leave the diagonal a few ulp above 1."""
    if method == "spearman":
        from scipy.stats import rankdata

        matrix = np.asarray(rankdata(matrix, axis=0, nan_policy="omit"))
    if np.isnan(matrix).any():
        return _pairwise_correlations(matrix)
    centred = matrix - matrix.mean(axis=0)
    norm = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / norm
    return np.asarray(unit.T @ unit)


def _pairwise_correlations(matrix: Matrix) -> Matrix:
    """Correlations over the rows that both columns of a pair know, by five matrix products."""
    known = (~np.isnan(matrix)).astype(float)
    shifted = np.where(known > 0, matrix - column_median(matrix), 0.0)
    squares = shifted**2
    n = known.T @ known
    sums, square_sums = shifted.T @ known, squares.T @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = shifted.T @ shifted - sums * sums.T / n
        variance = square_sums - sums**2 / n
        variance[variance <= 1e-12 * square_sums] = np.nan
        result = covariance / np.sqrt(variance * variance.T)
    return np.clip(result, -1, 1)


def _blocklist(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: Blocklist) -> Drop:
    blocked = set(unreliable_features() if rule.features is None else rule.features)
    return {i: np.nan for i, name in enumerate(features) if name in blocked}


def _prefix(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: DropPrefix) -> Drop:
    return {i: np.nan for i, name in enumerate(features) if name.startswith(rule.prefixes)}


def _outliers(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: DropOutliers) -> Drop:
    size = np.abs(matrix)
    if rule.quantile == 1:
        extreme = np.max(size, axis=0, initial=0.0, where=~np.isnan(size))
    else:
        extreme = column_quantiles(size, rule.quantile)
    return _columns(extreme > rule.cutoff, extreme)


def _noise(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: NoiseRemoval) -> Drop:
    require_columns(frame, rule.group, "noise_removal")
    values = pl.DataFrame(matrix, schema=features, orient="row").with_columns(pl.all().fill_nan(None))
    grouped = pl.concat([frame.select(rule.group), values], how="horizontal").drop_nulls(rule.group)
    spread = grouped.group_by(rule.group).agg(pl.col(features).std(ddof=0)).select(pl.col(features).mean())
    mean = to_matrix(spread, features)[0]
    return _columns(mean > rule.cutoff, mean)


def _spread(matrix: Matrix, features: list[str], frame: pl.DataFrame, rule: SpreadThreshold) -> Drop:
    require_columns(frame, rule.plate, "spread_threshold")
    least = np.full(matrix.shape[1], np.inf)
    for _, rows in groups_of(frame, rule.plate):
        plate = matrix[rows]
        spread, centre = column_mad(plate), np.abs(column_median(plate))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(spread > 0, spread / centre, 0.0)
        least = np.minimum(least, ratio)
    return _columns(~(least >= rule.min_ratio), least)


def _columns(condemned: npt.NDArray[np.bool_], values: Matrix) -> Drop:
    return {int(i): float(values[i]) for i in np.flatnonzero(condemned)}


OPERATIONS: dict[str, Callable[..., Drop]] = {
    "drop_na_columns": _drop_na,
    "frequency_threshold": _frequency,
    "variance_threshold": _variance,
    "correlation_threshold": _correlation,
    "blocklist": _blocklist,
    "drop_prefix": _prefix,
    "drop_outliers": _outliers,
    "noise_removal": _noise,
    "spread_threshold": _spread,
}


def select_features(
    profiles: pl.DataFrame, config: SelectConfig | None = None, features: Sequence[str] | None = None
) -> Selection:
    """The features that pass every rule of `config`, and why each of the others did not.

    Rules and their tie-breaks are pycytominer 1.7.1's, with two differences: infinities count as missing instead of
    raising, and of a pair of features whose sums of |r| are equal the later by name is dropped. The order of rows
    and of columns does not matter, and rows without any value (wells without cells) are not looked at. InputError when
    no row or no feature is left.
    """
    config = config or SelectConfig()
    columns = require_features(profiles, features, config.prefixes)
    chosen = profiles.filter(rows_where(profiles, config.among))
    matrix = to_matrix(chosen, columns)
    measured = ~np.isnan(matrix).all(axis=1)
    if not measured.all():
        chosen, matrix = chosen.filter(pl.Series(measured)), matrix[measured]
    if chosen.is_empty():
        raise InputError("profiles", f"rows where {config.among}", "none with values", "at least one row",
                         "Choose other rows.")  # fmt: skip
    kept = np.arange(len(columns))
    dropped: list[tuple[str, str, float]] = []
    for rule in config.operations:
        drop = OPERATIONS[rule.operation](matrix[:, kept], [columns[i] for i in kept], chosen, rule)
        dropped += [(columns[kept[i]], rule.operation, value) for i, value in sorted(drop.items())]
        kept = np.delete(kept, list(drop))
        if not kept.size:
            raise NothingLeft("profiles", rule.operation, f"all {len(columns)} features dropped", "features that stay",
                              "Loosen the rule, or look at what the rules before it dropped.")  # fmt: skip
    schema = {"feature": pl.String, "operation": pl.String, "value": pl.Float64}
    frame = pl.DataFrame(dropped, schema=schema, orient="row").with_columns(pl.col("value").fill_nan(None))
    return Selection(tuple(columns[i] for i in kept), frame, int((~measured).sum()))
