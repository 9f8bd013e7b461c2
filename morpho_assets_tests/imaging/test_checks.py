"""Checks of a plate's images over a lake filled by hand: each names what offends."""

import polars as pl

from morpho_assets_tests.factories import commit_tables, last, plate, verdict

P1 = plate("P1")


def test_a_stain_that_is_empty_on_the_plate_is_named(plate_lake):
    quality = last(plate_lake, "image_quality", "image_quality").with_columns(flag_empty=True)
    commit_tables(plate_lake, "image_quality", P1, {"image_quality": quality})
    found = verdict(plate_lake, "image_quality", "no_fault_of_the_plate")
    assert not found.passed
    assert not found.blocking
    assert found.text == "DNA: 4 of 4 images empty: was the stain left out, or the shutter closed?"


def test_a_stain_that_differs_from_its_batch_is_named(plate_lake):
    wells = last(plate_lake, "plate_manifest", "wells")
    quality = last(plate_lake, "image_quality", "image_quality")
    levels = {"P1": 0.18, "P2": 0.1, "P3": 0.101, "P4": 0.099, "P5": 0.102}
    for key, level in levels.items():
        named = {"Metadata_Plate": pl.lit(key), "ImageQuality_StdIntensity": pl.lit(level)}
        commit_tables(
            plate_lake, "plate_manifest", plate(key), {"wells": wells.with_columns(Metadata_Plate=pl.lit(key))}
        )
        commit_tables(plate_lake, "image_quality", plate(key), {"image_quality": quality.with_columns(**named)})
    found = verdict(plate_lake, "image_quality", "stains_as_on_the_batch")
    assert not found.passed
    assert not found.blocking
    assert "DNA has 1.79 times the contrast of 4 other plates of the batch" in found.text
    other = wells.with_columns(Metadata_Batch=pl.lit("another"))
    commit_tables(plate_lake, "plate_manifest", P1, {"wells": other})
    assert verdict(plate_lake, "image_quality", "stains_as_on_the_batch").passed
