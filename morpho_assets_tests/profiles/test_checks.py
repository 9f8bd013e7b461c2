"""Checks of a plate's profiles over a lake filled by hand: each names what offends."""

import polars as pl

from morpho_assets_tests.factories import commit_tables, last, plate, verdict


def commit_profiles(lake, profiles):
    commit_tables(lake, "well_profiles", plate("P1"), {"normalized_profiles": profiles})


def profiles_of(lake):
    return last(lake, "well_profiles", "normalized_profiles")


def test_wells_without_profile_or_sites_are_named(plate_lake):
    profiles = profiles_of(plate_lake).filter(pl.col("Metadata_Well") != "A04")
    lost = pl.when(pl.col("Metadata_Well") == "A03").then(0).otherwise(pl.col("Metadata_Count_Sites"))
    commit_profiles(plate_lake, profiles.with_columns(Metadata_Count_Sites=lost))
    found = verdict(plate_lake, "well_profiles", "every_well_has_a_profile")
    assert not found.passed
    assert "wells without a row: A04" in found.text
    assert "wells whose sites all failed: A03" in found.text


def test_a_plate_that_was_normalised_on_all_its_wells_is_told(plate_lake):
    assert "as published" in verdict(plate_lake, "well_profiles", "normalised_on_its_reference").text
    profiles = profiles_of(plate_lake)
    commit_profiles(plate_lake, profiles.with_columns(Metadata_normalized_on=pl.lit("negcon")))
    assert verdict(plate_lake, "well_profiles", "normalised_on_its_reference").passed
    commit_profiles(plate_lake, profiles.with_columns(Metadata_normalized_on=pl.lit("all")))
    found = verdict(plate_lake, "well_profiles", "normalised_on_its_reference")
    assert not found.passed
    assert "normalised on all wells" in found.text


def test_missing_features_are_named(plate_lake):
    commit_profiles(plate_lake, profiles_of(plate_lake).with_columns(Cells_Texture_X=None))
    found = verdict(plate_lake, "well_profiles", "finite_features")
    assert not found.passed
    assert found.facts["emptiest features"] == "Cells_Texture_X (4 wells)"
