"""Batches, positions and mechanisms: each check holds on a good screen, and fails on one broken on purpose."""

import numpy as np
import polars as pl

from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.truth.batches import correction, mechanisms, positions
from morpho_assets_tests.evaluate.truth.conftest import normalised
from morpho_assets_tests.evaluate.truth.test_treatments import by_name


def correct(screen, corrected):
    return by_name(correction(screen.measured, corrected, screen.features, screen.features, 0))


def test_mechanisms_are_found_across_batches(screen):
    found = by_name(mechanisms(screen.profiles, screen.features, screen.planted, 0))
    assert found["nsc"].holds
    assert found["nscb_drop"].holds
    assert found["nsc"].value > 5 * found["nsc"].chance


def test_shuffled_treatments_lose_their_mechanism(screen):
    found = by_name(mechanisms(shuffled(screen.profiles, seed=1), screen.features, screen.planted, 0))
    assert not found["nsc"].holds


def test_nscb_falls_below_nsc_with_a_batch_effect_only(screen):
    """The batch bends every profile its own way: within a batch mechanisms are found, across batches they are not."""
    rng = np.random.default_rng(2)
    flipped = {name: float(rng.choice([-1, 1])) for name in screen.features}
    second = pl.col("Metadata_Batch") == screen.profiles["Metadata_Batch"].max()
    bent = screen.profiles.with_columns(
        pl.when(second).then(pl.col(name) * sign).otherwise(pl.col(name)) for name, sign in flipped.items()
    )
    assert not by_name(mechanisms(bent, screen.features, screen.planted, 0))["nscb_drop"].holds


def test_normalisation_removes_the_batch_and_keeps_the_biology(screen):
    found = correct(screen, screen.profiles)
    assert found["batch_removed"].holds
    assert found["map_kept"].holds


def test_no_normalisation_removes_nothing(screen):
    assert not correct(screen, screen.measured)["batch_removed"].holds


def test_a_correction_that_removes_the_biology_is_caught(screen):
    rng = np.random.default_rng(3)
    noise = screen.profiles.with_columns(
        pl.Series(name, rng.normal(size=screen.profiles.height)) for name in screen.features
    )
    found = correct(screen, noise)
    assert found["batch_removed"].holds
    assert not found["map_kept"].holds


def test_one_batch_has_nothing_to_remove(screen):
    one = pl.col("Metadata_Batch") == screen.measured["Metadata_Batch"].min()
    measured = screen.measured.filter(one)
    profiles = normalised(measured, screen.features)
    found = by_name(correction(measured, profiles, screen.features, screen.features, 0))
    assert set(found) == {"map_kept"}
    assert "nscb_drop" not in by_name(mechanisms(profiles, screen.features, screen.planted, 0))


def test_position_effects_show_on_wells_in_which_nothing_acts(screen):
    found = by_name(positions(screen.measured, screen.truth.wells, screen.planted))["position"]
    assert found.holds
    assert found.n > 80


def test_wells_that_are_mixed_up_show_no_position_effect(screen):
    rng = np.random.default_rng(4)
    names = screen.truth.wells["Metadata_Well"].to_numpy()
    plates = screen.truth.wells["Metadata_Plate"].to_numpy()
    for plate in np.unique(plates):
        names = np.where(
            plates == plate, rng.permutation(names[plates == plate])[np.cumsum(plates == plate) - 1], names
        )
    mixed = screen.measured.drop("Metadata_Well").with_columns(pl.Series("Metadata_Well", names))
    assert not by_name(positions(mixed, screen.truth.wells, screen.planted))["position"].holds


def test_an_even_plate_has_no_position_to_show(screen):
    even = screen.truth.wells.with_columns(position_effect=0.0)
    assert list(positions(screen.measured, even, screen.planted)) == []
