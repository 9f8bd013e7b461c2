"""`morpho check`: what is understood of plates, and every fault, with nothing written."""

import re
import shutil

import numpy as np
import pytest
import tifffile
import yaml

from morpho_assets.check import check_settings
from morpho_assets_tests.factories import write, write_mirror

WELLS = {"A01": "BRD-1", "A02": "", "B01": "BRD-1", "B02": "BRD-2"}


@pytest.fixture
def lab(tmp_path):
    """A mirror of one plate, its settings, and what lies there before the check."""
    write_mirror(tmp_path / "mirror", WELLS, sites=2)
    settings(tmp_path)
    return tmp_path


def settings(folder, **keys):
    source = {"name": "lab", "kind": "gallery", "root": "mirror", "project": "cpg", "source": "source_1"}
    few = {"profiles": {"normalize": {"min_reference": 1}}}  # the plate has one control
    text = yaml.safe_dump({"sources": [source], "compute": {"workers": 2}, **few, **keys})
    return write(folder / "morpho.yaml", text)


def load_data(lab):
    return lab / "mirror/cpg/source_1/workspace/load_data_csv/batch_1/P1/load_data.csv"


def images(lab):
    return lab / "mirror/cpg/source_1/images/batch_1/images/P1/Images"


def check(lab, **options):
    return check_settings(lab / "morpho.yaml", **options)


def test_a_good_plate_is_a_row_of_what_was_understood_and_nothing_is_written(lab):
    before = sorted(str(path) for path in lab.rglob("*"))
    report = check(lab)
    assert report.faults == []
    (plate,) = report.plates
    row = plate.row(2)
    assert row.pop("disk") == "0.013 MB"
    assert re.fullmatch(r"[0-9.]+ s", row.pop("time"))
    assert row == {
        "plate": "P1", "source": "lab", "wells": "4 of 4", "sites": "8", "channels": "DNA, RNA",
        "controls": "1 DMSO", "treatments": "2", "replicates": "1.5", "pixels": "32 x 32",
        "depth": "uint16, 11 bits used", "µm by its tag": "unknown",
    }  # fmt: skip
    assert "No fault was found." in report.text()
    assert report.text().splitlines()[0].split()[:3] == ["plate", "source", "wells"]
    assert sorted(str(path) for path in lab.rglob("*")) == before


def test_settings_that_are_wrong_are_all_told(lab):
    settings(lab, failed_sites=2, imagess={})
    report = check(lab)
    assert [fault.where for fault in report.faults] == ["key failed_sites", "key imagess"]
    assert "Did you mean images?" in report.text()
    assert report.text().endswith("2 faults.")


def test_a_plate_s_files_are_told_with_their_rows(lab):
    file = load_data(lab)
    file.write_text(file.read_text().replace(",A01,1", ",A77,1").replace(",B01,2", ",1B,2"))
    report = check(lab)
    assert [fault.where for fault in report.faults] == ["row 2, column Metadata_Well", "row 7, column Metadata_Well"]
    assert report.plates == []


def test_images_that_are_missing_broken_or_copied_are_told(lab):
    (images(lab) / "A02-1-RNA.tiff").unlink()
    (images(lab) / "A01-1-DNA.tiff").write_bytes(bytes(2000))
    tifffile.imwrite(images(lab) / "A01-1-RNA.tiff", np.zeros((16, 32), np.uint16))
    shutil.copy(images(lab) / "B02-2-DNA.tiff", images(lab) / "B02-2-RNA.tiff")
    report = check(lab)
    (plate,) = report.plates
    assert plate.row(1)["channels"] == "DNA, RNA 7 of 8"
    assert [(fault.where, fault.found[:33]) for fault in report.faults[:2]] == [
        ("well A02, site 1, channel RNA", "1 of 16 images that are not there"),
        ("well A01, site 1, channel DNA", "an image that holds 2000 zero byt"),
    ]
    assert [(fault.where, fault.found) for fault in report.faults[2:]] == [
        ("well B02, site 2, channel RNA", "the same picture as channel DNA"),
        ("well A01, site 1, channel RNA", "16 x 32 pixels"),
    ]
    assert all(fault.do.endswith(".") and fault.do[0].isupper() for fault in report.faults)


def test_pixel_size_and_depth_are_those_of_the_files(lab):
    for path in images(lab).glob("*.tiff"):
        pixels = np.full((32, 32), 4000, np.uint16)
        pixels[0, 0] = hash(path.name) % 4000
        resolution = (1e4 / 0.65, 1e4 / 0.65)
        tifffile.imwrite(path, pixels, resolution=resolution, resolutionunit="CENTIMETER")
    row = check(lab).plates[0].row(1)
    assert (row["depth"], row["µm by its tag"]) == ("uint16, 12 bits used", "0.65")


