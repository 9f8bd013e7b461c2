from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation, trim_mean

from morpho_assets.profiles.group_statistics import OVER_GROUPS

VALUES = st.lists(
    st.one_of(st.floats(-1e300, 1e300), st.integers(-3, 3).map(float), st.just(0.1)), min_size=1, max_size=200
)


def statistic(name: str, values: list[float], trim: float = 0.0) -> float:
    result = np.empty(1)
    array = np.array(values, dtype=float)
    OVER_GROUPS[name](array, np.array([array.size]), not np.isfinite(array).all(), trim, result)
    return float(result[0])


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_median_is_numpys_to_the_last_bit(values: list[float]) -> None:
    assert statistic("median", values) == np.median(values)


@pytest.mark.parametrize("shape", ["normal", "lognormal", "cauchy", "counts", "one_far_off"])
@pytest.mark.parametrize("size", [1, 2, 3, 50, 51, 1000])
def test_median_of_any_distribution(shape: str, size: int) -> None:
    rng = np.random.default_rng(size)
    values = {
        "normal": rng.normal(size=size),
        "lognormal": rng.lognormal(0, 5, size),
        "cauchy": rng.standard_cauchy(size),
        "counts": rng.poisson(2, size).astype(float),
        "one_far_off": np.r_[1e9, rng.random(size - 1)],
    }[shape]
    assert statistic("median", values.tolist()) == np.median(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 0.49))
@settings(max_examples=60, deadline=None)
def test_means_are_scipys(values: list[float], trim: float) -> None:
    assert statistic("trimmed_mean", values, trim) == pytest.approx(trim_mean(values, trim), rel=1e-9, abs=1e-6)
    assert statistic("mean", values) == pytest.approx(np.mean(values), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("name", list(OVER_GROUPS))
def test_gaps_are_left_out_and_nothing_gives_nan(name: str) -> None:
    assert statistic(name, [3.0, np.nan, 3.0, np.inf, -np.inf], 0.1) == (0.0 if name == "mad" else 3.0)
    assert np.isnan(statistic(name, [np.nan, np.inf]))


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_mad_is_scipys(values: list[float]) -> None:
    assert statistic("mad", values) == pytest.approx(median_abs_deviation(values), rel=1e-12)


def test_each_group_has_its_own_by_hand() -> None:
    result = np.empty(3)
    OVER_GROUPS["median"](np.array([5.0, 1.0, 2.0, 4.0, 9.0, 7.0]), np.array([1, 5, 6]), False, 0.0, result)
    assert result.tolist() == [5.0, 3.0, 7.0]
