from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from morpho_assets.compute import ComputeConfig
from morpho_assets.errors import ImageError, LakeError
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.work import process_sites
from morpho_assets_tests.factories import commit_work, make_work, plate

P1 = plate("P1")


@dataclass(frozen=True)
class Field:
    key: str
    files = ()

    @property
    def place(self):
        return {"Metadata_Plate": "P1", "Metadata_Well": self.key.partition("-")[0], "Metadata_Site": 1}

    def channel_of(self, path):
        return "DNA" if path.startswith("/images/") else "*"


FIELDS = [Field("A01-1"), Field("A02-1"), Field("A03-1")]


def count_cells(bad, log, field):
    """A stage that writes down which sites it has worked on."""
    well = field.place["Metadata_Well"]
    with Path(log).open("a") as file:
        file.write(f"{well}\n")
    if well in bad:
        raise ImageError(f"/images/{well}.tiff", "truncated")
    return {"masks": pl.DataFrame([{**field.place, "Count_Cells": 3}])}


@pytest.fixture
def run(tmp_path):
    """Work on the sites once; killed, it ends before its commit."""
    lake, log = Lake(str(tmp_path / "lake")), tmp_path / "log"

    def once(bad=(), settings=None, workers=1, killed=False):
        log.write_text("")
        work = make_work(lake, "masks", P1, settings, compute=ComputeConfig(workers=workers))
        function = partial(count_cells, bad, str(log))
        done = process_sites(work, FIELDS, function, ("masks",), lambda field: field.key)
        if not killed:
            work.write_stream("masks", done.frames("masks"))
            commit_work(work)
        return work, done, sorted(log.read_text().split())

    return lake, once


@pytest.mark.parametrize("workers", [1, 2])
def test_every_site_is_worked_on_and_comes_out_in_order(run, workers):
    _, once = run
    work, done, worked = once(workers=workers)
    assert worked == ["A01", "A02", "A03"]
    assert (work.covered().total, work.covered().failed) == (3, {})
    assert pl.concat(done.frames("masks"))["Metadata_Well"].to_list() == ["A01", "A02", "A03"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_site_that_fails_is_a_row_and_is_alone_tried_again(run, killed):
    lake, once = run
    work, _, _ = once(bad=("A02",), killed=killed)
    assert (work.covered().total, work.covered().failed) == (3, {"A02-1": "truncated"})
    row = lake.scan_files([work.outputs["site_failures"].files[0].path]).collect().row(0, named=True)
    assert (row["Metadata_Well"], row["channel"], row["stage"]) == ("A02", "DNA", "masks")
    assert (row["error"], row["path"]) == ("truncated", "/images/A02.tiff")
    work, _, worked = once()
    assert (work.covered().failed, worked) == ({}, ["A02"])
    tables = lake.latest(["masks"], [P1])
    assert tables.read("site_failures", "P1").height == 0
    assert tables.read("masks", "P1")["Metadata_Well"].to_list() == ["A01", "A02", "A03"]


@pytest.mark.parametrize("killed", [False, True])
def test_work_of_other_settings_is_not_taken_up(run, killed):
    _, once = run
    once(killed=killed)
    assert once(killed=killed)[2] == []
    assert once(settings="other")[2] == ["A01", "A02", "A03"]


def test_committed_work_is_forgotten_and_taken_from_its_commit(run):
    lake, once = run
    work, _, _ = once()
    assert lake.files.find(".work/masks/plate=P1")
    work.clear()
    assert lake.files.find(".work/masks/plate=P1") == {}
    _, done, worked = once(killed=True)
    assert worked == []
    assert pl.concat(done.frames("masks"))["Metadata_Well"].to_list() == ["A01", "A02", "A03"]


def test_sites_of_a_damaged_commit_are_done_again(run):
    lake, once = run
    work, _, _ = once()
    work.clear()
    lake.files.remove(work.outputs["masks"].files[0].path)
    assert once()[2] == ["A01", "A02", "A03"]


def test_an_error_of_ours_ends_the_work(tmp_path):
    def broken(field):
        raise ZeroDivisionError

    work = make_work(Lake(str(tmp_path)), "masks", P1, compute=ComputeConfig(workers=1))
    with pytest.raises(ZeroDivisionError):
        process_sites(work, FIELDS, broken, ("masks",), lambda field: field.key)


def grade(field):
    """A stage that could not tell a number of its second site."""
    value = float("nan") if field.key == "A02-1" else 1.5
    return {"image_quality": pl.DataFrame([{**field.place, "channel": "DNA", "ImageQuality_FocusScore": value}])}


def test_what_is_undefined_is_null_of_sites_that_were_just_done_and_of_earlier_ones(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    for worked_on in (3, 0):
        work = make_work(lake, "image_quality", P1)
        done = process_sites(work, FIELDS, grade, ("image_quality",), lambda field: field.key)
        found = pl.concat(done.frames("image_quality"))
        assert found["ImageQuality_FocusScore"].to_list() == [1.5, None, 1.5]
        assert work.notes["sites worked on"] == worked_on
        work.write("image_quality", found)
        commit_work(work)
        work.clear()


def test_a_finished_site_whose_rows_are_spoilt_is_named_with_what_to_do(run):
    lake, once = run
    _, done, _ = once(killed=True)
    path = sorted(path for path in lake.files.find(".work/masks/plate=P1") if "/masks/A02-1" in path)[0]
    (Path(lake.root) / path).write_bytes(bytes(500))
    with pytest.raises(LakeError, match=r"site A02-1 is done, but .* is damaged. Delete .*A02-1.*\.arrow of the lake"):
        list(done.frames("masks"))
