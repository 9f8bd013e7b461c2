import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets_tests.factories import load_data_csv


def read(text, **options):
    return read_load_data(text.encode(), "load_data.csv", "P1", **options)


def test_each_row_becomes_one_row_per_channel():
    sites = read(load_data_csv([("A01", 1), ("A01", 2)]))
    assert sites.height == 4
    assert sites.row(0, named=True) == {
        "Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "channel": "DNA",
        "uri": "/images/A01-1-DNA.tiff", "illumination_uri": None,
    }  # fmt: skip


def test_channels_can_be_chosen_and_ordered():
    sites = read(load_data_csv([("A01", 1)], channels=("DNA", "ER", "Brightfield")), channels=("ER", "DNA"))
    assert sites["channel"].to_list() == ["ER", "DNA"]


def test_illumination_functions_are_found_beside_the_images():
    images, functions = "FileName_OrigDNA,PathName_OrigDNA", "FileName_IllumDNA,PathName_IllumDNA"
    head = f"{images},{functions},Metadata_Plate,Metadata_Well,Metadata_Site\n"
    sites = read(head + "a.tiff,s3://b/,P1_IllumDNA.npy,s3://b/illum,P1,A01,1\n")
    assert sites["illumination_uri"].to_list() == ["s3://b/illum/P1_IllumDNA.npy"]


def test_rows_of_other_plates_are_passed_over():
    both = load_data_csv([("A01", 1)]) + load_data_csv([("B02", 1)], plate="P2").split("\n", 1)[1]
    assert read(both)["Metadata_Well"].unique().to_list() == ["A01"]


def test_well_names_are_put_into_their_usual_form():
    assert read(load_data_csv([("a1", 1)]))["Metadata_Well"][0] == "A01"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("Metadata_Well", "Well"), "also Metadata_Well"),
        (lambda t: t.replace("PathName_OrigRNA", "Folder"), "also PathName_OrigRNA"),
        (lambda t: t.replace("Orig", "Raw"), "found no image columns"),
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
