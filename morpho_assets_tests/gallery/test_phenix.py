"""Indices of the Opera Phenix: Harmony 5, 6 and 7, against pe2loaddata's table for a real one."""

import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.phenix import PhenixSource, index_sites, read_index
from morpho_assets_tests.factories import write

SPACES = {
    5: "http://www.perkinelmer.com/PEHH/HarmonyV5",
    6: "http://www.perkinelmer.com/PEHH/HarmonyV6",
    7: "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7",
}
CHANNELS = {1: "Alexa 647", 5: "HOECHST 33342"}


def index(images, version=7, plate="P1", channels=CHANNELS):
    """An index of (row, column, field, plane, time, channel) in the form of a version of Harmony."""

    def image(row, col, field, plane, time, channel):
        name = f"<ChannelName>{channels[channel]}</ChannelName>" if version == 5 else ""
        url = f"r{row:02d}c{col:02d}f{field:02d}p{plane:02d}-ch{channel}sk{time}.tiff"
        numbers = {"Row": row, "Col": col, "FieldID": field, "PlaneID": plane, "TimepointID": time}
        parts = "".join(f"<{key}>{value}</{key}>" for key, value in {**numbers, "ChannelID": channel}.items())
        return f'<Image Version="1"><id>x</id><State>Ok</State><URL>{url}</URL>{parts}{name}</Image>'

    entries = [f'<Entry ChannelID="{n}"><ChannelName>{name}</ChannelName></Entry>' for n, name in channels.items()]
    maps = "" if version == 5 else f"<Map>{''.join(entries)}</Map>"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><EvaluationInputData xmlns="{SPACES[version]}"><Plates><Plate>'
        f'<PlateID>{plate}</PlateID><Name>{plate}</Name><Well id="0101" /></Plate></Plates>'
        f'<Wells><Well><id>0101</id><Row>1</Row><Col>1</Col><Image id="0101K1F1P1R1" /></Well></Wells>'
        f'<Maps><Map><Entry ChannelID="1"><FlatfieldProfile>{{}}</FlatfieldProfile></Entry></Map>{maps}</Maps>'
        f"<Images>{''.join(image(*place) for place in images)}</Images></EvaluationInputData>"
    )


PLATE = [(1, 1, f, 1, 0, c) for f in (1, 2) for c in (5, 1)] + [(16, 24, 1, 1, 0, c) for c in (1, 5)]


def sites(text, plate="P1", **options):
    return index_sites(read_index(text.encode(), "/x/Index.xml"), "/x/Index.xml", plate, **options)


def test_a_real_index_gives_what_pe2loaddata_gives(reference_data):
    folder = reference_data / "phenix_pe2loaddata/Version1"
    named = yaml.safe_load((folder / "config_v1.yml").read_text())["channels"]
    stains = {name: ours.removeprefix("Orig") for name, ours in named.items()}
    file = folder / "images/Index.idx.xml"
    found = index_sites(read_index(file.read_bytes(), str(file)), str(file), "BR00121482", stains)
    table = folder / "load_data_version1.csv"
    expected = read_load_data(table.read_bytes(), table.name, "BR00121482")
    expected = expected.with_columns(uri=pl.lit(f"{folder}/images/") + pl.col("uri").str.split("/").list.last())
    order = ["Metadata_Well", "Metadata_Site", "channel"]
    assert found.sort(order).equals(expected.sort(order))
    assert found["channel"].to_list() == ["Mito", "AGP", "RNA", "ER", "DNA", "Brightfield"]


@pytest.mark.parametrize("version", SPACES)
def test_every_version_of_harmony_is_read(version):
    found = sites(index(PLATE, version), stains={"HOECHST 33342": "DNA"})
    assert found.select("Metadata_Well", "Metadata_Site", "channel", "uri").rows() == [
        ("A01", 1, "Alexa647", "/x/r01c01f01p01-ch1sk0.tiff"), ("A01", 1, "DNA", "/x/r01c01f01p01-ch5sk0.tiff"),
        ("A01", 2, "Alexa647", "/x/r01c01f02p01-ch1sk0.tiff"), ("A01", 2, "DNA", "/x/r01c01f02p01-ch5sk0.tiff"),
        ("P24", 1, "Alexa647", "/x/r16c24f01p01-ch1sk0.tiff"), ("P24", 1, "DNA", "/x/r16c24f01p01-ch5sk0.tiff"),
    ]  # fmt: skip


def test_channels_can_be_chosen_and_named_by_number():
    assert sites(index(PLATE), channels=("HOECHST33342",))["channel"].unique().to_list() == ["HOECHST33342"]
    same = index(PLATE, channels={1: "Brightfield", 5: "Brightfield"})
    found = sites(same, stains={"1": "High", "5": "Low"}, channels=("Low", "High"))
    assert found["channel"].to_list() == ["Low", "High"] * 3
    with pytest.raises(InputError, match="the channel Brightfield 2 times"):
        sites(same)


