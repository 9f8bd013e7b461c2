"""What a run refuses: stages whose inputs are not there, or are of other settings than those in force."""

from dataclasses import replace

import pytest

from morpho_assets.errors import InputError, LakeError
from morpho_assets.imaging.illumination import IlluminationConfig
from morpho_assets.judging import judge
from morpho_assets.runs import Run
from morpho_assets.stages import PLATE_STAGES, STAGES
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import changed, make_stages, plate, samplesheet

pytestmark = pytest.mark.usefixtures("quick_stages")
UNCORRECTED = {"illumination": IlluminationConfig(method="none")}


def study(*plates):
    return Study(name="s", title="S", plates=plates, spaces={"cells": {"of": "cells"}}, evaluators={})


def test_a_study_reads_the_plates_it_names_or_all(workspace):
    everything = study().model_copy(update={"plates": "all"})
    with pytest.raises(InputError, match="no plate with profiles"):
        workspace.study_plates(everything, workspace.state(["P1", "P2"]))
    for key in ("P1", "P2"):
        make_stages(workspace, key)
    state = workspace.state(["P1", "P2"])
    assert workspace.study_plates(everything, state) == ["P1", "P2"]
    assert workspace.study_plates(study("P2"), state) == ["P2"]


def test_a_study_of_all_plates_says_which_it_goes_on_without_and_why(workspace, monkeypatch):
    everything = study().model_copy(update={"plates": "all"})
    make_stages(workspace, "P1")

    def left_out(asked=everything):
        return workspace.left_out(asked, ["P1"], workspace.lake.ledger.state())

    assert left_out() == {}
    make_stages(workspace, "P2", PLATE_STAGES[:2])
    assert left_out() == {"P2": "illumination of plate P2 is not as the settings in force would make it (missing)"}

    def fails(work):
        raise LakeError("the disk is full")

    monkeypatch.setitem(STAGES, "illumination", replace(STAGES["illumination"], function=fails))
    with pytest.raises(LakeError):
        make_stages(workspace, "P2", ["illumination"])
    assert left_out() == {"P2": "illumination failed: the disk is full"}
    judge(workspace, "rejected", "P2", None, None, "bubbles", "Ann")
    assert left_out()["P2"].startswith("plate P2 was rejected by Ann: bubbles")
    assert left_out(study("P1")) == {}


def test_a_missing_input_is_named(workspace):
    make_stages(workspace, stages=["plate_manifest"])
    with pytest.raises(LakeError, match="illumination of plate P1 reads raw_images of plate P1, which is not there"):
        Run(workspace).make("illumination", plate("P1"))


def test_a_stage_is_not_made_from_what_other_settings_made(workspace):
    make_stages(workspace)
    other = changed(workspace, **UNCORRECTED)
    with pytest.raises(LakeError, match=r"reads illumination of plate P1, which is stale \(`illumination.method` reg"):
        Run(other).make("single_cells", plate("P1"))
    before = workspace.lake.ledger.latest("image_quality", plate("P1"))
    assert Run(other).make("image_quality", plate("P1")) == before  # it reads nothing that changed


def test_plates_of_two_settings_never_mix(workspace):
    make_stages(workspace)
    make_stages(changed(workspace, **UNCORRECTED), "P2")
    state = workspace.state(["P1", "P2"])
    assert workspace.study_plates(study("P1"), state) == ["P1"]
    assert workspace.study_plates(study().model_copy(update={"plates": "all"}), state) == ["P1"]
    with pytest.raises(LakeError, match=r"illumination of plate P2 .*`illumination.method` none -> regular"):
        workspace.study_plates(study("P1", "P2"), state)


def test_a_plate_that_is_not_there_is_named(workspace):
    make_stages(workspace)
    with pytest.raises(LakeError, match=r"plate_manifest of plate P2 .*missing"):
        workspace.study_plates(study("P1", "P2"), workspace.state(["P1", "P2"]))


def test_plates_of_a_source_with_other_settings_are_left_out(workspace, tmp_path):
    make_stages(workspace)
    controls = changed(workspace, sources=(samplesheet(tmp_path / "sheet.csv", negative_controls=("water",)),))
    with pytest.raises(LakeError, match=r"plate_manifest of plate P1 .*source.negative_controls"):
        controls.study_plates(study("P1"), controls.state(["P1"]))


def test_a_run_makes_again_only_what_is_stale(workspace):
    first = make_stages(workspace)
    assert make_stages(workspace) == first
    again = make_stages(changed(workspace, **UNCORRECTED))
    moved = [name for name, one, two in zip(PLATE_STAGES, first, again, strict=True) if one.number != two.number]
    assert moved == ["illumination", "masks", "single_cells", "well_profiles"]
