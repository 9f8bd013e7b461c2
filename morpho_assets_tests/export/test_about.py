"""What travels with every form: size of a pixel, objective, stains, licence, and the commits that it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

from morpho_assets.compute import no_progress
from morpho_assets.export import FORMS
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.exporting import WRITERS, Options
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.export.conftest import opened
from morpho_assets_tests.factories import commit_tables, plate

SAID: dict[str, Callable[[Path], Any]] = {
    "anndata": lambda folder: json.loads(anndata.read_h5ad(folder / "P1.cells.h5ad").uns["about"]),
    "ome-zarr": lambda folder: dict(zarr.open_group(str(folder / "P1.ome.zarr"), mode="r").attrs)["morpho"],
    "crops": lambda folder: json.loads((folder / "P1.about.json").read_text()),
    "cytotable": lambda folder: json.loads(pq.read_schema(folder / "P1.parquet").metadata[b"morpho"]),
    "gallery": lambda folder: json.loads(next(folder.rglob("about.json")).read_text()),
    "labels": lambda folder: json.loads((folder / "P1/about.json").read_text()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_is_known_of_the_images_and_what_it_was_made_from(
    p1: Plate, tmp_path: Path, form: str
) -> None:
    with Written.opened(tmp_path) as out:
        assert not WRITERS[form](p1, out, Options(most=2), no_progress)
    said = SAID[form](tmp_path)
    assert said["title"] == "plate P1"
    assert said["pixel_size_um"] == 0.5
    assert said["objective"] == "20x/1.0"
    assert said["stains"] == {"DNA": "Hoechst 33342"}
    assert said["licence"] == "CC0-1.0"
    assert said["made_from"]["masks of plate P1"]["commit"] == 1


@pytest.mark.parametrize(("said", "believed"), [(0.65, 0.65), (6.45, None), (None, None)])
def test_the_size_of_a_pixel_on_the_camera_is_not_taken_for_that_of_the_field(
    tmp_path: Path, said: float | None, believed: float | None
) -> None:
    path, p1, lake = tmp_path / "image.tiff", plate("P1"), Lake(str(tmp_path / "lake"))
    resolution = {"resolution": (1e4 / said, 1e4 / said), "resolutionunit": "CENTIMETER"} if said else {}
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), **resolution)
    place = {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "channel": "DNA", "uri": str(path)}
    file = {"path": str(path), "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    commit_tables(lake, "plate_manifest", p1, {"sites": pl.DataFrame([{**place, "source": "lab"}])})
    commit_tables(lake, "raw_images", p1, {"image_files": pl.DataFrame([{**place, **file}])})
    assert opened(lake, config=AboutConfig()).about.pixel_size == (
        None if believed is None else pytest.approx(believed, rel=1e-4)
    )


def test_each_form_has_a_writer_and_words() -> None:
    assert set(FORMS) == set(WRITERS) == set(SAID)
