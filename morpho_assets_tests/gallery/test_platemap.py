import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.platemap import annotate_wells, join_metadata, platemap_name, read_platemap

BARCODES = b"Assay_Plate_Barcode,Plate_Map_Name\nP1,map_1\nP2,map_2\nP2,map_3\n"
PLATEMAP = b"well_position\tbroad_sample\tsolvent\nA01\tBRD-1\tDMSO\na2\t\tDMSO\nA03\tBRD-2\tDMSO\n"
COMPOUNDS = (
    b"broad_sample\tpert_iname\tpert_type\tcontrol_type\n"
    b"\tDMSO\tcontrol\tnegcon\nBRD-1\taspirin\ttrt\t\nBRD-2\tAMG900\tcontrol\tposcon_cp\n"
)


def test_the_platemap_of_a_plate_is_found():
    assert platemap_name(BARCODES, "b.csv", "P1") == "map_1"


@pytest.mark.parametrize(("plate", "message"), [("P9", "no row of P9"), ("P2", "2 platemaps of P2")])
def test_a_plate_without_one_platemap_is_refused(plate, message):
    with pytest.raises(InputError, match=message):
        platemap_name(BARCODES, "barcode_platemap.csv", plate)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PLATEMAP.replace(b"A03", b"A2"), "rows 3 and 4: found well A02 twice"),
        (PLATEMAP.replace(b"A03", b"3A"), "row 4, column well_position"),
        (PLATEMAP.replace(b"A03", b""), "row 4, column well_position: found an empty cell"),
        (PLATEMAP.replace(b"well_position", b"well"), "also well_position"),
        (PLATEMAP.replace(b"\t", b","), "found commas between the columns; expected tabs"),
    ],
    ids=["twice", "well", "empty", "column", "delimiter"],
)
def test_a_broken_platemap_names_file_and_row(body, message):
    with pytest.raises(InputError) as error:
        read_platemap(body, "map_1.txt")
    assert str(error.value).startswith("map_1.txt, ")
    assert message in str(error.value)


def test_metadata_joins_by_the_key_that_covers_most_wells_and_an_empty_key_joins_an_empty_one():
    wells, file = join_metadata(
        read_platemap(PLATEMAP, "map_1.txt"),
        {"other.tsv": b"broad_sample\tgene\nBRD-1\tTP53\n", "compounds.tsv": COMPOUNDS, "odd.tsv": b"x\ty\n1\t2\n"},
    )
    assert file == "compounds.tsv"
    assert wells["pert_iname"].to_list() == ["aspirin", "DMSO", "AMG900"]


def test_a_key_that_comes_twice_in_the_metadata_is_refused():
    with pytest.raises(InputError, match="found BRD-1 twice"):
        join_metadata(read_platemap(PLATEMAP, "m"), {"c.tsv": COMPOUNDS + b"BRD-1\tibuprofen\ttrt\t\n"})


def test_wells_know_their_treatment_and_controls():
    wells, _ = join_metadata(read_platemap(PLATEMAP, "m"), {"c.tsv": COMPOUNDS})
    annotated = annotate_wells(wells)
    assert annotated["Metadata_Perturbation"].to_list() == ["BRD-1", "DMSO", "BRD-2"]
    assert annotated["Metadata_pert_type"].to_list() == ["trt", "control", "control"]
    assert annotated["Metadata_control_type"].to_list() == [None, "negcon", "poscon_cp"]
    assert annotated.select("Metadata_Row", "Metadata_Col").rows() == [(1, 1), (1, 2), (1, 3)]


def test_without_metadata_the_solvent_names_the_negative_controls():
    annotated = annotate_wells(read_platemap(PLATEMAP, "m"))
    assert annotated["Metadata_control_type"].to_list() == [None, "negcon", None]
    assert annotated["Metadata_pert_type"].to_list() == ["trt", "control", "trt"]


def test_an_empty_well_without_solvent_is_empty():
    wells = pl.DataFrame({"Metadata_Well": ["A01", "A02"], "broad_sample": ["BRD-1", None]})
    assert annotate_wells(wells)["Metadata_pert_type"].to_list() == ["trt", "empty"]


def test_doses_tell_treatments_apart_where_there_is_more_than_one():
    wells = pl.DataFrame({"Metadata_Well": ["A01", "A02"], "broad_sample": ["B", "B"], "mmoles_per_liter": ["1", "5"]})
    assert annotate_wells(wells)["Metadata_Perturbation"].to_list() == ["B@1", "B@5"]
    assert annotate_wells(wells, perturbation=("broad_sample",))["Metadata_Perturbation"].to_list() == ["B", "B"]


def test_jump_control_types_are_understood():
    wells = pl.DataFrame({"Metadata_Well": ["A01", "A02"], "JCP2022": ["J1", "J2"], "pert_type": ["negcon", "trt"]})
    annotated = annotate_wells(wells)
    assert annotated["Metadata_control_type"].to_list() == ["negcon", None]
    assert annotated["Metadata_pert_type"].to_list() == ["control", "trt"]


def test_the_real_platemap_has_64_dmso_wells(reference_data):
    base = reference_data / "gallery/cpg0000-jump-pilot/source_4/workspace/metadata"
    name = "JUMP-Target-1_compound_platemap.txt"
    platemap = read_platemap((base / "platemaps/2020_11_04_CPJUMP1/platemap" / name).read_bytes(), name)
    wells, file = join_metadata(platemap, {p.name: p.read_bytes() for p in (base / "external_metadata").glob("*.tsv")})
    annotated = annotate_wells(wells)
    assert file == "JUMP-Target-1_compound_metadata_targets.tsv"
    assert (annotated["Metadata_control_type"] == "negcon").sum() == 64
    assert annotated.height == 384
