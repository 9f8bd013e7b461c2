"""The assets as Dagster runs them: what they show, what stops them, and that the ledger decides."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from morpho_assets.assets.made import stage_asset
from morpho_assets.assets.partitions import PLATES
from morpho_assets.definitions import build_defs
from morpho_assets.errors import InputError
from morpho_assets.lake.ledger import Partition, Verdict
from morpho_assets.stages import PLATE_STAGES, STAGES, STUDY_STAGES, Check
from morpho_assets_tests.factories import write_rows
from morpho_assets_tests.project import Project, make_project

PLATE = "SYN00000001"


@pytest.fixture(autouse=True)
def _quick_stages_with_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that take no time, with all their checks, each of which passes."""

    def passes(inputs: object, key: str, settings: object) -> Verdict:
        return Verdict(check="", passed=True, text="as it should be")

    for name, stage in STAGES.items():
        function = stage.function if name in ("plate_manifest", "raw_images") else write_rows
        checks = tuple(replace(check, function=passes) for check in stage.checks)
        monkeypatch.setitem(STAGES, name, replace(stage, function=function, checks=checks))


@pytest.fixture
def project(tmp_path: Path, tiny_gallery: Path) -> Project:
    return make_project(tmp_path, tiny_gallery)


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        instance.add_dynamic_partitions("plate", [PLATE])
        yield instance


def materialise(
    project: Project, instance: dg.DagsterInstance, *stages: str, **options: object
) -> dg.ExecuteInProcessResult:
    job = build_defs(project.folder / "morpho.yaml").resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        asset_selection=[dg.AssetKey(name) for name in stages], partition_key=PLATE, instance=instance,
        raise_on_error=False, **options,
    )  # fmt: skip


def test_every_stage_is_an_asset_with_what_its_entry_says(project: Project) -> None:
    definitions = build_defs(project.folder / "morpho.yaml")
    for name, stage in STAGES.items():
        spec = definitions.resolve_asset_graph().get(dg.AssetKey(name))
        assert spec.code_version == stage.code_version
        assert spec.group_name == stage.group
        assert spec.description == stage.about
        assert spec.owners
        drawn, read = {key.to_user_string() for key in spec.parent_keys}, {each.stage for each in stage.inputs}
        assert {other for other in read if STAGES[other].kind == stage.kind} <= drawn <= read  # jobs run in this order
        assert {key.name for key in spec.check_keys} == {check.name for check in stage.checks}


def test_a_plate_is_made_stage_by_stage_and_shows_what_came_of_it(
    project: Project, instance: dg.DagsterInstance
) -> None:
    assert materialise(project, instance, *PLATE_STAGES).success
    for name in PLATE_STAGES:
        event = instance.get_latest_materialization_event(dg.AssetKey(name))
        assert event is not None
        shown = event.asset_materialization
        assert shown is not None
        commit = project.workspace.lake.ledger.latest(name, Partition("plate", PLATE))
        assert commit is not None
        assert shown.metadata["commit"].value == commit.number == 1
        assert shown.tags["dagster/data_version"] == commit.content
        assert shown.partition == PLATE


def test_materialising_what_is_current_makes_nothing_anew(project: Project, instance: dg.DagsterInstance) -> None:
    materialise(project, instance, *PLATE_STAGES)
    assert materialise(project, instance, *PLATE_STAGES).success
    assert project.workspace.lake.ledger.numbers("masks", Partition("plate", PLATE)) == [1]
    assert materialise(project, instance, "masks", tags={"morpho/force": "true"}).success
    assert project.workspace.lake.ledger.numbers("masks", Partition("plate", PLATE)) == [1, 2]


