from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.cellprofiler import (
    CellProfilerConfig,
    read_analysis,
    read_site,
    read_sqlite,
    read_wells,
    scan_cytotable,
    to_parquet,
)
from morpho_assets.profiles.aggregate import aggregate
from morpho_assets.profiles.features import feature_columns, to_matrix


def site(folder: Path, cells: int = 2, extra: str = "") -> Path:
    """A site as CellProfiler writes it; cytoplasms and nuclei in another order than their cells."""
    folder.mkdir(parents=True)
    (folder / "Image.csv").write_text("ImageNumber,FileName_DNA\n7,a.tiff\n")
    order = list(range(cells, 0, -1))
    (folder / "Cells.csv").write_text(
        f"ImageNumber,ObjectNumber,AreaShape_Area,Parent_Nuclei,Number_Object_Number{extra}\n"
        + "".join(f"7,{i},{10 * i},{cells + 1 - i},{i}{',1' if extra else ''}\n" for i in range(1, cells + 1))
    )
    (folder / "Nuclei.csv").write_text(
        "ImageNumber,ObjectNumber,AreaShape_Area,Texture_X\n" + "".join(f"7,{i},{i},nan\n" for i in order)
    )
    (folder / "Cytoplasm.csv").write_text(
        "ImageNumber,ObjectNumber,AreaShape_Area,Parent_Cells,Parent_Nuclei\n"
        + "".join(f"7,{i},{100 * i},{i},{cells + 1 - i}\n" for i in order)
    )
    return folder


def test_objects_are_linked_through_their_parents(tmp_path: Path) -> None:
    found = read_site(site(tmp_path / "PLATE-b3-4"))
    assert found.drop("Nuclei_Texture_X").rows(named=True) == [
        {"Metadata_Plate": "PLATE", "Metadata_Well": "B03", "Metadata_Site": 4, "ObjectNumber": i,
         "Nuclei_AreaShape_Area": 3.0 - i, "Cells_AreaShape_Area": 10.0 * i, "Cytoplasm_AreaShape_Area": 100.0 * i}
        for i in (1, 2)
    ]  # fmt: skip
    assert found["Nuclei_Texture_X"].null_count() == 2


def test_a_real_site(reference_data: Path) -> None:
    folder = reference_data / "cpg0043_BR00116991_A01_1"
    found = read_site(folder, CellProfilerConfig(keep=("Metadata_AbsPositionZ",)))
    assert found.height == 109
    assert found.select("Metadata_Plate", "Metadata_Well", "Metadata_Site").unique().rows() == [
        ("BR00116991", "A01", 1)
    ]
    raw = pl.read_csv(folder / "Nuclei.csv", infer_schema_length=None)
    parents = pl.read_csv(folder / "Cells.csv", infer_schema_length=None)["Parent_Nuclei"]
    areas = dict(zip(raw["ObjectNumber"], raw["AreaShape_Area"], strict=True))
    assert found["Nuclei_AreaShape_Area"].to_list() == [areas[i] for i in parents]
    assert not [name for name in feature_columns(found) if "Parent" in name or name.endswith("Object_Number")]


def test_csv_and_sqlite_of_one_run_are_the_same_cells(reference_data: Path) -> None:
    config = CellProfilerConfig(defaults={"plate": "P", "well": "D3", "site": 1})
    folder = reference_data / "cellprofiler_examplehuman"
    csv = read_site(folder, config)
    ((_, sqlite),) = read_sqlite(folder / "sqlite" / "ExampleHuman.sqlite", config)
    assert csv.height == sqlite.height == 289
    other = ("Orientation", "Solidity", "EulerNumber")  # two versions of CellProfiler, which define these differently
    shared = [name for name in feature_columns(csv) if name in sqlite.columns and not name.endswith(other)]
    assert len(shared) == 291
    np.testing.assert_allclose(to_matrix(sqlite, shared), to_matrix(csv, shared), rtol=1e-4, atol=1e-4)


def test_the_gallery_backend_with_table_numbers(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "plate.sqlite") as connection:
        for name, columns, rows in [
            ("Image", "TableNumber, ImageNumber, Image_Metadata_Plate, Image_Metadata_Well, Image_Metadata_Site",
             [(1, 1, "P", "A01", 1), (2, 1, "P", "A02", 1)]),
            ("Cells", "TableNumber, ImageNumber, ObjectNumber, Cells_A, Cells_Parent_Nuclei",
             [(1, 1, 1, 1.0, 1), (2, 1, 1, 2.0, 1)]),
            ("Cytoplasm", "TableNumber, ImageNumber, ObjectNumber, Cytoplasm_A, Cytoplasm_Parent_Cells",
             [(1, 1, 1, 3.0, 1), (2, 1, 1, 4.0, 1)]),
            ("Nuclei", "TableNumber, ImageNumber, ObjectNumber, Nuclei_A", [(1, 1, 1, 5.0), (2, 1, 1, "nan")]),
        ]:  # fmt: skip
            connection.execute(f"CREATE TABLE {name} ({columns})")
            connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    connection.close()
    cells = pl.concat([frame for _, frame in read_sqlite(tmp_path / "plate.sqlite")])
    assert cells["Metadata_Well"].to_list() == ["A01", "A02"]
    assert cells["Cytoplasm_A"].to_list() == [3.0, 4.0]
    assert cells["Nuclei_A"].to_list() == [5.0, None]