def test_one_plane_of_a_stack_and_one_time_are_chosen():
    stack = [(1, 1, 1, z, t, c) for z in (1, 2, 3) for t in (0, 1) for c in (1, 5)]
    found = sites(index(stack), plane=2, timepoint=1)
    assert found["uri"].to_list() == [f"/x/r01c01f01p02-ch{channel}sk1.tiff" for channel in (1, 5)]
    with pytest.raises(InputError, match=r"PlaneID: found 3 of them, 1, 2, 3; expected one. Choose one .* `plane`"):
        sites(index(stack), timepoint=1)
    with pytest.raises(InputError, match="TimepointID: found 2 of them"):
        sites(index(stack), plane=1)
    with pytest.raises(InputError, match="PlaneID: found 1, 2, 3; expected 4"):
        sites(index(stack), plane=4, timepoint=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[: len(t) // 2], "no readable Harmony index"),
        (lambda t: "well,site\n", "no readable Harmony index"),
        (lambda t: "<a><b/></a>", "found no images"),
        (lambda t: t.replace("<Row>16</Row>", "<Row>33</Row>", 1), "Row, Col: found row 33, column 24"),
        (lambda t: t.replace("<Col>24</Col>", "<Col>x</Col>", 1), "image x: found Col 'x'; expected a number"),
        (lambda t: t.replace("<FieldID>2</FieldID>", "", 1), "image x: found no FieldID"),
        (lambda t: t.replace("<FieldID>2</FieldID>", "<FieldID>1</FieldID>", 1), "well A01, field 1: found channel"),
        (lambda t: t.replace("P1<", "P7<"), "Plate: found the plate P7; expected P1"),
    ],
    ids=["cut", "no-xml", "other-xml", "row", "column", "no-field", "twice", "plate"],
)
def test_every_defect_of_an_index_is_one_message(change, message):
    with pytest.raises(InputError, match=message):
        sites(change(index(PLATE)))


@pytest.mark.parametrize("options", [{"stains": {"DAPI": "DNA"}}, {"channels": ("DNA",)}])
def test_channels_that_the_index_lacks_are_told(options):
    with pytest.raises(InputError, match="found the channels Alexa"):
        sites(index(PLATE), **options)


def source(root, **options):
    place = f"{root}/images/{{batch}}/{{plate}}__*/Images/Index*.xml"
    return PhenixSource(kind="phenix", name="lab", files=place, **options)


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "images/b1/P1__2021-05-02T16_02_51-Measurement 1/Images"
    write(folder / "Index.idx.xml", index(PLATE, 5))
    write(tmp_path / "maps/b1/barcode_platemap.csv", "Assay_Plate_Barcode,Plate_Map_Name\nP1,m\n")
    write(tmp_path / "maps/b1/platemap/m.csv", "Well,broad_sample\nA1,DMSO\nP24,taxol\n")
    return tmp_path


def test_plates_are_found_by_their_folders_and_treated_by_a_platemap(lab):
    found = source(lab, platemaps=f"{lab}/maps/{{batch}}", stains={"HOECHST 33342": "DNA"})
    assert found.plates() == ["P1"]
    assert (found.has("P1"), found.has("P2")) == (True, False)
    manifest = found.manifest("P1")
    wells = manifest.wells.select("Metadata_Well", "Metadata_Perturbation", "Metadata_Batch")
    assert wells.rows() == [("A01", "DMSO", "b1"), ("P24", "taxol", "b1")]
    assert manifest.sites.height == 6
    assert [file.rsplit("/", 1)[-1] for file in manifest.files] == ["Index.idx.xml", "barcode_platemap.csv", "m.csv"]


def test_a_plate_without_a_platemap_is_asked_for_one(lab):
    with pytest.raises(InputError, match="found no column that is known to name the treatment"):
        source(lab).manifest("P1")
    wells = source(lab, perturbation=(), negative_controls=()).manifest("P1").wells
    assert wells["Metadata_Well"].to_list() == ["A01", "P24"]


def test_a_plate_that_was_measured_twice_is_refused(lab):
    write(lab / "images/b1/P1__2021-05-03-Measurement 2/Images/Index.idx.xml", index(PLATE, 5))
    with pytest.raises(InputError, match=r"found indices in .*Measurement 1.*Measurement 2"):
        source(lab).manifest("P1")
    with pytest.raises(InputError, match="found no index"):
        source(lab).manifest("P9")


def test_files_must_name_the_plate():
    with pytest.raises(ValidationError, match=r"needs \{plate\}"):
        PhenixSource(kind="phenix", name="lab", files="images/Index.xml")
    with pytest.raises(ValidationError, match=r"has \{run\}; what may stand in braces is plate, batch"):
        PhenixSource(kind="phenix", name="lab", files="images/{plate}/{run}/Index.xml")
    with pytest.raises(ValidationError, match=r"has \{plate\}; what may stand in braces is batch"):
        PhenixSource(kind="phenix", name="lab", files="{plate}/Index.xml", platemaps="maps/{plate}")
