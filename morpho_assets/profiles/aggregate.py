"""Cells to sites and wells: one row per stratum, out of core."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import COMPARTMENTS, require_columns, require_features

WELL = ("Metadata_Plate", "Metadata_Well")
CELL_COUNT = "Metadata_Count_Cells"

STRATUM = "__stratum"  # number of a row's stratum
THREADS = 2  # one reads while another computes

Method = Literal["median", "mean", "trimmed_mean"]
SPREAD = "_MAD"  # what is added to the name of a feature whose spread stands beside it


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
    spread: Literal["mad"] | None = Field(
        default=None,
        description="mad: beside each feature, as <feature>_MAD, the unscaled median absolute deviation of its rows; "
        "of sites where `site_method` is set",
    )
    prefixes: tuple[str, ...] = Field(default=COMPARTMENTS, description="prefixes of the feature columns")
    block_gb: float = Field(default=0.25, gt=0, description="memory (GB) of the block of columns held at a time")


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
    A stratum of one row has the spread 0.
    Features come from `config.prefixes` unless named. InputError when a stratum column or all features are absent.
    """
    config = config or AggregateConfig()
    frame = cells.lazy()
    keys = list(dict.fromkeys(strata))
    steps = [(config.method, keys)]
    if config.site_method is not None:
        steps.insert(0, (config.site_method, list(dict.fromkeys([*keys, *config.site]))))
    finest = steps[0][1]
    if not keys:
        raise InputError("aggregate", "strata", "no column", "at least one column", "Name the columns to group by.")
    require_columns(frame, finest, "strata")
    columns = require_features(frame, features, config.prefixes)
    counted = frame.group_by(finest).agg(pl.len().cast(pl.Int64).alias(CELL_COUNT)).collect()
    ladder = [(method, counted.select(by).unique().sort(by, nulls_last=True)) for method, by in steps]
    parts = [counted.group_by(keys).agg(pl.col(CELL_COUNT).sum()).sort(keys, nulls_last=True)]
    width = max(1, int(config.block_gb * 1e9 / THREADS / (8 * max(int(counted[CELL_COUNT].sum()), 1))))
    blocks = [columns[start : start + width] for start in range(0, len(columns), width)]

    def reduced(block: list[str]) -> pl.DataFrame:
        rows = frame.select(*finest, *block).collect(engine="streaming")
        for method, step in ladder[:-1]:
            rows = _reduced(rows, block, step, method, config.trim)
        method, strata = ladder[-1]
        found = _reduced(rows, block, strata, method, config.trim).drop(keys)
        if config.spread is None:
            return found
        spread = _reduced(rows, block, strata, config.spread, config.trim).drop(keys)
        return found.hstack(spread.rename(lambda name: f"{name}{SPREAD}"))

    with ThreadPoolExecutor(THREADS) as threads:
        parts += threads.map(reduced, blocks)
    spreads = [f"{name}{SPREAD}" for name in columns] if config.spread is not None else []
    return pl.concat(parts, how="horizontal").select(*keys, CELL_COUNT, *columns, *spreads)


def _reduced(rows: pl.DataFrame, features: list[str], strata: pl.DataFrame, method: str, trim: float) -> pl.DataFrame:
    """`strata` with the statistic of each of `features` over the `rows` of each stratum."""
    from morpho_assets.profiles.group_statistics import OVER_GROUPS

    by = strata.columns
    numbered = strata.with_row_index(STRATUM)
    stratum = rows.select(by).join(numbered, on=by, how="left", nulls_equal=True, maintain_order="left")[STRATUM]
    number = stratum.to_numpy()
    order = np.argsort(number, kind="stable") if (number[1:] < number[:-1]).any() else None
    ends = np.cumsum(np.bincount(number, minlength=strata.height))
    result = np.empty((len(features), strata.height))
    for feature, name in enumerate(features):
        values = rows[name].cast(pl.Float64).to_numpy()
        values = values if order is None else values[order]
        values.setflags(write=False)  # as polars gives them: the kernels are compiled once
        with np.errstate(invalid="ignore", over="ignore"):
            gaps = not np.isfinite(values.sum())  # or an overflow, which costs time only
        OVER_GROUPS[method](values, ends, gaps, trim, result[feature])
    found = pl.DataFrame(result.T, schema=features, orient="row").fill_nan(None)
    return pl.concat([strata, found], how="horizontal")
