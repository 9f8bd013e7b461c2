"""CellProfiler's CSV exports, in the forms people have them in."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.analysis_csv import read_analysis, read_site
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.gallery.exports import export, objects, site, write_csv

FIVE = [("P1", "A01", 1, 1), ("P1", "A01", 1, 2), ("P1", "A02", 1, 1), ("P1", "A02", 1, 2), ("P1", "A02", 1, 3)]


def read(folder: Path, account: Account | None = None, **config: object) -> pl.DataFrame:
    found = read_analysis(folder, CellProfilerConfig.model_validate(config), account=account)
    return pl.concat([cells for _, cells in found])


def rows(cells: pl.DataFrame) -> list[tuple[object, ...]]:
    return cells.select("Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber").rows()


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
    places = found.select("Metadata_Plate", "Metadata_Well", "Metadata_Site").unique()
    assert places.rows() == [("BR00116991", "A01", 1)]
    raw = pl.read_csv(folder / "Nuclei.csv", infer_schema_length=None)
    parents = pl.read_csv(folder / "Cells.csv", infer_schema_length=None)["Parent_Nuclei"]
    areas = dict(zip(raw["ObjectNumber"], raw["AreaShape_Area"], strict=True))
    assert found["Nuclei_AreaShape_Area"].to_list() == [areas[i] for i in parents]
    assert not [name for name in feature_columns(found) if "Parent" in name or name.endswith("Object_Number")]


@pytest.mark.parametrize(("prefix", "ending"), [("", ".csv"), ("MyExpt_", ".csv"), ("2021-03 run ", ".txt")])
def test_any_prefix_in_one_folder(tmp_path: Path, prefix: str, ending: str) -> None:
    write_csv(tmp_path, export(), prefix, ending)
    (tmp_path / f"{prefix}Experiment{ending}").write_text("Key,Value\nVersion,4\n")
    (tmp_path / f"{prefix}Object relationships{ending}").write_text("Module,Relationship\nRelate,Parent\n")
    (tmp_path / "load_data.csv").write_text("Metadata_Plate,FileName_DNA\nP1,a.tif\n")
    assert rows(read(tmp_path)) == FIVE


def test_a_set_of_tables_per_site_in_one_folder(tmp_path: Path) -> None:
    """The start of the names says where the image is, where the Image table does not."""
    for well in ("A01", "A02"):
        tables = export([2], [(well, 1)])
        tables["Image"] = tables["Image"].select("ImageNumber")
        write_csv(tmp_path, tables, f"P1-{well}-3_")
    assert rows(read(tmp_path)) == [("P1", well, 3, i) for well in ("A01", "A02") for i in (1, 2)]


def test_of_several_exports_in_a_folder_the_prefix_chooses(tmp_path: Path) -> None:
    write_csv(tmp_path, export())
    write_csv(tmp_path, export(), "MyExpt_")
    with pytest.raises(InputError, match=r"site 1 of well A01 twice: in .* and in .*MyExpt_"):
        read(tmp_path)
    one, other = read(tmp_path, prefix="MyExpt_"), read(tmp_path, prefix="")
    assert rows(one) == FIVE
    assert one.equals(other)
    assert one.width == 7


def test_gzip_and_the_code_page_of_windows(tmp_path: Path) -> None:
    write_csv(tmp_path, export())
    image = (tmp_path / "Image.csv").read_text().replace("ImageNumber,", "PathName_DNA,ImageNumber,")
    lines = [line if i == 0 else f"C:\\Jürgen,{line}" for i, line in enumerate(image.splitlines())]
    (tmp_path / "Image.csv").write_bytes("\r\n".join(lines).encode("cp1252"))
    (tmp_path / "Cells.csv.gz").write_bytes(gzip.compress((tmp_path / "Cells.csv").read_bytes()))
    (tmp_path / "Cells.csv").unlink()
    assert rows(read(tmp_path)) == FIVE


def test_two_header_rows_hold_several_objects(tmp_path: Path) -> None:
    """A row holds the objects of one number; of three nuclei and two cells the third has no cell."""
    (tmp_path / "Image.csv").write_text("ImageNumber,Metadata_Well\n1,A01\n")
    (tmp_path / "DATA.csv").write_text(
        "Image,Image,Nuclei,Nuclei,Cells,Cells,Cells\n"
        "ImageNumber,ObjectNumber,AreaShape_Area,Number_Object_Number,AreaShape_Area,Number_Object_Number,Parent_Nuclei\n"
        "1,1,10,1,100,1,2\n1,2,20,2,200,2,3\n1,3,30,3,,,\n"
    )
    cells = read(tmp_path, defaults={"plate": "P1"})
    assert cells.select("ObjectNumber", "Nuclei_AreaShape_Area", "Cells_AreaShape_Area").rows() == [
        (1, 20.0, 100.0), (2, 30.0, 200.0),
    ]  # fmt: skip


@pytest.mark.parametrize("plate", ["0042", "12E3", "1E5", "7.0", "001"])
def test_a_barcode_is_text(tmp_path: Path, plate: str) -> None:
    for well in ("A01", "A02"):
        tables = export([1], [(well, 1)])
        write_csv(tmp_path / well, {**tables, "Image": tables["Image"].with_columns(Metadata_Plate=pl.lit(plate))})
    assert read(tmp_path)["Metadata_Plate"].to_list() == [plate] * 2


@pytest.mark.parametrize(("said", "site"), [("1.0", 1), ("s2", 2), ("f03", 3), (" 4", 4)])
def test_sites_as_people_write_them(tmp_path: Path, said: str, site: int) -> None:
    tables = export([1], [("A01", 1)])
    write_csv(tmp_path, {**tables, "Image": tables["Image"].with_columns(Metadata_Site=pl.lit(said))})
    assert read(tmp_path)["Metadata_Site"].to_list() == [site]


def test_image_metadata_columns_and_other_names(tmp_path: Path) -> None:
    tables = export()
    names = {"Metadata_Plate": "Image_Metadata_Plate", "Metadata_Well": "Image_Metadata_CPD_WELL_POSITION",
             "Metadata_Site": "Field"}  # fmt: skip
    write_csv(tmp_path, {**tables, "Image": tables["Image"].rename(names)})
    assert rows(read(tmp_path, site="Field")) == FIVE


def test_without_a_site_the_images_of_a_well_are_numbered(tmp_path: Path) -> None:
    places = [("A01", 1), ("A02", 1), ("A01", 1)]
    tables = export([1, 1, 1], places)
    write_csv(tmp_path / "a", {**tables, "Image": tables["Image"].drop("Metadata_Site")})
    write_csv(tmp_path / "b", {**export([1], [("A01", 1)]), "Image": tables["Image"].drop("Metadata_Site")[:1]})
    cells = read(tmp_path)
    assert cells.select("Metadata_Well", "Metadata_Site", "Cells_AreaShape_Area").rows() == [
        ("A01", 1, 101.0), ("A02", 1, 201.0), ("A01", 2, 301.0), ("A01", 3, 101.0),
    ]  # fmt: skip


def test_sites_without_cells_are_sites(tmp_path: Path) -> None:
    write_csv(tmp_path / "a", export([2, 0]))
    empty = export([0], [("B03", 1)])
    write_csv(tmp_path / "b", empty)
    account = Account()
    assert read(tmp_path, account).height == 2
    assert account.sites == {("A01", 1): 2, ("A02", 1): 0, ("B03", 1): 0}
    assert account.frame().rows() == [("sites without cells", "", 2, "")]


def test_a_column_that_some_sites_lack_is_null_there_and_told(tmp_path: Path) -> None:
    for number, well in enumerate(["A01", "A02", "A03"]):
        tables = export([2], [(well, 1)])
        if number != 1:
            tables["Cells"] = tables["Cells"].with_columns(Texture_New=pl.lit(0.5))
        write_csv(tmp_path / well, tables)
    account = Account()
    cells = read(tmp_path, account)
    assert cells["Cells_Texture_New"].to_list() == [0.5, 0.5, None, None, 0.5, 0.5]
    assert dict(account.lacking) == {"Cells_Texture_New": 1}
    assert ("sites that lack the column", "Cells_Texture_New", 1, "") in account.frame().rows()


def test_a_site_without_a_table_that_others_have_is_not_complete(tmp_path: Path) -> None:
    for well in ("A01", "A02"):
        write_csv(tmp_path / well, export([2], [(well, 1)]), "My_")
    (tmp_path / "A02/My_Cells.csv").unlink()
    with pytest.raises(InputError, match=r"A02: found no My_Cells.csv, which other folders have"):
        read(tmp_path)


def test_text_in_a_column_of_numbers_is_null_cell_by_cell(tmp_path: Path) -> None:
    said = ["1.5", "nan", "-nan(ind)", "#DIV/0!", "inf", "", " 2.5 ", "high"]
    tables = export([8], [("A01", 1)])
    tables["Cells"] = tables["Cells"].with_columns(
        pl.Series("Intensity_MeanIntensity_RNA", said), pl.Series("Math_Class", ["round"] * 8)
    )
    write_csv(tmp_path, tables)
    account = Account()
    cells = read(tmp_path, account)
    assert cells["Cells_Intensity_MeanIntensity_RNA"].to_list() == [1.5, None, None, None, None, None, 2.5, None]
    assert account.frame().rows() == [
        ("text throughout: no measurement", "Cells_Math_Class", 8, "such as 'round'"),
        ("cells without a number", "Cells_Intensity_MeanIntensity_RNA", 6, "such as 'high'"),
    ]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "Cells.csv").write_text("ImageNumber,ObjectNumber\n1,1\n")
    with pytest.raises(InputError, match=r"found Cells; expected Image.csv beside the tables of objects"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"found no .csv file"):
        read(tmp_path / "none")
    folder = site(tmp_path / "no site name")
    with pytest.raises(InputError, match=r"ImageNumber 7, plate: found no column Metadata_Plate"):
        read_site(folder)
    (folder / "Image.csv").write_text("ImageNumber,Metadata_Plate,Metadata_Well\n7,P1,Z99\n")
    with pytest.raises(InputError, match=r"ImageNumber 7, well: found 'Z99'"):
        read_site(folder)
    (folder / "Image.csv").write_text("ImageNumber,Metadata_Plate,Metadata_Well\n7,P1,A1\n7,P1,A2\n")
    with pytest.raises(InputError, match=r"Image.csv: found ImageNumber 7 twice"):
        read_site(folder)
    (folder / "Image.csv").write_text("ImageNumber,Metadata_Plate,Metadata_Well,Metadata_Site\n7,P1,A1,left\n")
    with pytest.raises(InputError, match=r"ImageNumber 7, site: found 'left'; expected a number"):
        read_site(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda text: text.rsplit(",", 2)[0],
            r"Cells.csv, row 4: found 3 cells; expected 5, as in the header.*cut off",
        ),
        (lambda text: text.replace("7,1,10,", "7,1,10,5,"), r"Cells.csv, row 2: found 6 cells; .*Mend the row"),
        (
            lambda text: text.replace(",", ";"),
            r"Cells.csv, row 1: found semicolons between the columns; expected commas",
        ),
        (lambda text: "", r"Cells.csv, row 1: found an empty file"),
        (lambda text: text.replace("Number_Object_Number", "ObjectNumber"), "the column 'ObjectNumber' twice"),
    ],
    ids=["cut", "long", "semicolons", "empty", "repeated"],
)
def test_files_that_are_spoilt_are_named(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    folder = site(tmp_path / "P-A01-1", 3)
    (folder / "Cells.csv").write_text(spoil((folder / "Cells.csv").read_text()))
    with pytest.raises(InputError, match=message):
        read_site(folder)


def test_other_segmentations_of_a_compartment_are_left_out_or_chosen(tmp_path: Path) -> None:
    """As in cpg0043: Nuclei_Cellpose3.csv … beside Nuclei.csv …."""
    tables = export()
    twin = {f"{name}_Cellpose3": frame for name, frame in tables.items() if name != "Image"}
    renamed = {f"Parent_{name}": f"Parent_{name}_Cellpose3" for name in ("Nuclei", "Cells")}
    twin = {
        name: frame.rename(renamed, strict=False).with_columns(pl.col("AreaShape_Area") * 2)
        for name, frame in twin.items()
    }
    write_csv(tmp_path, {**tables, **twin})
    account = Account()
    cells = read(tmp_path, account)
    assert cells["Cells_AreaShape_Area"].to_list() == [101, 102, 201, 202, 203]
    assert "could not be told from those of Nuclei" in account.left_out["Nuclei_Cellpose3"]
    chosen = {f"{name}_Cellpose3": name for name in ("Nuclei", "Cells", "Cytoplasm")}
    assert read(tmp_path, compartments=chosen)["Cells_AreaShape_Area"].to_list() == [202, 204, 402, 404, 406]


def test_further_objects_are_compartments_of_their_own(tmp_path: Path) -> None:
    tables = export()
    tables["Nucleoli"] = objects([2, 3], "Nuclei")
    write_csv(tmp_path, tables, "MyExpt_")
    assert read(tmp_path)["Nucleoli_AreaShape_Area"].to_list() == [101, 102, 201, 202, 203]
