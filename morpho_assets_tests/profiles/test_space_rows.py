"""Rows of spaces that read cells, images and embeddings themselves: what a person rejected is in none of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from morpho_assets.lake.lake import Lake
from morpho_assets.profiles.space_rows import read_rows
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import commit_tables, plate, study_work

SITES = [("A01", 1), ("A01", 2), ("B01", 1)]
SPACES = {
    "measured": {"of": "cells", "steps": [{"aggregate": {"method": "median"}}]},
    "images": {"of": "images"},
    "vae": {"of": "embedding"},
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A plate of three sites with two cells each; of A01 the second site is rejected, of B01 the only one."""
    lake, p1 = Lake(str(tmp_path)), plate("P1")
    sites = pl.DataFrame(SITES, schema=["Metadata_Well", "Metadata_Site"], orient="row")
    sites = sites.select(pl.lit("P1").alias("Metadata_Plate"), pl.all())
    cells = sites.join(pl.DataFrame({"ObjectNumber": [1, 2]}), how="cross")
    commit_tables(lake, "plate_manifest", p1, {"sites": sites.with_columns(channel=pl.lit("DNA"))})
    quality = sites.with_columns(channel=pl.lit("DNA"), ImageQuality_MeanIntensity=pl.int_range(3).cast(pl.Float32))
    commit_tables(lake, "image_quality", p1, {"image_quality": quality})
    commit_tables(lake, "single_cells", p1, {"single_cells": cells.with_columns(Cells_AreaShape_Area=pl.lit(1.0))})
    vectors = cells.with_columns(study=pl.lit("s"), encoder=pl.lit("vae"), embedding=pl.lit([1.0, 2.0]))
    commit_tables(lake, "embeddings", plate("P1", "s/vae"), {"embeddings": vectors})
    wells = pl.DataFrame({"Metadata_Plate": "P1", "Metadata_Well": ["A01"], "Cells_AreaShape_Area": [1.0]})
    rejected = sites.tail(2).with_columns(rejected_by=pl.lit("Ann: dust"))
    commit_tables(lake, "well_profiles", p1, {
        "well_profiles": wells, "normalized_profiles": wells, "rejected_sites": rejected,
        "implausible_cells": cells.head(0).with_columns(implausible_in=pl.lit("")),
    })  # fmt: skip
    return lake


@pytest.mark.parametrize("name", SPACES)
def test_rejected_sites_give_no_rows(lake: Lake, name: str) -> None:
    encoders = {"vae": {"kind": "vae"}}
    study = Study.model_validate(
        {"name": "s", "title": "S", "plates": ["P1"], "encoders": encoders, "spaces": SPACES, "evaluators": {}}
    )
    work = study_work(lake, "feature_space", study, {"P1": None})
    rows = read_rows(work, name, study.spaces[name], {}).all()
    assert rows.select("Metadata_Well", "Metadata_Site").unique().rows() == [("A01", 1)]
    assert rows.height == (1 if name == "images" else 2)
