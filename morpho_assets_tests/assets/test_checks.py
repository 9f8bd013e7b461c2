"""Asset checks over a lake filled by hand: each passes on a good plate and names what offends on a bad one."""

import dagster as dg
import polars as pl
import pytest

from morpho_assets.assets import checks
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.imaging.fields import FIELD_FLAGS
from morpho_assets.imaging.quality import FLAGS
from morpho_assets.lake.failures import write_failures
from morpho_assets.lake.provenance import Provenance
from morpho_assets_tests.project import make_project

MADE = Provenance("test", "1", "settings", {})
WELLS = ["A01", "A02", "A03", "A04"]

BRIGHTNESS = {
    "Nuclei_Intensity_MeanIntensity_DNA": 0.9,
    "Cytoplasm_Intensity_MeanIntensity_DNA": 0.2,
    "Nuclei_Intensity_MeanIntensity_Mito": 0.3,
    "Cytoplasm_Intensity_MeanIntensity_Mito": 0.3,
}


@pytest.fixture
def project(tmp_path):
    """A plate of four imaged wells, the first two of them controls, each with ten cells and one feature."""
    project = make_project(tmp_path)
    lake = project.workspace.lake
    controls = ["negcon", "negcon", None, None]
    wells = pl.DataFrame({"Metadata_Plate": "P1", "Metadata_Well": WELLS, "Metadata_control_type": controls})
    lake.write("wells", "P1", wells, MADE)
    sites = wells.select("Metadata_Plate", "Metadata_Well", Metadata_Site=1, channel=pl.lit("DNA"))
    lake.write("sites", "P1", sites, MADE)
    grey = sites.with_columns(pl.lit(False).alias(flag) for flag in (*FLAGS, *FIELD_FLAGS))
    lake.write("image_quality", "P1", grey.with_columns(ImageQuality_MinIntensity=0.1), MADE)
    numbers = pl.DataFrame({"ObjectNumber": range(1, 11)})
    cells = sites.drop("channel").join(numbers, how="cross")
    lake.write("single_cells", "P1", cells.with_columns(pl.lit(v).alias(n) for n, v in BRIGHTNESS.items()), MADE)
    counts = {"Metadata_Count_Cells": 10, "Metadata_Count_Sites": 1}
    profiles = wells.with_columns(pl.lit(value).alias(name) for name, value in counts.items())
    lake.write("normalized_profiles", "P1", profiles.with_columns(Nuclei_AreaShape_Area=1.0), MADE)
    return project


def evaluate(check, project) -> dg.AssetCheckResult:
    """The check's result for plate P1, computed on its own function."""
    function = check.op.compute_fn.decorated_fn
    context = type("Context", (), {"partition_key": "P1"})()
    return function(context, WorkspaceResource(file=str(project.folder / "morpho.yaml")))


def value(result, name):
    return result.metadata[name].value


def fail(project, wells):
    rows = [{"Metadata_Well": well, "Metadata_Site": 1, "error": "truncated", "path": "x"} for well in wells]
    write_failures(project.workspace.lake, "P1", "masks", rows, MADE)


def test_a_good_plate_passes_every_check(project):
    assert all(evaluate(check, project).passed for check in checks.CHECKS if check is not checks.truth)


def test_checks_against_known_truth_repeat_the_metrics_and_pass_where_nothing_is_known(project):
    row = {"study": "P1", "variant": "truth", "evaluator": "truth", "scope": "check", "metric": "nuclei_f1"}
    bound = {"value": 0.5, "at_least": 0.9, "holds": False, "n": 4}
    project.workspace.lake.write("metrics", "P1", pl.DataFrame([row | bound]), MADE)
    results = {result.check_name: result for result in evaluate(checks.truth, project)}
    assert not results["truth_nuclei_f1"].passed
    assert results["truth_nuclei_f1"].severity == dg.AssetCheckSeverity.WARN
    assert value(results["truth_nuclei_f1"], "at_least") == 0.9
    assert results["truth_nsc"].passed
    assert "nothing to compare" in results["truth_nsc"].description


def test_failed_sites_over_the_limit_are_listed(project):
    fail(project, ["A02"])
    result = evaluate(checks.CHECKS[0], project)
    assert not result.passed
    assert value(result, "which") == "A02-1"
    assert "1 of 4 sites failed (limit 10%)" in result.description


def test_a_plate_with_one_control_is_warned_about(project):
    lake = project.workspace.lake
    wells = lake.read("wells", "P1").with_columns(
        Metadata_control_type=pl.when(pl.col("Metadata_Well") == "A01").then(pl.lit("negcon"))
    )
    lake.write("wells", "P1", wells, MADE)
    result = evaluate(checks.controls_present, project)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert value(result, "negative control wells") == "A01"


