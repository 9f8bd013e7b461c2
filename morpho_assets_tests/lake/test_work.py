from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from morpho_assets.compute import ComputeConfig
from morpho_assets.errors import ImageError
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.work import process_sites

MADE = Provenance("masks", "1", "abc", {})


@dataclass(frozen=True)
class Field:
    key: str

    @property
    def place(self):
        return {"Metadata_Plate": "P1", "Metadata_Well": self.key, "Metadata_Site": 1}

    def channel_of(self, path):
        return "DNA" if path.startswith("/images/") else "*"


FIELDS = [Field("A01"), Field("A02"), Field("A03")]


def count_cells(bad, log, field):
    """A stage that writes down which sites it has worked on."""
    with Path(log).open("a") as file:
        file.write(f"{field.key}\n")
    if field.key in bad:
        raise ImageError(f"/images/{field.key}.tiff", "truncated")
    return {"masks": pl.DataFrame([{**field.place, "Count_Cells": 3}])}


@pytest.fixture
def run(tmp_path):
    lake, log = Lake(str(tmp_path / "lake")), tmp_path / "log"

    def once(bad=(), made=MADE, workers=1):
        log.write_text("")
        function = partial(count_cells, bad, str(log))
        work, failed = process_sites(lake, "masks", "P1", made, FIELDS, function, ComputeConfig(workers=workers))
        return work, failed, sorted(log.read_text().split())

    return lake, once


@pytest.mark.parametrize("workers", [1, 2])
def test_every_site_is_worked_on_and_comes_out_in_order(run, workers):
    _, once = run
    work, failed, worked = once(workers=workers)
    assert worked == ["A01", "A02", "A03"]
    assert failed == 0
    rows = pl.concat(work.frames("masks", [field.key for field in FIELDS]))
    assert rows["Metadata_Well"].to_list() == ["A01", "A02", "A03"]


def test_a_site_that_fails_is_a_row_and_is_alone_tried_again(run):
    lake, once = run
    _, failed, _ = once(bad=("A02",))
    assert failed == 1
    row = lake.read("site_failures", "P1").to_dicts()[0]
    assert (row["Metadata_Well"], row["channel"], row["stage"]) == ("A02", "DNA", "masks")
    assert (row["error"], row["path"]) == ("truncated", "/images/A02.tiff")
    _, failed, worked = once()
    assert (failed, worked) == (0, ["A02"])
    assert lake.read("site_failures", "P1").height == 0


def test_work_of_other_settings_is_not_taken_up(run):
    _, once = run
    once()
    assert once()[2] == []
    assert once(made=Provenance("masks", "1", "other settings", {}))[2] == ["A01", "A02", "A03"]


def test_published_work_is_forgotten(run):
    lake, once = run
    work, _, _ = once()
    work.clear()
    assert lake.files_in(".work/masks/P1") == []
    assert once()[2] == ["A01", "A02", "A03"]


def test_an_error_of_ours_ends_the_work(tmp_path):
    def broken(field):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process_sites(Lake(str(tmp_path)), "masks", "P1", MADE, FIELDS, broken, ComputeConfig(workers=1))
