import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.predict.activity.baselines import BATCH, COUNT, POSITION, nuisances, shuffled_labels
from morpho_assets.predict.activity.compounds import (
    compounds_of_wells,
    predictions_of_table,
    read_compounds,
    vectors_of_space,
    vectors_of_table,
)
from morpho_assets.predict.activity.config import (
    ActivityConfig,
    CompoundsFile,
    PredictionsModality,
    TableModality,
)

FILE = CompoundsFile(file="compounds.csv")
BODY = b"compound,name,smiles,plate,well,batch,cell_count\nA,one,CCO,P1,A01,b1,100\nB,two,,P1,h12,b2,\n"


def test_compounds_of_a_file():
    found = read_compounds(BODY, FILE)
    assert found.select("compound", "smiles", "row", "column", "cell_count").rows() == [
        ("A", "CCO", 1, 1, 100), ("B", None, 8, 12, None),
    ]  # fmt: skip
    assert found["inchikey"].null_count() == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"compound,well\nA,A01\nA,A02\n", "row 3, column compound: found A again"),
        (b"compound,well\nA,101\n", "row 2, column well: found '101'"),
        (b"compound,cell_count\nA,many\n", "row 2, column cell_count: found 'many'"),
        (b"name,well\nA,A01\n", "also compound"),
    ],
)
def test_a_wrong_file_of_compounds_stops_with_its_row(body, words):
    with pytest.raises(InputError, match=words):
        read_compounds(body, FILE)


WELLS = pl.DataFrame({
    "Metadata_Plate": ["P1", "P1", "P2", "P2", "P2"], "Metadata_Well": ["A01", "A02", "A01", "C03", "H01"],
    "Metadata_Row": [1, 1, 1, 3, 8], "Metadata_Col": [1, 2, 1, 3, 1], "Metadata_Batch": ["b1", "b1", "b2", "b2", "b2"],
    "Metadata_broad_sample": ["A", "B", "A", "B", None], "Metadata_smiles": ["CCO", None, "CCO", None, None],
    "Metadata_control_type": [None, None, None, None, "negcon"],
})  # fmt: skip


def test_compounds_of_wells_have_means_and_what_is_one():
    counts = WELLS.select("Metadata_Plate", "Metadata_Well", cells=pl.Series([10.0, 20, 30, 40, 50]))
    found = compounds_of_wells(WELLS, counts)
    columns = ("compound", "smiles", "plate", "well", "row", "column", "cell_count")
    assert found.select(columns).rows() == [
        ("A", "CCO", None, "A01", 1, 1, 20), ("B", None, None, None, 2, 2.5, 30),
    ]  # fmt: skip
    with pytest.raises(InputError, match="none that names a compound"):
        compounds_of_wells(WELLS.drop("Metadata_broad_sample"), counts)


COMPOUNDS = pl.DataFrame({"compound": ["A", "B", "C"], "name": ["one", "two", "three"]})


def test_vectors_of_a_table_are_matched_and_meaned():
    body = b"compound,note,x,y\nA,n,1,2\ntwo,n,3,NA\nTWO,n,5,6\nD,n,9,9\n"
    found, lost = vectors_of_table(body, TableModality(of="table", file="x.csv"), COMPOUNDS)
    np.testing.assert_array_equal(found, [[1, 2], [4, 6], [np.nan, np.nan]])
    assert lost == ["D"]
    only, _ = vectors_of_table(body, TableModality(of="table", file="x.csv", prefixes=("y",)), COMPOUNDS)
    assert only.shape == (3, 1)


def test_a_cell_that_is_no_number_stops_with_its_row():
    body = b"compound,x\nA,1\nB,high\n"
    with pytest.raises(InputError, match="row 3, column x: found 'high'"):
        vectors_of_table(body, TableModality(of="table", file="x.csv"), COMPOUNDS)
    with pytest.raises(InputError, match="no column of numbers"):
        vectors_of_table(b"compound,note\nA,b\n", TableModality(of="table", file="x.csv"), COMPOUNDS)


def test_vectors_of_a_space_are_medians_of_wells():
    profiles = pl.DataFrame({"Metadata_broad_sample": ["A", "A", "A", "B"], "f": [1.0, 2, 9, 4]})
    np.testing.assert_array_equal(vectors_of_space(profiles, ["f"], COMPOUNDS), [[2], [4], [np.nan]])


def test_predictions_made_elsewhere_long_or_wide():
    config = PredictionsModality(of="predictions", file="p.csv")
    long = b"compound,assay,probability\nA,one,0.25\nB,two,1\nB,other,0.5\n"
    wide = b"compound,one,two\nA,0.25,\nB,,1\n"
    expected = [[0.25, np.nan], [np.nan, 1], [np.nan, np.nan]]
    for body in (long, wide):
        np.testing.assert_array_equal(predictions_of_table(body, config, COMPOUNDS, ["one", "two"]), expected)
    with pytest.raises(InputError, match="row 2, assay one: found '7'"):
        predictions_of_table(b"compound,one\nA,7\n", config, COMPOUNDS, ["one"])


def test_nuisances_are_those_that_are_known():
    found = nuisances(read_compounds(BODY, FILE))
    assert [each.name for each in found] == [COUNT, POSITION, BATCH]
    assert found[0].known.tolist() == [True, False]
    assert nuisances(COMPOUNDS) == []


def test_shuffled_labels_keep_what_was_tested_and_how_many_are_active():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((50, 3)) < 0.5, (rng.random((50, 3)) < 0.3).astype(float), np.nan)
    found = shuffled_labels(labels, 1)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(labels))
    np.testing.assert_array_equal(np.nansum(found, axis=0), np.nansum(labels, axis=0))
    assert (np.nan_to_num(found) != np.nan_to_num(labels)).any()


def test_files_lie_where_the_settings_do():
    config = ActivityConfig.model_validate({
        "assays": {"file": "a.csv"}, "compounds": {"file": "c.csv"},
        "modalities": {"x": {"of": "table", "file": "x.csv"}, "s": {"of": "structure"}},
    })  # fmt: skip
    assert config.located(lambda file: f"/data/{file}").files == ["/data/a.csv", "/data/c.csv", "/data/x.csv"]
    with pytest.raises(ValueError, match="names a modality in `of`"):
        ActivityConfig.model_validate(config.model_dump() | {"splits": [{"by": "cluster"}]})
