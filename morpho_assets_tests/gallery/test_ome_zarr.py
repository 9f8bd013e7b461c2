"""OME-Zarr plates as a source: our own export read back, somebody else's of version 0.4, and what is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tifffile
import zarr

from morpho_assets.errors import InputError
from morpho_assets.export.ome_zarr import export_plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.ome_zarr import OmeZarrSource
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.init import propose
from morpho_assets.lake.lake import Lake
from morpho_assets.settings import Settings
from morpho_assets.workspace import Workspace
from morpho_assets_tests.export.conftest import fill, opened
from morpho_assets_tests.factories import make_stages, samplesheet, write


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return fill(tmp_path_factory.mktemp("filled"))


@pytest.fixture(scope="module")
def exported(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plate P1 as our export writes it."""
    folder = tmp_path_factory.mktemp("plates")
    with Written.opened(folder) as out:
        export_plate(opened(lake), out)
    return folder


def source(folder: Path, **settings: Any) -> OmeZarrSource:
    files = f"{folder}/{{plate}}.ome.zarr"
    return OmeZarrSource(**{"kind": "ome-zarr", "name": "lab", "files": files, **settings})


def test_our_export_comes_back_with_pixels_channels_sites_and_treatments(exported: Path, lake: Lake) -> None:
    lab, plate = source(exported), opened(lake)
    assert lab.plates() == ["P1"]
    assert lab.has("P1")
    assert not lab.has("P")
    manifest = lab.manifest("P1")
    rows = manifest.sites.to_dicts()
    assert [(row["Metadata_Well"], row["Metadata_Site"], row["channel"]) for row in rows] == [
        (site.well, site.site, channel) for site in plate.sites for channel in site.channels
    ]
    images = [path for site in plate.sites for path in site.paths]
    for row, path in zip(rows, images, strict=True):
        content = lab.store().read(row["uri"]).body
        np.testing.assert_array_equal(read_image(content), read_image(path))
        assert pixel_size(content) == pytest.approx(0.5, rel=1e-5)
    known = manifest.wells.select("Metadata_Well", "Metadata_Perturbation", "Metadata_control_type", "Metadata_moa")
    assert known.rows() == [("A01", "DMSO", "negcon", None), ("B03", "BRD/1 at 3", None, "tubulin | inhibitor")]


def foreign(folder: Path, labels: list[str] | None = None, axes: str = "tczyx", times: int = 1) -> Path:
    """A plate of version 0.4 with one well of two fields, as other tools write it: five axes, chunks in folders."""
    root = zarr.open_group(str(folder / "P7.ome.zarr"), mode="w", zarr_format=2)
    root.attrs["plate"] = {"version": "0.4", "wells": [{"path": "B/2", "rowIndex": 1, "columnIndex": 1}]}
    well = root.create_group("B/2")
    well.attrs["well"] = {"version": "0.4", "images": [{"path": "0"}, {"path": "1"}]}
    units = [
        {"name": axis, "type": "space", "unit": "micrometer"} if axis in "zyx" else {"name": axis} for axis in axes
    ]
    sizes = {"t": times, "c": 2, "z": 1, "y": 40, "x": 60}
    shape = tuple(sizes[axis] for axis in axes)
    for field in range(2):
        image = well.create_group(str(field))
        values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) + 1 + field
        array = image.create_array("0", shape=shape, dtype=values.dtype, chunks=(*[1] * (len(shape) - 2), 40, 60),
                                   chunk_key_encoding={"name": "v2", "separator": "/"})  # fmt: skip
        array[...] = values
        scale = [{"type": "scale", "scale": [*[1.0] * (len(shape) - 2), 0.325, 0.325]}]
        level = {"path": "0", "coordinateTransformations": scale}
        about: dict[str, Any] = {"multiscales": [{"version": "0.4", "axes": units, "datasets": [level]}]}
        if labels is not None:
            about["omero"] = {"channels": [{"label": label} for label in labels]}
        image.attrs.update(about)
    return folder


