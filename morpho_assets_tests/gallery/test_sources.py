import pytest
from pydantic import TypeAdapter

from morpho_assets.errors import InputError
from morpho_assets.gallery.sources import GallerySource, SamplesheetSource, Source, find_source
from morpho_assets_tests.factories import load_data_csv, write, write_mirror

WELLS = {"A01": "BRD-1", "A02": "", "B01": "BRD-1"}


@pytest.fixture
def base(tmp_path):
    return write_mirror(tmp_path, WELLS)


def gallery(root, **options):
    return GallerySource(kind="gallery", name="mirror", root=str(root), project="cpg", source="source_1", **options)


def test_a_mirror_gives_wells_sites_and_resolvable_paths(tmp_path, base):
    source = gallery(tmp_path)
    assert source.plates() == ["P1"]
    manifest = source.manifest("P1")
    assert manifest.wells["Metadata_Perturbation"].to_list() == ["BRD-1", "DMSO", "BRD-1"]
    assert set(manifest.wells["Metadata_Batch"]) == {"batch_1"}
    assert manifest.sites.height == 6
    assert source.store().read(manifest.sites["uri"][0]).body[:2] in (b"II", b"MM")


def test_the_form_with_illumination_functions_is_preferred(tmp_path, base):
    text = load_data_csv([("A01", 1)], channels=("DNA",)).replace(
        "Metadata_Plate", "FileName_IllumDNA,PathName_IllumDNA,Metadata_Plate"
    )
    text = text.replace(",P1,", ",i.npy,/illum,P1,")
    write(base / "workspace/load_data_csv/batch_1/P1/load_data_with_illum.csv", text)
    assert gallery(tmp_path).manifest("P1").sites["illumination_uri"].to_list() == ["/illum/i.npy"]


def test_a_well_that_the_platemap_lacks_is_refused(tmp_path, base):
    write(base / "workspace/load_data_csv/batch_1/P1/load_data.csv", load_data_csv([("A01", 1), ("H12", 1)]))
    with pytest.raises(InputError, match="well H12: found a well that the platemap lacks"):
        gallery(tmp_path).manifest("P1")


def test_a_well_outside_the_plate_is_refused(tmp_path, base):
    write_mirror(tmp_path / "other", {"P24": "BRD-1"})
    gallery(tmp_path / "other", wells=384).manifest("P1")
    with pytest.raises(InputError, match="well P24: found a well outside the plate; expected wells of a 96-well plate"):
        gallery(tmp_path / "other", wells=96).manifest("P1")


def test_a_plate_without_platemap_is_refused(tmp_path, base):
    write(
        base / "workspace/metadata/platemaps/batch_1/barcode_platemap.csv", "Assay_Plate_Barcode,Plate_Map_Name\nP7,m\n"
    )
    with pytest.raises(InputError, match="found no row of P1"):
        gallery(tmp_path).manifest("P1")


def test_a_platemap_file_that_is_gone_is_named(tmp_path, base):
    (base / "workspace/metadata/platemaps/batch_1/platemap/map_1.txt").unlink()
    with pytest.raises(InputError, match=r"map_1.txt: found a file that does not exist"):
        gallery(tmp_path).manifest("P1")


def test_an_unknown_plate_and_a_plate_in_two_batches_are_refused(tmp_path, base):
    with pytest.raises(InputError, match="found no such plate"):
        gallery(tmp_path).manifest("P9")
    write(base / "workspace/load_data_csv/batch_2/P1/load_data.csv", load_data_csv([("A01", 1)]))
    with pytest.raises(InputError, match="in the batches batch_1, batch_2"):
        gallery(tmp_path).manifest("P1")
    assert gallery(tmp_path, batches=("batch_1",)).manifest("P1").sites.height == 6


def test_the_same_gallery_reads_from_an_object_store(tmp_path, base, object_store):
    object_store.put_folder("bucket", tmp_path)
    remote = gallery("s3://bucket", endpoint_url=object_store.url)
    assert remote.plates() == ["P1"]
    assert remote.manifest("P1").sites.equals(gallery(tmp_path).manifest("P1").sites)
    assert remote.manifest("P1").wells.equals(gallery(tmp_path).manifest("P1").wells)


SHEET = "channel,path,source,batch,plate,well,site,row,col,Metadata_Perturbation,Metadata_control_type\n"


def test_a_samplesheet_is_a_source_too(tmp_path):
    rows = "DNA,a.tiff,lab,b1,P1,a1,1,1,1,DMSO,negcon\nDNA,b.tiff,lab,b1,P1,B02,1,2,2,aspirin,\n"
    source = SamplesheetSource(kind="samplesheet", name="lab", path=str(write(tmp_path / "s.csv", SHEET + rows)))
    assert source.plates() == ["P1"]
    manifest = source.manifest("P1")
    assert manifest.wells.select("Metadata_Well", "Metadata_Perturbation", "Metadata_pert_type").rows() == [
        ("A01", "DMSO", "control"), ("B02", "aspirin", "trt"),
    ]  # fmt: skip
    assert manifest.sites["uri"].to_list() == [str(tmp_path / "a.tiff"), str(tmp_path / "b.tiff")]
    with pytest.raises(InputError, match="column plate: found the plates P1; expected P9"):
        source.manifest("P9")


def test_a_barcode_names_one_plate_of_one_source(tmp_path, base):
    one, two = gallery(tmp_path), gallery(tmp_path).model_copy(update={"name": "twin"})
    assert find_source([one], "P1") is one
    with pytest.raises(InputError, match="no such plate in the sources mirror"):
        find_source([one], "P9")
    with pytest.raises(InputError, match="found the plate in mirror, twin"):
        find_source([one, two], "P1")


def test_settings_choose_the_kind_of_source():
    source = TypeAdapter(Source).validate_python({"kind": "samplesheet", "name": "x", "path": "s.csv"})
    assert isinstance(source, SamplesheetSource)


def test_the_real_plate_fragment(reference_data):
    source = GallerySource(
        kind="gallery",
        name="cpjump1",
        root=str(reference_data / "gallery"),
        project="cpg0000-jump-pilot",
        source="source_4",
    )
    manifest = source.manifest("BR00117010")
    assert sorted(set(manifest.sites["Metadata_Well"])) == ["A21", "D08", "D14", "N09"]
    treatment = dict(manifest.wells.select("Metadata_Well", "Metadata_pert_iname").iter_rows())
    assert treatment["D14"] == "DMSO"
    assert treatment["N09"] == "AMG900"
