"""What makes what stale: the plan of a plate after runs whose stages take no time."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from morpho_assets.imaging.illumination import IlluminationConfig
from morpho_assets.measure.config import PROFILES
from morpho_assets.plan import method_of
from morpho_assets.stages import PLATE_STAGES, STAGES
from morpho_assets_tests.factories import changed, make_stages, plate, samplesheet, write_rows

pytestmark = pytest.mark.usefixtures("quick_stages")
UNCORRECTED = {"illumination": IlluminationConfig(method="none")}


def stale(workspace, key="P1"):
    """The stages of a plate that would be made, with the reasons."""
    return {task.stage: "; ".join(task.reasons) for task in workspace.plan([key])}


def test_nothing_is_there_and_what_was_just_made_is_current(workspace):
    assert list(stale(workspace)) == list(PLATE_STAGES)
    assert stale(workspace)["plate_manifest"] == "missing"
    make_stages(workspace)
    assert stale(workspace) == {}


def test_a_setting_makes_stale_its_stage_and_those_after_it_alone(workspace):
    make_stages(workspace)
    found = stale(changed(workspace, **UNCORRECTED))
    assert list(found) == ["illumination", "masks", "single_cells", "well_profiles"]
    assert found["illumination"] == "`illumination.method` regular -> none"
    assert found["masks"] == "after illumination"


def test_a_setting_changes_the_method_of_its_stage_alone(workspace):
    """What names the code and the settings of a stage, and with the content of its inputs its recipe."""
    other = changed(workspace, measurement=PROFILES["core"])
    targets = [each.target(plate("P1"), each.state(["P1"])) for each in (workspace, other)]
    methods = [{name: method_of(STAGES[name], target) for name in PLATE_STAGES} for target in targets]
    assert {name for name in PLATE_STAGES if methods[0][name] != methods[1][name]} == {"single_cells"}


def test_the_recipe_follows_settings_code_and_inputs_alone(workspace, monkeypatch):
    def recipe(within):
        return next(task.recipe for task in within.plan(["P1"]) if not task.waits)

    make_stages(workspace, stages=PLATE_STAGES[:2])
    first = recipe(workspace)
    assert recipe(changed(workspace, compute=workspace.settings.compute.model_copy(update={"workers": 7}))) == first
    others = [recipe(changed(workspace, **UNCORRECTED))]
    with monkeypatch.context() as patch:
        patch.setitem(STAGES, "illumination", replace(STAGES["illumination"], code_version="other"))
        others.append(recipe(workspace))
    tifffile.imwrite(workspace.settings.sources[0].path.replace("sheet.csv", "P1-A01.tiff"), np.ones((8, 8), np.uint8))
    make_stages(workspace, stages=PLATE_STAGES[:2])
    others.append(recipe(workspace))
    assert len({first, *others}) == 4


def test_an_input_that_was_made_anew_makes_stale_what_reads_it(workspace, monkeypatch):
    make_stages(workspace)

    def otherwise(work):
        work.method = "by another hand"
        write_rows(work)

    with monkeypatch.context() as patch:
        patch.setitem(STAGES, "masks", replace(STAGES["masks"], function=otherwise))
        make_stages(workspace, stages=["masks"], force=True)
    assert list(stale(workspace)) == ["single_cells", "well_profiles"]
    assert stale(workspace)["single_cells"] == "masks changed"


def test_what_was_made_anew_with_equal_content_makes_nothing_stale(workspace):
    first = make_stages(workspace, stages=PLATE_STAGES)
    again = make_stages(workspace, stages=["masks"], force=True)[0]
    assert again.number == first[PLATE_STAGES.index("masks")].number + 1
    assert stale(workspace) == {}


def test_a_setting_of_a_source_makes_its_plates_stale_and_no_others(workspace, tmp_path):
    make_stages(workspace)
    own, other = samplesheet(tmp_path / "sheet.csv"), samplesheet(tmp_path / "2.csv", name="other")
    lines = (tmp_path / "sheet.csv").read_text().splitlines(keepends=True)
    (tmp_path / "2.csv").write_text("".join([lines[0], *lines[3:]]))
    (tmp_path / "sheet.csv").write_text("".join(lines[:3]))
    workspace = changed(workspace, sources=(own, other))
    make_stages(workspace)
    make_stages(workspace, "P2")
    assert stale(workspace) == stale(workspace, "P2") == {}
    assert stale(changed(workspace, sources=(samplesheet(tmp_path / "sheet.csv", retries=9), other))) == {}
    controls = changed(workspace, sources=(samplesheet(tmp_path / "sheet.csv", negative_controls=("water",)), other))
    assert list(stale(controls)) == list(PLATE_STAGES)
    assert stale(controls)["plate_manifest"] == '`source.negative_controls` ["DMSO"] -> ["water"]'
    assert stale(controls, "P2") == {}
    # Read anew, the manifest has other controls and the same images: only profiles are to be made again.
    make_stages(controls, stages=["plate_manifest"])
    assert list(stale(controls)) == ["well_profiles"]
