import io

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.places import ColumnsConfig
from morpho_assets_tests.factories import load_data_csv

KEYS = "Metadata_Plate,Metadata_Well,Metadata_Site\n"


def read(text, **options):
    return read_load_data(text.encode(), "load_data.csv", "P1", **options)


def test_each_row_becomes_one_row_per_channel():
    sites = read(load_data_csv([("A01", 1), ("A01", 2)]))
    assert sites.height == 4
    assert sites.row(0, named=True) == {
        "Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "channel": "DNA",
        "uri": "/images/A01-1-DNA.tiff", "series": None, "frame": None, "illumination_uri": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "cells", "uri"),
    [
        ("URL_OrigDNA", "s3://b/x/a.tiff", "s3://b/x/a.tiff"),
        ("URL_DNA", "https://host/x/a%20b.tiff", "https://host/x/a%20b.tiff"),
        ("Image_URL_OrigDNA", "file:///x/a%20b.tiff", "/x/a b.tiff"),
        ("URL_OrigDNA", "file:/x/a.tiff", "/x/a.tiff"),
        ("URL_OrigDNA", "file://localhost/x/a.tiff", "/x/a.tiff"),
        ("FileName_OrigDNA,PathName_OrigDNA", "a.tiff,/x/", "/x/a.tiff"),
        ("FileName_OrigDNA,PathName_OrigDNA", "a.tiff,s3://b/x", "s3://b/x/a.tiff"),
        ("FileName_OrigDNA,PathName_OrigDNA", "a.tiff,file:///x%20y", "/x y/a.tiff"),
        ("FileName_OrigDNA,PathName_OrigDNA", r"a.tiff,C:\x\y", "C:/x/y/a.tiff"),
        ("FileName_OrigDNA,PathName_OrigDNA", r"a.tiff,\\server\x", "//server/x/a.tiff"),
        ("FileName_OrigDNA,PathName_OrigDNA", "a.tiff,cpg/x", "cpg/x/a.tiff"),
        ("FileName_DNA,PathName_DNA", "a.tiff,/x", "/x/a.tiff"),
        ("Image_FileName_OrigDNA,Image_PathName_OrigDNA", "a.tiff,/x", "/x/a.tiff"),
        ("FileName_OrigDNA", "/x/a.tiff", "/x/a.tiff"),
        ("URL_OrigDNA,FileName_OrigDNA,PathName_OrigDNA", "s3://b/a.tiff,other.tiff,/x", "s3://b/a.tiff"),
        ("URL_OrigDNA,FileName_OrigDNA,PathName_OrigDNA", ",a.tiff,/x", "/x/a.tiff"),
    ],
)
def test_an_image_is_a_url_or_a_file_in_a_folder(columns, cells, uri):
    assert read(f"{columns},{KEYS}{cells},P1,A01,1\n").select("channel", "uri").rows() == [("DNA", uri)]


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ("FileName_OrigDNA,PathName_OrigDNA,FileName_IllumDNA,PathName_IllumDNA", "a.tiff,s3://b,i.npy,s3://b/illum"),
        ("URL_OrigDNA,URL_IllumDNA", "s3://b/a.tiff,s3://b/illum/i.npy"),
        ("URL_DNA,URL_IllumDNA", "s3://b/a.tiff,s3://b/illum/i.npy"),
        ("URL_OrigDNA,FileName_IllumDNA,PathName_IllumDNA", "s3://b/a.tiff,i.npy,s3://b/illum"),
    ],
)
def test_illumination_functions_are_found_beside_the_images(columns, cells):
    sites = read(f"{columns},{KEYS}{cells},P1,A01,1\n")
    assert sites.select("uri", "illumination_uri").rows() == [("s3://b/a.tiff", "s3://b/illum/i.npy")]


