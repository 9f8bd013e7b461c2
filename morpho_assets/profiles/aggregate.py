"""Cells to sites and wells: one row per stratum, out of core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import COMPARTMENTS, require_columns, require_features

WELL = ("Metadata_Plate", "Metadata_Well")
CELL_COUNT = "Metadata_Count_Cells"

RUN = "__run"  # number of a run of rows with the same keys

Method = Literal["median", "mean", "trimmed_mean"]


class AggregateConfig(BaseModel):
    """How many rows become one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = Field(default="median", description="statistic of each feature over the rows of a stratum")
    site_method: Method | None = Field(
        default=None,
        description="if set, cells become sites by it, then sites become strata by `method`",
    )
    site: tuple[str, ...] = Field(default=("Metadata_Site",), description="columns that name a site within a stratum")
    trim: float = Field(default=0.1, ge=0, lt=0.5, description="share of values cut at each end by trimmed_mean")
    prefixes: tuple[str, ...] = Field(default=COMPARTMENTS, description="prefixes of the feature columns")
    block_gb: float = Field(default=0.25, gt=0, description="memory (GB) of the block of columns held at a time")


def _trimmed_mean(column: pl.Expr, config: AggregateConfig) -> pl.Expr:
    values = column.drop_nulls().sort()
    cut = (values.len() * config.trim).floor().cast(pl.Int64)
    return values.slice(cut, values.len().cast(pl.Int64) - 2 * cut).mean()


AGGREGATORS: dict[str, Callable[[pl.Expr, AggregateConfig], pl.Expr]] = {
    "median": lambda column, _: column.median(),
    "mean": lambda column, _: column.mean(),
    "trimmed_mean": _trimmed_mean,
}


def aggregate(
    cells: pl.LazyFrame | pl.DataFrame,
    strata: Sequence[str] = WELL,
    config: AggregateConfig | None = None,
    features: Sequence[str] | None = None,
) -> pl.DataFrame:
    """One row per distinct value of `strata`, sorted by them, with `Metadata_Count_Cells` and the feature columns.

    NaN, null and infinities are missing and left out; a stratum without any value of a feature gives null. Strata
    with a null key are kept as a row of their own. No cells give no rows. Columns are read in blocks of
    `config.block_gb`, so a LazyFrame over Parquet of any size is aggregated exactly in that memory (about three
    times it at the peak); over CSV each block reads the file again, so convert first (`cellprofiler.to_parquet`).
    Features come from `config.prefixes` unless named. InputError when a stratum column or all features are absent.
    """
    config = config or AggregateConfig()
    frame = cells.lazy()
    keys = list(strata)
    steps = [(config.method, keys)]
    if config.site_method is not None:
        steps.insert(0, (config.site_method, list(dict.fromkeys([*keys, *config.site]))))
    if not keys:
        raise InputError("aggregate", "strata", "no column", "at least one column", "Name the columns to group by.")
    require_columns(frame, steps[0][1], "strata")
    columns = require_features(frame, features, config.prefixes)
    parts = [frame.group_by(keys).agg(pl.len().cast(pl.Int64).alias(CELL_COUNT)).collect().sort(keys, nulls_last=True)]
    for block in _blocks(frame, columns, config.block_gb):
        rows = frame.select(*steps[0][1], *block).collect(engine="streaming")
        parts.append(_reduce(_without_infinities(rows, block), steps, config).drop(keys))
    return pl.concat(parts, how="horizontal")


def _without_infinities(rows: pl.DataFrame, features: list[str]) -> pl.DataFrame:
    """NaN and infinities as null, touching only columns that have some: null masks cost the statistics time.

    A column has some where its sum is not finite; that of finite values may overflow, which costs time only.
    """
    rows = rows.with_columns(pl.col(features).cast(pl.Float64))
    finite = rows.select(pl.col(features).sum().is_finite()).row(0)
    some = pl.col([name for name, all_finite in zip(features, finite, strict=True) if not all_finite])
    return rows.with_columns(pl.when(some.is_finite()).then(some))


def _reduce(rows: pl.DataFrame, steps: list[tuple[Method, list[str]]], config: AggregateConfig) -> pl.DataFrame:
    """The ladder: `rows` reduced by each (method, keys) in turn, sorted by the last keys.

    Where the rows of every stratum lie side by side, as plates are measured, polars takes them as slices: a third less
    time than gathering them by their keys.
    """
    finest = steps[0][1]
    for method, keys in steps:
        statistics = AGGREGATORS[method](pl.exclude(*finest, RUN), config)
        runs = rows.with_columns(pl.struct(keys).rle_id().set_sorted().alias(RUN))
        if runs[RUN].n_unique() == rows.select(keys).n_unique():
            rows = runs.group_by(RUN).agg(pl.col(keys).first(), statistics).drop(RUN)
        else:
            rows = rows.group_by(keys).agg(statistics)
    return rows.sort(steps[-1][1], nulls_last=True)


def _blocks(frame: pl.LazyFrame, columns: list[str], block_gb: float) -> Iterator[list[str]]:
    rows = frame.select(pl.len()).collect().item()
    width = max(1, int(block_gb * 1e9 / (8 * max(rows, 1))))
    for start in range(0, len(columns), width):
        yield columns[start : start + width]
