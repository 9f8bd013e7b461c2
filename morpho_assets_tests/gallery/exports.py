"""What CellProfiler exports, as small as it gets: tables of objects, written as CSV or into SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import polars as pl

Tables = dict[str, pl.DataFrame]


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


def images(places: Sequence[tuple[str, int]], plate: str = "P1", **more: object) -> pl.DataFrame:
    """An Image table of (well, site), numbered from 1."""
    numbers = list(range(1, len(places) + 1))
    wells, sites = zip(*places, strict=True)
    columns = {"ImageNumber": numbers, "Metadata_Plate": plate, "Metadata_Well": wells, "Metadata_Site": sites}
    return pl.DataFrame({**columns, **more})


def objects(counts: Sequence[int], *parents: str, **more: object) -> pl.DataFrame:
    """Objects of images numbered from 1, so many in each; each has its own number as its parents'. Object 2 of image 1
    has the area 102."""
    rows = [(image, number, 100.0 * image + number) for image, count in enumerate(counts, start=1)
            for number in range(1, count + 1)]  # fmt: skip
    frame = pl.DataFrame(rows, schema={"ImageNumber": pl.Int64, "ObjectNumber": pl.Int64, "AreaShape_Area": pl.Float64},
                         orient="row")  # fmt: skip
    linked = {f"Parent_{name}": frame["ObjectNumber"] for name in parents}
    return frame.with_columns(**linked, **{name: pl.Series(value) for name, value in more.items()})  # type: ignore[arg-type]


def export(counts: Sequence[int] = (2, 3), places: Sequence[tuple[str, int]] = (("A01", 1), ("A02", 1))) -> Tables:
    """Nuclei, cells and cytoplasms of some images."""
    return {
        "Image": images(places),
        "Nuclei": objects(counts),
        "Cells": objects(counts, "Nuclei"),
        "Cytoplasm": objects(counts, "Cells", "Nuclei"),
    }


def write_csv(folder: Path, tables: Tables, prefix: str = "", ending: str = ".csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        text = frame.write_csv(separator="\t" if ending == ".txt" else ",")
        (folder / f"{prefix}{name}{ending}").write_text(text)
    return folder


def write_sqlite(file: Path, tables: Tables, prefix: str = "Per_") -> Path:
    """The tables in a database, their columns behind the name of their objects."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for name, frame in tables.items():
            plain = ("ImageNumber", "TableNumber", *([] if name == "Image" else ["ObjectNumber"]))
            frame = frame.rename(lambda column: column if column in plain else f"{name}_{column}")  # noqa: B023
            columns = ", ".join(f'"{column}"' for column in frame.columns)
            connection.execute(f'CREATE TABLE "{prefix}{name}" ({columns})')
            marks = ", ".join("?" * frame.width)
            connection.executemany(f'INSERT INTO "{prefix}{name}" VALUES ({marks})', frame.rows())
    return file
