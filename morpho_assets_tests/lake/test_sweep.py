"""What a sweep leaves where it is, and what it removes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from morpho_assets.lake import files as stores
from morpho_assets.lake.catalog import published_commits
from morpho_assets.lake.leases import held
from morpho_assets.lake.ledger import commit_path
from morpho_assets.lake.sweep import sweep
from morpho_assets.publication import clean, publish
from morpho_assets.runs import Run
from morpho_assets_tests.lake.toy import ALL, STAGES_OF, Toy, bury, problems, toy_stages

P1, P2, _ = ALL
NOW = -1
"""Days: whatever is there is old enough."""


@pytest.fixture
def toy(tmp_path):
    """A project of which plate P1 was made three times, so that nothing names the files of the first."""
    with toy_stages():
        toy = Toy.make(tmp_path / "toy")
        for factor in (1, 2, 3):
            toy.settings = toy.settings.model_copy(update={"factor": factor})
            make(toy)
        yield toy


def make(toy, partition=P1, **how):
    run = Run(toy.workspace(), **how)
    for name in STAGES_OF[partition.kind]:
        run.make(name, partition)


def lake(toy):
    return toy.workspace().lake


def table_files(toy):
    return [path for path in toy.files.find("masks") if path.endswith(".parquet")]


def test_the_files_of_the_last_two_commits_stay_and_older_ones_go(toy):
    before = toy.files.find("")
    swept = sweep(lake(toy), NOW)
    assert len(table_files(toy)) == 2
    assert swept.files == len(before) - len(toy.files.find(""))
    gone = before.keys() - toy.files.find("").keys()
    assert swept.bytes == sum(before[path].size for path in gone)
    assert {path.split("/")[0] for path in gone} == {"masks", "objects", "well_profiles", "label_images", "ledger"}
    assert {path.split("/")[1] for path in gone if path.startswith("ledger")} == {"keys"}
    ledger = lake(toy).ledger
    for number in (2, 3):
        assert problems(toy.workspace(), {("masks", P1): ledger.read("masks", P1, number)}) == []
    assert sweep(lake(toy), NOW).files == 0


def test_what_is_younger_than_a_day_stays(toy):
    assert sweep(lake(toy)).files == 0
    old = time.time() - 90_000
    for path in toy.files.find("masks"):
        os.utime(toy.files.url(path), (old, old))
    assert sweep(lake(toy)).files == 1


def test_a_plate_that_somebody_is_at_work_on_is_left_alone(toy):
    """Its tables too, whose folders are named in another way than its leases."""
    with held(toy.files, "masks", P1, "somebody"):
        assert sweep(lake(toy), NOW).files == 0
    with held(toy.files, "masks", P2, "somebody"):
        assert sweep(lake(toy), NOW).files > 0


def test_the_files_of_commits_in_the_catalog_stay(toy):
    publish(toy.workspace())
    for factor in (4, 5):
        toy.settings = toy.settings.model_copy(update={"factor": factor})
        make(toy)
    clean(toy.workspace(), NOW)
    published = published_commits(toy.settings.catalog)
    assert published["masks", P1] == 3
    ledger = lake(toy).ledger
    for number in (3, 4, 5):
        assert problems(toy.workspace(), {("masks", P1): ledger.read("masks", P1, number)}) == []
    assert len(table_files(toy)) == 3


@pytest.mark.parametrize("what", ["commit", "keys", "every commit"])
def test_of_a_plate_with_a_commit_that_cannot_be_read_nothing_is_removed(toy, what):
    """What it names nobody knows."""
    commit = lake(toy).ledger.latest("masks", P1)
    numbers = (1, 2, 3) if what == "every commit" else (3,)
    for path in [commit.files] if what == "keys" else [commit_path("masks", P1, number) for number in numbers]:
        toy.files.write(path, b"")
    assert sweep(lake(toy), NOW).files == 0


def test_sites_that_were_kept_on_the_way_keep_what_they_name(toy):
    """A label image is older than the rows that name it, if only by a moment."""
    make(toy, P2)
    Run(toy.workspace(), force=True)
    toy.settings = toy.settings.model_copy(update={"factor": 9})
    with patch("morpho_assets.lake.work.Work.write_stream", side_effect=RuntimeError), pytest.raises(RuntimeError):
        make(toy, P1)
    kept = toy.files.find(".work")
    assert kept
    old = time.time() - 90_000
    for path in [*toy.files.find("label_images"), *toy.files.find("masks")]:
        os.utime(toy.files.url(path), (old, old))
    assert sweep(lake(toy)).files == 0
    for path in kept:
        os.utime(toy.files.url(path), (old, old))
    sweep(lake(toy))
    assert not toy.files.find(".work")
    make(toy, P1)
    assert problems(toy.workspace(), lake(toy).ledger.state().commits) == []


def test_what_was_written_anew_since_it_was_listed_stays(toy):
    """A run may give the content again that an older one gave, at the same path."""
    first = lake(toy).ledger.read("masks", P1, 1).outputs["masks"].files[0].path
    body = toy.files.read(first)
    plain = stores.LocalFiles.entry

    def meanwhile(files, path):
        if path == first:
            files.write(path, body)
        return plain(files, path)

    with patch.object(stores.LocalFiles, "entry", meanwhile):
        sweep(lake(toy), NOW)
    assert toy.files.read(first) == body


def test_what_killed_runs_left_goes(toy):
    aside = Path(toy.files.aside("masks/Metadata_Plate=P1/x"))
    fetched = Path(toy.settings.images.folder) / "P1" / ".0123.aside"
    fetched.parent.mkdir(parents=True)
    for path in (aside, fetched):
        path.write_bytes(b"half")
    with patch("morpho_assets.lake.leases.forgiven", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        make(replace(toy, settings=toy.settings.model_copy(update={"factor": 7})))
    assert toy.files.find("ledger/leases")
    bury(toy.files)
    clean(toy.workspace())
    assert aside.exists()
    clean(toy.workspace(), NOW)
    assert not aside.exists()
    assert not fetched.exists()
    assert not toy.files.find("ledger/leases")
