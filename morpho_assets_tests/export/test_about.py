"""What travels with every form: size of a pixel, objective, stains, licence, and the commits that it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import pyarrow.parquet as pq
import pytest
import zarr

from morpho_assets.compute import no_progress
from morpho_assets.export import FORMS
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.exporting import WRITERS, Options

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


def test_each_form_has_a_writer_and_words() -> None:
    assert set(FORMS) == set(WRITERS) == set(SAID)
