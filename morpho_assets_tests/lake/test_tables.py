import math

import polars as pl
import pytest

from morpho_assets.errors import LakeError
from morpho_assets.lake.tables import TABLES, table

KEYS = {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "ObjectNumber": 1}


def cell(**values):
    return pl.DataFrame([{**KEYS, **values}])


@pytest.mark.parametrize("name", TABLES)
def test_every_table_says_what_it_is(name):
    declared = TABLES[name]
    names = [column.name for column in declared.columns]
    assert declared.about.endswith(".")
    assert set(declared.keys) <= set(names)
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in declared.columns)
    assert declared.empty().columns == names


def test_a_frame_is_cast_and_ordered():
    cast = table("single_cells").cast(cell(Nuclei_AreaShape_Area=120))
    assert cast.columns == ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber", "Nuclei_AreaShape_Area"]
    assert cast.schema["Nuclei_AreaShape_Area"] == pl.Float32
    assert cast.schema["ObjectNumber"] == pl.Int32


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(value):
    assert table("single_cells").cast(cell(Cells_Texture_X=value))["Cells_Texture_X"].to_list() == [None]


def test_optional_columns_that_are_missing_become_null():
    cast = table("masks").cast(cell().drop("ObjectNumber"))
    assert cast["Count_Cells"].to_list() == [None]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (cell(Golgi_Area=1.0), "column 'Golgi_Area' is not declared"),
        (cell().drop("ObjectNumber"), r"key columns \['ObjectNumber'\] are missing"),
        (cell(Metadata_Well=None), r"key columns \['Metadata_Well'\] hold nulls"),
        (pl.concat([cell(), cell()]), "2 rows share a key"),
        (cell(Nuclei_AreaShape_Area="large"), "does not fit its declared type"),
    ],
    ids=["undeclared", "no-key", "null-key", "repeated", "type"],
)
def test_what_does_not_fit_is_refused(frame, message):
    with pytest.raises(LakeError, match=message):
        table("single_cells").cast(frame)


def test_an_unknown_table_lists_the_known():
    with pytest.raises(LakeError, match="no table 'cells'; the lake has"):
        table("cells")
