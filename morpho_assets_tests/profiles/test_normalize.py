from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.normalize import NORMALIZED_ON, NormalizeConfig, normalize
from morpho_assets_tests.profiles.conftest import plate

METHODS = ["standardize", "robustize", "mad_robustize", "inverse_normal"]
Method = str


def config(method: Method, **settings: object) -> NormalizeConfig:
    return NormalizeConfig.model_validate({"method": method, **settings})


def one_feature(values: list[float | None], controls: int) -> pl.DataFrame:
    kinds = ["negcon"] * controls + [None] * (len(values) - controls)
    types = {"Metadata_control_type": pl.String, "Cells_A": pl.Float64}
    return pl.DataFrame(
        {"Metadata_Plate": "P", "Metadata_control_type": kinds, "Cells_A": values}, schema_overrides=types
    )


def test_mad_by_hand() -> None:
    found = normalize(one_feature([1, 2, 3, 4, 100, 7], 5))  # median 3, deviations 2 1 0 1 97: MAD 1
    np.testing.assert_allclose(found["Cells_A"], (np.array([1, 2, 3, 4, 100, 7]) - 3) / 1.4826)


@pytest.mark.parametrize("method", METHODS)
def test_each_plate_is_on_its_own_scale(method: Method) -> None:
    frame = plate()
    whole = normalize(frame, config(method))
    for name in ("P0", "P1"):
        alone = normalize(frame.filter(Metadata_Plate=name), config(method))
        assert whole.filter(Metadata_Plate=name).equals(alone)


@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize"])
def test_normalising_twice_on_the_same_rows_changes_nothing(method: Method) -> None:
    once = normalize(plate(), config(method))
    twice = normalize(once, config(method))
    columns = feature_columns(once)
    np.testing.assert_allclose(to_matrix(twice, columns), to_matrix(once, columns), atol=1e-12)


@given(st.integers(0, 100), st.sampled_from(METHODS))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int, method: Method) -> None:
    frame = plate(wells=24, features=3)
    order = np.random.default_rng(seed).permutation(frame.height)
    columns = feature_columns(frame)
    shuffled = to_matrix(normalize(frame[order], config(method)), columns)
    np.testing.assert_allclose(shuffled, to_matrix(normalize(frame, config(method)), columns)[order], rtol=1e-10)


@given(st.floats(0.01, 100), st.floats(-100, 100), st.sampled_from(["standardize", "robustize", "mad_robustize"]))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_a_feature_does_not_matter(factor: float, shift: float, method: Method) -> None:
    frame = plate(wells=24, features=3)
    columns = feature_columns(frame)
    other = normalize(frame.with_columns(pl.col(columns) * factor + shift), config(method))
    np.testing.assert_allclose(to_matrix(other, columns), to_matrix(normalize(frame, config(method)), columns),
                               rtol=1e-6, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("flat", "expected"), [("null", None), ("zero", 0.0), ("centre", 4.0)])
def test_a_feature_without_spread_in_the_controls_never_explodes(
    method: Method, flat: str, expected: float | None
) -> None:
    found = normalize(one_feature([5.0, 5.0, 5.0, 5.0, 9.0], 4), config(method, flat=flat))
    assert found["Cells_A"][4] == expected


@pytest.mark.parametrize("method", METHODS)
def test_one_control_that_is_far_off_leaves_the_feature(method: Method) -> None:
    found = normalize(one_feature([1.0, 2.0, 3.0, 4.0, 5.0, 1e9, 2.5], 6), config(method))
    assert found["Cells_A"].null_count() == 0


def test_rounding_noise_is_no_spread() -> None:
    values = [0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2, 0.9]
    assert normalize(one_feature(values, 4), config("standardize"))["Cells_A"].null_count() == 5


@pytest.mark.parametrize("method", METHODS)
def test_missing_and_infinite_values_stay_missing_and_do_not_count(method: Method) -> None:
    found = normalize(one_feature([1, 2, 3, 4, None, float("inf"), float("nan"), 2.5], 6), config(method))
    plain = normalize(one_feature([1, 2, 3, 4, 2.5], 4), config(method))
    assert found["Cells_A"].is_null().to_list() == [False] * 4 + [True] * 3 + [False]
    if method != "inverse_normal":  # its landmarks are as many as rows
        np.testing.assert_allclose(found["Cells_A"][7], plain["Cells_A"][4])


@pytest.mark.parametrize("method", METHODS)
def test_an_all_missing_feature_stays_missing(method: Method) -> None:
    assert normalize(one_feature([None] * 5, 3), config(method))["Cells_A"].null_count() == 5


@pytest.mark.parametrize("controls", [0, 1])
def test_a_plate_with_too_few_controls_is_named(controls: int) -> None:
    frame = pl.concat(
        [plate(plates=1), plate(controls=controls, plates=1).with_columns(Metadata_Plate=pl.lit("LONELY"))]
    )
    with pytest.raises(InputError, match=f"LONELY: found {controls} rows"):
        normalize(frame)
    found = normalize(frame, config("mad_robustize", too_few="all"))
    assert dict(found.select("Metadata_Plate", NORMALIZED_ON).unique().iter_rows()) == {"P0": "negcon", "LONELY": "all"}


def test_a_plate_with_too_few_rows_at_all_is_not_sent_in_a_circle() -> None:
    with pytest.raises(InputError, match="1 rows in all: leave it out, or lower min_reference"):
        normalize(one_feature([1.0], 0), config("mad_robustize", too_few="all"))


def test_reference_rows_by_sql() -> None:
    frame = one_feature([1, 2, 3, 50, 60], 0).with_columns(Metadata_Row=pl.Series([1, 1, 1, 2, 2]))
    found = normalize(frame, config("mad_robustize", reference="Metadata_Row = 1", mad_scale=1))
    assert found["Cells_A"].to_list() == [-1, 0, 1, 48, 58]


def test_none_changes_nothing() -> None:
    frame = plate()
    assert normalize(frame, config("none")).drop(NORMALIZED_ON).equals(frame)
