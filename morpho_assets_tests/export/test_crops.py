"""Crops of single cells: pixels, folders of classes, the table beside them, and limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile

from morpho_assets.errors import InputError, LakeError
from morpho_assets.export.crops import Windows, _folders, export_crops
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written

RAW = Windows(size=20, corrected=False)


def test_a_file_holds_the_window_around_its_cell(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        assert export_crops(p1, out, RAW) == []
    table = pl.read_csv(tmp_path / "P1.crops.csv")
    assert table["file"].to_list() == [f"DMSO/P1_A01_{site}_{cell}.tiff" for site in (1, 2) for cell in (1, 2)]
    assert set(table["class"]) == {"DMSO"}
    [site] = [site for site in p1.sites if site.key == "A01-2"]
    image = np.stack([tifffile.imread(path) for path in site.paths])
    crop = tifffile.imread(tmp_path / "DMSO/P1_A01_2_2.tiff")
    np.testing.assert_array_equal(crop, image[:, 50:70, 50:70])  # around row and column 59.5, which lands on pixel 10
    with tifffile.TiffFile(tmp_path / "DMSO/P1_A01_2_2.tiff") as file:
        assert file.imagej_metadata["Labels"] == ["DNA", "RNA"]
        assert file.imagej_metadata["unit"] == "um"
        across, down = file.pages[0].tags["XResolution"].value
        assert down / across == pytest.approx(0.5)
    assert '"licence": "CC0-1.0"' in (tmp_path / "P1.about.json").read_text()


def test_corrected_crops_are_divided_and_neighbours_can_be_blacked_out(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        export_crops(p1, out, Windows(size=80, alone=True))
    image = np.stack([tifffile.imread(path) for path in p1.sites[0].paths])
    crop = tifffile.imread(tmp_path / "DMSO/P1_A01_1_1.tiff")
    np.testing.assert_allclose(crop[:, 40:52, 40:52].astype(float), image[:, 20:32, 20:32] / 2, atol=1)
    assert not crop[:, 70:80, 70:80].any()  # the second cell
    assert crop[:, 70:80, 40:50].any()  # background stays


def test_classes_are_a_column_and_cells_of_each_can_be_few(p1: Plate, tmp_path: Path) -> None:
    few = Windows(column="Metadata_pert_type", size=8, most=3)
    for made in (True, False):
        with Written.opened(tmp_path) as out:
            export_crops(p1, out, few)
            assert bool(out.made) is made
    files = sorted(path.name for path in (tmp_path / "control").iterdir())
    assert len(files) == 3
    assert pl.read_csv(tmp_path / "P1.crops.csv").height == 3
    with Written.opened(tmp_path) as out:  # fewer: what is not asked for any more goes
        export_crops(p1, out, Windows(column="Metadata_pert_type", size=8, most=1))
    assert len(list((tmp_path / "control").iterdir())) == 1


def test_a_column_that_is_not_there_or_says_nothing_is_one_message(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        with pytest.raises(LakeError, match=r"no column 'Metadata_target'.*Metadata_moa"):
            export_crops(p1, out, Windows(column="Metadata_target"))
        with pytest.raises(LakeError, match=r"no imaged well .* has a value in Metadata_moa"):
            export_crops(p1, out, Windows(column="Metadata_moa"))
        with pytest.raises(InputError, match="numbers from 1 on"):
            export_crops(p1, out, Windows(size=0))
    assert not list(tmp_path.glob("*.csv"))


def test_folders_of_classes_are_names_that_every_disk_takes() -> None:
    found = _folders({"a/b", "a:b", "DMSO", "..", "BRD-1 at 3"})
    assert found["DMSO"] == "DMSO"
    assert found["BRD-1 at 3"] == "BRD-1 at 3"
    assert found[".."] == "_"
    assert found["a/b"] != found["a:b"]
    assert all("/" not in name for name in found.values())
