"""Plates that were measured elsewhere, as people have them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from morpho_assets.gallery.account import Account
from morpho_assets.gallery.analysis_csv import read_analysis
from morpho_assets.gallery.cytotable import read_cytotable
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.gallery.published import read_wells
from morpho_assets.gallery.sqlite import read_sqlite
from morpho_assets_tests.gallery.cases import CASES, Case, case, refused
from morpho_assets_tests.gallery.exports import Tables, export, objects, site, write_csv, write_sqlite
from morpho_assets_tests.gallery.test_cytotable import COLUMNS, EXPECTED, PRESETS

CSV, SQLITE, CYTOTABLE, PROFILES = (
    "CellProfiler's CSVs", "CellProfiler's SQLite", "CytoTable's Parquet", "Published profiles",
)  # fmt: skip
FIVE = [("P1", "A01", 1, 1), ("P1", "A01", 1, 2), ("P1", "A02", 1, 1), ("P1", "A02", 1, 2), ("P1", "A02", 1, 3)]
READERS = {CSV: read_analysis, SQLITE: read_sqlite, CYTOTABLE: read_cytotable}
AREAS = [101.0, 102.0, 201.0, 202.0, 203.0]


def cells_of(area: str, place: Path, account: Account | None = None, **config: object) -> pl.DataFrame:
    read: Callable[..., object] = READERS[area]
    found = read(place, CellProfilerConfig.model_validate(config), account=account)
    return pl.concat([cells for _, cells in found])  # type: ignore[attr-defined]


def places(cells: pl.DataFrame) -> list[tuple[object, ...]]:
    return cells.select("Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber").rows()


# CSV and SQLite hold the same tables


def write(area: str, folder: Path, tables: Tables) -> Path:
    return write_csv(folder, tables) if area == CSV else write_sqlite(folder / "P1.sqlite", tables)


def changed(name: str, *columns: pl.Expr | pl.Series, **named: pl.Expr | pl.Series) -> Tables:
    """The usual tables, one of them with other columns."""
    tables = export()
    return {**tables, name: tables[name].with_columns(*columns, **named)}


def entered(what: str, tables: Tables, expected: list[tuple[object, ...]] = FIVE, outcome: str = "read",
            **config: object) -> None:  # fmt: skip
    """A case of both forms."""

    def run(area: str, folder: Path) -> None:
        assert places(cells_of(area, write(area, folder, tables), **config)) == expected

    for area in (CSV, SQLITE):
        CASES.append(Case(area, what, outcome, partial(run, area)))


def refusing(what: str, tables: Tables, message: str, outcome: str) -> None:
    def run(area: str, folder: Path) -> None:
        with refused(message):
            cells_of(area, write(area, folder, tables))

    for area in (CSV, SQLITE):
        CASES.append(Case(area, what, f"stops: {outcome}", partial(run, area)))


def only(*names: str) -> Tables:
    tables = {**export(), "Nucleoli": objects([2, 3], "Nuclei")}
    return {name: frame for name, frame in tables.items() if name in ("Image", *names)}


for names in (("Cells",), ("Nuclei",), ("Nuclei", "Cells"), ("Nuclei", "Cells", "Cytoplasm", "Nucleoli")):
    entered(f"the tables {', '.join(names)} alone", only(*names))
for plate in ("0042", "12E3", "1E5", "001"):
    as_said = [(plate, *place[1:]) for place in FIVE]
    entered(f"the barcode {plate}", changed("Image", pl.lit(plate).alias("Metadata_Plate")), as_said)
for said, number in (("1.0", 1), ("s2", 2), ("f03", 3)):
    as_said = [(*place[:2], number, place[3]) for place in FIVE]
    entered(f"sites as {said}", changed("Image", pl.lit(said).alias("Metadata_Site")), as_said)
entered("`Image_Metadata_Well`, or other names that the settings give",
        {**export(), "Image": export()["Image"].rename({"Metadata_Site": "Field"})}, site="Field")  # fmt: skip
entered("no column of sites", {**export(), "Image": export()["Image"].drop("Metadata_Site")},
        outcome="read: the images of a well are numbered")  # fmt: skip
entered("parents by another name (`Parent_FilteredNuclei`)",
        {**export(), "Cells": objects([2, 3], "FilteredNuclei"),
         "Cytoplasm": objects([2, 3], "Cells", "FilteredNuclei")})  # fmt: skip
entered("an image without cells", export([2, 3, 0], [("A01", 1), ("A02", 1), ("A03", 1)]),
        outcome="read: its well has 0 cells")  # fmt: skip
refusing("a well that no plate has", changed("Image", pl.lit("Z99").alias("Metadata_Well")), "found 'Z99'",
         "correct the well")  # fmt: skip
refusing("no column of wells", {**export(), "Image": export()["Image"].drop("Metadata_Well")},
         "well: found no column Metadata_Well", "name it")  # fmt: skip
refusing("objects without parents", {**only("Nuclei"), "Cells": objects([2, 2])}, "Parent_Nuclei", "export the parents")


def _numbers(area: str, folder: Path) -> None:
    said = ["1.5", "-nan(ind)", "#DIV/0!", "inf", "high"]
    tables = changed("Cells", pl.Series("Texture_A", said), pl.Series("Texture_B", ["round"] * 5))
    account = Account()
    cells = cells_of(area, write(area, folder, tables), account)
    assert cells["Cells_Texture_A"].to_list() == [1.5, None, None, None, None]
    assert account.blank["Cells_Texture_A"] == 4
    assert "Cells_Texture_B" in account.text


for area in (CSV, SQLITE):
    what = "`nan`, `-nan(ind)`, `#DIV/0!`, `inf` or text among numbers"
    CASES.append(Case(area, what, "read: null in that cell alone, and counted", partial(_numbers, area)))


# CSV


def _prefixed(prefix: str, ending: str, folder: Path) -> None:
    write_csv(folder, export(), prefix, ending)
    (folder / f"{prefix}Experiment{ending}").write_text("Key,Value\nVersion,4\n")
    assert places(cells_of(CSV, folder)) == FIVE


for prefix, ending in (("MyExpt_", ".csv"), ("2021-03 run ", ".csv"), ("", ".txt")):
    what = f"`{prefix}Cells{ending}`"
    CASES.append(Case(CSV, what, "read", partial(_prefixed, prefix, ending)))


@case(CSV, "a folder per site, named <plate>-<well>-<site>")
def _folders(folder: Path) -> None:
    for well in ("A01", "A02"):
        site(folder / f"P1-{well}-3")
    assert places(cells_of(CSV, folder)) == [("P1", well, 3, number) for well in ("A01", "A02") for number in (1, 2)]


@case(CSV, "a set of tables per site in one folder, its name before theirs")
def _sets(folder: Path) -> None:
    for well in ("A01", "A02"):
        tables = export([2], [(well, 1)])
        write_csv(folder, {**tables, "Image": tables["Image"].select("ImageNumber")}, f"P1-{well}-3_")
    assert places(cells_of(CSV, folder)) == [("P1", well, 3, number) for well in ("A01", "A02") for number in (1, 2)]


@case(CSV, "two header rows, the objects of a number side by side")
def _two_headers(folder: Path) -> None:
    (folder / "Image.csv").write_text("ImageNumber,Metadata_Well\n1,A01\n")
    (folder / "DATA.csv").write_text(
        "Image,Image,Nuclei,Nuclei,Cells,Cells,Cells\n"
        "ImageNumber,ObjectNumber,AreaShape_Area,Number_Object_Number,AreaShape_Area,Number_Object_Number,Parent_Nuclei\n"
        "1,1,10,1,100,1,2\n1,2,20,2,200,2,1\n"
    )
    cells = cells_of(CSV, folder, defaults={"plate": "P1"})
    assert cells.select("ObjectNumber", "Nuclei_AreaShape_Area").rows() == [(1, 20.0), (2, 10.0)]


@case(CSV, "gzip, and the code page of Windows")
def _gzip(folder: Path) -> None:
    write_csv(folder, changed("Image", PathName_DNA=pl.lit("C:\\Jürgen")))
    for name in ("Image", "Cells"):
        text = (folder / f"{name}.csv").read_text().replace("\n", "\r\n")
        (folder / f"{name}.csv").unlink()
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode("cp1252")))
    assert places(cells_of(CSV, folder)) == FIVE


@case(CSV, "two exports in one folder", "stops: name one in `prefix`")
def _two_exports(folder: Path) -> None:
    for prefix in ("", "MyExpt_"):
        write_csv(folder, export(), prefix)
    with refused("twice"):
        cells_of(CSV, folder)
    assert places(cells_of(CSV, folder, prefix="MyExpt_")) == FIVE


@case(CSV, "a column that some sites lack", "read: null there, and told")
def _lacking(folder: Path) -> None:
    for number, well in enumerate(("A01", "A02")):
        tables = export([2], [(well, 1)])
        more = {"Texture_New": pl.lit(0.5)} if number else {}
        write_csv(folder / well, {**tables, "Cells": tables["Cells"].with_columns(**more)})
    account = Account()
    assert cells_of(CSV, folder, account)["Cells_Texture_New"].to_list() == [None, None, 0.5, 0.5]
    assert account.lacking["Cells_Texture_New"] == 1


@case(CSV, "a site without a table that others have", "stops: export it again")
def _no_table(folder: Path) -> None:
    for well in ("A01", "A02"):
        write_csv(folder / well, export([2], [(well, 1)]))
    (folder / "A02/Cells.csv").unlink()
    with refused("found no Cells.csv, which other folders have"):
        cells_of(CSV, folder)


@case(CSV, "no Image table", "stops: export it")
def _no_images(folder: Path) -> None:
    with refused("expected Image.csv beside the tables of objects"):
        cells_of(CSV, write_csv(folder, {"Cells": export()["Cells"]}))


@case(CSV, "cut in the middle of a row", "stops: export it again")
def _cut(folder: Path) -> None:
    file = write_csv(folder, export()) / "Cells.csv"
    file.write_text(file.read_text().rsplit(",", 1)[0])
    with refused("expected 4, as in the header"):
        cells_of(CSV, folder)


@case(CSV, "semicolons", "stops: export commas")
def _semicolons(folder: Path) -> None:
    file = write_csv(folder, export()) / "Cells.csv"
    file.write_text(file.read_text().replace(",", ";"))
    with refused("semicolons"):
        cells_of(CSV, folder)


# SQLite


def _tables_called(prefix: str, folder: Path) -> None:
    assert places(cells_of(SQLITE, write_sqlite(folder / "P1.sqlite", export(), prefix))) == FIVE


for prefix in ("Per_", "", "MyExpt_Per_"):
    CASES.append(Case(SQLITE, f"tables called {prefix}Cells", "read", partial(_tables_called, prefix)))


def _table_numbers(numbers: list[object], folder: Path) -> None:
    """The images are all numbered alike."""
    tables = {
        name: frame.with_columns(TableNumber=pl.col("ImageNumber").replace_strict([1, 2], numbers), ImageNumber=1)
        for name, frame in export().items()
    }
    assert places(cells_of(SQLITE, write_sqlite(folder / "P1.sqlite", tables))) == FIVE


for numbers, kind in (([1, 2], "numbers"), (["ab12", "cd34"], "text")):
    CASES.append(Case(SQLITE, f"TableNumber as {kind}, every ImageNumber 1", "read", partial(_table_numbers, numbers)))


@case(SQLITE, "every ImageNumber 1, no TableNumber", "stops: a TableNumber tells them apart")
def _numbered_alike(folder: Path) -> None:
    tables = {name: frame.with_columns(ImageNumber=pl.lit(1)) for name, frame in export().items()}
    with refused("found ImageNumber 1 twice"):
        cells_of(SQLITE, write_sqlite(folder / "P1.sqlite", tables))


@case(SQLITE, "a barcode that the database holds as a number")
def _number(folder: Path) -> None:
    file = write_sqlite(folder / "0042.sqlite", changed("Image", pl.lit(42).alias("Metadata_Plate")))
    cells = cells_of(SQLITE, file, defaults={"plate": "0042"})
    assert cells["Metadata_Plate"].unique().to_list() == ["0042"]


@case(SQLITE, "cut in the middle", "stops: fetch it again")
def _cut_database(folder: Path) -> None:
    file = write_sqlite(folder / "P1.sqlite", export([200, 200]))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with refused("it is cut off"):
        cells_of(SQLITE, file)


@case(SQLITE, "no database", "stops: name the file")
def _no_database(folder: Path) -> None:
    (folder / "P1.sqlite").write_bytes(b"no database" * 100)
    with refused("file is not a database"):
        cells_of(SQLITE, folder / "P1.sqlite")


# CytoTable


def parquet(folder: Path, columns: dict[str, object], plate: str = "P1") -> Path:
    pl.DataFrame(columns).write_parquet(folder / f"{plate}.parquet")
    return folder / f"{plate}.parquet"


def _preset(name: str, folder: Path) -> None:
    cells = cells_of(CYTOTABLE, parquet(folder, PRESETS[name]), defaults={"plate": "P1"})
    assert cells.select(COLUMNS).sort(COLUMNS[:4]).rows() == EXPECTED


for name in PRESETS:
    CASES.append(Case(CYTOTABLE, f"preset {name}", "read", partial(_preset, name)))


@case(CYTOTABLE, "nothing about images", "read: a well is one site")
def _no_image_columns(folder: Path) -> None:
    columns = {"Metadata_Plate": ["P1"] * 2, "Metadata_Well": ["A1", "A2"], "Cells_AreaShape_Area": [1.0, 2.0]}
    assert places(cells_of(CYTOTABLE, parquet(folder, columns))) == [("P1", "A01", 1, 1), ("P1", "A02", 1, 2)]


@case(CYTOTABLE, "a barcode that was taken for a number")
def _taken_for_a_number(folder: Path) -> None:
    file = parquet(folder, {**PRESETS["cellprofiler_sqlite"], "Image_Metadata_Plate": [12000.0] * 4}, "12E3")
    assert cells_of(CYTOTABLE, file, defaults={"plate": "12E3"})["Metadata_Plate"].unique().to_list() == ["12E3"]


@case(CYTOTABLE, "cells that come twice", "stops: every cell once")
def _twice(folder: Path) -> None:
    file = parquet(folder, {**PRESETS["cellprofiler_sqlite"], "Metadata_ImageNumber": [1] * 4})
    with refused("two cells"):
        cells_of(CYTOTABLE, file, defaults={"plate": "P1"})


@case(CYTOTABLE, "no Parquet", "stops: name the file")
def _no_parquet(folder: Path) -> None:
    (folder / "P1.parquet").write_bytes(b"no parquet")
    with refused("expected a Parquet file"):
        cells_of(CYTOTABLE, folder / "P1.parquet")


# Well profiles that somebody published

HEADER = "Metadata_Plate,Metadata_Well"


def profiles(what: str, header: str, row: str, expected: dict[str, object], outcome: str = "read") -> None:
    def run(folder: Path) -> None:
        (folder / "P1.csv").write_text(f"{header}\n{row}\n")
        found = read_wells(folder / "P1.csv")
        assert {name: found[name][0] for name in expected} == expected

    CASES.append(Case(PROFILES, what, outcome, run))


def no_profiles(what: str, text: str, message: str, outcome: str) -> None:
    def run(folder: Path) -> None:
        (folder / "P1.csv").write_text(text)
        with refused(message):
            read_wells(folder / "P1.csv")

    CASES.append(Case(PROFILES, what, f"stops: {outcome}", run))


profiles("CellProfiler's names", f"{HEADER},Cells_A,Nuclei_B", "P1,A1,1,2", {"Metadata_Well": "A01", "Cells_A": 1.0})
profiles("an embedding (`efficientnet_0` …)", f"{HEADER},efficientnet_0,efficientnet_1,efficientnet_2", "P1,A1,1,2,3",
         {"Embedding_efficientnet_1": 2.0})  # fmt: skip
profiles("an embedding (`Embedding_0` …)", f"{HEADER},Embedding_0,Embedding_1", "P1,A1,1,2", {"Embedding_1": 2.0})
profiles("objects of their own (`Nucleoli_Texture_…`)", f"{HEADER},Nucleoli_Texture_A", "P1,A1,1",
         {"Nucleoli_Texture_A": 1.0})  # fmt: skip
profiles("`Image_Metadata_Plate`, `Image_Metadata_Well`", "Image_Metadata_Plate,Image_Metadata_Well,Cells_A", "P1,A1,1",
         {"Metadata_Plate": "P1", "Metadata_Well": "A01"})  # fmt: skip
profiles("the barcode 0042, a batch 1E5", f"{HEADER},Metadata_batch,Cells_A", "0042,A1,1E5,1",
         {"Metadata_Plate": "0042", "Metadata_batch": "1E5"})  # fmt: skip
profiles("`#DIV/0!` or `inf` among numbers", f"{HEADER},Cells_A,Cells_B,Cells_C", "P1,A1,#DIV/0!,inf,3",
         {"Cells_A": None, "Cells_B": None, "Cells_C": 3.0}, "read: null in that cell alone, and counted")  # fmt: skip
no_profiles("no plate", "Metadata_Well,Cells_A\nA01,1\n", "found no Metadata_Plate", "name it")
no_profiles("a well twice", f"{HEADER},Cells_A\nP,a1,1\nP,A01,2\n", "come twice", "every well once")
no_profiles("semicolons and decimal commas", "Metadata_Plate;Metadata_Well;Cells_A\nP;A1;1,5\n", "semicolons",
            "export commas and points")  # fmt: skip
no_profiles("a row that is cut", f"{HEADER},Cells_A\nP,A1\n", "found 2 cells; expected 3", "fetch it again")
no_profiles("no column that is known for a feature", f"{HEADER},score\nP,A1,1\n", "expected features",
            "name them in `features`")  # fmt: skip


@case(PROFILES, "gzip, and Parquet")
def _other_files(folder: Path) -> None:
    frame = pl.DataFrame({"Metadata_Plate": ["P1"], "Metadata_Well": ["A1"], "Cells_A": [1.0]})
    frame.write_parquet(folder / "P1.parquet")
    (folder / "P1.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    assert read_wells(folder / "P1.parquet").equals(read_wells(folder / "P1.csv.gz"))


@case(PROFILES, "AnnData (.h5ad)", "read, with the extra `anndata`")
def _anndata(folder: Path) -> None:
    import warnings

    from morpho_assets_tests.gallery.test_published import anndata

    frame = pl.DataFrame({"Metadata_Plate": ["0042"], "Metadata_Well": ["A1"], "Cells_A": [1.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library that writes the file
        file = anndata(folder / "P1.h5ad", frame, ["Cells_A"])
    assert read_wells(file).rows() == [("0042", "A01", 1.0)]
