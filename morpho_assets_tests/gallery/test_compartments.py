"""Tables of objects to rows of cells: which compartments there may be, and how they are linked."""

from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.compartments import link_objects
from morpho_assets.gallery.image_table import CellProfilerConfig, image_places
from morpho_assets_tests.gallery.exports import Tables, export, objects


def link(tables: Tables, account: Account | None = None, **compartments: str | None) -> pl.DataFrame:
    config = CellProfilerConfig(compartments=compartments)
    rest = {name: frame for name, frame in tables.items() if name != "Image"}
    return link_objects(image_places(tables["Image"], config, {}, "Image"), rest, config, account)


def only(*names: str) -> Tables:
    return {name: frame for name, frame in export().items() if name in ("Image", *names)}


@pytest.mark.parametrize(
    "names",
    [("Cells",), ("Nuclei",), ("Cytoplasm",), ("Nuclei", "Cells"), ("Cells", "Cytoplasm"), ("Nuclei", "Cytoplasm")],
)
def test_any_set_of_compartments(names: tuple[str, ...]) -> None:
    cells = link(only(*names))
    assert cells.columns[4:] == [f"{name}_AreaShape_Area" for name in ("Nuclei", "Cells", "Cytoplasm") if name in names]
    for column in cells.columns[4:]:
        assert cells[column].to_list() == [101, 102, 201, 202, 203]


def test_of_several_objects_in_a_cell_the_cell_has_the_mean() -> None:
    """Nucleoli of nuclei, which are other numbers than their cells; a nucleus without any; one without a nucleus."""
    tables = export([2, 3])
    tables["Cells"] = tables["Cells"].with_columns(Parent_Nuclei=pl.Series([2, 1, 3, 2, 1]))
    tables["Nucleoli"] = objects([4, 1]).with_columns(
        Parent_Nuclei=pl.Series([1, 1, 2, 0, 3]), AreaShape_Area=pl.Series([1.0, 3.0, 5.0, 7.0, 9.0])
    )
    account = Account()
    cells = link(tables, account)
    assert cells["Nucleoli_AreaShape_Area"].to_list() == [5.0, 2.0, 9.0, None, None]
    assert (dict(account.several), dict(account.unlinked)) == ({"Nucleoli": 1}, {"Nucleoli": 1})


def test_cells_that_lack_a_compartment_are_left_out_and_told() -> None:
    tables = export([3, 2])
    tables["Nuclei"] = tables["Nuclei"].filter(~((pl.col("ImageNumber") == 1) & (pl.col("ObjectNumber") == 2)))
    account = Account()
    assert link(tables, account)["ObjectNumber"].to_list() == [1, 3, 1, 2]
    assert dict(account.unlinked) == {"Cells": 1}


def test_objects_that_lead_to_no_cell_are_left_out_and_told() -> None:
    account = Account()
    cells = link({**export(), "Debris": objects([1, 1])}, account)
    assert not [name for name in cells.columns if name.startswith("Debris")]
    assert account.left_out == {"Debris": "no recorded parent leads from Debris to Cells"}


@pytest.mark.parametrize("parent", ["FilteredNuclei", "OrigNuclei", "MyNuclei"])
def test_parents_by_another_name_where_the_numbers_are_the_same(parent: str) -> None:
    tables = export()
    for name in ("Cells", "Cytoplasm"):
        tables[name] = tables[name].rename({"Parent_Nuclei": f"Parent_{parent}"})
    assert link(tables).height == 5


def test_parents_by_another_name_are_not_taken_for_objects_that_are_numbered_otherwise() -> None:
    """Three of the four nuclei passed the filter, and were numbered anew: 1 to 3 are not the nuclei 1 to 3."""
    tables = {**export([3, 3]), "Nuclei": objects([4, 3])}
    for name in ("Cells", "Cytoplasm"):
        tables[name] = tables[name].rename({"Parent_Nuclei": "Parent_FilteredNuclei"})
    message = r"table Cells: found no column Parent_Nuclei but Parent_FilteredNuclei; .*\(FilteredNuclei: Nuclei\)"
    with pytest.raises(InputError, match=message):
        link(tables)
    assert link(tables, FilteredNuclei="Nuclei").height == 6  # who says so knows


def test_the_filtered_objects_themselves() -> None:
    """FilteredNuclei are exported: they lead from cells to nuclei, or are the nuclei where the settings say so."""
    tables = {**export([2, 2]), "Nuclei": objects([3, 2])}
    tables["FilteredNuclei"] = objects([2, 2]).with_columns(Parent_Nuclei=pl.Series([1, 3, 1, 2]))
    for name in ("Cells", "Cytoplasm"):
        tables[name] = tables[name].rename({"Parent_Nuclei": "Parent_FilteredNuclei"})
    cells = link(tables)
    assert cells["Nuclei_AreaShape_Area"].to_list() == [101, 103, 201, 202]
    assert cells["FilteredNuclei_AreaShape_Area"].to_list() == [101, 102, 201, 202]
    account = Account()
    cells = link(tables, account, FilteredNuclei="Nuclei")
    assert cells["Nuclei_AreaShape_Area"].to_list() == [101, 102, 201, 202]
    assert account.left_out == {"Nuclei": "other objects are Nuclei, as the settings say"}


