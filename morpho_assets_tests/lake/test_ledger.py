"""The ledger and the runs that write it, when something of it is broken, lost or not as it should be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from morpho_assets.compute import map_items
from morpho_assets.errors import ImageError, LakeError
from morpho_assets.lake import index, work
from morpho_assets.lake.ledger import Ledger, Partition, commit_path
from morpho_assets.runs import GateClosed, Run
from morpho_assets.stages import STAGES, check
from morpho_assets_tests.lake.faults import Bucket, Fault, FaultyFiles
from morpho_assets_tests.lake.test_race import draft
from morpho_assets_tests.lake.toy import ALL, PLATES, STAGES_OF, STUDY, Toy, problems, toy_stages

P1, P2, STUDIES = ALL
STAGES_OF_PLATE = STAGES_OF["plate"]


@pytest.fixture
def toy(tmp_path):
    with toy_stages():
        yield Toy.make(tmp_path / "toy")


@pytest.fixture(scope="module")
def _made_once(tmp_path_factory):
    """A project of which everything is made, and a copy of it."""
    folder = tmp_path_factory.mktemp("made")
    with toy_stages():
        toy = Toy.make(folder / "toy")
        for partition in ALL:
            make(toy, partition)
    shutil.copytree(toy.folder, folder / "copy")
    return toy, folder / "copy"


@pytest.fixture
def made(_made_once):
    """A project of which everything is made, at the same place for each test: its files are put back as they were."""
    toy, copy = _made_once
    shutil.rmtree(toy.folder)
    shutil.copytree(copy, toy.folder)
    with toy_stages():
        yield replace(toy)


def make(toy, partition=P1, stages=None, **how):
    run = Run(toy.workspace(), **how)
    return [run.make(name, partition) for name in stages or STAGES_OF[partition.kind]]


def tasks(toy):
    return [(task.stage, task.partition.key) for task in toy.workspace().plan(PLATES, [STUDY])]


# Files of the ledger


FILES = {
    "commit": "ledger/commits/plate=P1/masks.00000001.json",
    "observation": "ledger/observations/plate=P1.json",
    "attempt": "ledger/attempts/plate=P1/masks.0123456789ab.json",
    "waiver": "ledger/waivers/plate=P1/masks.00000001.few_failed_sites.json",
    "judgement": "ledger/judgements/plate=P1/2026-01-01.0123456789ab.json",
    "lease": "ledger/leases/plate=P1/masks.00000001.json",
    "index": index.PATH,
    "stranger": "ledger/commits/plate=P1/.DS_Store",
}


@pytest.mark.parametrize("body", [b"", b"\x00" * 100, b"[1, 2", b'{"format": 2}'])
@pytest.mark.parametrize("name", FILES)
def test_one_broken_file_of_the_ledger_breaks_no_command(made, name, body):
    made.files.write(FILES[name], body)
    stale = [("masks", "P1"), ("well_profiles", "P1"), ("feature_space", STUDY)] if name == "commit" else []
    assert tasks(made) == stale
    make(made, P1)
    make(made, STUDIES)
    assert tasks(made) == []
    workspace = made.workspace()
    assert workspace.lake.ledger.latest("masks", P1).number == (2 if name == "commit" else 1)
    assert workspace.lake.ledger.partitions("plate") == list(PLATES)


@pytest.mark.parametrize("body", [None, b"", b"PAR1"])
@pytest.mark.parametrize("name", ["sites", "masks", "label_images", "well_profiles", "keys"])
def test_one_broken_file_that_a_commit_names_makes_its_stage_stale(made, name, body):
    """Also where others look into it to know how their sources look."""
    folder = (
        "ledger/keys/plate=P1" if name == "keys" else f"{name}/{'' if name == 'label_images' else 'Metadata_P'}late=P1"
    )
    path = next(iter(made.files.find(folder.replace("late=P1", "plate=P1") if name == "label_images" else folder)))
    made.files.remove(path)
    if body is not None:
        made.files.write(path, body)
    found = tasks(made)
    assert [plate for _, plate in found if plate == "P2"] == []
    assert found
    make(made, P1)
    make(made, STUDIES)
    assert tasks(made) == []
    workspace = made.workspace()
    assert problems(workspace, workspace.lake.ledger.state().commits) == []


def test_a_commit_of_a_later_format_is_not_passed_over(made):
    path = commit_path("masks", P1, 1)
    made.files.write(path, json.dumps({**json.loads(made.files.read(path)), "format": 3}).encode())
    with pytest.raises(LakeError, match="has format 3, this version reads 2"):
        tasks(made)


def test_a_lake_that_may_only_be_read_is_read(made, monkeypatch):
    monkeypatch.setattr(index, "FOLD", 1)
    state = made.workspace().lake.ledger.state()

    class ReadOnly(FaultyFiles):
        def write(self, path, content):
            raise PermissionError(path)

    assert Ledger(ReadOnly(made.files)).state() == state
    assert not made.files.find(index.PATH)


def test_a_winner_who_hears_of_a_fault_knows_that_it_won(toy):
    """The commit is there before the store fails; whoever reads it back knows whose it is."""
    files = FaultyFiles(toy.files, Fault(1, "lost"))
    ledger = Ledger(files)
    assert ledger.commit(draft(1, ledger.writer)).number == 1
    files.fault = Fault(1, "fails")
    with pytest.raises(OSError, match="create, fails"):
        ledger.commit(draft(2, ledger.writer))
    assert ledger.numbers("masks", P1) == [1]


# What a run asserts of what it commits


def strange(stage, function):
    return patch.dict(STAGES, {stage: replace(STAGES[stage], function=function)})


def refused(toy, stage, function, words):
    plain = STAGES[stage].function
    with strange(stage, lambda done: function(done, plain)), pytest.raises(LakeError, match=words):
        make(toy)
    workspace = toy.workspace()
    assert workspace.lake.ledger.latest(stage, P1) is None
    assert words.split(".*")[-1] in workspace.lake.ledger.state().attempts[stage, P1][0].sentence
    assert [each.number for each in make(toy)] == [1, 1, 1, 1]  # and an honest run is
    assert problems(workspace, workspace.lake.ledger.state().commits) == []


def test_a_stage_that_lacks_a_table_is_not_committed(toy):
    def without(done, plain):
        plain(done)
        del done.outputs["objects"]

    refused(toy, "masks", without, "made no objects")


def test_a_table_that_is_not_there_whole_is_not_committed(toy):
    def cut(done, plain):
        plain(done)
        path = done.outputs["masks"].files[0].path
        done.lake.files.write(path, done.lake.files.read(path)[:-1])

    refused(toy, "masks", cut, "masks of plate P1 was not written whole")


def test_a_file_that_rows_name_and_that_is_not_there_is_not_committed(toy):
    """Nor is it for ever: what was kept on the way named it."""

    def swept(done, plain):
        plain(done)
        done.lake.files.remove(next(iter(done.lake.files.find("label_images"))))

    refused(toy, "masks", swept, "names label_images/.*which is not there")


def test_a_site_that_fails_and_is_none_of_the_plate_s_is_not_committed(toy):
    def more(done, plain):
        plain(done)
        done.failed["Z99-1"] = "nobody knows it"

    refused(toy, "masks", more, "site Z99-1 failed, but is none of its sites")


def test_a_site_that_is_done_and_whose_rows_are_gone_is_not_committed(toy):
    def gone(function, items, *rest):
        yield from map_items(function, items, *rest)
        found = toy.files.find(".work")
        toy.files.remove(next(path for path in found if "/objects/" in path))

    def lossy(done, plain):
        with patch.object(work, "map_items", gone):
            plain(done)

    refused(toy, "masks", lossy, "site A01-1 is done, but")


def test_a_site_that_never_came_back_is_not_committed(toy):
    def lost(function, items, *rest):
        yield from map_items(function, items[1:], *rest)

    def lossy(done, plain):
        with patch.object(work, "map_items", lost):
            plain(done)

    refused(toy, "masks", lossy, "site A01-1 is done, but")


def test_an_image_that_never_came_back_is_not_committed(toy):
    def lossy(done, plain):
        with patch("morpho_assets.gallery.images.as_completed", lambda found: list(found)[1:]):
            plain(done)

    refused(toy, "raw_images", lossy, "2 images were fetched and 0 failed of 3")


def test_a_site_with_other_tables_than_were_agreed_is_not_committed(toy):
    def other(done, plain):
        sites = work.process_sites
        with patch("morpho_assets_tests.lake.toy.process_sites",
                   lambda w, s, f, tables, *rest: sites(w, s, f, ("masks",), *rest)):  # fmt: skip
            plain(done)

    refused(toy, "masks", other, "gave the tables .*'masks'.*expected .*'masks'")


def test_an_image_that_is_another_one_by_now_is_not_read(toy):
    make(toy, stages=["plate_manifest", "raw_images"])
    toy.image("P1", 0).write_text("7")
    with pytest.raises(LakeError, match=r"A01-1 is another file than was fetched\. Materialise raw_images again"):
        make(toy, stages=["masks"])
    toy.image("P1", 0).unlink()
    with pytest.raises(LakeError, match=r"A01-1 was fetched, but cannot be read now: .*does not exist"):
        make(toy, stages=["masks"])
    make(toy)
    assert set(toy.workspace().lake.ledger.latest("raw_images", P1).sites.failed) == {"A01-1"}


# Gates


def test_a_gate_is_asked_again_where_the_settings_it_closed_by_are_others(toy):
    for number in (0, 1):
        toy.image("P1", number).write_text("bad")
    with pytest.raises(GateClosed, match="2 of 3 sites failed"):
        make(toy)
    assert tasks(toy)[0] == ("well_profiles", "P1")
    toy.settings = toy.settings.model_copy(update={"failed_sites": 0.9})
    first = next(task for task in toy.workspace().plan(["P1"]))
    assert (first.stage, first.reasons) == ("masks", ("`failed_sites` 0.5 -> 0.9",))
    assert [commit.number for commit in make(toy)] == [1, 1, 2, 1]
    assert toy.workspace().lake.ledger.latest("masks", P1).notes["sites worked on"] == 2  # those that failed
    toy.settings = toy.settings.model_copy(update={"failed_sites": 0.8})
    assert toy.workspace().plan(["P1"]) == []  # a gate that is open stays so


@pytest.mark.parametrize(("error", "is_verdict"), [(ValueError, True), (ConnectionError, False), (OSError, False)])
def test_a_fault_of_the_disk_or_the_network_is_no_verdict(toy, error, is_verdict):
    def fails(tables, key, settings):
        """It fails itself."""
        raise error("of itself")

    with patch.dict(STAGES, {"masks": replace(STAGES["masks"], checks=(check(fails, blocking=True),))}):
        if is_verdict:
            with pytest.raises(GateClosed, match="the check failed itself: ValueError: of itself"):
                make(toy)
        else:
            with pytest.raises((error, LakeError), match="of itself"):
                make(toy)
            assert toy.workspace().lake.ledger.latest("masks", P1) is None


# Studies


def test_a_study_waits_for_plates_that_are_stale(made):
    made.image("P1", 0).write_text("7")
    last = made.workspace().plan(PLATES, [STUDY])[-1]
    assert (last.stage, last.reasons, last.waits) == ("feature_space", ("after well_profiles",), True)


def test_a_source_that_cannot_be_asked_is_told(made):
    """It is not taken for one without files."""
    with patch("morpho_assets.gallery.store.Store.stamps", side_effect=ImageError("there", "is down")), pytest.raises(
        ImageError, match="is down"
    ):  # fmt: skip
        tasks(made)


def test_rows_of_a_broken_table_are_asked_for_in_vain(made):
    commit = made.workspace().lake.ledger.latest("masks", P1)
    path = commit.outputs["masks"].files[0].path
    snapshot = made.workspace().lake.snapshot([commit])
    assert snapshot.read("masks", "P1").height == 3
    Path(made.files.url(path)).write_bytes(b"PAR1")
    with pytest.raises(LakeError, match="table masks of plate P1 cannot be read"):
        snapshot.read("masks", "P1")
    made.files.remove(path)
    with pytest.raises(LakeError, match="table masks of plate P1 cannot be read"):
        snapshot.read("masks", "P1")


def test_a_partition_with_a_part_is_another_one(toy):
    ledger = toy.workspace().lake.ledger
    first = draft(1, ledger.writer)
    ledger.commit(first)
    other = first.model_copy(update={"partition": Partition("plate", "P1", "S/vae.1")})
    ledger.commit(other)
    assert ledger.latest("masks", other.partition) == other
    assert ledger.latest("masks", P1) == first
    assert set(ledger.state([P1]).commits) == {("masks", P1), ("masks", other.partition)}


class Overwriting(Bucket):
    """An object store that takes no notice of `If-None-Match`, as some do."""

    def _put(self, path, value, mode="overwrite"):
        super()._put(path, value)


def test_a_store_in_which_a_name_can_be_taken_twice_is_refused(tmp_path):
    bucket = Overwriting()
    with toy_stages():
        toy = Toy.make(tmp_path / "toy", bucket.files())
        with pytest.raises(LakeError, match="honours `If-None-Match"):
            Run(toy.workspace()).make("plate_manifest", P1)
    assert set(bucket.objects) == {"bucket/lake/ledger/once"}


def test_a_commit_in_another_plate_s_folder_counts_as_none(toy):
    Run(toy.workspace()).make("plate_manifest", P1)
    folder = toy.folder / "lake/ledger/commits"
    (folder / "plate=P1").rename(folder / "plate=p1")
    ledger = toy.workspace().lake.ledger
    assert ledger.latest("plate_manifest", P1._replace(key="p1")) is None
    assert ledger.state().broken == ("ledger/commits/plate=p1/plate_manifest.00000001.json",)
    with pytest.raises(LakeError, match="does not tell P1 from p1"):
        ledger.read("plate_manifest", P1._replace(key="p1"), 1)
