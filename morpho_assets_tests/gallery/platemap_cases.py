"""Platemaps, tables of barcodes, treatments and controls as people write them."""

from __future__ import annotations

from pathlib import Path

from morpho_assets.gallery.platemap import platemap_name, read_platemap
from morpho_assets.gallery.treatments import annotate_wells
from morpho_assets_tests.factories import workbook
from morpho_assets_tests.gallery.cases import CASES, Case, refused

MAPS, BARCODES, TREATMENTS = "Platemaps", "Tables of barcodes", "Treatments and controls"
USUAL = "well_position\tbroad_sample\nA01\tDMSO\nA02\ttaxol\n"


def entered(what: str, text: str | bytes, name: str = "taxol") -> None:
    def run(folder: Path) -> None:
        body = text if isinstance(text, bytes) else text.encode()
        wells = read_platemap(body, "map.txt")
        assert wells.select("Metadata_Well", "broad_sample").rows() == [("A01", "DMSO"), ("A02", name)]

    CASES.append(Case(MAPS, what, "read", run))


def refusing(what: str, text: str | bytes, message: str, outcome: str) -> None:
    def run(folder: Path) -> None:
        with refused(message):
            read_platemap(text if isinstance(text, bytes) else text.encode(), "map.txt")

    CASES.append(Case(MAPS, what, f"stops: {outcome}", run))


entered(".txt or .tsv with tabs", USUAL)
entered(".csv, or commas in a .txt", USUAL.replace("\t", ","))
entered(".xlsx", workbook([line.split("\t") for line in USUAL.splitlines()]))
entered("Excel's Unicode text (UTF-16)", USUAL.encode("utf-16"))
entered("byte order mark, Windows line ends", ("\ufeff" + USUAL.replace("\n", "\r\n")).encode())
entered("line ends of an old Mac", USUAL.replace("\n", "\r"))
entered("blank lines", USUAL.replace("A02", "\nA02"))
for column in ("Metadata_Well", "Well", "Well ID", "well_position"):
    entered(f"wells in `{column}`", USUAL.replace("well_position", column))
entered("a row and a column", "row\tcolumn\tbroad_sample\nA\t1\tDMSO\nA\t2\ttaxol\n")
entered('a name with a quote, 5"-deoxy', USUAL.replace("taxol", '5"-deoxy'), '5"-deoxy')
entered("a quoted name with a comma and doubled quotes", USUAL.replace("taxol", '"2,2""-bi"'), '2,2"-bi')
entered(
    "columns of the plate, batch, row",
    USUAL.replace("\n", "\tPlate\n", 1).replace("DMSO\n", "DMSO\tP1\n").replace("taxol\n", "taxol\tP1\n"),
)
refusing("semicolons", USUAL.replace("\t", ";"), "semicolons between the columns", "save it with commas or tabs")
refusing("Latin-1", USUAL.replace("taxol", "µ").encode("latin-1"), "in Latin-1 it is 'µ'", "save it as UTF-8")
refusing("UTF-16 without its mark", USUAL.encode("utf-16-le"), "a zero byte in row 1", "save it as UTF-8")
refusing(
    "a quote that opens a name and does not close it",
    USUAL.replace("taxol", '"taxol'),
    "row 3: found a quote that opens a cell",
    "the row is named",
)
refusing(
    "a name with a line break in quotes",
    USUAL.replace("taxol", '"ta\nxol"'),
    "row 3: found a quote that opens a cell",
    "the row is named",
)
refusing("A1 and A01", USUAL.replace("A02", "A1"), "rows 2 and 3: found well A01 twice", "keep one of the rows")
refusing(
    "no column of wells",
    USUAL.replace("well_position", "position"),
    "expected also well_position, Metadata_Well or Well",
    "the columns are listed",
)


def barcodes(what: str, text: str | bytes, plate: str = "P1") -> None:
    def run(folder: Path) -> None:
        assert (
            platemap_name(text if isinstance(text, bytes) else text.encode(), "barcode_platemap.csv", plate) == "map1"
        )

    CASES.append(Case(BARCODES, what, "read", run))


def wrong_barcodes(what: str, text: str, message: str, outcome: str, plate: str = "P1") -> None:
    def run(folder: Path) -> None:
        with refused(message):
            platemap_name(text.encode(), "barcode_platemap.csv", plate)

    CASES.append(Case(BARCODES, what, f"stops: {outcome}", run))


