import gzip
import re
import shutil

import pytest
import yaml
from pydantic import TypeAdapter

from morpho_assets.errors import InputError
from morpho_assets.gallery.sources import GallerySource, SamplesheetSource, Source, find_source
from morpho_assets.settings import Settings
from morpho_assets_tests.factories import load_data_csv, workbook, write, write_mirror
from morpho_assets_tests.project import ROOT

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
    write_mirror(tmp_path / "other", {"P24": ""})
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


@pytest.mark.parametrize("name", ["load_data.csv.gz", "load_data_with_illum.csv", "load_data_with_illum.csv.gz"])
def test_load_data_may_be_compressed(tmp_path, base, name):
    file = base / "workspace/load_data_csv/batch_1/P1/load_data.csv"
    expected = gallery(tmp_path).manifest("P1").sites
    body = file.read_bytes()
    file.unlink()
    (file.parent / name).write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    assert gallery(tmp_path).plates() == ["P1"]
    assert gallery(tmp_path).manifest("P1").sites.equals(expected)


def test_relative_paths_begin_at_the_project_or_beside_load_data(tmp_path, base):
    file = base / "workspace/load_data_csv/batch_1/P1/load_data.csv"
    rows = ["FileName_DNA,PathName_DNA,Metadata_Well", "a.tiff,cpg/source_1/images,A01", "b.tiff,tiffs/,A02"]
    write(file, "\n".join([*rows, "c.tiff,old/x,B01"]))
    assert gallery(tmp_path, replace={"old": "/new"}).manifest("P1").sites["uri"].to_list() == [
        f"{tmp_path}/cpg/source_1/images/a.tiff", f"{file.parent}/tiffs/b.tiff", "old/x/c.tiff",
    ]  # fmt: skip


def test_two_channels_of_one_file_are_refused(tmp_path, base):
    file = base / "workspace/load_data_csv/batch_1/P1/load_data.csv"
    text = file.read_text()
    file.write_text(text.replace("A02-1-RNA", "A02-1-DNA"))
    with pytest.raises(InputError, match=r"A02, site 1: found one file for the channels DNA and RNA, .*1 of 3 sites"):
        gallery(tmp_path).manifest("P1")
    assert gallery(tmp_path, channels=("DNA",)).manifest("P1").sites.height == 3
    planes = text.replace("RNA.tiff", "DNA.tiff").replace("FileName_OrigDNA,", "Frame_OrigRNA,FileName_OrigDNA,")
    file.write_text("\n".join(line if n == 0 else f"1,{line}" for n, line in enumerate(planes.splitlines())))
    assert gallery(tmp_path).manifest("P1").sites["frame"].to_list() == [None, 1] * 3


@pytest.mark.parametrize(("said", "there"), [("images", "images_projected"), ("images_projected", "images")])
def test_raw_and_projected_folders_that_were_exchanged_are_noticed(tmp_path, base, said, there):
    file = base / "workspace/load_data_csv/batch_1/P1/load_data.csv"
    file.write_text(file.read_text().replace("/images/batch_1/", f"/{said}/batch_1/"))
    if there != "images":
        (base / "images").rename(base / there)
    bucket = f"s3://cellpainting-gallery/cpg/source_1/{said}"
    message = f"images under {bucket}, where the first is not, while .*/{there} has it"
    with pytest.raises(InputError, match=message) as error:
        gallery(tmp_path).manifest("P1")
    replace = yaml.safe_load(re.search(r"`replace: ({.*})`", str(error.value))[1])
    source = gallery(tmp_path, replace=replace)
    assert source.store().read(source.manifest("P1").sites["uri"][0]).body[:2] in (b"II", b"MM")


def test_images_that_are_nowhere_are_told_when_they_are_fetched(tmp_path, base):
    shutil.rmtree(base / "images")
    assert gallery(tmp_path).manifest("P1").sites.height == 6


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "xlsx"])
def test_platemap_and_barcodes_may_be_any_table(tmp_path, base, ending):
    expected = gallery(tmp_path).manifest("P1").wells
    maps = base / "workspace/metadata/platemaps/batch_1"
    for old, mark in ((maps / "barcode_platemap.csv", ","), (maps / "platemap/map_1.txt", "\t")):
        rows = [[cell or None for cell in line.split(mark)] for line in old.read_text().splitlines()]
        old.unlink()
        separator = "\t" if ending == "tsv" else ","
        text = "\n".join(separator.join(cell or "" for cell in row) for row in rows)
        old.with_suffix(f".{ending}").write_bytes(workbook(rows) if ending == "xlsx" else text.encode())
    assert gallery(tmp_path).manifest("P1").wells.equals(expected)


