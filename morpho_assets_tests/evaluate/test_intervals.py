from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from morpho_assets.evaluate.intervals import mean_interval, median_interval, share_interval


@pytest.mark.parametrize("kind", ["normal", "skewed", "two kinds"])
@pytest.mark.parametrize("n", [24, 100])
def test_mean_intervals_cover_as_often_as_they_say(kind: str, n: int) -> None:
    rng = np.random.default_rng(0)
    draw = {
        "normal": lambda: rng.normal(5, 1, n),
        "skewed": lambda: rng.gamma(1, 5, n),
        "two kinds": lambda: np.where(rng.random(n) < 0.3, rng.beta(8, 2, n), rng.beta(2, 12, n)),  # mAPs of a screen
    }[kind]
    true = {"normal": 5, "skewed": 5, "two kinds": 0.3 * 0.8 + 0.7 / 7}[kind]
    ends = [mean_interval(draw(), seed, 500) or (0, 0) for seed in range(1000)]
    assert 0.92 < np.mean([low <= true <= high for low, high in ends]) < 0.975


def test_what_units_share_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(500):
        units = rng.normal(0, 1, 50) + rng.normal(0, 0.3)
        covered.append([low <= 0 <= high for low, high in (mean_interval(units, seed, 300, s) for s in (0, 0.09))])  # type: ignore[misc]
    alone, shared = np.mean(covered, axis=0)
    assert alone < 0.75
    assert 0.92 < shared < 0.98


def test_edges_of_a_mean_interval() -> None:
    assert mean_interval([1.0], 0) is None
    assert mean_interval([1.0, np.inf], 0) is None
    assert mean_interval([2.0] * 20, 0) == (2.0, 2.0)
    assert mean_interval([1, 2, np.nan, 3], 1) == mean_interval([1, 2, 3], 1)
    low, high = mean_interval([1.0, 2.0, 3.0], 0) or (0, 0)  # Student's t with two degrees of freedom
    assert (low, high) == pytest.approx((2 - 4.3027 / np.sqrt(3), 2 + 4.3027 / np.sqrt(3)), abs=1e-3)


@pytest.mark.parametrize("n", [6, 25, 101])
def test_median_intervals_cover_at_least_as_often_as_they_say(n: int) -> None:
    rng = np.random.default_rng(0)
    ends = [median_interval(rng.gamma(1, 1, n)) or (0, 0) for _ in range(2000)]
    covered = np.mean([low <= np.log(2) <= high for low, high in ends])
    below = max(int(binom.ppf(0.025, n, 0.5)), 1)
    assert covered == pytest.approx(1 - 2 * binom.cdf(below - 1, n, 0.5), abs=0.02)
    assert covered > 0.93
    assert median_interval([1.0, np.nan]) is None


@pytest.mark.parametrize(("hits", "n"), [(0, 31), (5, 31), (31, 31), (150, 300)])
def test_share_intervals_are_wilson_s(hits: int, n: int) -> None:
    found = share_interval(hits / n, n)
    theirs = binomtest(hits, n).proportion_ci(method="wilson")
    assert found == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert share_interval(hits / n, n, 1e-9) == found  # never more units than there are


def test_nothing_found_among_31_is_not_nothing_for_sure() -> None:
    low, high = share_interval(0, 31) or (1, 1)
    assert low == 0
    assert high == pytest.approx(0.11, abs=0.005)


def test_few_parts_of_what_is_shared_widen_the_interval() -> None:
    """The variance of a shared part that 4 groups of it estimate is known as badly as a variance of 4 numbers."""
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(500):
        parts = rng.normal(0, 0.6, 4)
        units = rng.normal(0, 1, 50) + parts.mean()
        estimate = parts.var(ddof=1) / 4
        ends = [mean_interval(units, seed, 300, estimate, known) or (0, 0) for known in (0, 4)]
        covered.append([low <= 0 <= high for low, high in ends])
    as_known, of_parts = np.mean(covered, axis=0)
    assert as_known < 0.92
    assert 0.92 < of_parts < 0.985


def test_none_found_is_less_sure_where_units_depend_on_each_other() -> None:
    alone, together = share_interval(0, 24), share_interval(0, 24, 0.01, 0.02, 4)
    assert alone is not None
    assert together is not None
    assert together[1] > alone[1] + 0.1
    assert together[0] == 0


def test_a_share_that_varies_more_than_independent_units_has_fewer_of_them() -> None:
    alone, twice = share_interval(0.3, 100), share_interval(0.3, 100, 4 * 0.3 * 0.7 / 100)
    assert twice == pytest.approx(share_interval(0.3, 25), abs=0.002)
    assert alone != twice
    assert share_interval(0.5, 0) is None
    assert share_interval(float("nan"), 10) is None
