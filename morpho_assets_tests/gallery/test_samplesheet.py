import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.samplesheet import plate_sites, plate_wells, read_samplesheet

HEAD = "channel,path,source,batch,plate,well,site,row,col,Metadata_Perturbation\n"
ROWS = (
    "DNA,a1.tiff,lab,b1,P1,A01,1,1,1,DMSO\n"
    "RNA,/abs/a2.tiff,lab,b1,P1,A01,1,1,1,DMSO\n"
    "DNA,s3://x/b1.tiff,lab,b1,P1,B02,1,2,2,aspirin\n"
    "RNA,b2.tiff,lab,b1,P1,B02,1,2,2,aspirin\n"
)


def sheet(text=HEAD + ROWS):
    return read_samplesheet(text.encode(), "/data/sheet.csv")


def test_paths_are_relative_to_the_samplesheet_unless_absolute():
    sites = plate_sites(sheet(), "/data/sheet.csv", "P1")
    assert sites["uri"].to_list() == ["/data/a1.tiff", "/abs/a2.tiff", "s3://x/b1.tiff", "/data/b2.tiff"]
    assert sites["channel"].to_list() == ["DNA", "RNA"] * 2


def test_channels_come_in_the_order_that_is_asked_for():
    sites = plate_sites(sheet(), "/data/sheet.csv", "P1", channels=("RNA", "DNA"))
    assert sites["channel"].to_list() == ["RNA", "DNA"] * 2


def test_wells_are_annotated_by_the_sheet():
    wells = plate_wells(sheet(), "/data/sheet.csv", "P1")
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
        (lambda t: t.replace("RNA,b2", "DNA,b2"), "rows 4, 5: found well B02, site 1 more than once"),
        (lambda t: t.replace("B02,1,2,2,aspirin\nR", "B02,1,3,2,aspirin\nR"), "row 4, column row: found 3; expected 2"),
        (lambda t: t.replace("P1,B02,1", "P1,B99,1"), "row 4, column Metadata_Well"),
        (lambda t: t.replace(",a1.tiff,", ",,"), "row 2, column path: found an empty cell"),
    ],
    ids=["column", "channel", "incomplete", "duplicate", "row", "well", "empty"],
)
def test_every_defect_is_one_message_with_its_row(change, message):
    with pytest.raises(InputError) as error:
        plate_sites(sheet(change(HEAD + ROWS)), "/data/sheet.csv", "P1", channels=("DNA", "RNA"))
    assert message in str(error.value)


def test_rows_of_a_well_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="rows 4, 5: found two annotations of well B02"):
        plate_wells(sheet((HEAD + ROWS).replace("2,2,aspirin\nR", "2,2,ibuprofen\nR")), "/data/sheet.csv", "P1")
