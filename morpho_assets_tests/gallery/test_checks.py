"""Checks of the manifest and of failed sites, over a lake filled by hand: each names what offends on a bad plate."""

import polars as pl
import pytest

from morpho_assets_tests.factories import commit_tables, last, plate, verdict

P1 = plate("P1")


@pytest.mark.parametrize("stage", ["raw_images", "masks", "single_cells"])
def test_failed_sites_over_the_limit_are_listed_and_close_the_gate(plate_lake, stage):
    assert verdict(plate_lake, stage, "few_failed_sites").passed
    row = {"Metadata_Plate": "P1", "Metadata_Well": "A02", "Metadata_Site": 1, "channel": "*", "stage": stage}
    rows = pl.DataFrame([{**row, "error": "truncated", "path": "x"}])
    commit_tables(plate_lake, stage, P1, {"site_failures": rows}, failed={"A02-1": "truncated"})
    found = verdict(plate_lake, stage, "few_failed_sites")
    assert not found.passed
    assert found.blocking
    assert found.facts["which"] == "A02-1"
    assert "1 of 4 sites failed (limit 10%)" in found.text
    assert "The first: x truncated." in found.text


def test_sites_that_failed_in_stages_before_count_once(plate_lake):
    for stage, failed in {"raw_images": {"A02-1": "gone"}, "masks": {"A02-1": "gone", "A03-1": "black"}}.items():
        rows = [{"Metadata_Plate": "P1", "Metadata_Well": key[:3], "Metadata_Site": 1, "channel": "*", "stage": stage,
                 "error": error, "path": "x"} for key, error in failed.items()]  # fmt: skip
        commit_tables(plate_lake, stage, P1, {"site_failures": pl.DataFrame(rows)}, failed=failed)
    assert "2 of 4 sites failed" in verdict(plate_lake, "masks", "few_failed_sites").text


def test_a_plate_with_one_control_is_warned_about(plate_lake):
    wells = last(plate_lake, "plate_manifest", "wells").with_columns(
        Metadata_control_type=pl.when(pl.col("Metadata_Well") == "A01").then(pl.lit("negcon"))
    )
    commit_tables(plate_lake, "plate_manifest", P1, {"wells": wells})
    found = verdict(plate_lake, "plate_manifest", "controls_present")
    assert not found.passed
    assert not found.blocking
    assert found.facts["negative control wells"] == "A01"


def test_controls_that_were_not_imaged_do_not_count(plate_lake):
    sites = last(plate_lake, "plate_manifest", "sites").filter(pl.col("Metadata_Well") != "A01")
    commit_tables(plate_lake, "plate_manifest", P1, {"sites": sites})
    assert not verdict(plate_lake, "plate_manifest", "controls_present").passed


def test_wells_without_images_and_unknown_treatments_are_named(plate_lake):
    sites = last(plate_lake, "plate_manifest", "sites").filter(pl.col("Metadata_Well") != "A03")
    named = pl.when(pl.col("Metadata_Well") == "A04").then(pl.lit("BRD-9"))
    known = pl.when(pl.col("Metadata_Well") == "A04").then(pl.lit(False))
    wells = last(plate_lake, "plate_manifest", "wells").with_columns(
        Metadata_Perturbation=named, described=known, Metadata_pert_type=pl.lit("trt")
    )
    commit_tables(plate_lake, "plate_manifest", P1, {"wells": wells, "sites": sites})
    found = verdict(plate_lake, "plate_manifest", "wells_imaged_and_described")
    assert not found.passed
    assert "1 of 4 wells of the platemap have no images: A03;" in found.text
    assert "the metadata does not describe the treatments BRD-9;" in found.text