def test_the_readme_s_plate_of_the_gallery_is_read_as_the_gallery_publishes_it(object_store):
    """Its bucket on loopback, in the layout of the Gallery's own document: URLs, gzip, anonymous."""
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"This is `morpho.yaml` for plate (\w+).*?```yaml\n(.*?)```", readme, re.DOTALL)
    plate, settings = block[1], Settings.model_validate(yaml.safe_load(block[2]))
    place = {"endpoint_url": object_store.url}
    source = settings.sources[0].model_copy(update=place)
    (batch,) = source.batches
    folder = f"{source.project}/{source.source}"
    images = f"{source.root}/{folder}/images/{batch}/images/{plate}__2020-11-05T19_51_35-Measurement1/Images"
    channels = ("Brightfield", *source.channels)
    head = ",".join([*(f"URL_Orig{name}" for name in channels), *(f"URL_Illum{name}" for name in channels)])
    rows = [f"{head},Metadata_Plate,Metadata_Well,Metadata_Site"]
    for row, well in ((1, "A01"), (2, "B01")):
        urls = [f"{images}/r{row:02d}c01f01p01-ch{number}sk1fk1fl1.tiff" for number in range(1, 7)]
        functions = [f"{images.split('/images/')[0]}/{plate}_Illum{name}.npy" for name in channels]
        rows.append(",".join([*urls, *functions, plate, well, "1"]))
    object_store.create("cellpainting-gallery")
    work, maps = f"{folder}/workspace", f"{folder}/workspace/metadata/platemaps/{batch}"
    for key, body in {
        f"{work}/load_data_csv/{batch}/{plate}/load_data_with_illum.csv.gz": gzip.compress("\n".join(rows).encode()),
        f"{maps}/barcode_platemap.csv": f"Assay_Plate_Barcode,Plate_Map_Name\n{plate},m".encode(),
        f"{maps}/platemap/m.txt": b"well_position\tbroad_sample\tsolvent\na1\t\tDMSO\nb1\tBRD-1\tDMSO",
        f"{images}/r01c01f01p01-ch2sk1fk1fl1.tiff".removeprefix(f"{source.root}/"): b"II*\0 an image",
    }.items():
        object_store.put("cellpainting-gallery", key, body)
    assert source.plates() == [plate]
    manifest = source.manifest(plate)
    assert manifest.sites["channel"].to_list() == list(source.channels) * 2
    assert manifest.wells["Metadata_Perturbation"].to_list() == ["DMSO", "BRD-1"]
    assert manifest.sites["illumination_uri"][0].endswith(f"{plate}_IllumDNA.npy")
    rna = manifest.sites.filter(channel="RNA")["uri"][0]
    assert rna == f"{images}/r01c01f01p01-ch4sk1fk1fl1.tiff"
    assert source.store().read(f"{images}/r01c01f01p01-ch2sk1fk1fl1.tiff").body == b"II*\0 an image"


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
    with pytest.raises(InputError, match="column plate: found rows of P1 only; expected rows of P9"):
        source.manifest("P9")


def test_a_samplesheet_may_leave_the_treatments_to_platemaps(tmp_path, base):
    write(tmp_path / "s.csv", "channel,path,source,batch,plate,well,site\nDNA,a.tiff,lab,batch_1,P1,a2,1\n")
    place = {"kind": "samplesheet", "name": "lab", "path": str(tmp_path / "s.csv")}
    with pytest.raises(InputError, match="found no column that is known to name the treatment, but the wells alone"):
        SamplesheetSource(**place).manifest("P1")
    assert SamplesheetSource(**place, perturbation=(), negative_controls=()).manifest("P1").wells.height == 1
    maps = f"{base}/workspace/metadata/platemaps/{{batch}}"
    metadata = f"{base}/workspace/metadata/external_metadata/*"
    wells = SamplesheetSource(**place, platemaps=maps, metadata=metadata).manifest("P1").wells
    assert wells["Metadata_Perturbation"].to_list() == ["BRD-1", "DMSO", "BRD-1"]
    assert wells["Metadata_pert_iname"].to_list() == ["aspirin", "DMSO", "aspirin"]
    write(tmp_path / "s.csv", "channel,path,source,batch,plate,well,site\nDNA,a.tiff,lab,batch_1,P1,h2,1\n")
    with pytest.raises(InputError, match="well H02: found a well that the platemap lacks"):
        SamplesheetSource(**place, platemaps=maps).manifest("P1")


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
