from __future__ import annotations

import tracemalloc
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from morpho_assets.evaluate.chance import (
    benjamini_hochberg,
    expected_ap,
    normalised_ap,
    null_ap,
    random_ranks,
    ranking_null,
)


def p_value(score: float, configurations: list[tuple[int, int]], **settings: int) -> float:
    return ranking_null(configurations, **settings).p_value(score)  # type: ignore[arg-type]


@pytest.mark.parametrize(("positives", "total"), [(1, 1), (1, 17), (2, 6), (3, 9), (5, 5)])
def test_expected_ap_is_the_mean_over_all_rankings(positives: int, total: int) -> None:
    values = [
        np.mean([(k + 1) / r for k, r in enumerate(ranks)]) for ranks in combinations(range(1, total + 1), positives)
    ]
    assert expected_ap(positives, total) == pytest.approx(np.mean(values))
    np.testing.assert_allclose(np.sort(null_ap(positives, total, 10, 10**6, 0)), np.sort(values))


@pytest.mark.parametrize(("positives", "total"), [(24, 26), (29, 31), (600, 602)])
def test_more_positives_than_negatives_cost_no_more_than_their_rankings(positives: int, total: int) -> None:
    tracemalloc.start()
    null = null_ap(positives, total, 10, 200_000, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert null.size == comb(total, positives)
    assert null.mean() == pytest.approx(expected_ap(positives, total))
    assert peak < 100 * 8 * null.size


def test_expected_ap_without_positives_is_unknown() -> None:
    assert np.isnan(expected_ap([0, 0], [5, 0])).all()


def test_normalised_ap_is_0_at_chance_and_1_when_perfect() -> None:
    chance = expected_ap(2, 10)
    np.testing.assert_allclose(normalised_ap([chance, 1.0, 0.0], chance), [0, 1, -chance / (1 - chance)])
    assert np.isnan(normalised_ap(1.0, 1.0))


@pytest.mark.parametrize(("positives", "total"), [(1, 17), (2, 66), (3, 30)])
def test_a_perfect_score_has_the_p_of_one_perfect_ranking(positives: int, total: int) -> None:
    assert p_value(1.0, [(positives, total)] * 3) == pytest.approx(1 / comb(total, positives))


def test_exact_and_random_agree_within_three_standard_errors() -> None:
    for score in (0.2, 0.4, 0.6):
        exact = p_value(score, [(2, 40)])
        drawn = p_value(score, [(2, 40)], size=20_000, exact_limit=0, seed=3)
        assert abs(exact - drawn) < 3 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4


def test_groups_of_mixed_configurations_use_the_mean() -> None:
    low = p_value(0.9, [(2, 40), (3, 41)], size=5000)
    assert low == p_value(0.9, [(3, 41), (2, 40)], size=5000)
    assert low < p_value(0.3, [(2, 40), (3, 41)], size=5000) < p_value(0.02, [(2, 40), (3, 41)], size=5000)


def test_the_p_value_does_not_depend_on_what_else_was_tested() -> None:
    first = p_value(0.2, [(5, 300)], size=2000)
    p_value(0.2, [(6, 300)], size=2000)
    null_ap.cache_clear()
    assert p_value(0.2, [(5, 300)], size=2000) == first


def test_p_values_of_random_rankings_are_uniform_or_larger() -> None:
    rng = np.random.default_rng(0)
    ranks = random_ranks(rng, 4000, 30, 2)
    scores = (np.array([1, 2]) / ranks).mean(axis=1)
    p = np.array([p_value(s, [(2, 30)]) for s in scores])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 4000)


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def testrandom_ranks_are_sorted_without_repeats(size: int, extra: int, seed: int) -> None:
    ranks = random_ranks(np.random.default_rng(seed), 20, size + extra, size)
    assert ranks.shape == (20, size)
    assert (np.diff(ranks, axis=1) > 0).all()
    assert ranks.min() >= 1
    assert ranks.max() <= size + extra


def testrandom_ranks_are_even() -> None:
    for size in (2, 20):  # redrawn, and partitioned
        counts = np.bincount(random_ranks(np.random.default_rng(0), 20_000, 40, size).ravel(), minlength=41)[1:]
        assert abs(counts / (20_000 * size / 40) - 1).max() < 0.15


def test_benjamini_hochberg_is_scipys_and_leaves_untested_out() -> None:
    p = np.random.default_rng(0).random(50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p))
    with_gap = benjamini_hochberg([*p, np.nan])
    np.testing.assert_allclose(with_gap[:-1], false_discovery_control(p))
    assert np.isnan(with_gap[-1])
    assert benjamini_hochberg([]).size == 0
