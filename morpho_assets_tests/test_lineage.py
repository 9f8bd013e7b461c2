"""Where rows come from: every commit behind them, once, with what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from morpho_assets.cli import main
from morpho_assets.errors import InputError, LakeError
from morpho_assets.lake.lake import Lake
from morpho_assets.lineage import Lineage, trace
from morpho_assets_tests.factories import commit_tables, plate, study, write_settings


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A plate's cells made from its masks and images, made again later; a study's profiles in two steps."""
    lake = Lake(str(tmp_path / "data/lake"))
    keys = {"Metadata_Plate": "P1", "Metadata_Well": ["A01", "A02"]}
    commit_tables(lake, "plate_manifest", plate("P1"), {"wells": pl.DataFrame(keys)})
    cells = pl.DataFrame({**keys, "Metadata_Site": 1, "ObjectNumber": 1, "Cells_AreaShape_Area": [1.0, 2.0]})
    commit_tables(lake, "masks", plate("P1"), {"objects": cells.drop("Cells_AreaShape_Area")}, {"A09-1": "is black"})
    commit_tables(lake, "single_cells", plate("P1"), {"single_cells": cells})
    commit_tables(lake, "masks", plate("P1"), {"objects": cells.drop("Cells_AreaShape_Area")[:1]})
    rows = pl.DataFrame({**keys, "study": "s", "space": "cellprofiler", "step": "selected"})
    commit_tables(lake, "feature_space", study("s"), {"profiles": rows})
    commit_tables(lake, "corrected_profiles", study("s"), {"profiles": rows.with_columns(step=pl.lit("sphering"))})
    return lake


def traced(lake: Lake, table: str, key: str, where: str | None = None) -> Lineage:
    return trace(lake, lake.ledger.state(), table, key, where)


def test_it_goes_back_to_the_commits_that_were_read_not_to_the_last_ones(lake: Lake) -> None:
    found = traced(lake, "single_cells", "P1")
    stages = [(commit.stage, commit.number) for commit in found.commits]
    assert stages[0] == ("single_cells", 1)
    assert set(stages) == {("single_cells", 1), ("masks", 1), ("plate_manifest", 1)}
    assert len(stages) == 3  # the manifest once, though two read it
    said = found.plain()["commits"]["masks of plate P1, commit 1"]
    assert said["failed_sites"] == {"A09-1": "is black"}
    [reads] = said["reads"]
    manifest = lake.ledger.latest("plate_manifest", plate("P1"))
    assert manifest is not None
    assert reads == {
        "commit": "plate_manifest of plate P1, commit 1",
        "tables": {"wells": manifest.outputs["wells"].digest},
    }
    assert "reads      masks of plate P1, commit 1: objects " in found.text()


def test_a_row_names_the_stage_that_has_it(lake: Lake) -> None:
    assert [each.stage for each in traced(lake, "profiles", "s").written_by] == ["corrected_profiles", "feature_space"]
    found = traced(lake, "profiles", "s", "step = 'selected' AND Metadata_Well = 'A02'")
    assert [each.stage for each in found.written_by] == ["feature_space"]
    assert found.matching == 1
    assert found.plain()["rows"][0]["Metadata_Well"] == "A02"
    assert "1 rows match" in found.text()


def test_settings_are_told_by_name(lake: Lake) -> None:
    first = lake.ledger.latest("single_cells", plate("P1"))
    assert first is not None
    told = first.model_copy(
        update={"settings": {"texture": {"scale": [3, 5]}}, "sources": {f"f{i}": "x" for i in range(9)}}
    )
    text = Lineage("single_cells", "P1", (told,), (told,)).text()
    assert "setting    texture.scale = [3, 5]" in text
    assert "and 3 more" in text


def test_openlineage_s_events_come_in_order_with_versions(lake: Lake) -> None:
    events = traced(lake, "single_cells", "P1").events("lake")
    jobs = [event["job"]["name"] for event in events]
    assert jobs.index("plate_manifest of plate P1") < jobs.index("single_cells of plate P1")
    last = events[-1]
    assert last["eventType"] == "COMPLETE"
    assert {each["name"] for each in last["outputs"]} == {"single_cells/plate=P1"}
    masks = next(each for each in last["inputs"] if each["name"] == "objects/plate=P1")
    assert masks["facets"]["version"]["datasetVersion"] == next(
        each["facets"]["version"]["datasetVersion"] for event in events for each in event["outputs"]
        if each["name"] == "objects/plate=P1"
    )  # fmt: skip
    assert len({event["run"]["runId"] for event in events}) == len(events)


def test_what_cannot_be_told_is_one_message(lake: Lake) -> None:
    with pytest.raises(LakeError, match="no table 'cells'"):
        traced(lake, "cells", "P1")
    with pytest.raises(LakeError, match="single_cells of plate P2 is not there"):
        traced(lake, "single_cells", "P2")
    with pytest.raises(InputError, match="no row of profiles of s"):
        traced(lake, "profiles", "s", "step = 'none'")
    with pytest.raises(InputError, match="--where"):
        traced(lake, "profiles", "s", "colour = 'blue'")


def test_the_command_prints_text_json_and_events(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MORPHO_SETTINGS", "DAGSTER_HOME", "MORPHO_STATE_DIR", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    settings = ["--settings", str(write_settings(tmp_path)), "lineage"]
    assert main([*settings, "single_cells", "--plate", "P1"]) == 0
    assert capsys.readouterr().out.startswith(
        "single_cells of plate P1: 2 rows\n\nsingle_cells of plate P1, commit 1\n"
    )
    assert main([*settings, "profiles", "--study", "s", "--where", "step = 'sphering'", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written_by"] == ["corrected_profiles of study s, commit 1"]
    assert main([*settings, "single_cells", "--plate", "P1", "--openlineage"]) == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 3
    assert main([*settings, "metrics", "--plate", "P1"]) == 1
    assert "expected --study: it is a table of each study" in capsys.readouterr().err
