from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.profiles import select as rules
from morpho_assets.profiles.features import complete_matrix, feature_columns
from morpho_assets.profiles.select import SelectConfig, correlations, select_features
from morpho_assets_tests.profiles.conftest import plate


def dropped(frame: pl.DataFrame, *operations: rules.Operation) -> list[str]:
    return sorted(select_features(frame, SelectConfig(operations=operations)).dropped["feature"])


def test_signed_correlation_keeps_the_opposite_absolute_drops_it() -> None:
    x = np.arange(20.0)
    noise = np.random.default_rng(0).normal(size=(20, 2))
    frame = pl.DataFrame({"Cells_X": x, "Cells_Same": x + noise[:, 0], "Cells_Opposite": -x + noise[:, 1] / 9})
    assert len(dropped(frame, rules.CorrelationThreshold())) == 1
    assert "Cells_Opposite" not in dropped(frame, rules.CorrelationThreshold())
    assert len(dropped(frame, rules.CorrelationThreshold(absolute=True))) == 2


def test_of_a_pair_the_one_more_correlated_with_all_goes_and_a_tie_drops_the_later() -> None:
    frame = pl.DataFrame({"Cells_A": [1.0, 2, 3, 5], "Cells_B": [1.0, 2, 3, 5]})
    assert dropped(frame, rules.CorrelationThreshold()) == ["Cells_B"]


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_copies_of_a_feature_are_chosen_by_name_whatever_the_order(seed: int) -> None:
    """Sums that are equal differ by rounding, and by another with every order of rows and columns."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(40, 12))
    values[:, 6:] = values[:, :6]
    frame = pl.DataFrame(values, schema=[f"Cells_{i:02d}" for i in rng.permutation(12)])
    twins = [set(pair) for pair in zip(frame.columns[:6], frame.columns[6:], strict=True)]
    kept = set(select_features(frame).kept)
    assert kept == {min(pair) for pair in twins}
    moved = frame[rng.permutation(40)].select(frame.columns[i] for i in rng.permutation(12))
    assert set(select_features(moved).kept) == kept


def test_frequency_by_hand() -> None:
    frame = pl.DataFrame({
        "Cells_Rare": [0.0] * 41 + [1.0, 2.0],  # 1 / 41 < 0.05
        "Cells_Two": [0.0] * 20 + [1.0] * 23,  # 20 / 23, but 2 / 43 distinct
        "Cells_Free": np.arange(43.0),
    })  # fmt: skip
    assert dropped(frame, rules.FrequencyThreshold()) == ["Cells_Rare"]
    assert dropped(frame, rules.FrequencyThreshold(unique_cut=0.1)) == ["Cells_Rare", "Cells_Two"]


def test_variance_outliers_missing_prefix_and_blocklist() -> None:
    frame = pl.DataFrame({
        "Cells_Flat": [1.0, 1.0, 1.0, 1.0], "Cells_Far": [0.0, 1.0, 2.0, -501.0], "Cells_Gap": [None, 1.0, 2.0, 3.0],
        "Cells_All": [None] * 4, "Nuclei_Correlation_RWC_DNA_ER": [1.0, 2.0, 3.0, 4.0],
        "Cells_Ok": [1.0, 3.0, 2.0, 4.0],
    }, schema_overrides={"Cells_All": pl.Float64})  # fmt: skip
    assert dropped(frame, rules.VarianceThreshold()) == ["Cells_All", "Cells_Flat"]
    assert dropped(frame, rules.DropOutliers()) == ["Cells_Far"]
    assert dropped(frame, rules.DropNaColumns()) == ["Cells_All", "Cells_Gap"]
    assert dropped(frame, rules.DropNaColumns(cutoff=0.25)) == ["Cells_All"]
    assert dropped(frame, rules.Blocklist()) == ["Nuclei_Correlation_RWC_DNA_ER"]
    assert dropped(frame, rules.DropPrefix(prefixes=("Nuclei_",))) == ["Nuclei_Correlation_RWC_DNA_ER"]
    assert select_features(frame).kept == ("Cells_Ok",)


def test_spread_is_judged_on_every_plate() -> None:
    frame = pl.DataFrame({
        "Metadata_Plate": ["P"] * 3 + ["Q"] * 3,
        "Cells_Once": [1.0, 2.0, 3.0, 5.0, 5.0, 5.0],
        "Cells_Both": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    })  # fmt: skip
    assert dropped(frame, rules.SpreadThreshold()) == ["Cells_Once"]


def test_what_was_dropped_says_why_and_in_order() -> None:
    frame = pl.DataFrame({"Cells_Flat": [1.0, 1.0], "Cells_A": [1.0, 2.0], "Cells_B": [1.0, 2.0]})
    selection = select_features(
        frame, SelectConfig(operations=(rules.VarianceThreshold(), rules.CorrelationThreshold()))
    )
    assert selection.dropped.rows() == [
        ("Cells_Flat", "variance_threshold", 0.0), ("Cells_B", "correlation_threshold", pytest.approx(1.0)),
    ]  # fmt: skip
    assert selection.apply(frame).columns == ["Cells_A"]


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_selection_is_idempotent_and_blind_to_row_order(seed: int) -> None:
    frame = plate(seed, wells=30, features=8, controls=10, plates=1)
    first = select_features(frame)
    assert select_features(frame[np.random.default_rng(seed).permutation(frame.height)]).kept == first.kept
    assert select_features(first.apply(frame)).kept == first.kept


def test_correlations_with_gaps_are_those_of_pandas() -> None:
    values = np.random.default_rng(1).normal(size=(40, 6)) + 50
    values[3:9, 2] = values[20:22, 4] = np.nan
    values[:, 5] = 7.0
    expected = pl.DataFrame(values).to_pandas().corr().to_numpy()
    np.testing.assert_allclose(correlations(values), expected, atol=1e-12)


def test_a_well_without_cells_does_not_cost_the_features() -> None:
    frame = plate(wells=30, features=8, controls=10, plates=1)
    empty = frame[:2].with_columns(pl.lit(None, pl.Float64).alias(name) for name in feature_columns(frame))
    selection = select_features(pl.concat([frame, empty.with_columns(Metadata_Well=pl.lit("H12"))]))
    assert (selection.kept, selection.empty_rows) == (select_features(frame).kept, 2)
    with pytest.raises(InputError, match=r"2 rows without any value \(P0 H12, P0 H12 …\).*Filter these rows"):
        complete_matrix(pl.concat([frame, empty.with_columns(Metadata_Well=pl.lit("H12"))]), selection.kept, "pca")
    with pytest.raises(InputError, match="none with values"):
        select_features(empty)


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(InputError, match="all 1 features dropped"):
        select_features(pl.DataFrame({"Cells_Flat": [1.0, 1.0]}))
    with pytest.raises(InputError, match="negcon"):
        select_features(
            pl.DataFrame({"Cells_A": [1.0], "Metadata_control_type": ["poscon"]}), SelectConfig(among="negcon")
        )