def test_controls_that_were_not_imaged_do_not_count(project):
    lake = project.workspace.lake
    lake.write("sites", "P1", lake.read("sites", "P1").filter(pl.col("Metadata_Well") != "A01"), MADE)
    assert not evaluate(checks.controls_present, project).passed


def test_wells_without_profile_or_sites_are_named(project):
    lake = project.workspace.lake
    profiles = lake.read("normalized_profiles", "P1").filter(pl.col("Metadata_Well") != "A04")
    lost = pl.when(pl.col("Metadata_Well") == "A03").then(0).otherwise(pl.col("Metadata_Count_Sites"))
    lake.write("normalized_profiles", "P1", profiles.with_columns(Metadata_Count_Sites=lost), MADE)
    result = evaluate(checks.every_well_has_a_profile, project)
    assert not result.passed
    assert value(result, "wells without a row") == "A04"
    assert value(result, "wells whose sites all failed") == "A03"


def test_a_plate_that_was_normalised_on_all_its_wells_is_told(project):
    lake = project.workspace.lake
    assert "as published" in evaluate(checks.normalised_on_its_reference, project).description
    profiles = lake.read("normalized_profiles", "P1")
    lake.write("normalized_profiles", "P1", profiles.with_columns(Metadata_normalized_on=pl.lit("negcon")), MADE)
    assert evaluate(checks.normalised_on_its_reference, project).passed
    lake.write("normalized_profiles", "P1", profiles.with_columns(Metadata_normalized_on=pl.lit("all")), MADE)
    result = evaluate(checks.normalised_on_its_reference, project)
    assert not result.passed
    assert "normalised on all wells" in result.description


def test_missing_features_are_named(project):
    lake = project.workspace.lake
    lake.write(
        "normalized_profiles", "P1", lake.read("normalized_profiles", "P1").with_columns(Cells_Texture_X=None), MADE
    )
    result = evaluate(checks.finite_features, project)
    assert not result.passed
    assert value(result, "emptiest features") == "Cells_Texture_X (4 wells)"


def test_a_stain_that_is_empty_on_the_plate_is_named(project):
    lake = project.workspace.lake
    lake.write("image_quality", "P1", lake.read("image_quality", "P1").with_columns(flag_empty=True), MADE)
    result = evaluate(checks.no_fault_of_the_plate, project)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.description == "DNA: 4 of 4 images empty: was the stain left out, or the shutter closed?"


def test_a_stain_that_differs_from_its_batch_is_named(project):
    lake = project.workspace.lake
    wells, quality = lake.read("wells", "P1"), lake.read("image_quality", "P1")
    levels = {"P1": 0.18, "P2": 0.1, "P3": 0.101, "P4": 0.099, "P5": 0.102}
    for plate, level in levels.items():
        named = {"Metadata_Plate": pl.lit(plate), "ImageQuality_StdIntensity": pl.lit(level)}
        lake.write("wells", plate, wells.with_columns(named["Metadata_Plate"].alias("Metadata_Plate")), MADE)
        lake.write("image_quality", plate, quality.with_columns(**named), MADE)
    result = evaluate(checks.stains_as_on_the_batch, project)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert "DNA has 1.79 times the contrast of the batch's other 4 plates" in result.description
    other = lake.read("wells", "P1").with_columns(Metadata_Batch=pl.lit("another"))
    lake.write("wells", "P1", other, MADE)
    assert evaluate(checks.stains_as_on_the_batch, project).passed


def test_an_exchanged_nuclear_stain_is_named(project):
    lake = project.workspace.lake
    exchanged = {name: name.replace("DNA", "x").replace("Mito", "DNA").replace("x", "Mito") for name in BRIGHTNESS}
    lake.write("single_cells", "P1", lake.read("single_cells", "P1").rename(exchanged), MADE)
    quality = lake.read("image_quality", "P1")
    both = pl.concat([quality, quality.with_columns(channel=pl.lit("Mito"))])
    lake.write("image_quality", "P1", both, MADE)
    result = evaluate(checks.nuclear_stain_in_nuclei, project)
    assert not result.passed
    assert "may be exchanged with Mito" in result.description


def test_wells_without_images_and_unknown_treatments_are_named(project):
    lake = project.workspace.lake
    lake.write("sites", "P1", lake.read("sites", "P1").filter(pl.col("Metadata_Well") != "A03"), MADE)
    named = pl.when(pl.col("Metadata_Well") == "A04").then(pl.lit("BRD-9"))
    known = pl.when(pl.col("Metadata_Well") == "A04").then(pl.lit(False))
    kind = pl.lit("trt")
    wells = lake.read("wells", "P1").with_columns(Metadata_Perturbation=named, described=known, Metadata_pert_type=kind)
    lake.write("wells", "P1", wells, MADE)
    result = evaluate(checks.wells_imaged_and_described, project)
    assert not result.passed
    assert "1 of 4 wells of the platemap have no images: A03;" in result.description
    assert "the metadata does not describe the treatments BRD-9;" in result.description
