"""Whole plates: the Gallery's folders, indices, samplesheets, names, and the cases of users kept as files."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from morpho_assets.gallery.file_names import list_images, load_data
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.phenix import index_sites, read_index
from morpho_assets.gallery.source import Manifest
from morpho_assets.gallery.sources import GallerySource, SamplesheetSource
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.planes import Plane
from morpho_assets.settings import load_settings
from morpho_assets_tests.factories import write, write_mirror
from morpho_assets_tests.gallery.cases import case, refused
from morpho_assets_tests.gallery.test_file_names import MICROSCOPES
from morpho_assets_tests.gallery.test_phenix import PLATE, SPACES, index

GALLERY, OTHERS, USERS = "The Gallery's folders", "Other microscopes", "Cases of users"
WELLS = {"A01": "BRD-1", "A02": "", "B01": "BRD-1"}
LOAD_DATA = "cpg/source_1/workspace/load_data_csv/batch_1/P1/load_data.csv"


def gallery(root: Path, **options: object) -> GallerySource:
    place = {"root": str(root), "project": "cpg", "source": "source_1"}
    return GallerySource(kind="gallery", name="lab", **place, **options)


@case(GALLERY, "load_data.csv.gz, or with illumination functions, or Parquet")
def _compressed(folder: Path) -> None:
    write_mirror(folder, WELLS)
    expected = gallery(folder).manifest("P1").sites
    file = folder / LOAD_DATA
    for name in ("load_data.csv.gz", "load_data_with_illum.csv.gz"):
        file.with_name(name).write_bytes(gzip.compress((folder / LOAD_DATA).read_bytes()))
    file.unlink()
    assert gallery(folder).manifest("P1").sites.equals(expected)


@case(GALLERY, "an empty load_data", "stops: rebuild it with `morpho samplesheet --load-data`")
def _empty(folder: Path) -> None:
    write_mirror(folder, WELLS)
    (folder / LOAD_DATA).write_text("")
    with refused("make it again from the images: `morpho samplesheet FOLDER --load-data"):
        gallery(folder).manifest("P1")
    images = list_images(f"{folder}/cpg/source_1/images/batch_1/images/P1/Images", Store(), "{well}-{site}-{channel}")
    (folder / LOAD_DATA).write_text(load_data(images))
    assert gallery(folder).manifest("P1").sites.height == 6


@case(GALLERY, "raw and projected folders of images exchanged", "stops: the `replace` to set is shown")
def _exchanged(folder: Path) -> None:
    base = write_mirror(folder, WELLS)
    (base / "images").rename(base / "images_projected")
    with refused("images_projected has it"):
        gallery(folder).manifest("P1")


@case(GALLERY, "two channels that name one file", "stops: the channels and the number of sites are told")
def _one_file(folder: Path) -> None:
    write_mirror(folder, WELLS)
    (folder / LOAD_DATA).write_text((folder / LOAD_DATA).read_text().replace("RNA.tiff", "DNA.tiff"))
    with refused("one file for the channels DNA and RNA"):
        gallery(folder).manifest("P1")


@case(GALLERY, "an imaged well that the platemap lacks", "stops: the well is told")
def _outside(folder: Path) -> None:
    write_mirror(folder, WELLS)
    (folder / LOAD_DATA).write_text((folder / LOAD_DATA).read_text().replace(",B01,", ",H12,"))
    with refused("well H12: found a well that the platemap lacks"):
        gallery(folder).manifest("P1")


for _version in SPACES:

    @case(OTHERS, f"Opera Phenix, index of Harmony {_version}")
    def _phenix(folder: Path, version: int = _version) -> None:
        sites = index_sites(read_index(index(PLATE, version).encode(), "/x/Index.xml"), "/x/Index.xml", "P1")
        assert sites["Metadata_Well"].to_list() == ["A01"] * 4 + ["P24"] * 2
        assert sites["uri"][0] == "/x/r01c01f01p01-ch1sk0.tiff"


@case(OTHERS, "Opera Phenix, against pe2loaddata's table", "equal, row by row", data=True)
def _pe2loaddata(folder: Path) -> None:
    place = data() / "phenix_pe2loaddata/Version1"
    named = yaml.safe_load((place / "config_v1.yml").read_text())["channels"]
    stains = {name: ours.removeprefix("Orig") for name, ours in named.items()}
    file = place / "images/Index.idx.xml"
    found = index_sites(read_index(file.read_bytes(), str(file)), str(file), "BR00121482", stains)
    table = read_load_data((place / "load_data_version1.csv").read_bytes(), "load_data.csv", "BR00121482")
    table = table.with_columns(uri=pl.lit(f"{place}/images/") + pl.col("uri").str.split("/").list.last())
    assert found.sort("channel").equals(table.sort("channel"))


for _microscope, (_names, _expected) in MICROSCOPES.items():

    @case(OTHERS, f"names of {_microscope}, such as {_names[0].rsplit('/', 1)[-1]}", "`morpho samplesheet` lists them")
    def _named(folder: Path, names: list[str] = _names, expected: tuple[str, int, list[str]] = _expected) -> None:
        for name in names:
            write(folder / "P1" / name, "II*")
        found = list_images(f"{folder}/P1", Store()).images
        well, site, channels = expected
        assert found.select("well", "site", "channel").rows() == [(well, site, channel) for channel in channels]


@case(OTHERS, "the samplesheet of nf-core/cellpainting, with a platemap")
def _nf_core(folder: Path) -> None:
    head = "channel,path,source,batch,plate,well,site,col,field_id,plane_id,row\n"
    write(folder / "s.csv", f"{head}DNA,s3://b/a.tiff,source_4,b1,P1,A01,1,1,1,1,1\n")
    write(folder / "maps/barcode_platemap.csv", "Assay_Plate_Barcode,Plate_Map_Name\nP1,m\n")
    write(folder / "maps/platemap/m.tsv", "well_position\tbroad_sample\nA01\tDMSO\n")
    place = {"path": f"{folder}/s.csv", "platemaps": f"{folder}/maps"}
    manifest = SamplesheetSource(kind="samplesheet", name="lab", **place).manifest("P1")
    assert manifest.sites.select("Metadata_Well", "channel", "uri").rows() == [("A01", "DNA", "s3://b/a.tiff")]
    assert manifest.wells["Metadata_Perturbation"].to_list() == ["DMSO"]


def data() -> Path:
    """The folder of reference data."""
    return Path(os.environ["MORPHO_REFERENCE_DATA"]).resolve()


def user(folder: Path, name: str) -> tuple[GallerySource, Path]:
    """The source of a user's case, copied, and where it lies."""
    place = folder / name
    shutil.copytree(data() / "field_cases" / name, place, copy_function=shutil.copyfile)
    (source,) = load_settings(place / "morpho.yaml").sources
    assert isinstance(source, GallerySource)
    return source.model_copy(update={"replace": {f"/data/field_cases/{name}": str(place)}}), place


