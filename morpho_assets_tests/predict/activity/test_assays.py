import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.predict.activity.assays import (
    UNMATCHED,
    AssaysConfig,
    match_compounds,
    matched_outcomes,
    read_assays,
)

COMPOUNDS = pl.DataFrame({
    "compound": ["BRD-K00000001-001-01-1", "BRD-K00000002-003-05-2", "BRD-K00000003-001-01-1"],
    "name": ["Aspirin", "caffeine", "aspirin"],
    "inchikey": ["BSYNRYMUTXBXSQ-UHFFFAOYSA-N", "RYYVLZVUVIJVGH-UHFFFAOYSA-N", None],
})  # fmt: skip
LONG = b"compound,assay,active\nA,one,active\nA,two,0\nB,one,NA\nB,two,1\nB,two,1\nB,two,0\n"


def test_long_outcomes():
    found = read_assays(LONG, AssaysConfig(file="a.csv"))
    assert found.rows() == [
        ("A", "one", 1.0, True, 1), ("A", "two", 0.0, False, 1), ("B", "two", pytest.approx(2 / 3), True, 3),
    ]  # fmt: skip


def test_wide_outcomes_say_the_same():
    wide = b"compound,plate,one,two\nA,P1,Hit,no\nB,P1,,1\n"
    found = read_assays(wide, AssaysConfig(file="a.csv", leave_out=("plate",)))
    assert found.select("given", "assay", "active").rows() == [
        ("A", "one", True), ("A", "two", False), ("B", "two", True),
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "active"), [("above", [True, False, True]), ("below", [True, True, False])])
def test_thresholds_make_numbers_active(side, active):
    body = b"compound,assay,active\nA,one,5\nB,one,4.9\nC,one,7\n"
    found = read_assays(body, AssaysConfig(file="a.csv", threshold=5, active=side))
    assert found["active"].to_list() == active
    assert found["value"].to_list() == [5, 4.9, 7]


def test_an_assay_has_a_threshold_of_its_own():
    body = b"compound,one,two\nA,5,5\n"
    config = AssaysConfig(file="a.csv", thresholds={"two": 6}, threshold=5)
    assert read_assays(body, config)["active"].to_list() == [True, False]
    with pytest.raises(InputError, match="no assay three"):
        read_assays(body, AssaysConfig(file="a.csv", thresholds={"three": 1}))


@pytest.mark.parametrize(
    ("body", "config", "words"),
    [
        (b"compound,assay,active\nA,one,3.2\n", {}, "row 2, assay one: found '3.2'.*threshold"),
        (b"compound,assay,active\nA,one,high\n", {"threshold": 1}, "row 2, assay one: found 'high'; expected a number"),
        (b"name,assay,active\nA,one,1\n", {}, "also compound"),
        (b"compound,assay,active\n,one,1\n", {}, "row 2, column compound"),
        (b"compound,assay,outcome\nA,one,1\n", {}, "also active"),
        (b"compound\nA\n", {}, "no column assay"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_stops_with_its_row(body, config, words):
    with pytest.raises(InputError, match=words):
        read_assays(body, AssaysConfig(file="a.csv", **config))


@pytest.mark.parametrize(
    ("given", "by", "compound", "matched_by"),
    [
        ("BRD-K00000002-003-05-2", "auto", 1, "id"),
        ("BRD-K00000002", "auto", 1, "id"),
        ("BRD-K00000002-999-99-9", "auto", 1, "id"),
        ("RYYVLZVUVIJVGH-ZZZZZZZZSA-M", "auto", 1, "inchikey"),
        ("RYYVLZVUVIJVGH", "inchikey", 1, "inchikey"),
        ("Caffeine", "auto", 1, "name"),
        ("Caffeine", "id", None, None),
        ("water", "auto", None, None),
    ],
)
def test_identifiers_are_matched_by_id_key_or_name(given, by, compound, matched_by):
    row = match_compounds(pl.Series([given]), COMPOUNDS, by).row(0, named=True)
    assert row["compound"] == (None if compound is None else COMPOUNDS["compound"][compound])
    assert row["matched_by"] == matched_by
    assert row["note"] == (UNMATCHED if compound is None else None)


def test_several_compounds_of_one_name_are_said():
    row = match_compounds(pl.Series(["ASPIRIN"]), COMPOUNDS).row(0, named=True)
    assert row["compound"] == COMPOUNDS["compound"][0]
    assert row["note"] == "2 compounds fit; the first is taken"


def test_two_names_of_one_compound_are_one_outcome():
    outcomes = pl.DataFrame({"given": ["Aspirin", "BRD-K00000001", "water"], "assay": "one", "value": [1.0, 0.0, 1.0],
                             "active": [True, False, True], "readouts": [1, 2, 1]})  # fmt: skip
    found = matched_outcomes(outcomes, match_compounds(outcomes["given"], COMPOUNDS))
    assert found.rows() == [("one", COMPOUNDS["compound"][0], 0.5, True, 3)]
