"""A person's verdict: what it makes stale, what it holds, who hears of it, and that it is undone the same way."""

from __future__ import annotations

import dagster as dg
import pytest

from morpho_assets.assets.judging import VERDICT_JOB
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.cli import main
from morpho_assets.errors import InputError, LakeError
from morpho_assets.judging import judge
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.publication import is_behind, publish
from morpho_assets.runs import GateClosed, Run
from morpho_assets.status import status_table
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import make_stages, plate, write_settings
from morpho_assets_tests.project import make_project

pytestmark = pytest.mark.usefixtures("quick_stages")
STUDY = {"name": "s", "title": "S", "spaces": {"cells": {"of": "normalized"}}, "evaluators": {}}


def stale(workspace, key="P1"):
    return {task.stage: (task.reasons, task.held) for task in workspace.plan([key], look=False)}


def say(workspace, said, well=None, site=None, key="P1", who="Ann"):
    return judge(workspace, said, key, well, site, "bubbles", who)


def test_a_rejected_well_makes_its_plate_s_profiles_stale_and_taking_it_back_makes_them_as_before(workspace):
    first = make_stages(workspace)[-1]
    say(workspace, "rejected", "a1")
    assert stale(workspace) == {"well_profiles": (("A01 is rejected (Ann: bubbles)",), None)}
    second = make_stages(workspace)[-1]
    assert second.number == 2
    assert second.settings["rejected"] == {"A01": "Ann: bubbles"}
    assert stale(workspace) == {}
    say(workspace, "withdrawn", "A01")
    assert stale(workspace) == {"well_profiles": (("A01 is no longer rejected (Ann: bubbles)",), None)}
    third = make_stages(workspace)[-1]
    assert (third.recipe, third.content) == (first.recipe, first.content)
    assert third.settings == first.settings


def test_an_approval_changes_nothing_but_within_what_is_rejected(workspace):
    make_stages(workspace)
    for well, site in ((None, None), ("A01", None), ("A02", 1)):
        say(workspace, "approved", well, site)
    assert stale(workspace) == {}
    say(workspace, "rejected", "A02")
    [(reasons, _)] = stale(workspace).values()
    assert set(reasons) == {"A02 is rejected (Ann: bubbles)",
                            "A02-1 is kept though its well is rejected (Ann: bubbles)"}  # fmt: skip


def test_of_a_rejected_plate_no_profiles_are_made_and_no_study_uses_it(workspace):
    for key in ("P1", "P2"):
        make_stages(workspace, key)
    everything, named = (Study.model_validate({**STUDY, "plates": plates}) for plates in ("all", ["P1", "P2"]))
    assert workspace.study_plates(everything, workspace.state(["P1", "P2"])) == ["P1", "P2"]
    say(workspace, "rejected")
    sentence = "plate P1 was rejected by Ann: bubbles"
    [(reasons, held)] = stale(workspace).values()
    assert reasons[0].startswith(sentence)
    assert held.startswith(sentence)
    with pytest.raises(GateClosed, match=sentence):
        Run(workspace).make("well_profiles", plate("P1"))
    assert workspace.study_plates(everything, workspace.state(["P1", "P2"])) == ["P2"]
    with pytest.raises(LakeError, match=f"{sentence}.*Or leave it out"):
        workspace.study_plates(named, workspace.state(["P1", "P2"]))
    row = status_table(workspace, ["P1"]).row(0, named=True)
    assert row["gate"] == "rejected (Ann: bubbles)"
    assert sentence in row["next"]
    say(workspace, "withdrawn")
    assert stale(workspace) == {}
    assert workspace.study_plates(named, workspace.state(["P1", "P2"])) == ["P1", "P2"]


