"""Which commits go into the catalog, and that none is lost, by whomever and however often it is published."""

import os
import threading
import time

import pytest

from morpho_assets.lake.catalog import query_catalog
from morpho_assets.publication import is_behind, publish
from morpho_assets.runs import Run
from morpho_assets.workspace import Workspace
from morpho_assets_tests.factories import changed, commit_tables, make_stages, plate, study
from morpho_assets_tests.lake.toy import STAGES_OF, STUDY, Toy, toy_stages


@pytest.fixture
def toy(tmp_path):
    with toy_stages():
        yield Toy.make(tmp_path)


def make(workspace: Workspace, *keys: str) -> None:
    for key in keys:
        make_stages(workspace, key, STAGES_OF["plate"])


def make_study(workspace: Workspace) -> None:
    Run(workspace).make("feature_space", study(STUDY))


def left_out(workspace: Workspace) -> dict[tuple[str, str], str]:
    """Stage and key of what is left out of the published catalog, and why."""
    rows = query_catalog(workspace.settings.catalog, "SELECT stage, key, left_out_because FROM partitions").rows()
    return {(stage, key): reason for stage, key, reason in rows if reason}


def keys_of(workspace: Workspace, table: str) -> list[str]:
    column = "study" if table == "profiles" else "Metadata_Plate"
    return [key for (key,) in query_catalog(
        workspace.settings.catalog, f"SELECT DISTINCT {column} FROM {table} ORDER BY 1").rows()]  # fmt: skip


def test_what_is_in_the_ledger_is_published_and_then_the_catalog_is_not_behind(toy):
    workspace = toy.workspace()
    assert is_behind(workspace)
    make(workspace, "P1")
    publish(workspace)
    assert not is_behind(workspace)
    assert keys_of(workspace, "well_profiles") == ["P1"]
    make(workspace, "P2")
    make_study(workspace)
    assert is_behind(workspace)
    published = publish(workspace)
    assert dict(published.select("table", "changed").iter_rows())["well_profiles"] == 1
    assert keys_of(workspace, "well_profiles") == ["P1", "P2"]
    assert keys_of(workspace, "profiles") == [STUDY]
    assert left_out(workspace) == {}
    assert not publish(workspace)["changed"].sum()


def test_what_was_made_with_other_settings_is_left_out_with_all_that_comes_of_it(toy):
    workspace = toy.workspace()
    make(workspace, "P1", "P2")
    make_study(workspace)
    publish(workspace)
    other = changed(workspace, factor=2)
    assert is_behind(other)
    publish(other)
    reason = "masks was made with other settings than those in force: `factor` 1 -> 2"
    without = {(stage, key) for stage in ("masks", "well_profiles") for key in ("P1", "P2")}
    assert left_out(other) == dict.fromkeys([*without, ("feature_space", STUDY)], reason)
    assert keys_of(other, "objects") == keys_of(other, "well_profiles") == keys_of(other, "profiles") == []
    assert keys_of(other, "image_files") == ["P1", "P2"]
    make(other, "P1")
    publish(other)
    assert keys_of(other, "objects") == keys_of(other, "well_profiles") == ["P1"]
    assert ("feature_space", STUDY) in left_out(other)


def test_what_was_read_decides_and_not_what_has_taken_its_place(toy):
    """Masks are made anew with the settings in force, profiles not yet: they still come from the others."""
    workspace = toy.workspace()
    make(workspace, "P1")
    other = changed(workspace, factor=2)
    Run(other).make("masks", plate("P1"))
    publish(other)
    assert left_out(other) == {
        ("well_profiles", "P1"): "masks was made with other settings than those in force: `factor` 1 -> 2"
    }
    assert keys_of(other, "objects") == ["P1"]


def test_what_is_stale_but_was_made_with_the_settings_in_force_stays(toy):
    workspace = toy.workspace()
    make(workspace, "P1")
    Run(workspace, force=True).make("masks", plate("P1"))
    publish(workspace)
    assert left_out(workspace) == {}
    toy.image("P1", 0).write_text("7")
    make_stages(workspace, "P1", ["plate_manifest", "raw_images", "masks"])
    publish(workspace)
    assert left_out(workspace) == {}
    assert keys_of(workspace, "well_profiles") == ["P1"]


def test_a_plate_that_has_lost_files_is_left_out_and_the_others_are_published(toy):
    workspace = toy.workspace()
    make(workspace, "P1", "P2")
    [lost] = (toy.folder / "lake/objects/Metadata_Plate=P1").iterdir()
    lost.unlink()
    publish(workspace)
    assert list(left_out(workspace)) == [("masks", "P1")]
    assert left_out(workspace)["masks", "P1"].endswith("is gone")
    assert keys_of(workspace, "objects") == ["P2"]
    assert keys_of(workspace, "well_profiles") == ["P1", "P2"]
    assert not is_behind(workspace)
    make(workspace, "P1")
    publish(workspace)
    assert keys_of(workspace, "objects") == ["P1", "P2"]


def test_what_no_stage_source_or_study_stands_behind_any_more_is_left_out(toy):
    workspace = toy.workspace()
    make(workspace, "P1", "P2")
    make_study(workspace)
    commit_tables(workspace.lake, "cell_counting", plate("P1"), {})
    (toy.folder / f"studies/{STUDY}.yaml").unlink()
    gone = changed(toy.workspace(), sources=workspace.settings.sources[:1])
    publish(gone)
    reasons = left_out(gone)
    assert reasons["cell_counting", "P1"] == "there is no stage cell_counting any more"
    assert STUDY in reasons["feature_space", STUDY]
    assert {key for _, key in reasons} == {"P1", "P2", STUDY}
    assert keys_of(gone, "well_profiles") == ["P1"]


def test_of_two_publications_at_once_neither_takes_back_what_the_other_has_published(toy, monkeypatch):
    """The first has read the ledger, and is about to swap, when a plate is committed and the second begins."""
    workspace = toy.workspace()
    make(workspace, "P1")
    swap, first_is_there, second_has_begun = os.replace, threading.Event(), threading.Event()

    def waiting(source: str, target: str) -> None:
        if target == os.path.realpath(workspace.settings.catalog) and not first_is_there.is_set():
            first_is_there.set()
            second_has_begun.wait()
            time.sleep(0.5)  # it would be done by now
        swap(source, target)

    monkeypatch.setattr(os, "replace", waiting)
    threads = [threading.Thread(target=publish, args=[workspace])]
    threads[0].start()
    first_is_there.wait()
    make(workspace, "P2")
    threads.append(threading.Thread(target=publish, args=[workspace]))
    threads[1].start()
    second_has_begun.set()
    for thread in threads:
        thread.join()
    assert keys_of(workspace, "well_profiles") == ["P1", "P2"]
    assert not is_behind(workspace)


def test_of_many_that_wait_the_first_publishes_what_all_of_them_made(toy, monkeypatch):
    workspace = toy.workspace()
    make(workspace, "P1", "P2")
    swaps = []
    swap = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (swaps.append(paths), swap(*paths)))
    threads = [threading.Thread(target=publish, args=[toy.workspace()]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([target for _, target in swaps if str(target).endswith("catalog.duckdb")]) == 1
    assert keys_of(workspace, "well_profiles") == ["P1", "P2"]