def first_image(source: GallerySource, manifest: Manifest, channel: str) -> np.ndarray:
    row = next(row for row in manifest.sites.iter_rows(named=True) if row["channel"] == channel)
    return read_image(source.store().read(row["uri"]).body, Plane(row["series"], row["frame"]))


@case(USERS, "gallery-url-columns", data=True)
def _urls(folder: Path) -> None:
    source, _ = user(folder, "gallery-url-columns")
    manifest = source.manifest("P1")
    assert manifest.sites["Metadata_Well"].unique(maintain_order=True).to_list() == ["A01", "A02", "B01", "B02"]
    assert manifest.sites["channel"].unique(maintain_order=True).to_list() == ["DNA", "RNA"]
    assert first_image(source, manifest, "DNA").shape == (160, 160)


@case(USERS, "frame-columns-multichannel", "the named planes", data=True)
def _frames(folder: Path) -> None:
    source, place = user(folder, "frame-columns-multichannel")
    manifest = source.manifest("P1")
    assert manifest.sites["frame"].to_list() == [0, 1] * 4
    images = place / "gallery/cpg9/src/images/b1/images/P1/Images"
    for channel in ("DNA", "RNA"):
        alone = read_image(images / f"A01_s1_{channel}.tiff")
        np.testing.assert_array_equal(first_image(source, manifest, channel), alone)


@case(USERS, "platemap-csv", data=True)
def _csv(folder: Path) -> None:
    source, _ = user(folder, "platemap-csv")
    found = source.manifest("P1").wells["Metadata_Perturbation"].to_list()
    assert found == ["DMSO", "CPD-1", "DMSO", "CPD-2"]


@case(USERS, "quote-in-platemap", "the name as it is", data=True)
def _quote(folder: Path) -> None:
    source, _ = user(folder, "quote-in-platemap")
    assert source.manifest("P1").wells["Metadata_Perturbation"].to_list() == ["DMSO", '5"-deoxy', "DMSO", "CPD-2"]


@case(USERS, "unknown-treatment-column", "stops: the columns, and `perturbation`", data=True)
def _unknown(folder: Path) -> None:
    source, _ = user(folder, "unknown-treatment-column")
    with refused("compound: DMSO (2), staurosporine (1), taxol (1)"):
        source.manifest("P1")
    wells = source.model_copy(update={"perturbation": ("compound",)}).manifest("P1").wells
    assert wells["Metadata_Perturbation"].to_list() == ["DMSO", "staurosporine", "DMSO", "taxol"]


@case(USERS, "two-channels-one-file", "stops: the channels and the number of sites are told", data=True)
def _channels(folder: Path) -> None:
    source, _ = user(folder, "two-channels-one-file")
    with refused("one file for the channels DNA and RNA"):
        source.manifest("P1")
