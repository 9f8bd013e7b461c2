import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.platemap import find_table, join_metadata, platemap_name, read_platemap
from morpho_assets.gallery.treatments import annotate_wells
from morpho_assets_tests.factories import workbook

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
        (PLATEMAP.replace(b"well_position", b"position"), "expected also well_position, Metadata_Well or Well"),
        (PLATEMAP.replace(b"\t", b";"), "found semicolons between the columns; expected commas or tabs"),
    ],
    ids=["twice", "well", "empty", "column", "delimiter"],
)
def test_a_broken_platemap_names_file_and_row(body, message):
    with pytest.raises(InputError) as error:
        read_platemap(body, "map_1.txt")
    assert str(error.value).startswith("map_1.txt, ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        PLATEMAP.replace(b"\t", b","),
        PLATEMAP.replace(b"well_position", b"Metadata_Well"),
        PLATEMAP.replace(b"well_position", b"Well"),
        PLATEMAP.replace(b"well_position", b"Well ID"),
        PLATEMAP.replace(b"well_position", b"Vessel"),
        b"row\tcolumn" + PLATEMAP[13:].replace(b"A0", b"A\t").replace(b"a2", b"A\t2"),
        b"Row,Col" + PLATEMAP[13:].replace(b"A0", b"1,").replace(b"a2", b"1,2").replace(b"\t", b","),
        PLATEMAP.replace(b"\tDMSO", b"\tDMSO\t").replace(b"solvent", b"solvent\t"),
        PLATEMAP.decode().encode("utf-16"),
        workbook([[cell or None for cell in line.split("\t")] for line in PLATEMAP.decode().splitlines()]),
    ],
    ids=["commas", "prefix", "Well", "Well ID", "named", "row-column", "numbers", "empty-column", "utf-16", "xlsx"],
)
def test_a_platemap_is_the_same_in_many_forms(body):
    found = read_platemap(body, "map_1.txt", well="Vessel")
    rows = [("A01", "BRD-1", "DMSO"), ("A02", None, "DMSO"), ("A03", "BRD-2", "DMSO")]
    assert found.select("Metadata_Well", "broad_sample", "solvent").rows() == rows
    assert set(found.columns) - {"row", "column", "Row", "Col"} == {"Metadata_Well", "broad_sample", "solvent"}


@pytest.mark.parametrize(
    ("body", "plate", "name"),
    [
        (b"Assay_Plate_Barcode\tPlate_Map_Name\nP1\tmap_1\n", "P1", "map_1"),
        (b"Assay_Plate_Barcode,Plate_Map_Name\nP1,map_1.txt\nP1,map_1\n", "P1", "map_1"),
        (b"Metadata_Plate,platemap_file\n0042,map_1.XLSX\n", "0042", "map_1"),
        (b"barcode,Plate Map Name\n P1 , OAA01.02.A \n", "P1", "OAA01.02.A"),
        (b"Assay_Plate_Barcode,Plate_Map_Name\nP1__2021-05-02-Measurement1,map_1\n", "P1", "map_1"),
        (workbook([["Assay_Plate_Barcode", "Plate_Map_Name"], [1053601756, "map_1"]]), "1053601756", "map_1"),
    ],
)
def test_tables_of_barcodes_are_understood(body, plate, name):
    assert platemap_name(body, "barcode_platemap.csv", plate) == name


def test_tables_of_barcodes_say_what_they_have_instead():
    with pytest.raises(InputError, match=r"no row of 0042, but of 42 \(a spreadsheet takes leading zeros away\)"):
        platemap_name(b"Assay_Plate_Barcode,Plate_Map_Name\n42,m\n", "b.csv", "0042")
    with pytest.raises(InputError, match="found the columns a, b; expected Assay_Plate_Barcode and Plate_Map_Name"):
        platemap_name(b"a,b\n1,2\n", "b.csv", "P1")


def test_a_platemap_is_found_by_its_name_with_any_ending():
    folder = ["m/map_1.csv", "m/map_1.txt", "m/Map_2.XLSX", "m/map_1_old.txt"]
    assert find_table(folder, "map_1") == "m/map_1.txt"
    assert find_table(folder, "map_2") == "m/Map_2.XLSX"
    assert find_table(folder, "map_3") is None


def test_what_says_in_words_that_it_is_empty_is_empty():
    assert read_platemap(b"well\tcompound\nA01\tNA\nA02\tNaCl\n", "m")["compound"].to_list() == [None, "NaCl"]


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


def test_the_real_platemap_has_64_dmso_wells(reference_data):
    base = reference_data / "gallery/cpg0000-jump-pilot/source_4/workspace/metadata"
    name = "JUMP-Target-1_compound_platemap.txt"
    platemap = read_platemap((base / "platemaps/2020_11_04_CPJUMP1/platemap" / name).read_bytes(), name)
    wells, file = join_metadata(platemap, {p.name: p.read_bytes() for p in (base / "external_metadata").glob("*.tsv")})
    annotated = annotate_wells(wells, name)
    assert file == "JUMP-Target-1_compound_metadata_targets.tsv"
    assert (annotated["Metadata_control_type"] == "negcon").sum() == 64
    assert annotated.height == 384
