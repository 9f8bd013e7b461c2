from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import fisher_exact

from morpho_assets.errors import InputError
from morpho_assets.evaluate.enrichment import EnrichmentConfig, enrichment, interpolated_precision, odds_and_p
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
    similarity, match = np.array([0.9, 0.8, 0.7, 0.1]), np.array([False, True, True, False])
    assert interpolated_precision(similarity, match, 3) == pytest.approx(2 / 3)  # 2/3 is the best at every recall
    assert interpolated_precision(similarity, ~match, 3) == pytest.approx((1 + 1 + 0.5) / 3)


def test_shared_mechanisms_are_enriched_and_random_ones_are_not() -> None:
    frame = screen(3, treatments=80, mechanisms=20)
    columns = feature_columns(frame)
    found = enrichment(frame, columns, EnrichmentConfig(percentile=95, infinite="haldane"))
    assert value(found.metrics, "folds_median") > 10
    assert value(found.metrics, "map_interpolated") > 0.8
    assert found.details["queries"].height == 80
    nothing = screen(0, treatments=80, mechanisms=20)
    metrics = enrichment(nothing, columns, EnrichmentConfig(percentile=80)).metrics
    assert value(metrics, "folds_mean", "ci_low") < 1.6
    assert value(metrics, "map_interpolated") < 0.25


def test_without_a_shared_label() -> None:
    frame = screen(treatments=4, mechanisms=4)
    with pytest.raises(InputError, match="Metadata_moa"):
        enrichment(frame, feature_columns(frame))


def test_treatments_given_as_they_are() -> None:
    frame = screen(plates=1).filter(pl.col("Metadata_moa").is_not_null())
    found = enrichment(frame, feature_columns(frame), EnrichmentConfig(consensus=None, percentile=80))
    assert found.details["queries"]["n_matches"].to_list() == [2] * 12
