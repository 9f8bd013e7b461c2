"""Label images for CellProfiler: values, the load_data beside them, and what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile

from morpho_assets.errors import LakeError
from morpho_assets.export.labels import export_labels
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.export.conftest import opened, squares
from morpho_assets_tests.factories import commit_tables, plate


def test_a_tiff_for_each_compartment_with_the_numbers_of_the_cells(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        assert export_labels(p1, out) == []
    nuclei, cells = squares(2, 10), squares(2, 24)
    for name, expected in (("Nuclei", nuclei), ("Cells", cells), ("Cytoplasm", cytoplasm_of(nuclei, cells))):
        file = tmp_path / f"P1/A01-2_{name}.tiff"
        assert tifffile.imread(file).dtype == np.uint16
        np.testing.assert_array_equal(read_labels(file), expected)
        assert pixel_size(file.read_bytes()) == pytest.approx(0.5)
    assert not read_labels(tmp_path / "P1/B03-1_Cells.tiff").any()
    assert '"licence": "CC0-1.0"' in (tmp_path / "P1/about.json").read_text()


def test_the_load_data_names_images_and_objects(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        export_labels(p1, out)
    file = tmp_path / "P1/load_data.csv"
    rows = pl.read_csv(file)
    for name in ("Nuclei", "Cells", "Cytoplasm"):
        for row in rows.iter_rows(named=True):
            assert (Path(row[f"ObjectsPathName_{name}"]) / row[f"ObjectsFileName_{name}"]).is_file()
    images = read_load_data(file.read_bytes(), str(file), "P1")
    assert sorted(images["uri"]) == sorted(p1.tables.read("sites", "P1")["uri"])


def test_it_is_kept_and_what_is_gone_is_made_again(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        export_labels(p1, out)
    (tmp_path / "P1/A01-1_Cells.tiff").unlink()
    with Written.opened(tmp_path) as out:
        export_labels(p1, out)
        assert (out.made, out.kept) == (1, 4)
    assert (tmp_path / "P1/A01-1_Cells.tiff").exists()


def test_a_plate_without_label_images_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    keys = {name: [] for name in ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel")}
    for stage, table in (("plate_manifest", "sites"), ("raw_images", "image_files"), ("masks", "masks")):
        columns = keys if table != "masks" else {name: [] for name in list(keys)[:3]}
        commit_tables(lake, stage, plate("P1"), {table: pl.DataFrame(columns)})
    with Written.opened(tmp_path / "out") as out, pytest.raises(LakeError, match="no segmented site"):
        export_labels(opened(lake), out)
