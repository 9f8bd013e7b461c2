"""load_data as people write it."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import polars as pl

from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.places import ColumnsConfig
from morpho_assets_tests.factories import workbook
from morpho_assets_tests.gallery.cases import CASES, Case, case, refused

AREA = "load_data"
KEYS = "Metadata_Plate,Metadata_Well,Metadata_Site"
USUAL = f"URL_OrigDNA,{KEYS}\ns3://b/a.tiff,P1,A01,1\n"


def images(
    text: str | bytes, file: str = "load_data.csv", plate: str = "P1", **options: object
) -> list[tuple[object, ...]]:
    """Well, site, channel, address and plane of each image."""
    body = text if isinstance(text, bytes) else text.encode()
    sites = read_load_data(body, file, plate, **options)
    return sites.select("Metadata_Well", "Metadata_Site", "channel", "uri", "series", "frame").rows()


def one(columns: str, cells: str, keys: str = KEYS, place: str = "P1,A01,1") -> str:
    return f"{columns},{keys}\n{cells},{place}\n"


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def entered(
    what: str, text: str | bytes, uri: str = "s3://b/a.tiff", well: str = "A01", site: int = 1, **options: object
) -> None:
    """A file of one DNA image."""

    def run(folder: Path) -> None:
        assert images(text, **options) == [(well, site, "DNA", uri, None, None)]

    CASES.append(Case(AREA, what, "read", run))


def refusing(what: str, text: str | bytes, message: str, outcome: str, **options: object) -> None:
    def run(folder: Path) -> None:
        with refused(message):
            images(text, **options)

    CASES.append(Case(AREA, what, f"stops: {outcome}", run))


entered("`URL_Orig<Channel>` with s3://, as the Gallery has it since 2025", USUAL)
entered("`URL_<Channel>` with https://", one("URL_DNA", "https://h/a.tiff"), "https://h/a.tiff")
entered("`URL_` with file://, spaces as %20", one("URL_OrigDNA", "file:///d/a%20b.tiff"), "/d/a b.tiff")
for path, uri in (
    ("s3://b/", "s3://b/a.tiff"),
    ("/d", "/d/a.tiff"),
    ("file:///d", "/d/a.tiff"),
    (r"C:\d", "C:/d/a.tiff"),
):
    entered(
        f"`FileName_Orig`, `PathName_Orig` in {path}", one("FileName_OrigDNA,PathName_OrigDNA", f"a.tiff,{path}"), uri
    )
entered("`FileName_` and `PathName_` without Orig", one("FileName_DNA,PathName_DNA", "a.tiff,/d"), "/d/a.tiff")
entered("`Image_FileName_Orig`", one("Image_FileName_OrigDNA,Image_PathName_OrigDNA", "a.tiff,/d"), "/d/a.tiff")
entered("`FileName_` that is a whole path, no `PathName_`", one("FileName_OrigDNA", "/d/a.tiff"), "/d/a.tiff")
entered("illumination functions by `URL_Illum`", one("URL_OrigDNA,URL_IllumDNA", "s3://b/a.tiff,s3://b/i.npy"))
entered(
    "outlines that CellProfiler wrote beside the images", one("URL_OrigDNA,URL_CellOutlines", "s3://b/a.tiff,/o.png")
)
entered("gzip (load_data.csv.gz)", gzip.compress(USUAL.encode()), file="load_data.csv.gz")
entered(
    "Parquet with whole numbers as floats",
    parquet(URL_OrigDNA=["s3://b/a.tiff"], Metadata_Plate=[42.0], Metadata_Well=["A01"], Metadata_Site=[1.0]),
    plate="42",
    file="load_data.parquet",
)
entered("a workbook", workbook([row.split(",") for row in USUAL.splitlines()]), file="load_data.xlsx")
entered(
    "byte order mark, Windows line ends, quotes",
    ('\ufeff"' + USUAL.replace(",", '","').replace("\n", '"\r\n"')[:-1]).encode(),
)
entered("line ends of an old Mac", USUAL.replace("\n", "\r"))
entered("UTF-16 with its mark", USUAL.encode("utf-16"))
entered("tabs", USUAL.replace(",", "\t"))
entered(
    "empty columns and cells at the right edge",
    USUAL.replace("Metadata_Site\n", "Metadata_Site,,\n").replace(",1\n", ",1,,\n"),
)
entered(
    "row numbers in a first column without a name",
    "".join(f"{n},{line}\n" for n, line in zip(("", 0), USUAL.splitlines(), strict=True)),
)
entered("the same column twice", USUAL.replace(KEYS, f"{KEYS},Metadata_Well").replace("A01,1\n", "A01,1,A01\n"))
for plate in ("0042", "1E5", "12E3", "001"):
    entered(f"plate {plate}", USUAL.replace("P1", plate), plate=plate)
entered("the microscope's long name of the plate", USUAL.replace("P1", "P1__2021-05-02T16_02_51-Measurement1"))
for well in ("a1", "A001", "r01c01", "A - 1"):
    entered(f"wells as {well}", USUAL.replace("A01", well))
for site in ("1.0", "01", "s1", "F001"):
    entered(f"sites as {site}", USUAL.replace(",1\n", f",{site}\n"))
entered("`Metadata_CPD_WELL_POSITION`", USUAL.replace("Metadata_Well", "Metadata_CPD_WELL_POSITION"))
entered(
    "`Metadata_Row` and `Metadata_Col`",
    one("URL_OrigDNA", "s3://b/a.tiff", "Metadata_Row,Metadata_Col,Metadata_Site", "1,1,1"),
)
entered("no column of plates", one("URL_OrigDNA", "s3://b/a.tiff", "Metadata_Well,Metadata_Site", "A01,1"))
entered("no column of sites, one image a well", one("URL_OrigDNA", "s3://b/a.tiff", "Metadata_Well", "A01"))
entered(
    "columns of other names, named by `columns`",
    one("URL_OrigDNA", "s3://b/a.tiff", "Tray,Vessel,View", "P1,A01,1"),
    columns=ColumnsConfig(plate="Tray", well="Vessel", site="View"),
)
entered(
    "a stack, one plane chosen by `rows`",
    f"URL_OrigDNA,{KEYS},Z\ns3://b/z.tiff,P1,A01,1,1\ns3://b/a.tiff,P1,A01,1,2\n",
    rows="Z = '2'",
)


@case(AREA, "`Frame_` and `Series_`: planes of one file")
def _planes(folder: Path) -> None:
    text = (
        f"URL_OrigDNA,URL_OrigRNA,Frame_OrigDNA,Frame_OrigRNA,Series_OrigRNA,{KEYS}\n/a.tif,/a.tif,0,1.0,2,P1,A01,1\n"
    )
    assert images(text) == [("A01", 1, "DNA", "/a.tif", None, 0), ("A01", 1, "RNA", "/a.tif", 2, 1)]


refusing("semicolons", USUAL.replace(",", ";"), "semicolons between the columns", "save it with commas or tabs")
refusing("Latin-1", USUAL.replace("a.tiff", "µ.tiff").encode("latin-1"), "in Latin-1 it is 'µ'", "save it as UTF-8")
refusing("zero bytes, or a header alone", "", "an empty file", "restore it, or rebuild it with `morpho samplesheet`")
refusing("full size, every byte zero", bytes(500), "500 zero bytes and nothing else", "fetch it again")
refusing("cut in the middle of a row", USUAL[:-6], "row 2: found 3 cells; expected 4", "mend the row")
refusing("gzip that was cut", gzip.compress(USUAL.encode())[:-9], "no readable gzip file", "fetch it again")
refusing("no image columns", USUAL.replace("URL_Orig", "Raw"), "no image columns, but RawDNA", "the columns are listed")
refusing(
    "a well that is none",
    USUAL.replace("A01", "A99"),
    "row 2, column Metadata_Well: found 'A99' has column 99",
    "the row is named",
)
refusing(
    "a site more than once",
    USUAL + "s3://b/b.tiff,P1,A01,1\n",
    "rows 2, 3: found well A01, site 1 more than once",
    "choose with `rows`",
)
refusing(
    "plate 42 where 0042 is meant",
    USUAL.replace("P1", "42"),
    "rows of 42 (a spreadsheet takes leading zeros away) only",
    "lost zeros are pointed out",
    plate="0042",
)
refusing(
    "a cell without a file",
    USUAL.replace("s3://b/a.tiff", ""),
    "row 2, column URL_OrigDNA: found an empty cell",
    "the row is named",
)
