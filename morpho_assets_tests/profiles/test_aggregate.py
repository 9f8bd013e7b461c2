from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from morpho_assets.errors import InputError
from morpho_assets.profiles.aggregate import AggregateConfig, aggregate


def cells(values: list[float | None], wells: list[str], sites: list[int] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"Metadata_Plate": "P", "Metadata_Well": wells, "Metadata_Site": sites or [1] * len(wells), "Cells_A": values},
        schema_overrides={"Cells_A": pl.Float64},
    )


def test_median_of_each_well_by_hand() -> None:
    found = aggregate(cells([3, 1, 2, 5, 7], ["B02", "B02", "B02", "A01", "A01"]))
    assert found["Metadata_Well"].to_list() == ["A01", "B02"]
    assert found["Cells_A"].to_list() == [6.0, 2.0]
    assert found["Metadata_Count_Cells"].to_list() == [2, 3]


def test_missing_values_are_left_out_but_the_cell_counts() -> None:
    found = aggregate(cells([1, None, float("nan"), float("inf"), 3], ["A01"] * 5))
    assert found.row(0)[2:] == (5, 2.0)
    assert aggregate(cells([None, None], ["A01"] * 2))["Cells_A"].to_list() == [None]


def test_the_ladder_weighs_sites_alike() -> None:
    frame = cells([1, 1, 1, 9], ["A01"] * 4, [1, 1, 1, 2])
    config = AggregateConfig(site_method="median", method="mean")
    assert aggregate(frame, config=config)["Cells_A"].to_list() == [5.0]
    assert aggregate(frame, config=config)["Metadata_Count_Cells"].to_list() == [4]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 0.49))
@settings(max_examples=40, deadline=None)
def test_trimmed_mean_is_scipys(values: list[float], trim: float) -> None:
    config = AggregateConfig(method="trimmed_mean", trim=trim)
    found = aggregate(cells(list(values), ["A01"] * len(values)), config=config)
    np.testing.assert_allclose(found["Cells_A"][0], trim_mean(values, trim), rtol=1e-9, atol=1e-6)


@given(st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_cells_does_not_matter(order: list[int]) -> None:
    frame = cells([float(i * i % 7) for i in range(12)], ["A01", "A02", "A03"] * 4)
    assert aggregate(frame[order]).equals(aggregate(frame))


def test_blocks_of_columns_over_parquet_give_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = cells([0.0] * 200, [f"A{i % 5 + 1:02d}" for i in range(200)]).with_columns(
        pl.Series(f"Nuclei_{i}", rng.normal(size=200)) for i in range(30)
    )
    frame.write_parquet(tmp_path / "cells.parquet")
    small = AggregateConfig(block_gb=1e-6)
    assert aggregate(pl.scan_parquet(tmp_path / "cells.parquet"), config=small).equals(aggregate(frame))
    beside = aggregate(frame, config=small.model_copy(update={"spread": "mad"}))
    assert beside.columns[:3] == aggregate(frame).columns[:3]
    assert beside.columns[-30:] == [f"Nuclei_{i}_MAD" for i in range(30)]
    assert beside.equals(aggregate(frame, config=AggregateConfig(spread="mad")))


def test_no_cells_no_wells() -> None:
    assert aggregate(cells([], [])).is_empty()
    assert aggregate(cells([], []), config=AggregateConfig(site_method="mean")).is_empty()


def test_a_null_key_is_a_row_of_its_own() -> None:
    found = aggregate(cells([1, 2], ["A01", "A02"]).with_columns(pl.lit(None, pl.String).alias("Metadata_Well")))
    assert found["Metadata_Count_Cells"].to_list() == [2]


@pytest.mark.parametrize("strata", [["Metadata_Absent"], []])
def test_strata_must_exist(strata: list[str]) -> None:
    with pytest.raises(InputError, match="strata"):
        aggregate(cells([1], ["A01"]), strata)