def test_the_nuclear_stain_and_the_treatments_must_be_known(lab):
    settings(lab, segmentation={"method": "watershed", "nuclei": {"channel": "Hoechst"}})
    (fault,) = check(lab).faults
    assert (fault.file, fault.found) == ("segmentation", "the channels DNA, RNA on plate P1")
    platemap = lab / "mirror/cpg/source_1/workspace/metadata/platemaps/batch_1/platemap/map_1.txt"
    platemap.write_text(platemap.read_text().replace("broad_sample", "compound"))
    (fault,) = check(lab).faults
    assert "`perturbation: [compound]`" in fault.do


def test_plates_are_named_or_the_first_of_each_source(lab):
    for number in range(2, 8):
        write_mirror(lab / "mirror2" / str(number), WELLS, plate=f"P{number}")
        shutil.copytree(lab / "mirror2" / str(number), lab / "mirror", dirs_exist_ok=True)
    maps = lab / "mirror/cpg/source_1/workspace/metadata/platemaps/batch_1/barcode_platemap.csv"
    maps.write_text("Assay_Plate_Barcode,Plate_Map_Name\n" + "".join(f"P{n},map_1\n" for n in range(1, 8)))
    report = check(lab)
    assert [plate.plate for plate in report.plates] == ["P1", "P2", "P3", "P4"]
    assert report.notes == ["4 of 7 plates were looked at: --plate names others, --all takes all."]
    assert len(check(lab, every=True).plates) == 7
    report = check(lab, plates=["P7", "P77"])
    assert [plate.plate for plate in report.plates] == ["P7"]
    assert report.faults[0].do == "Did you mean P7?"


def test_studies_and_their_plates_are_checked(lab):
    study = {"name": "screen", "title": "t", "plates": ["P1", "PP1"], "spaces": {}, "evaluators": {}}
    write(lab / "studies/screen.yaml", yaml.safe_dump(study))
    write(lab / "studies/odd.yaml", "name: other\n")
    report = check(lab)
    faults = [(fault.file.rsplit("/", 1)[-1], fault.where) for fault in report.faults]
    keys = [("odd.yaml", f"key {key}") for key in ("title", "spaces", "evaluators")]
    assert faults == [*keys, ("screen.yaml", "plate PP1")]
    assert report.faults[-1].do == "Did you mean P1?"


def test_a_source_that_has_nothing_or_shares_a_plate_is_told(lab):
    source = {"name": "lab", "kind": "gallery", "root": "mirror", "project": "cpg", "source": "source_1"}
    none = {**source, "name": "none", "root": "elsewhere"}
    settings(lab, sources=[source, {**source, "name": "twin"}, none])
    found = [(fault.file, fault.found) for fault in check(lab).faults]
    assert found == [("source none", "no plate"), (str(lab / "morpho.yaml"), "the plate in lab, twin")]
    settings(lab, sources=[])
    assert "No sources" in check(lab).text()


def test_too_few_controls_to_scale_a_plate_by_are_told_before_a_run(lab):
    settings(lab, profiles={})
    [fault] = check(lab).faults
    assert (fault.file, fault.where) == ("profiles", "plate P1")
    assert (fault.found, fault.expected) == ("1 of 4 wells that are there where negcon", "at least 2")
    assert "too_few: all" in fault.do
    for normalize in ({"too_few": "all"}, {"method": "none"}, {"reference": "all"}):
        settings(lab, profiles={"normalize": normalize})
        assert check(lab).faults == []
    settings(lab, profiles={"normalize": {"reference": "Metadata_moon = 'full'"}})
    assert "Metadata_moon" in str(check(lab).faults[0])


def test_a_real_plate_is_understood(tmp_path, reference_data):
    place = {"root": str(reference_data / "gallery"), "project": "cpg0000-jump-pilot", "source": "source_4"}
    settings(tmp_path, sources=[{"name": "cpjump1", "kind": "gallery", **place}])
    report = check(tmp_path)
    assert report.faults == []
    row = report.plates[0].row(2)
    assert row["controls"] == "1 of 64 DMSO"  # of four wells that are there
    assert row["wells"] == "4 of 384"
    assert row["pixels"] == "1080 x 1080"
    assert row["channels"] == "DNA, ER, RNA, AGP, Mito"
