"""SQLite files of ExportToDatabase and of the Gallery's backend."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.analysis_csv import read_site
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.gallery.sqlite import read_sqlite
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.gallery.exports import Tables, export, objects, write_sqlite

FIVE = [("A01", 1, 1), ("A01", 1, 2), ("A02", 1, 1), ("A02", 1, 2), ("A02", 1, 3)]


def read(file: Path, account: Account | None = None, **config: object) -> pl.DataFrame:
    return pl.concat([cells for _, cells in read_sqlite(file, CellProfilerConfig.model_validate(config), account)])


def rows(cells: pl.DataFrame) -> list[tuple[object, ...]]:
    return cells.select("Metadata_Well", "Metadata_Site", "ObjectNumber").rows()


def test_csv_and_sqlite_of_one_run_are_the_same_cells(reference_data: Path) -> None:
    config = CellProfilerConfig(defaults={"plate": "P", "well": "D3", "site": 1})
    folder = reference_data / "cellprofiler_examplehuman"
    csv = read_site(folder, config)
    ((_, sqlite),) = read_sqlite(folder / "sqlite" / "ExampleHuman.sqlite", config)
    assert csv.height == sqlite.height == 289
    other = ("Orientation", "Solidity", "EulerNumber")  # two versions of CellProfiler, which define these differently
    shared = [name for name in feature_columns(csv) if name in sqlite.columns and not name.endswith(other)]
    assert len(shared) == 294
    # 22 mitotic objects, three pairs of which share a nucleus
    assert csv["PH3_Location_Center_X"].count() == sqlite["PH3_Location_Center_X"].count() == 19
    np.testing.assert_allclose(to_matrix(sqlite, shared), to_matrix(csv, shared), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["Per_", "", "MyExpt_Per_", "run 3_"])
def test_any_prefix(tmp_path: Path, prefix: str) -> None:
    assert rows(read(write_sqlite(tmp_path / "P1.sqlite", export(), prefix))) == FIVE


@pytest.mark.parametrize("names", [("Cells",), ("Nuclei", "Cells"), ("Nuclei", "Cells", "Cytoplasm", "Nucleoli")])
def test_any_set_of_compartments(tmp_path: Path, names: tuple[str, ...]) -> None:
    tables = {**export(), "Nucleoli": objects([2, 3], "Nuclei")}
    tables = {name: frame for name, frame in tables.items() if name in ("Image", *names)}
    cells = read(write_sqlite(tmp_path / "P1.sqlite", tables))
    assert cells.columns[4:] == [f"{name}_AreaShape_Area" for name in names]
    assert rows(cells) == FIVE


def numbered(tables: Tables, numbers: object, images: object = 1) -> Tables:
    """The tables with a TableNumber for each image, which are all numbered alike."""
    return {
        name: frame.with_columns(TableNumber=pl.col("ImageNumber").replace_strict([1, 2], numbers))
        .with_columns(ImageNumber=pl.lit(images))
        for name, frame in tables.items()
    }  # fmt: skip


@pytest.mark.parametrize("numbers", [["ab12", "cd34"], [1, 2], ["1", "2"], [1.0, 2.0]], ids=str)
def test_table_numbers_of_any_type(tmp_path: Path, numbers: list[object]) -> None:
    cells = read(write_sqlite(tmp_path / "P1.sqlite", numbered(export(), numbers)))
    assert rows(cells) == FIVE
    assert cells["Cytoplasm_AreaShape_Area"].to_list() == [101, 102, 201, 202, 203]


def test_a_number_in_one_table_and_text_in_another(tmp_path: Path) -> None:
    tables = export()
    tables["Cells"] = tables["Cells"].with_columns(pl.col("ImageNumber").cast(pl.String))
    assert rows(read(write_sqlite(tmp_path / "P1.sqlite", tables))) == FIVE


def test_images_that_are_numbered_alike_without_a_table_number(tmp_path: Path) -> None:
    tables = {name: frame.with_columns(ImageNumber=pl.lit(1)) for name, frame in export().items()}
    with pytest.raises(InputError, match=r"found ImageNumber 1 twice; .*TableNumber that tells them apart"):
        read(write_sqlite(tmp_path / "P1.sqlite", tables))


def test_text_in_a_column_of_numbers_is_null_cell_by_cell(tmp_path: Path) -> None:
    tables = export()
    said = [1.5, "nan", "-nan(ind)", 3, b"\x00"]
    tables["Cells"] = tables["Cells"].with_columns(pl.Series("Texture_A", said, dtype=pl.Object))
    account = Account()
    cells = read(write_sqlite(tmp_path / "P1.sqlite", tables), account)
    assert cells["Cells_Texture_A"].to_list() == [1.5, None, None, 3.0, None]
    assert dict(account.blank) == {"Cells_Texture_A": 3}
    assert account.text == {"Cells_Texture_A": "b'\\x00'"}


def test_images_without_cells_are_sites(tmp_path: Path) -> None:
    account = Account()
    assert read(write_sqlite(tmp_path / "P1.sqlite", export([0, 2])), account).height == 2
    assert account.sites == {("A01", 1): 0, ("A02", 1): 2}


def test_one_table_of_all_objects_or_a_view_of_them(tmp_path: Path) -> None:
    """A row holds the objects of one number; the second image has three nuclei and two cells."""
    tables = {name: frame for name, frame in export([2, 3]).items() if name in ("Image", "Nuclei", "Cells")}
    tables["Cells"] = tables["Cells"].filter(~((pl.col("ImageNumber") == 2) & (pl.col("ObjectNumber") == 3)))
    keys = ["ImageNumber", "ObjectNumber"]
    both = tables["Nuclei"].rename({"AreaShape_Area": "Nuclei_AreaShape_Area"}).join(
        tables["Cells"].rename({"AreaShape_Area": "Cells_AreaShape_Area", "Parent_Nuclei": "Cells_Parent_Nuclei"})
        .with_columns(Cells_Number_Object_Number=pl.col("ObjectNumber")), on=keys, how="left",
    )  # fmt: skip
    file = tmp_path / "P1.sqlite"
    write_sqlite(file, {"Image": tables["Image"]})
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"CREATE TABLE Per_Object ({', '.join(both.columns)})")
        connection.executemany(f"INSERT INTO Per_Object VALUES ({', '.join('?' * both.width)})", both.rows())
    cells = read(file)
    assert rows(cells) == FIVE[:-1]
    assert cells["Nuclei_AreaShape_Area"].to_list() == cells["Cells_AreaShape_Area"].to_list() == [101, 102, 201, 202]
    other = write_sqlite(tmp_path / "P2.sqlite", tables)
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE VIEW Per_Object AS SELECT ImageNumber, ObjectNumber FROM Per_Cells")
    assert rows(read(other)) == FIVE[:-1]


def test_a_plate_that_the_database_holds_as_a_number(tmp_path: Path) -> None:
    tables = export()
    tables["Image"] = tables["Image"].with_columns(Metadata_Plate=pl.lit(42))
    file = write_sqlite(tmp_path / "0042.sqlite", tables)
    assert read(file, defaults={"plate": "0042"})["Metadata_Plate"].unique().to_list() == ["0042"]
    assert read(file, defaults={"plate": "0043"})["Metadata_Plate"].unique().to_list() == ["42"]


def test_files_that_are_none_or_say_too_little(tmp_path: Path) -> None:
    (tmp_path / "P.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"P.sqlite: found file is not a database"):
        read(tmp_path / "P.sqlite")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.sqlite")
    with pytest.raises(InputError, match="table Image: found tables Per_Cells; expected one table Per_Image or Image"):
        read(write_sqlite(tmp_path / "a.sqlite", {"Cells": export()["Cells"]}))
    with pytest.raises(InputError, match="found the tables Per_Image; expected tables of objects, such as Per_Cells"):
        read(write_sqlite(tmp_path / "b.sqlite", {"Image": export()["Image"]}))
    both = write_sqlite(write_sqlite(tmp_path / "c.sqlite", export()), export(), "Old_Per_")
    with pytest.raises(InputError, match=r"found tables Old_Per_Image, Per_Image; .*Name one in `prefix`"):
        read(both)
    assert rows(read(both, prefix="Old_")) == rows(read(both, prefix="")) == FIVE
    whole = write_sqlite(tmp_path / "d.sqlite", export([200, 200])).read_bytes()
    (tmp_path / "d.sqlite").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="it is cut off"):
        read(tmp_path / "d.sqlite")