TABLE = "Assay_Plate_Barcode,Plate_Map_Name\nP1,map1\n"
barcodes("commas, as in the Gallery", TABLE)
barcodes("tabs", TABLE.replace(",", "\t"))
barcodes(
    ".xlsx, the barcode a number",
    workbook([["Assay_Plate_Barcode", "Plate_Map_Name"], [1053601756, "map1"]]),
    "1053601756",
)
barcodes("the map's name with its ending", TABLE.replace("map1", "map1.txt"))
barcodes("spaces around names", TABLE.replace("P1,map1", " P1 , map1 "))
barcodes("the plate twice with one map", TABLE + "P1,map1\n")
barcodes("columns `plate` and `platemap`", TABLE.replace("Assay_Plate_Barcode,Plate_Map_Name", "plate,platemap"))
barcodes("plate 0042", TABLE.replace("P1", "0042"), "0042")
wrong_barcodes(
    "barcode 42 for plate 0042",
    TABLE.replace("P1", "42"),
    "but of 42 (a spreadsheet takes leading zeros away)",
    "lost zeros are pointed out",
    "0042",
)
wrong_barcodes("two maps of a plate", TABLE + "P1,map2\n", "2 platemaps of P1", "keep one")
wrong_barcodes(
    "columns of other names",
    TABLE.replace("Plate_Map_Name", "x"),
    "expected Assay_Plate_Barcode and Plate_Map_Name",
    "the columns are listed",
)


def wells(table: str, **options: object) -> list[tuple[str, str | None]]:
    """Perturbation and control type of each well of a table with tabs."""
    found = annotate_wells(read_platemap(table.encode(), "map.txt"), "map.txt", **options)
    return found.select("Metadata_Perturbation", "Metadata_control_type").rows()


def treated(
    what: str, table: str, expected: list[tuple[str, str | None]], outcome: str = "understood", **options: object
) -> None:
    def run(folder: Path) -> None:
        assert wells(table, **options) == expected

    CASES.append(Case(TREATMENTS, what, outcome, run))


def asked(what: str, table: str, message: str, outcome: str, **options: object) -> None:
    def run(folder: Path) -> None:
        with refused(message):
            wells(table, **options)

    CASES.append(Case(TREATMENTS, what, f"stops: {outcome}", run))


NEGCON = ("DMSO", "negcon")
for name in ("DMSO", "dmso", "DMSO 0.1%", "0.5 % DMSO", "DMSO (0.1% v/v)"):
    treated(
        f"control called {name}",
        f"well\tbroad_sample\nA1\t{name}\nA2\tX\n",
        [NEGCON, ("X", None)],
        "a negative control, DMSO",
    )
treated(
    "an empty sample, the solvent beside it",
    "well\tbroad_sample\tsolvent\nA1\t\tDMSO\nA2\tX\tDMSO\n",
    [NEGCON, ("X", None)],
)
treated(
    "`control_type` negcon, negative, vehicle",
    "well\tbroad_sample\tcontrol_type\nA1\tQ\tNegative Control\nA2\tX\t\n",
    [("Q", "negcon"), ("X", None)],
)
treated(
    "doses 5, 5.0, 5.0000001",
    "well\tbroad_sample\tdose_uM\nA1\tDMSO\t0\nA2\tX\t5\nA3\tX\t5.0\nA4\tX\t5.0000001\nA5\tX\t10\n",
    [NEGCON, *[("X@5", None)] * 3, ("X@10", None)],
    "one treatment, X@5",
)
treated(
    "dose 9.99999999999999999, or 0,5",
    "well\tbroad_sample\tdose_uM\nA1\tDMSO\t\nA2\tX\t9.99999999999999999\nA3\tX\t0,5\n",
    [NEGCON, ("X@10", None), ("X@0.5", None)],
    "X@10, X@0.5",
)
treated(
    "a control with several doses",
    "well\tbroad_sample\tdose_uM\nA1\tDMSO\t1\nA2\tdmso\t2\nA3\tX\t5\n",
    [NEGCON, NEGCON, ("X@5", None)],
    "one control, without a dose",
)
treated(
    "guides 001 and 1",
    "well\tgene\tguide\nA1\tDMSO\t\nA2\tG\t001\nA3\tG\t1\n",
    [NEGCON, ("G@001", None), ("G@1", None)],
    "kept apart",
    perturbation=("gene", "guide"),
)
treated(
    "NA where a well has no sample",
    "well\tbroad_sample\nA1\tDMSO\nA2\tNA\n",
    [NEGCON, ("empty", None)],
    "an empty well",
)
treated(
    "a plate without controls, `negative_controls: []`",
    "well\tbroad_sample\nA1\tX\n",
    [("X", None)],
    "as it is",
    negative_controls=(),
)
asked(
    "columns compound and control_type alone",
    "well\tcompound\tcontrol_type\nA1\tDMSO\tnegcon\nA2\ttaxol\t\n",
    "compound: DMSO (1), taxol (1); expected one of Perturbation",
    "the columns and their commonest values are shown, and `perturbation`",
)
asked(
    "no well is a negative control",
    "well\tbroad_sample\nA1\twater\nA2\tX\n",
    "no negative control among the treatments X (1), water (1)",
    "the treatments are shown, and `negative_controls`",
)
asked(
    "`perturbation` names a column that is not there",
    "well\tcompound\nA1\tDMSO\n",
    "also Metadata_compond. Rename Metadata_compound",
    "the nearest column is offered",
    perturbation=("compond",),
)