def test_a_wrong_file_is_one_sentence_without_a_traceback_and_is_not_tried_again(
    project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(work: object) -> None:
        raise InputError("map1.txt", "row 7", "no well", "a well", "Correct it.")

    monkeypatch.setitem(STAGES, "masks", replace(STAGES["masks"], function=wrong))
    outcome = materialise(project, instance, *PLATE_STAGES)
    failure = next(event for event in outcome.all_events if event.is_step_failure)
    data = failure.step_failure_data
    assert failure.step_key == "masks"
    assert data.user_failure_data.description == "map1.txt, row 7: found no well; expected a well. Correct it."
    assert data.error.cause is None
    assert not [event for event in outcome.all_events if event.is_step_up_for_retry]
    # The page of the plate's partition shows the sentence and what to do.
    [seen] = instance.fetch_observations(dg.AssetKey("masks"), limit=1).records
    observation = seen.event_log_entry.asset_observation
    assert observation is not None
    assert (observation.asset_key, observation.partition) == (dg.AssetKey("masks"), PLATE)
    assert observation.metadata["failed"].value == data.user_failure_data.description
    assert observation.metadata["what to do"].value == (
        f"Correct it. Then materialise it again, or: morpho run --plate {PLATE}"
    )


def test_a_closed_gate_stops_what_follows_in_this_run_and_in_the_next(
    project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(inputs: object, plate: str, settings: object) -> Verdict:
        return Verdict(check="few_failed_sites", passed=False, text="6 of 18 sites failed", blocking=True)

    check = Check("few_failed_sites", "", closed, blocking=True)
    monkeypatch.setitem(STAGES, "raw_images", replace(STAGES["raw_images"], checks=(check,)))
    first = materialise(project, instance, *PLATE_STAGES)
    assert not first.success
    assert project.workspace.lake.ledger.latest("raw_images", Partition("plate", PLATE)) is not None
    assert project.workspace.lake.ledger.latest("illumination", Partition("plate", PLATE)) is None
    second = materialise(project, instance, "illumination")
    [failure] = [event for event in second.all_events if event.is_step_failure]
    assert "6 of 18 sites failed" in failure.step_failure_data.user_failure_data.description
    assert "morpho waive few_failed_sites" in failure.step_failure_data.user_failure_data.description


def test_the_next_plate_does_not_overwrite_a_warning(
    project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warned(inputs: object, plate: str, settings: object) -> Verdict:
        return Verdict(check="controls_present", passed=plate != PLATE, text=f"as {plate} has it")

    checks = (Check("controls_present", "", warned), *STAGES["plate_manifest"].checks[1:])
    monkeypatch.setitem(STAGES, "plate_manifest", replace(STAGES["plate_manifest"], checks=checks))
    instance.add_dynamic_partitions("plate", ["SYN00000002"])
    job = build_defs(project.folder / "morpho.yaml").resolve_implicit_global_asset_job_def()
    for plate in (PLATE, "SYN00000002"):
        job.execute_in_process(asset_selection=[dg.AssetKey("plate_manifest")], partition_key=plate, instance=instance)
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("plate_manifest"), "controls_present"), limit=10
    )
    verdicts = {
        record.event.dagster_event.event_specific_data.partition: record.event.dagster_event.event_specific_data.passed
        for record in records
    }
    assert verdicts == {PLATE: False, "SYN00000002": True}


def test_a_stage_made_from_an_entry_needs_no_other_place() -> None:
    """A new stage is one entry and one function: its asset follows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asset = stage_asset(replace(STAGES["image_quality"], name="sharpness", outputs=("image_quality",)))
    assert asset.key == dg.AssetKey("sharpness")
    assert asset.partitions_def == PLATES


def test_jobs_hold_the_stages_of_plates_and_of_studies(project: Project) -> None:
    definitions = build_defs(project.folder / "morpho.yaml")
    for job, stages in (("plate", PLATE_STAGES), ("study", STUDY_STAGES), ("publish", ("catalog",))):
        held = definitions.resolve_job_def(job).asset_layer.selected_asset_keys
        assert {key.to_user_string() for key in held} == set(stages)