def maps(folder: Path) -> str:
    write(folder / "maps/barcode_platemap.csv", "Assay_Plate_Barcode,Plate_Map_Name\nP7,m\n")
    write(folder / "maps/platemap/m.txt", "well_position\tPerturbation\nB02\tDMSO\n")
    return str(folder / "maps")


def test_another_s_plate_of_version_0_4_with_a_platemap(tmp_path: Path) -> None:
    lab = source(foreign(tmp_path, ["Hoechst 33342", "ConA"]), stains={"Hoechst 33342": "DNA", "1": "ER"},
                 platemaps=maps(tmp_path))  # fmt: skip
    manifest = lab.manifest("P7")
    assert manifest.sites.select("Metadata_Well", "Metadata_Site", "channel").rows() == [
        ("B02", 1, "DNA"), ("B02", 1, "ER"), ("B02", 2, "DNA"), ("B02", 2, "ER"),
    ]  # fmt: skip
    values = np.arange(2 * 40 * 60).reshape(2, 40, 60) + 1
    body = Store().read(manifest.sites["uri"][3]).body
    write_to = tmp_path / "plane.tiff"
    write_to.write_bytes(body)
    np.testing.assert_array_equal(tifffile.imread(write_to), values[1] + 1)
    assert pixel_size(body) == pytest.approx(0.325, rel=1e-5)
    assert manifest.wells["Metadata_control_type"].to_list() == ["negcon"]
    only = lab.model_copy(update={"channels": ("ER",)}).manifest("P7").sites
    assert only["channel"].to_list() == ["ER", "ER"]


@pytest.mark.parametrize(
    ("how", "settings", "message"),
    [
        ({}, {}, "channel 0: found no label; expected a name for each channel"),
        (
            {"labels": ["a", "b"], "times": 3},
            {},
            "axis t: found 3 of them; expected one. Say which in the source's `timepo",
        ),
        ({"labels": ["a", "b"]}, {"channels": ("c",)}, "channels: found a, b; expected c"),
        ({"labels": ["a", "b"], "axes": "cxy"}, {}, "expected y and x as the last"),
    ],
    ids=["no labels", "times", "another channel", "turned"],
)
def test_what_cannot_be_understood_is_one_message(
    tmp_path: Path, how: Mapping[str, Any], settings: Mapping[str, Any], message: str
) -> None:
    lab = source(foreign(tmp_path, **how), platemaps=maps(tmp_path), **settings)
    with pytest.raises(InputError) as caught:
        lab.manifest("P7")
    assert message in str(caught.value)


def test_a_time_is_chosen_and_acquisitions_are_asked_for(tmp_path: Path) -> None:
    folder = foreign(tmp_path, ["a", "b"], times=3)
    lab = source(folder, platemaps=maps(tmp_path), timepoint=2)
    assert lab.manifest("P7").sites["uri"][0].endswith("#plane=2,0,0&um=0.325")
    group = folder / "P7.ome.zarr/B/2/.zattrs"
    images = [{"path": "0", "acquisition": 0}, {"path": "1", "acquisition": 4}]
    group.write_text(json.dumps({"well": {"images": images}}))
    with pytest.raises(InputError, match="Say which in the source's `acquisition`"):
        lab.manifest("P7")
    chosen = lab.model_copy(update={"acquisition": 4}).manifest("P7").sites
    assert chosen["uri"].str.contains("/B/2/1/0#").all()


def test_a_folder_that_is_no_plate_and_one_that_lost_a_group_say_so(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "P9.ome.zarr").mkdir()
    with pytest.raises(InputError, match=r"no group; expected a Zarr group"):
        source(tmp_path).manifest("P9")
    shutil.copytree(exported / "P1.ome.zarr", tmp_path / "P1.ome.zarr")
    (tmp_path / "P1.ome.zarr/A/01/1/zarr.json").unlink()
    with pytest.raises(InputError, match=r"P1.ome.zarr/A/01/1: found no group"):
        source(tmp_path).manifest("P1")


