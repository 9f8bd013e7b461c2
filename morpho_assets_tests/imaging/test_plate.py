"""The imaging stages on a tiny plate, corrected by the gallery's functions, by ours with a dark field, or not."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.images import fetch_images
from morpho_assets.gallery.manifest import write_manifest
from morpho_assets.imaging.illumination import IlluminationConfig
from morpho_assets.imaging.images import read_labels, write_labels
from morpho_assets.imaging.plate import illuminate_plate, segment_plate
from morpho_assets.imaging.segmentation import CellposeConfig, ExternalConfig, WatershedConfig
from morpho_assets.imaging.segmentation.config import CellposeNetworkConfig, CellsConfig
from morpho_assets.imaging.sites import complete_sites
from morpho_assets_tests.project import make_project

PLATE = "SYN00000001"


@pytest.fixture
def workspace(tmp_path, tiny_gallery):
    """A plate whose images are listed; nothing is estimated yet."""
    workspace = make_project(tmp_path, tiny_gallery).workspace
    write_manifest(workspace.lake, PLATE, workspace.provenance("plate_manifest", PLATE), workspace.source(PLATE))
    images = workspace.settings.images
    fetch_images(workspace.lake, PLATE, workspace.provenance("raw_images", PLATE), workspace.store(PLATE), images)
    return workspace


def illuminate(workspace, **settings):
    config, compute = IlluminationConfig(**settings), workspace.settings.compute
    made = workspace.provenance("illumination", PLATE)
    return illuminate_plate(workspace.lake, PLATE, made, config, workspace.reader(PLATE, corrected=False), compute)


def test_the_gallery_s_own_functions_are_taken_as_they_are(workspace, tiny_gallery):
    functions = illuminate(workspace, method="gallery")
    assert functions["method"].to_list() == ["gallery"] * 5
    assert functions["images"].to_list() == [0] * 5
    own = np.load(next(Path(tiny_gallery).rglob(f"{PLATE}_IllumDNA.npy")))
    kept = np.load(io.BytesIO(workspace.lake.read_bytes(functions.filter(channel="DNA")["path"][0])))
    np.testing.assert_allclose(kept, own, rtol=1e-6)
    site = complete_sites(workspace.lake, PLATE)[0]
    raw, corrected = (workspace.reader(PLATE, corrected=c).read(site)[0] for c in (False, True))
    np.testing.assert_allclose(corrected, np.clip(raw / own, 0, 1), rtol=1e-5)


def test_a_dark_field_is_subtracted_before_the_division(workspace):
    functions = illuminate(workspace, method="basic", dark_field=True)
    row = functions.filter(channel="ER").row(0, named=True)
    flat, dark = (np.load(io.BytesIO(workspace.lake.read_bytes(row[name]))) for name in ("path", "dark_path"))
    site = complete_sites(workspace.lake, PLATE)[0]
    raw, corrected = (workspace.reader(PLATE, corrected=c).read(site)[1] for c in (False, True))
    np.testing.assert_allclose(corrected, np.clip((raw - dark) / flat, 0, 1), rtol=1e-5, atol=1e-7)


def test_without_correction_images_come_as_they_were_acquired(workspace):
    assert illuminate(workspace, method="none").height == 0
    site = complete_sites(workspace.lake, PLATE)[0]
    raw, same = (workspace.reader(PLATE, corrected=c).read(site) for c in (False, True))
    np.testing.assert_array_equal(raw, same)


def test_a_plate_without_functions_of_its_own_is_told_so(workspace):
    sites = workspace.lake.read("sites", PLATE).with_columns(illumination_uri=None)
    workspace.lake.write("sites", PLATE, sites, workspace.provenance("plate_manifest", PLATE))
    with pytest.raises(InputError, match=r"illumination.method, gallery: found a plate without one"):
        illuminate(workspace, method="gallery")


def segment(workspace, config):
    made, compute = workspace.provenance("masks", PLATE), workspace.settings.compute
    return segment_plate(workspace.lake, PLATE, made, config, workspace.reader(PLATE), compute)


def test_label_images_that_exist_already_are_taken_site_by_site(workspace, tmp_path):
    illuminate(workspace, method="none")
    found = segment(workspace, WatershedConfig())
    first = workspace.lake.read("masks", PLATE)
    for row in first.iter_rows(named=True):
        for name in ("nuclei", "cells"):
            labels = read_labels(workspace.lake.read_bytes(row[name]))
            (tmp_path / f"{row['Metadata_Well']}_{name}.tif").write_bytes(write_labels(labels))
    outside = ExternalConfig(method="external", nuclei="{well}_nuclei.tif", cells="{well}_cells.tif", folder=tmp_path)
    assert segment(workspace, outside) == found
    assert workspace.lake.read("masks", PLATE)["Count_Cells"].to_list() == first["Count_Cells"].to_list()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:Sparse invariant:UserWarning")
def test_masks_say_which_weights_made_them(workspace):
    from morpho_assets.imaging.segmentation.cellpose_network import SHIPPED

    illuminate(workspace, method="none")
    files = workspace.lake.read("image_files", PLATE).head(5)  # one site is enough
    workspace.lake.write("image_files", PLATE, files, workspace.lake.provenance("image_files", PLATE))
    network = CellposeNetworkConfig(model="small-nuclei", channels=("DNA",), diameter="estimate")
    assert segment(workspace, CellposeConfig(nuclei=network, cells=CellsConfig())).rows > 0
    inputs = workspace.lake.provenance("masks", PLATE).inputs
    assert inputs["weights of small-nuclei"] == hashlib.sha256(SHIPPED["small-nuclei"].read_bytes()).hexdigest()
    assert inputs["cellpose"].startswith("3.")


def test_augmentation_is_one_switch(workspace):
    from morpho_assets.imaging.augmentation import Augmented
    from morpho_assets.imaging.segmentation import make_segmenter

    assert isinstance(make_segmenter(WatershedConfig(augment=True)), Augmented)
    assert not isinstance(make_segmenter(WatershedConfig()), Augmented)