def test_the_catalog_has_every_verdict_and_leaves_the_profiles_of_rejected_plates_out(workspace, tmp_path):
    catalog = str(tmp_path / "morpho.duckdb")
    object.__setattr__(workspace, "settings", workspace.settings.model_copy(update={"catalog": catalog}))
    make_stages(workspace)
    publish(workspace)
    assert not is_behind(workspace)
    say(workspace, "rejected", "A01")
    say(workspace, "rejected")
    say(workspace, "withdrawn", "A01", who="Ben")
    assert is_behind(workspace)
    publish(workspace)
    rows = query_catalog(catalog, 'SELECT Metadata_Well, verdict, in_force, who FROM verdicts ORDER BY "at"').rows()
    assert rows == [
        ("A01", "rejected", False, "Ann"),
        (None, "rejected", True, "Ann"),
        ("A01", "withdrawn", False, "Ben"),
    ]
    left = dict(query_catalog(catalog, "SELECT stage, left_out_because FROM partitions WHERE NOT published").rows())
    assert list(left) == ["well_profiles"]
    assert left["well_profiles"].startswith("plate P1 was rejected by Ann")


@pytest.mark.parametrize(
    ("said", "well", "site", "message"),
    [
        ("rejected", "P24", None, "no such well with images"),
        ("rejected", "A", None, "a well such as A01"),
        ("rejected", "A01", 7, "found no such site; expected a site of the well: 1"),
        ("rejected", None, 1, "the site's well, too"),
        ("withdrawn", "A01", None, "no verdict in force"),
    ],
)
def test_what_the_plate_does_not_have_is_one_message(workspace, said, well, site, message):
    make_stages(workspace)
    with pytest.raises(InputError, match=message):
        say(workspace, said, well, site)
    assert workspace.state(["P1"]).judgements == {}


def test_a_reason_and_a_name_are_asked_for_and_a_plate_that_somebody_has(workspace):
    with pytest.raises(InputError, match="reason"):
        judge(workspace, "rejected", "P1", None, None, " ", "Ann")
    with pytest.raises(InputError, match="name"):
        judge(workspace, "rejected", "P1", None, None, "bubbles", "")
    with pytest.raises(InputError, match="P9"):
        say(workspace, "rejected", key="P9")
    with pytest.raises(InputError, match="no manifest yet"):
        say(workspace, "rejected", "A01")
    assert say(workspace, "rejected").place == ""  # of a plate that nobody has begun with


def test_the_command_says_it_lists_it_and_takes_it_back(tmp_path, workspace, monkeypatch, capsys):
    for name in ("MORPHO_SETTINGS", "DAGSTER_HOME", "MORPHO_STATE_DIR", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    source = {"name": "lab", "kind": "samplesheet", "path": str(tmp_path / "sheet.csv")}
    write_settings(tmp_path, sources=[source], lake=workspace.settings.lake)
    make_stages(workspace)

    def verdict(*arguments):
        assert main(["--settings", str(tmp_path / "morpho.yaml"), "verdict", *arguments]) == 0
        return capsys.readouterr().out

    at = ("--plate", "P1", "--well", "A01", "--site", "1")
    assert "plate P1, A01-1: rejected (Ann: dust)" in verdict("reject", *at, "--reason", "dust", "--name", "Ann")
    assert "P1\tA01-1\trejected (Ann: dust)" in verdict("list")
    assert "withdrawn (" in verdict("withdraw", *at, "--reason", "looked again")
    assert verdict("list", "--plate", "P1") == ""
    assert verdict("list", "--all").count("no longer in force") == 2


def test_the_ui_s_job_says_the_same_and_shows_it_on_the_profiles(tmp_path, tiny_gallery):
    project = make_project(tmp_path, tiny_gallery)
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        instance.add_dynamic_partitions("plate", ["SYN00000001"])

        def run(**config):
            return VERDICT_JOB.execute_in_process(
                run_config={"ops": {"record_verdict": {"config": {"reason": "blurred", "name": "Ann", **config}}}},
                resources={"workspace": WorkspaceResource(file=str(project.folder / "morpho.yaml"))},
                partition_key="SYN00000001", instance=instance, raise_on_error=False,
            )  # fmt: skip

        assert run(verdict="rejected").success
        [event] = instance.fetch_observations(dg.AssetKey("well_profiles"), limit=5).records
        assert event.partition_key == "SYN00000001"
        assert not run(verdict="withdrawn", well="A01").success
    [said] = project.workspace.state(["SYN00000001"]).judgements["SYN00000001"]
    assert said.text == "rejected (Ann: blurred)"