def test_series_and_frames_name_the_plane_of_a_file():
    head = "URL_OrigDNA,URL_OrigRNA,Frame_OrigDNA,Frame_OrigRNA,Series_OrigRNA," + KEYS
    sites = read(head + "/a.ome.tif,/a.ome.tif,0,1.0,2,P1,A01,1\n")
    assert sites.select("channel", "series", "frame").rows() == [("DNA", None, 0), ("RNA", 2, 1)]
    with pytest.raises(InputError, match="row 2, column Frame_OrigRNA: found 'C2'; expected a number from 0 on"):
        read(head + "/a.ome.tif,/a.ome.tif,0,C2,2,P1,A01,1\n")


def test_channels_can_be_chosen_and_ordered():
    sites = read(load_data_csv([("A01", 1)], channels=("DNA", "ER", "Brightfield")), channels=("ER", "DNA"))
    assert sites["channel"].to_list() == ["ER", "DNA"]


def test_what_cellprofiler_made_of_the_images_is_no_channel():
    sites = read("URL_OrigDNA,URL_CellOutlines," + KEYS + "/a.tiff,/o.png,P1,A01,1\n")
    assert sites["channel"].to_list() == ["DNA"]


def test_rows_of_other_plates_are_passed_over():
    both = load_data_csv([("A01", 1)]) + load_data_csv([("B02", 1)], plate="P2").split("\n", 1)[1]
    assert read(both)["Metadata_Well"].unique().to_list() == ["A01"]
    assert read(both.replace("P1,", "P1__2021-05-02T16_02_51-Measurement1,"))["Metadata_Plate"].to_list() == ["P1"] * 2


@pytest.mark.parametrize("well", ["a1", "A001", "r01c01", "A - 1"])
def test_well_names_are_put_into_their_usual_form(well):
    assert read(load_data_csv([(well, 1)]))["Metadata_Well"][0] == "A01"


@pytest.mark.parametrize(("site", "number"), [("1.0", 1), ("01", 1), ("s3", 3), ("F012", 12)])
def test_sites_are_the_numbers_that_they_mean(site, number):
    assert read(load_data_csv([("A01", site)]))["Metadata_Site"][0] == number


@pytest.mark.parametrize(
    ("keys", "cells"),
    [
        ("Metadata_Plate,Metadata_CPD_WELL_POSITION,Metadata_FieldID", "P1,A01,2"),
        ("Metadata_Barcode,Metadata_Row,Metadata_Col,Metadata_Site", "P1,1,1,2"),
        ("Metadata_Plate,Metadata_Row,Metadata_Col,Metadata_Site", "P1,A,1.0,2"),
        ("Image_Metadata_Plate,Image_Metadata_Well,Image_Metadata_Site", "P1,A01,2"),
        ("Metadata_Well,Metadata_Site", "A01,2"),
    ],
    ids=["well-position", "row-column", "row-letter", "image-prefix", "no-plate"],
)
def test_plate_well_and_site_are_found_under_their_usual_names(keys, cells):
    sites = read(f"URL_OrigDNA,{keys}\n/a.tiff,{cells}\n")
    assert sites.select("Metadata_Plate", "Metadata_Well", "Metadata_Site").row(0) == ("P1", "A01", 2)


def test_the_source_names_columns_and_rows_of_somebody_else_s_file():
    text = "URL_OrigDNA,Tray,Vessel,View,Metadata_PlaneID\n" + "".join(f"/{z}.tiff,P1,A01,4,{z}\n" for z in (1, 2, 3))
    columns = ColumnsConfig(plate="Tray", well="Vessel", site="View")
    sites = read(text, columns=columns, rows="Metadata_PlaneID = '2'")
    assert sites.drop("channel", "series", "frame", "illumination_uri").rows() == [("P1", "A01", 4, "/2.tiff")]
    with pytest.raises(InputError, match=r"rows 2, 3, 4: found well A01, site 4 more than once.*the source's `rows`"):
        read(text, columns=columns)
    for rows, message in [("Nope = '1'", "Nope"), ("Vessel", "no condition"), ("Tray = 'P2'", "no row where")]:
        with pytest.raises(InputError, match=message):
            read(text, columns=columns, rows=rows)
    with pytest.raises(InputError, match=r"also Vesel\. Rename Vessel"):
        read(text, columns=ColumnsConfig(well="Vesel"))


