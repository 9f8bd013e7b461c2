"""OME-Zarr plates: pixels and labels as they were, the rules of OME-NGFF 0.5, and what happens half-way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
import zarr

from morpho_assets.errors import LakeError
from morpho_assets.export.ome_zarr import export_plate, image_levels, label_levels
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.export import ngff
from morpho_assets_tests.export.conftest import CHANNELS, SHAPE, fill, opened, squares
from morpho_assets_tests.factories import commit_tables, plate


@pytest.fixture(scope="module")
def written(filled: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zarr")
    with Written.opened(folder) as out:
        assert export_plate(opened(filled), out) == ("P1.ome.zarr", [])
    return folder / "P1.ome.zarr"


def test_it_keeps_the_rules(written: Path) -> None:
    assert ngff.broken_rules(written) == []


def test_the_rules_see_what_is_wrong(written: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(written, tmp_path / "wrong")
    root = json.loads((wrong / "zarr.json").read_text())
    root["attributes"]["ome"]["plate"]["wells"][0]["columnIndex"] = 1
    (wrong / "zarr.json").write_text(json.dumps(root))
    array = json.loads((wrong / "A/01/0/1/zarr.json").read_text())
    (wrong / "A/01/0/1/zarr.json").write_text(json.dumps({**array, "dimension_names": ["c", "x", "y"]}))
    assert len(ngff.broken_rules(wrong)) == 2


def test_pixels_and_labels_come_back(written: Path, p1: Plate) -> None:
    plate = zarr.open_group(str(written), mode="r")
    for (row, column, field), site in {("A", "01", "0"): p1.sites[0], ("A", "01", "1"): p1.sites[1]}.items():
        image = plate[f"{row}/{column}/{field}/0"][...]
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, np.stack([tifffile.imread(path) for path in site.paths]))
        labels = {
            name: plate[f"{row}/{column}/{field}/labels/{name}/0"][...] for name in ("nuclei", "cells", "cytoplasm")
        }
        np.testing.assert_array_equal(labels["nuclei"], squares(2, 10))
        np.testing.assert_array_equal(labels["cells"], squares(2, 24))
        np.testing.assert_array_equal(labels["cytoplasm"], cytoplasm_of(squares(2, 10), squares(2, 24)))
    assert not plate["B/03/0/labels/cells/0"][...].any()  # a site without cells has empty labels


def test_wells_say_what_was_done_and_images_what_is_known(written: Path) -> None:
    root = zarr.open_group(str(written), mode="r")
    described = root.attrs["ome"]["plate"]
    assert [(each["path"], each["rowIndex"], each["columnIndex"]) for each in described["wells"]] == [
        ("A/01", 0, 0), ("B/03", 1, 2),
    ]  # fmt: skip
    assert (len(described["rows"]), len(described["columns"]), described["field_count"]) == (2, 3, 2)
    assert root["B/03"].attrs["morpho"]["Metadata_Perturbation"] == "BRD/1 at 3"
    assert root["A/01"].attrs["morpho"]["sites"] == {"0": 1, "1": 2}
    image = root["A/01/1"].attrs
    assert (image["morpho"]["Metadata_Site"], image["morpho"]["licence"]) == (2, "CC0-1.0")
    assert [each["label"] for each in image["ome"]["omero"]["channels"]] == ["DNA (Hoechst 33342)", "RNA"]
    [pyramid] = image["ome"]["multiscales"]
    assert pyramid["axes"][1] == {"name": "y", "type": "space", "unit": "micrometer"}
    assert [each["coordinateTransformations"] for each in pyramid["datasets"]] == [
        [{"type": "scale", "scale": [1, 0.5, 0.5]}],
        [{"type": "scale", "scale": [1, 1, 1]}, {"type": "translation", "translation": [0, 0.25, 0.25]}],
    ]


def test_corrected_images_are_divided_by_their_functions(filled: Lake, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        export_plate(opened(filled), out, corrected=True)
    image = zarr.open_array(str(tmp_path / "P1.ome.zarr/A/01/0/0"), mode="r")[...]
    raw = tifffile.imread(opened(filled).sites[0].paths[0])
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], raw / 65_535 / 2, rtol=1e-6)


def test_levels_are_means_of_images_and_pixels_of_labels() -> None:
    image = np.arange(300 * 301, dtype=np.uint16).reshape(1, 300, 301)
    levels = image_levels(image)
    assert [level.shape for level in levels] == [(1, 300, 301), (1, 150, 151)]
    assert levels[1][0, 0, 0] == np.rint((0 + 1 + 301 + 302) / 4)
    assert levels[1][0, 0, -1] == np.rint((300 + 601) / 2)  # the border repeats
    assert [level.shape for level in label_levels(image[0])] == [(300, 301), (150, 151)]
    assert len(image_levels(image[:, :10, :10])) == 1


def test_it_goes_on_where_it_was_and_a_plate_is_seen_when_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = fill(tmp_path)
    monkeypatch.setattr("morpho_assets.export.ome_zarr.CONTRAST_SITES", 1)
    (tmp_path / "images/B03-1-RNA.tiff").rename(tmp_path / "away")
    with Written.opened(tmp_path / "out") as out, pytest.raises(LakeError, match="cannot be read now"):
        export_plate(opened(lake), out)
    root = tmp_path / "out/P1.ome.zarr"
    assert (root / "A/01/1/zarr.json").exists()
    assert not (root / "zarr.json").exists()
    assert not (root / "B").exists()
    (tmp_path / "away").rename(tmp_path / "images/B03-1-RNA.tiff")
    with Written.opened(tmp_path / "out") as out:
        export_plate(opened(lake), out)
        assert out.kept == 2
    assert ngff.broken_rules(root) == []
    with Written.opened(tmp_path / "out") as out:
        export_plate(opened(lake), out)
        assert out.made == 0
    with Written.opened(tmp_path / "out") as out:
        export_plate(opened(lake, config=AboutConfig()), out)  # other facts about the images
        assert out.made >= len(opened(lake).sites)
    assert "unit" not in zarr.open_group(str(root / "A/01/0"), mode="r").attrs["ome"]["multiscales"][0]["axes"][1]


def test_a_site_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    lake = fill(tmp_path)
    files = opened(lake).tables.read("image_files", "P1")
    path = tmp_path / "images/A01-1-DNA.tiff"
    path.write_bytes(b"no image")
    digest = hashlib.sha256(b"no image").hexdigest()
    broken = files.with_columns(pl.when(path=str(path)).then(pl.lit(digest)).otherwise("sha256").alias("sha256"))
    commit_tables(lake, "raw_images", plate("P1"), {"image_files": broken})
    with Written.opened(tmp_path / "out") as out:
        name, failed = export_plate(opened(lake), out)
    assert len(failed) == 1
    assert failed[0].startswith("A01-1: ")
    assert "neither TIFF nor PNG" in failed[0]
    assert ngff.broken_rules(tmp_path / "out" / name) == []
    wells = zarr.open_group(str(tmp_path / "out" / name / "A/01"), mode="r").attrs
    assert wells["morpho"]["sites"] == {"1": 2}


def test_a_plate_without_images_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    commit_tables(lake, "plate_manifest", plate("P1"), {"sites": pl.DataFrame(
        {"Metadata_Plate": [], "Metadata_Well": [], "Metadata_Site": [], "channel": []})})  # fmt: skip
    commit_tables(lake, "raw_images", plate("P1"), {"image_files": pl.DataFrame(
        {"Metadata_Plate": [], "Metadata_Well": [], "Metadata_Site": [], "channel": []})})  # fmt: skip
    with Written.opened(tmp_path / "out") as out, pytest.raises(LakeError, match="has no images"):
        export_plate(opened(lake), out)


@pytest.mark.slow
def test_ome_zarr_s_own_reader_reads_it(written: Path) -> None:
    """Its releases want an older pydantic than ours, so it runs under a Python of its own."""
    python = os.environ.get("MORPHO_OME_ZARR_PYTHON")
    if not python:
        pytest.skip("needs ome-zarr and ome-zarr-models: set MORPHO_OME_ZARR_PYTHON to a Python that has them")
    done = subprocess.run([python, ngff.__file__, str(written)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wells"] == ["A/01", "B/03"]
    assert list(told["fields"]) == ["A/01/0", "A/01/1", "B/03/0"]
    for shapes in told["fields"].values():
        assert shapes == [[False, [len(CHANNELS), *SHAPE]], *[[True, list(SHAPE)]] * 3]
