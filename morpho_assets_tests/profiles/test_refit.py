from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.recipe import Recipe, Step, apply_recipe
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets_tests.evaluate.conftest import screen


def steps(*settings: dict[str, object]) -> tuple[Step, ...]:
    return tuple(Step.model_validate(setting) for setting in settings)


def made(frame: pl.DataFrame, *settings: dict[str, object]) -> Refit:
    return Refit(frame, tuple(feature_columns(frame)), steps(*settings), np.arange(frame.height))


def test_without_anything_held_out_it_is_the_profiles_as_they_were_made() -> None:
    frame = screen(plates=2)
    settings = {"normalize": {}}, {"correct": {"corrector": "sphering", "epsilon": 1}}
    whole = apply_recipe(frame, Recipe(about="", steps=steps(*settings))).final
    found = made(frame, *settings).without(np.zeros(frame.height, dtype=bool))
    np.testing.assert_allclose(found, to_matrix(whole.profiles, whole.features), rtol=1e-5)


def test_what_is_held_out_moves_no_scale_and_goes_through_every_step() -> None:
    frame = screen(plates=2)
    features = feature_columns(frame)
    held_out = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy() & (
        np.arange(frame.height) % 3 == 0
    )
    again = made(frame, {"normalize": {}}).without(held_out)
    marked = frame.with_columns(Metadata_fit=pl.Series(~held_out) & (pl.col("Metadata_control_type") == "negcon"))
    np.testing.assert_allclose(
        again, to_matrix(normalize(marked, NormalizeConfig(reference="Metadata_fit")), features), rtol=1e-5
    )
    far = frame.with_columns(pl.when(pl.Series(held_out)).then(99.0).otherwise(pl.col(features)).name.keep())
    other = made(far, {"normalize": {}}).without(held_out)
    np.testing.assert_array_equal(again[~held_out], other[~held_out])
    assert np.abs(other[held_out]).min() > 20


def test_scaled_profiles_scaled_again_are_raw_ones_scaled_by_fewer_wells() -> None:
    frame = screen(plates=2)
    features = feature_columns(frame)
    held_out = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy() & (
        np.arange(frame.height) % 2 == 0
    )
    twice = scaled(normalize(frame), features)
    assert twice is not None
    np.testing.assert_allclose(
        twice.without(held_out), made(frame, {"normalize": {}}).without(held_out), rtol=1e-4, atol=1e-5
    )
    assert scaled(frame, features) is None
    assert scaled(normalize(frame, NormalizeConfig(reference="all")), features) is None


def test_which_profiles_a_step_was_fitted_on() -> None:
    frame = screen(plates=2)
    control = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    chain = made(
        frame, {"normalize": {"reference": "all"}}, {"correct": {"corrector": "harmony"}},
        {"correct": {"corrector": "tvn", "reference": "Metadata_Plate = 'P1' AND Metadata_control_type = 'negcon'"}},
    )  # fmt: skip
    assert not chain.fitted(across_plates=False).any()
    np.testing.assert_array_equal(
        chain.fitted(across_plates=True), control & (frame["Metadata_Plate"] == "P1").to_numpy()
    )
    np.testing.assert_array_equal(made(frame, {"normalize": {}}).fitted(across_plates=False), control)
    part = Refit(frame, chain.features, chain.steps, np.flatnonzero(control))
    assert part.fitted(across_plates=True).shape == (control.sum(),)


def test_a_plate_that_is_left_with_too_few_controls_is_scaled_by_all_of_its_wells() -> None:
    frame = screen(plates=1, controls=3)
    held_out = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy() & (np.arange(frame.height) > 12)
    found = made(frame, {"normalize": {}}).without(held_out)
    whole = normalize(frame, NormalizeConfig(reference="all"))
    np.testing.assert_allclose(found, to_matrix(whole, feature_columns(frame)), rtol=1e-5)


@pytest.mark.parametrize("corrector", [{"corrector": "sphering"}, {"corrector": "tvn"}, {"corrector": "cell_count"}])
def test_a_correction_that_is_left_with_too_few_controls_is_fitted_on_all_wells(corrector: dict[str, object]) -> None:
    frame = screen(plates=2, controls=2).with_columns(Metadata_Count_Cells=pl.int_range(pl.len()) % 7)
    held_out = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    found = made(frame, {"correct": {**corrector, "reference": "negcon"}}).without(held_out)
    whole = made(frame, {"correct": {**corrector, "reference": "all"}}).made()
    np.testing.assert_allclose(found, to_matrix(*whole), rtol=1e-4, atol=1e-5)
