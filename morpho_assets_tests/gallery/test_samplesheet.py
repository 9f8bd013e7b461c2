import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.places import ColumnsConfig
from morpho_assets.gallery.samplesheet import plate_rows, plate_sites, plate_wells, read_samplesheet

HEAD = "channel,path,source,batch,plate,well,site,row,col,Metadata_Perturbation\n"
ROWS = (
    "DNA,a1.tiff,lab,b1,P1,A01,1,1,1,DMSO\n"
    "RNA,/abs/a2.tiff,lab,b1,P1,A01,1,1,1,DMSO\n"
    "DNA,s3://x/b1.tiff,lab,b1,P1,B02,1,2,2,aspirin\n"
    "RNA,b2.tiff,lab,b1,P1,B02,1,2,2,aspirin\n"
)


FILE = "/data/sheet.csv"


def rows(text=HEAD + ROWS, **options):
    return plate_rows(read_samplesheet(text.encode(), FILE, **options), FILE, "P1", options.get("columns"))


def test_paths_are_relative_to_the_samplesheet_unless_absolute():
    sites = plate_sites(rows(), FILE)
    assert sites["uri"].to_list() == ["/data/a1.tiff", "/abs/a2.tiff", "s3://x/b1.tiff", "/data/b2.tiff"]
    assert sites["channel"].to_list() == ["DNA", "RNA"] * 2


def test_channels_come_in_the_order_that_is_asked_for():
    sites = plate_sites(rows(), FILE, channels=("RNA", "DNA"))
    assert sites["channel"].to_list() == ["RNA", "DNA"] * 2


def test_wells_are_annotated_by_the_sheet():
    wells = plate_wells(rows(), FILE)
    assert wells.to_dicts() == [
        {"Metadata_Well": "A01", "Metadata_Perturbation": "DMSO"},
        {"Metadata_Well": "B02", "Metadata_Perturbation": "aspirin"},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("path,", "file,"), "also path"),
        (lambda t: t.replace("DNA,s3", "DAPI,s3"), "row 4, column channel: found 'DAPI'; expected one of DNA, RNA"),
        (lambda t: t.replace("RNA,b2.tiff,lab,b1,P1,B02,1,2,2,aspirin\n", ""), "B02, site 1 without channel RNA"),
        (lambda t: t.replace("RNA,b2", "DNA,b2"), "rows 4, 5: found well B02, site 1, channel DNA more than once"),
        (lambda t: t.replace("B02,1,2,2,aspirin\nR", "B02,1,3,2,aspirin\nR"), "row 4, column row: found 3; expected 2"),
        (lambda t: t.replace("P1,B02,1", "P1,B99,1"), "row 4, column well"),
        (lambda t: t.replace(",a1.tiff,", ",,"), "row 2, column path: found an empty cell"),
    ],
    ids=["column", "channel", "incomplete", "duplicate", "row", "well", "empty"],
)
def test_every_defect_is_one_message_with_its_row(change, message):
    with pytest.raises(InputError) as error:
        plate_sites(rows(change(HEAD + ROWS)), FILE, channels=("DNA", "RNA"))
    assert message in str(error.value)


def test_rows_of_a_well_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="rows 4, 5: found two annotations of well B02"):
        plate_wells(rows((HEAD + ROWS).replace("2,2,aspirin\nR", "2,2,ibuprofen\nR")), FILE)


def test_the_samplesheet_of_nf_core_is_read_as_it_is():
    folder = "s3://cellpainting-gallery/cpg0016-jump/source_4/images/2021_04_26_Batch1/images/BR1/Images"
    lines = ["channel,path,source,batch,plate,well,site,col,field_id,plane_id,row"]
    for number, channel in ((5, "DNA"), (2, "AGP")):
        path = f"{folder}/r02c03f01p01-ch{number}sk1fk1fl1.tiff"
        lines.append(f"{channel},{path},source_4,2021_04_26_Batch1,P1,B03,1,3,1,1,2")
    sites = plate_sites(rows("\n".join(lines) + "\n"), FILE)
    assert sites.select("Metadata_Well", "Metadata_Site", "channel", "uri").rows() == [
        ("B03", 1, "DNA", f"{folder}/r02c03f01p01-ch5sk1fk1fl1.tiff"),
        ("B03", 1, "AGP", f"{folder}/r02c03f01p01-ch2sk1fk1fl1.tiff"),
    ]


def test_a_sheet_may_name_planes_and_call_its_columns_otherwise():
    text = "channel,path,Tray,well,field,frame,z\n" + "".join(
        f"{channel},a.ome.tif,P1,r01c02,F01,{frame},{z}\n"
        for z in (1, 2)
        for frame, channel in enumerate(["DNA", "RNA"])
    )
    sites = plate_sites(rows(text, columns=ColumnsConfig(plate="Tray"), rows="z = '2'"), FILE)
    assert sites.select("Metadata_Well", "Metadata_Site", "channel", "series", "frame").rows() == [
        ("A02", 1, "DNA", None, 0), ("A02", 1, "RNA", None, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "uri"), [("file:///x/a%20b.tiff", "/x/a b.tiff"), (r"sub\a.tiff", "/data/sub/a.tiff"),
                                           ("https://host/a.tiff", "https://host/a.tiff")])  # fmt: skip
def test_addresses_are_those_of_load_data(path, uri):
    assert plate_sites(rows(f"channel,path,plate,well\nDNA,{path},P1,A01\n"), FILE)["uri"].to_list() == [uri]
