"""CytoTable's Parquet in the columns of its presets. (cytotable itself is not installed: the columns are those that its
presets select and rename, of the versions of 2023 and of 2026.)"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery import cytotable
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.cytotable import read_cytotable, scan_cytotable
from morpho_assets.gallery.image_table import CellProfilerConfig

IMAGES, CELLS = [1, 1, 2, 3], [1, 2, 1, 1]
"""Two cells in image 1, one each in 2 and 3; images 1 and 2 are of well A01."""
WELLS = ["A1", "A1", "A1", "A2"]
AREA = {"Cells_AreaShape_Area": [1.0, 2.0, 3.0, 4.0], "Nuclei_AreaShape_Area": [5.0, 6.0, 7.0, 8.0]}
PLACE = {"Image_Metadata_Plate": ["P1"] * 4, "Image_Metadata_Well": WELLS}
PRESETS = {
    "cellprofiler_csv": {
        "Metadata_ImageNumber": IMAGES, **PLACE, "Metadata_Cytoplasm_Parent_Cells": CELLS,
        "Metadata_ObjectNumber": [9] * 4,
        "Metadata_Cytoplasm_Parent_Nuclei": [9] * 4, "Cells_Number_Object_Number": CELLS, **AREA,
    },
    "cellprofiler_sqlite": {
        "Metadata_ImageNumber": IMAGES, **PLACE, "Cytoplasm_Parent_Cells": CELLS, "Cytoplasm_Parent_Nuclei": [9] * 4,
        "Cells_Number_Object_Number": CELLS, "Nuclei_Number_Object_Number": [9] * 4, **AREA,
    },
    "cellprofiler_sqlite_cpg0016_jump": {
        "Image_TableNumber": ["a", "a", "b", "c"], "Metadata_ImageNumber": [1] * 4, "Metadata_Plate": ["P1"] * 4,
        "Metadata_Well": WELLS, "Image_Metadata_Site": [1, 1, 2, 1], "Image_Metadata_Row": [1] * 4,
        "Metadata_ObjectNumber": [9] * 4, "Cytoplasm_Parent_Cells": CELLS, **AREA,
    },
    "cellprofiler_sqlite_pycytominer": {
        "Metadata_ImageNumber": IMAGES, **PLACE, "Metadata_Cells_Number_Object_Number": CELLS,
        "Metadata_Nuclei_Number_Object_Number": [9] * 4, "Metadata_Cytoplasm_Parent_Cells": CELLS, **AREA,
    },
    "cell-health-cellprofiler-to-cytominer-database": {
        "Metadata_TableNumber": [11, 11, 12, 13], "Metadata_ImageNumber": [1] * 4, **PLACE,
        "Cells_ObjectNumber": CELLS, "Metadata_Cytoplasm_Parent_Cells": CELLS, **AREA,
    },
    "in-carta": {
        "OBJECT ID": CELLS, "Row": ["A"] * 4, "Column": [1, 1, 1, 2], "FOV": [1, 1, 2, 1],
        "WELL LABEL": ["A01", "A01", "A01", "A02"], "Z": [1] * 4, "T": [1] * 4, "Plate ID": ["of the day"] * 4,
        "Cells AreaShape Area": AREA["Cells_AreaShape_Area"],
        "Primary Target AreaShape Area": AREA["Nuclei_AreaShape_Area"], "F Actin Area wv2": [0.5] * 4,
    },
}  # fmt: skip
EXPECTED = [("P1", "A01", 1, 1, 1.0, 5.0), ("P1", "A01", 1, 2, 2.0, 6.0), ("P1", "A01", 2, 1, 3.0, 7.0),
            ("P1", "A02", 1, 1, 4.0, 8.0)]  # fmt: skip
COLUMNS = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber", *AREA]


def written(folder: Path, columns: dict[str, object], name: str = "P1") -> Path:
    pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def read(file: Path, account: Account | None = None, **config: object) -> pl.DataFrame:
    settings = CellProfilerConfig.model_validate({"defaults": {"plate": file.stem}, **config})
    return pl.concat([cells for _, cells in read_cytotable(file, settings, account)])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_columns_of_every_preset(tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, PRESETS[preset])
    monkeypatch.setattr(cytotable, "ROWS", 3)  # a cell of the second part is still of its image
    assert read(file).select(COLUMNS).sort(COLUMNS[:4]).rows() == EXPECTED
    lazy = scan_cytotable(file, CellProfilerConfig(defaults={"plate": "P1"}))
    assert lazy.select(COLUMNS).sort(COLUMNS[:4]).collect().rows() == EXPECTED


def test_what_in_carta_calls_otherwise_is_told_and_can_be_named(tmp_path: Path) -> None:
    cells = read(written(tmp_path, PRESETS["in-carta"]), compartments={"F Actin": "Cytoplasm"})
    assert cells["Cytoplasm_Area_wv2"].to_list() == [0.5] * 4
    account = Account()
    read(written(tmp_path, PRESETS["in-carta"]), account)
    assert "F Actin Area wv2" in account.left_out


def test_sites_are_numbered_in_the_order_of_the_images(tmp_path: Path) -> None:
    columns = {**PRESETS["cellprofiler_sqlite"], "Metadata_ImageNumber": [10, 10, 9, 3]}
    cells = read(written(tmp_path, columns))
    assert cells["Metadata_Site"].to_list() == [2, 2, 1, 1]


def test_without_anything_on_images_a_well_is_one_site(tmp_path: Path) -> None:
    columns = {"Metadata_Plate": ["P1"] * 2, "Metadata_Well": ["A1", "A2"], "Cells_AreaShape_Area": [1.0, 2.0]}
    cells = read(written(tmp_path, columns))
    assert cells.rows() == [("P1", "A01", 1, 1, 1.0), ("P1", "A02", 1, 2, 2.0)]  # numbered by their place in the file


def test_images_that_are_kept_without_a_cell_are_sites(tmp_path: Path) -> None:
    """The presets of 2023 join objects to images: an image without any is a row of nulls."""
    frame = pl.DataFrame(PRESETS["cellprofiler_sqlite"])
    empty = {"Metadata_ImageNumber": [4], "Image_Metadata_Plate": ["P1"], "Image_Metadata_Well": ["B3"]}
    pl.concat([frame, pl.DataFrame(empty)], how="diagonal").write_parquet(tmp_path / "P1.parquet")
    account = Account()
    assert read(tmp_path / "P1.parquet", account).height == 4
    assert account.sites == {("A01", 1): 2, ("A01", 2): 1, ("A02", 1): 1, ("B03", 1): 0}


@pytest.mark.parametrize(("plate", "number"), [("0042", 42), ("12E3", 12000.0)])
def test_a_plate_that_was_taken_for_a_number(tmp_path: Path, plate: str, number: float) -> None:
    columns = {**PRESETS["cellprofiler_sqlite"], "Image_Metadata_Plate": [number] * 4}
    assert read(written(tmp_path, columns, plate))["Metadata_Plate"].unique().to_list() == [plate]


def test_text_and_not_a_number_in_features(tmp_path: Path) -> None:
    nan = float("nan")
    more = {"Cells_Texture_A": ["1.5", "nan", "odd", None], "Nuclei_Texture_B": [nan, 1, float("inf"), 2],
            "Nucleoli_Texture_C": [1, 2, 3, 4], "Nuclei_Parent_X": [1] * 4, "Score": [0.5] * 4}  # fmt: skip
    account = Account()
    cells = read(written(tmp_path, {**PRESETS["cellprofiler_sqlite"], **more}), account)
    assert cells["Cells_Texture_A"].to_list() == [1.5, None, None, None]
    assert cells["Nuclei_Texture_B"].to_list() == [None, 1, None, 2]
    assert cells["Nucleoli_Texture_C"].to_list() == [1, 2, 3, 4]
    assert "Nuclei_Parent_X" not in cells.columns
    assert account.blank == {"Cells_Texture_A": 3, "Nuclei_Texture_B": 2}
    assert account.text == {"Cells_Texture_A": "odd"}
    assert list(account.left_out) == ["Score"]


def test_cells_that_come_twice_are_refused(tmp_path: Path) -> None:
    columns = {**PRESETS["cellprofiler_sqlite"], "Metadata_ImageNumber": [1] * 4}
    with pytest.raises(InputError, match=r"two cells with .*Image_Metadata_Well A1, .*every cell once"):
        read(written(tmp_path, columns))


def test_files_that_are_none_or_say_too_little(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.parquet.*expected a Parquet file"):
        scan_cytotable(tmp_path / "none.parquet")
    (tmp_path / "P.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"P.parquet: found .*expected a Parquet file"):
        read(tmp_path / "P.parquet")
    with pytest.raises(InputError, match=r"well: found no column Metadata_Well"):
        read(written(tmp_path, {"Metadata_ImageNumber": [1], **{name: [1.0] for name in AREA}}))
    kept = scan_cytotable(written(tmp_path, PRESETS["cellprofiler_sqlite_cpg0016_jump"]),
                          CellProfilerConfig(keep=("Image_Metadata_Row",)))  # fmt: skip
    assert kept.collect()["Image_Metadata_Row"].to_list() == [1] * 4