def test_who_says_which_objects_are_the_nuclei_has_them_linked_by_their_own_parents() -> None:
    """Cells know both: nuclei 1 and 3 passed the filter and are the filtered nuclei 1 and 2."""
    tables = {"Image": export([2])["Image"][:1], "Nuclei": objects([3]), "FilteredNuclei": objects([2])}
    tables["FilteredNuclei"] = tables["FilteredNuclei"].with_columns(AreaShape_Area=pl.Series([7.0, 9.0]))
    both = {"Parent_FilteredNuclei": pl.Series([1, 2]), "Parent_Nuclei": pl.Series([1, 3])}
    tables["Cells"] = objects([2]).with_columns(**both)
    for left_out in ((), ("Nuclei",)):
        some = {name: frame for name, frame in tables.items() if name not in left_out}
        assert link(some, FilteredNuclei="Nuclei")["Nuclei_AreaShape_Area"].to_list() == [7.0, 9.0]
    del tables["FilteredNuclei"]
    assert link(tables)["Nuclei_AreaShape_Area"].to_list() == [101.0, 103.0]


def test_objects_can_be_left_out() -> None:
    account = Account()
    cells = link({**export(), "Nucleoli": objects([2, 3], "Nuclei")}, account, Nucleoli=None)
    assert "Nucleoli_AreaShape_Area" not in cells.columns
    assert account.left_out == {"Nucleoli": "as the settings say"}


def test_table_numbers_of_any_type_and_images_that_are_numbered_alike() -> None:
    tables = export([2, 3])
    tables = {
        name: frame.with_columns(pl.col("ImageNumber").replace_strict({1: "ab12", 2: "ab13"}).alias("TableNumber"))
        .with_columns(ImageNumber=pl.lit(1.0 if name == "Nuclei" else 1))
        for name, frame in tables.items()
    }  # fmt: skip
    assert link(tables)["Nuclei_AreaShape_Area"].to_list() == [101, 102, 201, 202, 203]
    del tables["Cytoplasm"]
    tables["Nuclei"] = tables["Nuclei"].drop("TableNumber")
    with pytest.raises(InputError, match="found image 1 in several tables, and objects without a TableNumber"):
        link(tables)


def test_measurements_under_no_module_s_name_are_told_for_further_objects() -> None:
    account = Account()
    tables = {**export(), "Nucleoli": objects([2, 3], "Nuclei", Colour=[1.0] * 5)}
    tables["Cells"] = tables["Cells"].with_columns(Colour=pl.lit(2.0), FileName_DNA=pl.lit("a.tif"))
    cells = link(tables, account)
    assert "Cells_Colour" in cells.columns
    assert "Nucleoli_Colour" not in cells.columns
    assert not [name for name in cells.columns if "FileName" in name]
    assert account.left_out == {"Nucleoli_Colour": "no measurement of a module of CellProfiler's"}


@pytest.mark.parametrize(
    ("table", "old", "message"),
    [
        ("Cells", "Parent_Nuclei", "table Cells: found no column Parent_Nuclei; .*Export Parent_Nuclei with the table"),
        ("Nuclei", "ObjectNumber", "table Nuclei: found no column ObjectNumber"),
        ("Nuclei", "ImageNumber", "tables of objects without ImageNumber"),
    ],
)
def test_objects_that_cannot_be_linked_are_told(table: str, old: str, message: str) -> None:
    tables = only("Nuclei", "Cells")
    tables[table] = tables[table].rename({old: "Other"})
    with pytest.raises(InputError, match=message):
        link(tables)


def test_settings_and_tables_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"compartments, Nuclie: found objects Nuclei, Cells, Cytoplasm"):
        link(export(), Nuclie="Nuclei")
    with pytest.raises(InputError, match="found Nuclei, Cells for Nuclei; expected one"):
        link(only("Nuclei", "Cells"), Nuclei="Nuclei", Cells="Nuclei")
    twice = only("Cells")
    twice["Cells"] = pl.concat([twice["Cells"], twice["Cells"][:1]])
    with pytest.raises(InputError, match="table Cells, ImageNumber 1: found object 1 twice"):
        link(twice)
    with pytest.raises(InputError, match="expected Cells, Nuclei or other objects"):
        link(only())


@pytest.mark.parametrize("number", [1e31, 1.5, -1e31])
def test_an_object_whose_number_is_none_is_told(number: float) -> None:
    tables = only("Cells")
    spoilt = pl.Series("ObjectNumber", [number, 2.0, 1.0, 2.0, 3.0])
    account = Account()
    cells = link({**tables, "Cells": tables["Cells"].with_columns(spoilt)}, account)
    assert cells.height == 4
    assert account.unlinked["Cells"] == 1


@pytest.mark.parametrize(("values", "told"), [([None] * 5, False), ([1, 2, 3, 4, 5], True)], ids=["empty", "values"])
def test_a_column_without_a_name_is_left_out_and_told(values: list[object], told: bool) -> None:
    tables = only("Cells")
    account = Account()
    cells = link({**tables, "Cells": tables["Cells"].with_columns(pl.Series("", values, pl.Int64))}, account)
    assert cells.columns == link(tables).columns
    assert ("Cells, a column without a name" in account.left_out) == told
