import os
import subprocess
import sys

import dagster as dg
import pytest

from morpho_assets.definitions import build_defs
from morpho_assets.evaluate.truth.checks import CHECKS as TRUTH_CHECKS
from morpho_assets.stages import PLATE_STAGES, STAGES, STUDY_STAGES
from morpho_assets_tests.factories import write, write_settings
from morpho_assets_tests.project import ROOT

PLATES_TO_MASKS = {"plate_manifest", "raw_images", "illumination", "masks"}
GRAPH = {
    "plate_manifest": ("source", set()),
    "raw_images": ("source", {"plate_manifest"}),
    "illumination": ("images", {"plate_manifest", "raw_images"}),
    "image_quality": ("images", {"plate_manifest", "raw_images"}),
    "masks": ("images", {"plate_manifest", "raw_images", "illumination"}),
    "single_cells": ("cells", {*PLATES_TO_MASKS, "image_quality"}),
    "well_profiles": ("profiles", {"plate_manifest", "raw_images", "image_quality", "masks", "single_cells"}),
    "encoder": ("learned", {"well_profiles"}),
    "sets": ("learned", {"embeddings", "encoder"}),
    "attributions": ("learned", {"encoder"}),
    "embeddings": ("learned", {*PLATES_TO_MASKS, "encoder"}),
    "models": ("phenotypes", {"embeddings"}),
    "predictions": ("phenotypes", {"models"}),
    "phenotypes": ("phenotypes", {"predictions"}),
    "feature_space": ("spaces", {"phenotypes", "sets"}),
    "corrected_profiles": ("spaces", {"feature_space"}),
    "treatment_profiles": ("spaces", {"feature_space", "corrected_profiles"}),
    "projections": ("spaces", {"feature_space", "corrected_profiles"}),
    "evaluation": ("evaluation", {"encoder", "sets", "feature_space", "corrected_profiles"}),
    "report": (
        "evaluation",
        {
            "encoder",
            "models",
            "predictions",
            "phenotypes",
            "feature_space",
            "corrected_profiles",
            "treatment_profiles",
            "projections",
            "montages",
            "evaluation",
            "activity",
            "sets",
            "attributions",
        },
    ),
    "activity": ("activity", {"feature_space", "corrected_profiles"}),
    "montages": ("evaluation", {"well_profiles"}),
    "catalog": ("catalog", {"report"}),
    "export_anndata": ("exports", {"single_cells", "well_profiles"}),
    "export_ome_zarr": ("exports", {"raw_images", "masks"}),
    "export_crops": ("exports", {"raw_images", "masks"}),
    "export_cytotable": ("exports", {"single_cells"}),
    "export_gallery": ("exports", {"single_cells", "well_profiles"}),
    "export_labels": ("exports", {"masks"}),
    "export_anndata_of_study": ("exports", {"evaluation"}),
}


@pytest.fixture(scope="module")
def definitions():
    return build_defs(ROOT / "morpho.yaml")


@pytest.fixture(scope="module")
def specs(definitions):
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_the_graph_is_this_one(specs):
    found = {
        name: (spec.group_name, {dep.asset_key.to_user_string() for dep in spec.deps}) for name, spec in specs.items()
    }
    assert found == GRAPH


def test_every_asset_can_be_read_by_a_biologist(specs):
    for name, spec in specs.items():
        assert spec.description, name
        assert len(spec.description) > 60, name
        assert spec.kinds, name
        assert spec.code_version, name


def test_every_stage_is_an_asset_with_the_partition_it_should_have(specs):
    for name in PLATE_STAGES:
        assert specs[name].partitions_def.name == "plate"
    assert specs["embeddings"].partitions_def.name == "plate"
    for name in STUDY_STAGES:
        assert specs[name].partitions_def.name == "study"
    assert specs["catalog"].partitions_def is None


def test_checks_stand_on_the_stages_they_guard_for_their_partition(definitions, specs):
    graph = definitions.resolve_asset_graph()
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    gates = {(name, "few_failed_sites") for name in ("raw_images", "masks", "single_cells")}
    assert checks == gates | {
        ("plate_manifest", "controls_present"),
        ("plate_manifest", "wells_imaged_and_described"),
        ("image_quality", "no_fault_of_the_plate"),
        ("image_quality", "stains_as_on_the_batch"),
        ("single_cells", "nuclear_stain_in_nuclei"),
        ("well_profiles", "every_well_has_a_profile"),
        ("well_profiles", "finite_features"),
        ("well_profiles", "normalised_on_its_reference"),
        *(("evaluation", f"truth_{name}") for name in TRUTH_CHECKS),
        ("well_profiles", "platemap_fits"),
        ("activity", "names_of_compounds_are_known"),
        ("activity", "structures_are_readable"),
        ("activity", "no_nuisance_reaches_the_score"),
    }
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        name = key.asset_key.to_user_string()
        assert spec.partitions_def == specs[name].partitions_def
        assert spec.blocking == ((name, key.name) in gates)


def test_a_code_version_is_that_of_the_stage_whatever_the_settings(tmp_path, specs):
    """Settings are the ledger's business: test_plan.py says what they make stale."""
    file = write_settings(tmp_path, measurement="core")
    changed = {spec.key.to_user_string(): spec.code_version for spec in build_defs(file).resolve_all_asset_specs()}
    assert changed == {name: spec.code_version for name, spec in specs.items()}
    assert {name: changed[name] for name in STAGES} == {name: each.code_version for name, each in STAGES.items()}


def test_wrong_settings_are_told_when_the_definitions_load(tmp_path):
    with pytest.raises(Exception, match="key lakes"):
        build_defs(write(tmp_path / "morpho.yaml", "lakes: x"))


def test_without_settings_the_graph_can_still_be_looked_at(tmp_path):
    assert build_defs(tmp_path / "none.yaml").resolve_all_asset_specs()


def test_importing_the_definitions_loads_nothing_heavy():
    heavy = ("torch", "cellpose", "umap", "matplotlib", "numba", "sklearn", "skimage")
    code = f"import sys, morpho_assets.definitions; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert output.stdout.strip() == "[]"


@pytest.mark.slow
def test_dagster_finds_the_definitions_valid(tmp_path):
    environment = {**os.environ, "DAGSTER_HOME": str(ROOT), "MORPHO_STATE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    output = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stdout + output.stderr


def test_the_jobs_select_a_plate_and_a_study(definitions):
    plate = definitions.resolve_job_def("plate")
    study = definitions.resolve_job_def("study")
    assert {key.to_user_string() for key in plate.asset_layer.executable_asset_keys} == set(PLATE_STAGES)
    assert {key.to_user_string() for key in study.asset_layer.executable_asset_keys} == set(STUDY_STAGES)
    assert {"embeddings", *PLATE_STAGES, *STUDY_STAGES} == set(STAGES)


def test_the_schedule_and_the_sensors_are_there(definitions):
    assert [schedule.name for schedule in definitions.schedules] == ["backfill_plates"]
    names = {"new_plates", "look_at_sources", "publish_commits", "sweep_files"}
    assert {sensor.name for sensor in definitions.sensors} == names
    assert isinstance(definitions, dg.Definitions)
