from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.stats import fisher_exact

from morpho_assets.errors import InputError
from morpho_assets.evaluate.enrichment import (
    METRICS,
    EnrichmentConfig,
    enrichment,
    expected_odds,
    interpolated_precision,
    odds_and_p,
)
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


@pytest.mark.parametrize("table", [[[3, 2], [4, 50]], [[1, 9], [1, 9]]])
def test_odds_and_p_are_scipys(table: list[list[int]]) -> None:
    odds, p = odds_and_p(np.array(table), "far_others")
    expected = fisher_exact(table, "greater")
    assert odds == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue)


def test_odds_without_a_miss() -> None:
    table = np.array([[3, 0], [4, 50]])
    assert odds_and_p(table, "far_others")[0] == 50
    assert odds_and_p(table, "haldane")[0] == pytest.approx(3.5 * 50.5 / (0.5 * 4.5))
    assert odds_and_p(np.array([[0, 3], [0, 50]]), "far_others")[0] == 0


def test_interpolated_precision_by_hand() -> None:
    found = interpolated_precision(np.array([[2, 3], [1, 4]]), 3)
    assert found[0] == pytest.approx(2 / 3)  # 2/3 is the best at every recall
    assert found[1] == pytest.approx((1 + 1 + 0.5) / 3)


@pytest.mark.parametrize("infinite", ["far_others", "haldane"])
def test_expected_odds_are_the_mean_over_all_rankings(infinite: str) -> None:
    match = [True, True, True, False, False, False, False]
    tables = [(sum(match[i] for i in near), 2) for near in combinations(range(7), 2)]
    odds = [odds_and_p(np.array([[a, k - a], [3 - a, 4 - k + a]]), infinite)[0] for a, k in tables]
    assert expected_odds(3, 2, 7, infinite) == pytest.approx(np.mean(odds))


@pytest.mark.parametrize("infinite", ["far_others", "haldane"])
@pytest.mark.parametrize("size", [2, 6])
def test_chance_is_right_on_noise_at_the_default_percentile(size: int, infinite: str) -> None:
    found = []
    for seed in range(8):
        frame = screen(0, seed, treatments=300, plates=1, controls=0, mechanisms=300 // size)
        metrics = enrichment(frame, feature_columns(frame), EnrichmentConfig(infinite=infinite), seed).metrics
        found.append([value(metrics, m, c) for m in METRICS for c in ("value", "chance")])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    for i in (0, 2, 4):
        assert abs(mean[i] - mean[i + 1]) <= 3 * error[i] + 1e-9, METRICS[i // 2]


def test_shared_mechanisms_are_enriched_and_random_ones_are_not() -> None:
    frame = screen(3, treatments=80, mechanisms=20)
    columns = feature_columns(frame)
    found = enrichment(frame, columns, EnrichmentConfig(percentile=95, infinite="haldane"))
    assert value(found.metrics, "folds_median") > 10
    assert value(found.metrics, "map_interpolated") > 0.8
    assert found.details["queries"].height == 80


def test_without_a_shared_label() -> None:
    frame = screen(treatments=4, mechanisms=4)
    assert enrichment(frame, feature_columns(frame)).metrics.select("metric", "value", "n").rows() == [
        (name, None, 0) for name in METRICS
    ]  # fmt: skip


def test_a_label_that_one_plate_lacks_is_that_of_the_others_and_one_that_differs_is_named() -> None:
    frame = screen(3, treatments=80, mechanisms=20)
    columns = feature_columns(frame)
    here = (pl.col("Metadata_Plate") == "P1") & (pl.col("Metadata_Perturbation") == "t03")
    gap = frame.with_columns(Metadata_moa=pl.when(here).then(None).otherwise("Metadata_moa"))
    assert enrichment(gap, columns).metrics.equals(enrichment(frame, columns).metrics)
    conflict = frame.with_columns(Metadata_moa=pl.when(here).then(pl.lit("other")).otherwise("Metadata_moa"))
    with pytest.raises(InputError, match="treatment t03: found several values of Metadata_moa: 'm3', 'other'"):
        enrichment(conflict, columns)


def test_profiles_without_a_treatment_are_left_out() -> None:
    frame = screen(3, treatments=80, mechanisms=20)
    columns = feature_columns(frame)
    known = frame.filter(pl.col("Metadata_Perturbation") != "t03")
    unnamed = frame.with_columns(pl.col("Metadata_Perturbation").replace("t03", None))
    assert enrichment(unnamed, columns).metrics.equals(enrichment(known, columns).metrics)


def test_treatments_given_as_they_are() -> None:
    frame = screen(plates=1).filter(pl.col("Metadata_moa").is_not_null())
    found = enrichment(frame, feature_columns(frame), EnrichmentConfig(consensus=None, percentile=80))
    assert found.details["queries"]["n_matches"].to_list() == [2] * 12