def test_sites_stream_into_one_parquet_file(tmp_path: Path) -> None:
    for number, cells in enumerate([2, 0, 3], start=1):
        site(tmp_path / "analysis" / f"PLATE-A01-{number}", cells)
    assert to_parquet(read_analysis(tmp_path / "analysis"), tmp_path / "cells.parquet") == 5
    profile = aggregate(pl.scan_parquet(tmp_path / "cells.parquet"))
    assert profile["Metadata_Count_Cells"].to_list() == [5]
    assert profile["Cells_AreaShape_Area"].to_list() == [20.0]


def test_a_site_of_another_pipeline_is_named(tmp_path: Path) -> None:
    site(tmp_path / "P-A01-1")
    site(tmp_path / "P-A01-2", extra=",New")
    with pytest.raises(InputError, match=r"P-A01-2.*Cells_New"):
        to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]  # no half of the cells


def test_an_older_file_stays_until_all_sites_are_written(tmp_path: Path) -> None:
    site(tmp_path / "P-A01-1", 3)
    assert to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet") == 3
    site(tmp_path / "P-A01-2", extra=",New")
    with pytest.raises(InputError, match="Cells_New"):
        to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet")
    assert pl.read_parquet(tmp_path / "cells.parquet").height == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P-A01-1", "P-A01-2", "cells.parquet"]


def test_cytotable_names_become_ours(tmp_path: Path) -> None:
    pl.DataFrame(
        {"Image_Metadata_Plate": ["P"], "Image_Metadata_Well": ["C4"], "Metadata_ImageNumber": [1],
         "Metadata_Cells_Number_Object_Number": [9], "Cells_AreaShape_Area": [1.5], "Cytoplasm_Parent_Cells": [9]}
    ).write_parquet(tmp_path / "single_cells.parquet")  # fmt: skip
    assert scan_cytotable(tmp_path / "single_cells.parquet").collect().rows(named=True) == [
        {"Metadata_Plate": "P", "Metadata_Well": "C04", "ObjectNumber": 9, "Cells_AreaShape_Area": 1.5}
    ]


def test_files_that_are_cut_off_or_of_another_kind_are_named(tmp_path: Path) -> None:
    folder = site(tmp_path / "P-A01-1", 3)
    whole = (folder / "Cells.csv").read_text()
    (folder / "Cells.csv").write_text(whole.rsplit(",", 2)[0])
    with pytest.raises(InputError, match=r"Cells.csv, row 4: found 3 cells; expected 5, as in the header.*cut off"):
        read_site(folder)
    rows = "".join(f"P,A{i},{i}.5\n" for i in range(1, 13)) * 1
    body = gzip.compress(f"Metadata_Plate,Metadata_Well,Cells_A\n{rows}".encode())
    (tmp_path / "P.csv.gz").write_bytes(body)
    assert read_wells(tmp_path / "P.csv.gz").height == 12
    for part in (body[: len(body) // 2], body[:4] + b"x" * 40):
        (tmp_path / "P.csv.gz").write_bytes(part)
        with pytest.raises(InputError, match=r"P.csv.gz: found .*expected a CSV table"):
            read_wells(tmp_path / "P.csv.gz")
    (tmp_path / "P.parquet").write_bytes(b"no parquet")
    (tmp_path / "P.sqlite").write_bytes(b"no database" * 100)
    for read in (scan_cytotable, read_wells):
        with pytest.raises(InputError, match=r"P.parquet: found .*expected a Parquet file"):
            read(tmp_path / "P.parquet")
    with pytest.raises(InputError, match=r"none.parquet.*expected a Parquet file"):
        scan_cytotable(tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"P.sqlite: found file is not a database"):
        list(read_sqlite(tmp_path / "P.sqlite"))


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("Cells", ("Parent_Nuclei", "Other"), "table Cells: found no column Parent_Nuclei"),
        ("Cytoplasm", ("Parent_Cells", "Other"), "table Cytoplasm: found no column Parent_Cells"),
        ("Nuclei", ("ObjectNumber", "Other"), "table Nuclei: found no column ObjectNumber"),
    ],
)
def test_objects_that_cannot_be_linked_are_told(
    tmp_path: Path, table: str, change: tuple[str, str], message: str
) -> None:
    folder = site(tmp_path / "P-A01-1")
    if table == "Cells":  # Cytoplasm would say which nucleus is whose
        text = (folder / "Cytoplasm.csv").read_text().replace("Parent_Nuclei", "Other")
        (folder / "Cytoplasm.csv").write_text(text)
    text = (folder / f"{table}.csv").read_text()
    assert change[0] in text
    (folder / f"{table}.csv").write_text(text.replace(*change))
    with pytest.raises(InputError, match=message):
        read_site(folder)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = site(tmp_path / "no site name")
    with pytest.raises(InputError, match="plate: found no column Metadata_Plate"):
        read_site(folder)
    (folder / "Cells.csv").unlink()
    with pytest.raises(InputError, match=r"Cells\.csv: found a file that does not exist"):
        read_site(folder, CellProfilerConfig(defaults={"plate": "P", "well": "A01", "site": 1}))
    sqlite3.connect(tmp_path / "empty.sqlite").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(InputError, match="table Image"):
        list(read_sqlite(tmp_path / "empty.sqlite"))
    (tmp_path / "profiles.csv").write_text("Metadata_Well,Cells_A\nA01,1\n")
    with pytest.raises(InputError, match="no Metadata_Plate"):
        read_wells(tmp_path / "profiles.csv")
    (tmp_path / "sites.csv").write_text("Metadata_Plate,Metadata_Well,Cells_A\nP,a1,1\nP,A01,2\n")
    with pytest.raises(InputError, match="well A01: found 2 rows of wells that come twice"):
        read_wells(tmp_path / "sites.csv")
