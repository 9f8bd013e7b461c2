"""`morpho init`: what lies at a place is recognised, and the settings written for it read it."""

import sqlite3

import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.store import Store
from morpho_assets.imaging import segmentation
from morpho_assets.init import START, first_fault, propose, settings_text, start, write_settings
from morpho_assets.settings import load_settings
from morpho_assets_tests.factories import write, write_mirror
from morpho_assets_tests.gallery.test_phenix import PLATE, index
from morpho_assets_tests.project import ROOT

MAPS = "Assay_Plate_Barcode,Plate_Map_Name\nP1,m\n"


def maps(folder):
    write(folder / "platemaps/barcode_platemap.csv", MAPS)
    write(folder / "platemaps/platemap/m.csv", "Well,broad_sample\nA01,DMSO\nP24,taxol\n")


def gallery(root):
    write_mirror(root, {"A01": "BRD-1", "A02": ""})


def phenix(root):
    write(root / "P1__2021-05-02-Measurement1/Images/Index.idx.xml", index(PLATE, 5))
    maps(root)


def sheet(root):
    rows = "DNA,a.tiff,P1,A01,1,DMSO\nDNA,b.tiff,P1,A02,1,taxol\n"
    write(root / "sheet.csv", f"channel,path,plate,well,site,Metadata_Perturbation\n{rows}")


def images(root):
    for well in ("A01", "P24"):
        write(root / f"P1/P1_{well}_s1_w1.tif", "II*")
    maps(root)


def sqlite(root):
    sqlite3.connect(write(root / "P1.sqlite", "")).execute("CREATE TABLE Image (x)").connection.close()
    maps(root)


def analysis(root):
    write(root / "P1/P1-A01-1/Image.csv", "ImageNumber\n1\n")
    maps(root)


PLACES = {
    "gallery": (gallery, "", {"kind": "gallery", "project": "cpg", "source": "source_1"}),
    "gallery from its source": (gallery, "/cpg/source_1", {"kind": "gallery", "project": "cpg"}),
    "gallery from within": (
        gallery,
        "/cpg/source_1/workspace/load_data_csv",
        {"kind": "gallery", "source": "source_1"},
    ),
    "phenix": (phenix, "", {"kind": "phenix", "files": "{root}/{plate}__*/Images/Index*.xml"}),
    "samplesheet": (sheet, "/sheet.csv", {"kind": "samplesheet", "path": "{root}/sheet.csv"}),
    "images": (images, "", {"kind": "samplesheet", "path": "samplesheet.csv", "platemaps": "{root}/platemaps"}),
    "sqlite": (sqlite, "", {"kind": "measured", "content": "sqlite", "files": "{root}/{plate}.sqlite"}),
    "analysis": (analysis, "", {"kind": "measured", "content": "analysis", "files": "{root}/{plate}"}),
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_lies_at_a_place_is_recognised_and_its_settings_read_it(tmp_path, kind):
    make, below, expected = PLACES[kind]
    root = tmp_path / "data"
    make(root)
    proposal = propose(f"{root}{below}", Store())
    wanted = {key: value.replace("{root}", str(root)) for key, value in expected.items()}
    assert {key: proposal.source[key] for key in wanted} == wanted
    file = tmp_path / "project/morpho.yaml"
    assert write_settings(proposal, file)[0] == file
    (source,) = load_settings(file).sources
    assert source.plates() == ["P1"] or kind == "analysis"
    if source.kind != "measured":
        assert first_fault(proposal, file.parent) is None
        assert source.manifest("P1").sites.height


def test_the_settings_are_commented_and_relative_paths_their_own(tmp_path):
    images(tmp_path)
    text = settings_text(propose(str(tmp_path), Store(), name="microscope"))
    assert "  - name: microscope  # short; shown beside its plates\n" in text
    assert "    kind: samplesheet  # " in text
    assert "# measurement: jump" in text


@pytest.mark.parametrize(("quick", "method"), [(True, "network"), (False, "watershed")])
def test_the_network_is_proposed_where_it_is_quick(tmp_path, monkeypatch, quick, method):
    monkeypatch.setattr(segmentation, "network_is_quick", lambda: quick)
    images(tmp_path)
    write(tmp_path / "morpho.yaml", settings_text(propose(str(tmp_path), Store())))
    assert load_settings(tmp_path / "morpho.yaml").segmentation.method == method


def test_nothing_that_is_there_is_written_over(tmp_path):
    images(tmp_path)
    proposal = propose(str(tmp_path), Store())
    write(tmp_path / "samplesheet.csv", "mine")
    with pytest.raises(InputError, match=r"samplesheet.csv: found a file that is there already"):
        write_settings(proposal, tmp_path / "morpho.yaml")
    assert not (tmp_path / "morpho.yaml").exists()


def test_a_place_with_nothing_that_is_known_is_told(tmp_path):
    write(tmp_path / "notes.txt", "x")
    with pytest.raises(InputError, match="found nothing that is known; expected plates of the Gallery's layout"):
        propose(str(tmp_path), Store())
    with pytest.raises(InputError, match="found the columns a, b, row in the file; expected a samplesheet"):
        propose(str(write(tmp_path / "t.csv", "a,b\n1,2\n")), Store())


def test_what_is_still_to_do_is_said(tmp_path):
    sheet(tmp_path)
    (tmp_path / "sheet.csv").write_text((tmp_path / "sheet.csv").read_text().replace("Metadata_Perturbation", "drug"))
    fault = first_fault(propose(f"{tmp_path}/sheet.csv", Store()), tmp_path)
    assert "no column that is known to name the treatment" in fault


def test_a_bucket_is_recognised_as_a_folder_is(tmp_path, object_store):
    gallery(tmp_path)
    object_store.create("init")
    object_store.put_folder("init", tmp_path)
    store = Store(endpoint_url=object_store.url)
    proposal = propose("s3://init/cpg/source_1", store)
    place = {"root": "s3://init", "project": "cpg", "source": "source_1", "endpoint_url": object_store.url}
    assert proposal.source == {"name": "lab", "kind": "gallery", **place}
    assert first_fault(proposal, tmp_path) is None


@pytest.mark.parametrize("name", ["morpho.yaml", "dagster.yaml"])
def test_a_folder_begins_with_the_repository_s_own_settings(name):
    assert (START / name).read_text() == (ROOT / name).read_text()


def test_a_folder_s_own_settings_stay_when_it_is_begun(tmp_path):
    mine = write(tmp_path / "morpho.yaml", "mine")
    assert start(mine) == [tmp_path / "dagster.yaml"]
    assert mine.read_text() == "mine"
