import errno
import os

import polars as pl
import pytest

from morpho_assets.errors import LakeError
from morpho_assets.lake import lake as lake_module
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_tables, commit_work, make_work, plate


def masks(wells, plate="P1"):
    return pl.DataFrame({"Metadata_Plate": plate, "Metadata_Well": wells, "Metadata_Site": 1, "Count_Cells": 3})


@pytest.fixture(params=["local", "object store"])
def lake(request, tmp_path):
    if request.param == "local":
        return Lake(str(tmp_path / "lake"))
    store = request.getfixturevalue("object_store")
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": store.url}}
    return Lake(f"s3://bucket/{tmp_path.name}", options)


def latest(lake, stage="masks", keys=("P1", "P2")):
    return lake.latest([stage], map(plate, keys))


def test_a_partition_is_written_read_and_listed(lake):
    commit_tables(lake, "masks", plate("P1"), {"masks": masks(["A01", "A02"])})
    commit_tables(lake, "masks", plate("P2"), {"masks": masks(["B01"], "P2")})
    tables = latest(lake)
    assert tables.keys("masks") == lake.ledger.partitions("plate") == ["P1", "P2"]
    assert tables.read("masks", "P1")["Metadata_Well"].to_list() == ["A01", "A02"]
    assert tables.scan("masks").collect().height == 3
    assert tables.scan("masks", ["P2"]).select("Metadata_Well").collect().rows() == [("B01",)]


def test_committing_again_replaces_for_those_who_ask_later(lake):
    commit_tables(lake, "masks", plate("P1"), {"masks": masks(["A01"])})
    before = latest(lake)
    commit_tables(lake, "masks", plate("P1"), {"masks": masks(["A02"])})
    assert latest(lake).read("masks", "P1")["Metadata_Well"].to_list() == ["A02"]
    assert before.read("masks", "P1")["Metadata_Well"].to_list() == ["A01"]


def test_a_commit_says_what_made_it(lake):
    images = commit_tables(lake, "raw_images", plate("P1"), {})
    made = commit_tables(lake, "masks", plate("P1"), {"masks": masks(["A01"])})
    found = lake.ledger.latest("masks", plate("P1"))
    assert found == made
    assert [(read.stage, read.partition, read.number) for read in found.reads] == [
        ("raw_images", images.partition, images.number)
    ]
    assert lake.ledger.latest("masks", plate("P2")) is None


def test_a_table_of_several_stages_is_read_together_or_alone(lake):
    for stage in ("masks", "raw_images"):
        row = {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "channel": "*", "stage": stage}
        commit_tables(lake, stage, plate("P1"), {"site_failures": pl.DataFrame([row])})
    assert lake.latest(["masks", "raw_images"], [plate("P1")]).read("site_failures", "P1").height == 2
    assert latest(lake).read("site_failures", "P1")["stage"].to_list() == ["masks"]


def test_a_stream_is_written_in_groups_and_equals_the_whole(lake, monkeypatch):
    monkeypatch.setattr(lake_module, "GROUP_BYTES", 100)
    frames = [masks([f"{letter}{number:02d}" for number in range(1, 25)]) for letter in "ABC"]
    work = make_work(lake, "masks", plate("P1"))
    assert work.write_stream("masks", iter(frames)) == 72
    commit_work(work)
    found = latest(lake).read("masks", "P1")
    assert found["Metadata_Well"].to_list() == pl.concat(frames)["Metadata_Well"].to_list()


def test_a_stream_of_nothing_is_an_empty_partition(lake):
    work = make_work(lake, "masks", plate("P1"))
    assert work.write_stream("masks", []) == 0
    commit_work(work)
    assert latest(lake).read("masks", "P1").height == 0


def test_a_missing_partition_is_named(lake):
    with pytest.raises(LakeError, match="table masks of plate P9 is not there"):
        latest(lake).read("masks", "P9")
    assert latest(lake).scan("masks").collect().height == 0


def test_files_are_put_listed_and_removed(lake):
    files = lake.files
    paths = [lake.write_named("label_images/plate=P1", f"{name}.tif", name.encode()) for name in "xy"]
    assert list(files.find("label_images/plate=P1")) == sorted(paths)
    assert lake.read_bytes(paths[0]) == b"x"
    for path in paths:
        files.remove(path)
    assert files.find("label_images/plate=P1") == {}
    with pytest.raises(LakeError, match="does not exist"):
        lake.read_bytes(paths[0])


def test_a_file_of_other_content_has_another_path(lake):
    first, same, other = (lake.write_named("illumination", "x.npy", body) for body in (b"1", b"1", b"2"))
    assert first == same != other
    assert (lake.read_bytes(first), lake.read_bytes(other)) == (b"1", b"2")


def test_what_fails_while_writing_leaves_the_old_partition_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(lake_module, "GROUP_BYTES", 100)
    lake = Lake(str(tmp_path))
    commit_tables(lake, "masks", plate("P1"), {"masks": masks(["A01"])})
    kept = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    def frames():
        yield masks([f"A{i:02d}" for i in range(24)])
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        make_work(lake, "masks", plate("P1")).write_stream("masks", frames())
    assert latest(lake).read("masks", "P1")["Metadata_Well"].to_list() == ["A01"]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == kept


@pytest.mark.parametrize("code", ["EPERM", "ENOTSUP"])
def test_a_disk_without_hard_links_is_refused(tmp_path, monkeypatch, code):
    def link(*paths):
        raise OSError(getattr(errno, code), "no links here")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(LakeError, match="knows hard links"):
        Lake(str(tmp_path)).check_store()


def test_a_store_is_asked_again_where_it_could_not_answer(tmp_path, monkeypatch):
    lake = Lake(str(tmp_path))
    plain = os.link
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError(errno.EIO, "a broken disk")))
    with pytest.raises(OSError, match="a broken disk"):
        lake.check_store()
    monkeypatch.setattr(os, "link", plain)
    lake.check_store()
    lake.check_store()