def test_init_recognises_plates(exported: Path) -> None:
    proposal = propose(str(exported), Store())
    assert proposal.source["kind"] == "ome-zarr"
    assert proposal.source["files"] == f"{exported}/{{plate}}.ome.zarr"
    assert proposal.seen == ("OME-Zarr plates: P1",)


def test_a_lost_chunk_fails_its_site_and_a_restored_one_is_fetched(tmp_path: Path) -> None:
    lab = source(foreign(tmp_path, ["DNA", "ER"]), platemaps=maps(tmp_path))
    workspace = Workspace(Settings(lake=str(tmp_path / "lake"), sources=(lab,)), Lake(str(tmp_path / "lake")), tmp_path)
    chunk = tmp_path / "P7.ome.zarr/B/2/1/0/0/1/0/0/0"
    body = chunk.read_bytes()
    chunk.unlink()

    def failed() -> pl.DataFrame:
        make_stages(workspace, "P7", ("plate_manifest", "raw_images"))
        commit = workspace.lake.ledger.latest("raw_images", next(iter(workspace.state(["P7"]).commits))[1])
        return workspace.lake.snapshot([commit]).read("site_failures", "P7")

    assert failed().select("Metadata_Site", "channel").rows() == [(2, "ER")]
    assert workspace.plan(["P7"])[0].stage == "illumination"
    chunk.write_bytes(body)
    reasons = {task.stage: task.reasons for task in workspace.plan(["P7"])}
    assert reasons["raw_images"] == ("1 failed image has a new file",)
    assert failed().height == 0


@pytest.mark.slow
def test_a_real_site_of_a_zarr_array_runs_to_profiles(reference_data: Path, tmp_path: Path) -> None:
    """JUMP's site of an ORF, whose five stains are planes of one array, through every stage of a plate."""
    folder = reference_data / "jump_rab30_zarr"
    channels = (folder / "channels.csv").read_text().split()[1:]
    sites = pl.read_csv(folder / "sites.csv")
    rows = ["channel,path,plate,well,site,frame,Metadata_Perturbation"]
    for site in sites.to_dicts():
        for number, channel in (line.split(",") for line in channels):
            frame = site["idx"] * len(channels) + int(number)
            rows.append(f"{channel},{folder}/images.zarr/images,{site['Plate']},{site['Well']},{site['Site']},{frame},"
                        f"{site['modality']}")  # fmt: skip
    sheet = write(tmp_path / "sheet.csv", "\n".join(rows) + "\n")
    profiles = {"normalize": {"reference": "all", "min_reference": 1, "too_few": "all"}}
    settings = Settings.model_validate({
        "lake": str(tmp_path / "lake"), "measurement": "core", "compute": {"workers": 1}, "profiles": profiles,
        "sources": [samplesheet(sheet, negative_controls=[]).model_dump()],
    })  # fmt: skip
    workspace = Workspace(settings, Lake(settings.lake), tmp_path)
    commits = make_stages(workspace, "BR00123947")
    tables = workspace.lake.snapshot(commits)
    wells = tables.read("well_profiles", "BR00123947")
    assert wells["Metadata_Well"].to_list() == ["G01"]
    assert 5 < wells["Metadata_Count_Cells"][0] < 60
    assert wells["Nuclei_AreaShape_Area"][0] > 500
    bright = tables.read("single_cells", "BR00123947")
    dna = {part: bright[f"{part}_Intensity_MeanIntensity_DNA"].median() for part in ("Nuclei", "Cytoplasm")}
    assert dna["Nuclei"] > 1.5 * dna["Cytoplasm"]  # the stains are those that the table names
    assert tables.read("site_failures", "BR00123947").height == 0