def test_a_file_without_sites_has_one_a_well():
    assert read("URL_OrigDNA,Metadata_Well\n/a.tiff,A01\n/b.tiff,A02\n")["Metadata_Site"].to_list() == [1, 1]
    with pytest.raises(InputError, match="without a column of sites each well has one"):
        read("URL_OrigDNA,Metadata_Well\n/a.tiff,A01\n/b.tiff,A01\n")


def test_plates_and_sites_of_parquet_may_be_numbers():
    buffer = io.BytesIO()
    keys = {"Metadata_Plate": [1.0], "Metadata_Well": ["A01"], "Metadata_Site": [1.0]}
    pl.DataFrame({"URL_OrigDNA": ["/a.tiff"], **keys}).write_parquet(buffer)
    sites = read_load_data(buffer.getvalue(), "load_data.parquet", "1")
    assert sites.select("Metadata_Plate", "Metadata_Site").row(0) == ("1", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("Metadata_Well", "Vessel"), "Rename the column of the wells, or name it"),
        (lambda t: t.replace("PathName_OrigRNA", "Folder"), "also PathName_OrigRNA"),
        (lambda t: t.replace("FileName_Orig", "Raw"), "found no image columns, but RawDNA"),
        (lambda t: t.replace(",A01,", ",Q99,"), "row 2, column Metadata_Well: found 'Q99' has column 99"),
        (lambda t: t.replace(",A02,1", ",A01,1"), "rows 2, 3: found well A01, site 1 more than once"),
        (lambda t: t.replace(",A02,1", ",A02,one"), "row 3, column Metadata_Site: found 'one'"),
        (lambda t: t.replace("A02-1-RNA.tiff", ""), "row 3, column FileName_OrigRNA: found an empty cell"),
        (lambda t: t.replace(",P1,", ",P7,"), "rows of P7 only; expected rows of P1"),
        (lambda t: t.replace(",P1,A02", ",,A02"), "row 3, column Metadata_Plate: found an empty cell"),
    ],
    ids=["no-well", "no-path", "no-images", "well", "duplicate", "site", "empty", "plate", "no-plate"],
)
def test_every_defect_is_one_message_with_its_row(change, message):
    with pytest.raises(InputError) as error:
        read(change(load_data_csv([("A01", 1), ("A02", 1)])))
    assert message in str(error.value)


def test_the_other_faults_of_a_file_come_with_the_first():
    with pytest.raises(InputError, match=r"row 2.* There are 2 more of this kind\.") as error:
        read(load_data_csv([("Q99", 1), ("A01", 1), ("1", 1), ("", 1)]))
    assert [fault.where.split(",")[0] for fault in error.value.others] == ["row 4", "row 5"]


def test_a_barcode_that_lost_its_zeros_is_pointed_out():
    with pytest.raises(InputError, match=r"42 \(a spreadsheet takes leading zeros away\) only; expected rows of 0042"):
        read_load_data(load_data_csv([("A01", 1)], plate="42").encode(), "load_data.csv", "0042")


def test_an_unknown_channel_lists_those_there_are():
    with pytest.raises(InputError, match="found the channels DNA, RNA; expected the channel Mito"):
        read(load_data_csv([("A01", 1)]), channels=("DNA", "Mito"))


def test_a_real_load_data_with_illum(reference_data):
    path = reference_data / "jump_metadata/load_data_example/test_BR00126114_load_data_with_illum.parquet"
    sites = read_load_data(path.read_bytes(), path.name, "BR00126114")
    assert sites["uri"].str.starts_with("s3://cellpainting-gallery/").all()
    assert sites["illumination_uri"].drop_nulls().str.ends_with(".npy").all()
    assert {"DNA", "ER", "RNA", "AGP", "Mito"} <= set(sites["channel"])
    assert sites.select("Metadata_Well", "Metadata_Site").n_unique() == 2
    assert sites.schema["Metadata_Site"] == pl.Int32
