import polars as pl
import pytest

from morpho_assets.errors import LakeError
from morpho_assets.lake.lake import ROWS_PER_GROUP, Lake
from morpho_assets.lake.provenance import Provenance

MADE = Provenance("masks", "1", "abc", {"raw_images": "def"})


def masks(wells, plate="P1"):
    return pl.DataFrame({"Metadata_Plate": plate, "Metadata_Well": wells, "Metadata_Site": 1, "Count_Cells": 3})


@pytest.fixture(params=["local", "object store"])
def lake(request, tmp_path):
    if request.param == "local":
        return Lake(str(tmp_path / "lake"))
    store = request.getfixturevalue("object_store")
    options = {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"endpoint_url": store.url},
        "use_listings_cache": False,
    }
    return Lake(f"s3://bucket/{tmp_path.name}", options)


def test_a_partition_is_written_read_and_listed(lake):
    lake.write("masks", "P1", masks(["A01", "A02"]), MADE)
    lake.write("masks", "P2", masks(["B01"], "P2"), MADE)
    assert lake.partitions("masks") == ["P1", "P2"]
    assert lake.read("masks", "P1")["Metadata_Well"].to_list() == ["A01", "A02"]
    assert lake.scan("masks").collect().height == 3
    assert lake.scan("masks", ["P2"]).select("Metadata_Well").collect().rows() == [("B01",)]


def test_writing_again_replaces(lake):
    lake.write("masks", "P1", masks(["A01"]), MADE)
    lake.write("masks", "P1", masks(["A02"]), MADE)
    assert lake.read("masks", "P1")["Metadata_Well"].to_list() == ["A02"]


def test_a_partition_says_what_made_it(lake):
    lake.write("masks", "P1", masks(["A01"]), MADE)
    assert lake.provenance("masks", "P1") == MADE
    assert lake.provenance("masks", "P2") is None


def test_parts_of_a_partition_are_read_together_or_alone(lake):
    for stage in ("masks", "raw_images"):
        row = {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "channel": "*", "stage": stage}
        lake.write("site_failures", "P1", pl.DataFrame([row]), MADE, part=stage)
    assert lake.read("site_failures", "P1").height == 2
    assert lake.read("site_failures", "P1", "masks")["stage"].to_list() == ["masks"]


def test_a_stream_is_written_in_groups_and_equals_the_whole(lake):
    frames = [masks([f"{letter}{number:02d}" for number in range(1, 25)]) for letter in "ABC"]
    assert lake.write_stream("masks", "P1", iter(frames), MADE) == 72
    assert lake.read("masks", "P1")["Metadata_Well"].to_list() == pl.concat(frames)["Metadata_Well"].to_list()
    assert lake.provenance("masks", "P1") == MADE


def test_a_stream_of_nothing_is_an_empty_partition(lake):
    assert lake.write_stream("masks", "P1", [], MADE) == 0
    assert lake.read("masks", "P1").height == 0


def test_a_missing_partition_is_named(lake):
    with pytest.raises(LakeError, match="table masks has no partition 'P9'"):
        lake.read("masks", "P9")
    assert lake.scan("masks").collect().height == 0


def test_files_are_put_listed_and_removed(lake):
    lake.write_bytes("label_images/plate=P1/a/x.tif", b"x")
    lake.write_bytes("label_images/plate=P1/a/y.tif", b"y")
    assert lake.files_in("label_images/plate=P1/a") == [
        "label_images/plate=P1/a/x.tif",
        "label_images/plate=P1/a/y.tif",
    ]
    assert lake.read_bytes("label_images/plate=P1/a/x.tif") == b"x"
    lake.remove("label_images/plate=P1/a")
    assert lake.files_in("label_images/plate=P1/a") == []
    with pytest.raises(LakeError, match="does not exist"):
        lake.read_bytes("label_images/plate=P1/a/x.tif")


def test_what_fails_while_writing_leaves_the_old_partition_and_nothing_else(tmp_path):
    lake = Lake(str(tmp_path))
    lake.write("masks", "P1", masks(["A01"]), MADE)

    def frames():
        yield masks([f"A{i}" for i in range(ROWS_PER_GROUP)])
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        lake.write_stream("masks", "P1", frames(), MADE)
    assert lake.read("masks", "P1")["Metadata_Well"].to_list() == ["A01"]
    assert [path.name for path in (tmp_path / "masks/plate=P1").iterdir()] == ["part-0.parquet"]
