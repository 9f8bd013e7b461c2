"""The imaging stages on a tiny plate, corrected by the gallery's functions, by ours with a dark field, or not."""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile

from morpho_assets.errors import InputError
from morpho_assets.imaging.illumination import IlluminationConfig
from morpho_assets.imaging.images import read_labels, write_labels
from morpho_assets.imaging.plate import grade_plate, illuminate_plate, segment_plate
from morpho_assets.imaging.segmentation import CellposeConfig, ExternalConfig, WatershedConfig
from morpho_assets.imaging.segmentation.config import (
    CellposeNetworkConfig,
    CellsConfig,
    CorrectedConfig,
    ThresholdConfig,
)
from morpho_assets.imaging.sites import SiteReader, complete_sites, plate_reader
from morpho_assets_tests.factories import (
    changed,
    commit_tables,
    commit_work,
    last,
    make_stages,
    make_work,
    plate,
    tables_of,
)
from morpho_assets_tests.project import make_project

PLATE = "SYN00000001"
UNCORRECTED = IlluminationConfig(method="none")


@pytest.fixture
def workspace(tmp_path, tiny_gallery):
    """A plate whose images are listed; nothing is estimated yet."""
    return listed(tmp_path, tiny_gallery)


@pytest.fixture
def own(tmp_path, tiny_gallery):
    """The same plate in a gallery of its own, whose images a test may spoil."""
    return listed(tmp_path / "project", Path(shutil.copytree(tiny_gallery, tmp_path / "gallery")))


def listed(folder, gallery):
    workspace = make_project(folder, gallery).workspace
    make_stages(workspace, PLATE, ["plate_manifest", "raw_images"])
    return workspace


def done(workspace, function, stage, config):
    """The commit of a stage's function, under these settings and from nothing but what was committed."""
    fields = {"compute": workspace.settings.compute, "source": workspace.settings.sources[0], "previous": None}
    work = make_work(workspace.lake, stage, plate(PLATE), config, **fields)
    function(work)
    return commit_work(work)


def illuminate(workspace, **settings):
    """The plate's new `illumination_functions`."""
    done(workspace, illuminate_plate, "illumination", IlluminationConfig(**settings))
    return last(workspace.lake, "illumination", "illumination_functions", PLATE)


def grade(workspace):
    return done(workspace, grade_plate, "image_quality", workspace.settings.quality)


def segment(workspace, config):
    return done(workspace, segment_plate, "masks", config)


def read(workspace, stage, table):
    return last(workspace.lake, stage, table, PLATE)


def images_of(workspace):
    """The first site, raw and corrected."""
    tables = tables_of(workspace.lake, "masks")
    store = workspace.settings.sources[0].store()
    site = complete_sites(tables, PLATE)[0]
    return [reader.read(site) for reader in (SiteReader(workspace.lake, store), plate_reader(tables, store, PLATE))]


def paths(workspace, **where):
    """Paths of the images of a plate with these values in `image_files`."""
    return read(workspace, "raw_images", "image_files").filter(**where)["path"].to_list()


def spoil(workspace, paths, change):
    """Change images, and fetch them again: what was fetched is what is read."""
    for path in paths:
        tifffile.imwrite(path, change(tifffile.imread(path)))
    make_stages(workspace, PLATE, ["raw_images"])


def failures(workspace, stage):
    rows = read(workspace, stage, "site_failures")
    assert set(rows["stage"]) <= {stage}
    return set(rows.select("Metadata_Well", "channel", "error").iter_rows())


@pytest.mark.parametrize("method", ["regular", "basic"])
def test_an_image_of_another_size_is_left_out_even_if_it_comes_first(own, method):
    first = paths(own, channel="DNA")[0]
    whole = tifffile.imread(first)
    spoil(own, [first], lambda image: np.zeros_like(image))
    expected = illuminate(own, method=method)
    spoil(own, [first], lambda image: whole[::2, ::2])
    found = illuminate(own, method=method)
    assert found.filter(channel="DNA")["images"].to_list() == [17]
    assert found.drop("path").equals(expected.drop("path"))


def test_the_channel_of_another_size_is_blamed_and_not_those_of_the_right_one(own):
    spoil(own, paths(own, channel="DNA", Metadata_Well="A01"), lambda image: image[::2, ::2])
    assert list(grade(own).sites.failed) == ["A01-1"]
    error = "is 80 x 80 pixels, expected 160 x 160"
    assert failures(own, "image_quality") == {("A01", "DNA", error)}
    illuminate(own)
    segment(own, WatershedConfig())
    assert failures(own, "masks") == {("A01", "DNA", error)}


def test_a_site_all_of_another_size_fails(own):
    spoil(own, paths(own, Metadata_Well="A02"), lambda image: image[:100])
    assert list(grade(own).sites.failed) == ["A02-1"]
    ((well, _, error),) = failures(own, "image_quality")
    assert (well, error) == ("A02", "is 100 x 160 pixels, expected 160 x 160")


def test_a_gallery_s_function_is_compared_with_the_size_of_most_images(own):
    spoil(own, paths(own, channel="DNA")[:1], lambda image: image[::2, ::2])
    assert illuminate(own, method="gallery").height == 5


@pytest.mark.parametrize("method", ["regular", "basic"])
def test_a_channel_without_signal_is_divided_by_one_and_the_plate_goes_on(own, method):
    spoil(own, paths(own, channel="AGP"), lambda image: np.full_like(image, 300))
    functions = {row["channel"]: row for row in illuminate(own, method=method).iter_rows(named=True)}
    assert (functions["AGP"]["images"], functions["AGP"]["minimum"], functions["AGP"]["maximum"]) == (0, 1, 1)
    assert functions["DNA"]["images"] == 18


def test_a_channel_with_too_few_images_is_named(own):
    files = read(own, "raw_images", "image_files").filter(pl.col("Metadata_Well").is_in(["A01", "A02"]))
    commit_tables(own.lake, "raw_images", plate(PLATE), {"image_files": files})
    with pytest.raises(InputError, match="illumination, DNA, method basic: found 2 images; expected at least 3"):
        illuminate(own, method="basic")


NEARLY_CONSTANT = {
    "saturated but for a dead pixel": (65535, [900], "flag_saturated"),
    "black but for two hot pixels": (0, [65535, 40000], "flag_empty"),
    "two counts": (1, [2, 2, 2], "flag_empty"),
}


@pytest.mark.parametrize(("level", "pixels", "flag"), NEARLY_CONSTANT.values(), ids=NEARLY_CONSTANT)
def test_a_nearly_constant_image_is_a_flag_and_the_plate_goes_on(own, level, pixels, flag):
    def spoilt(image):
        image = np.full_like(image, level)
        image.flat[1 : 1 + len(pixels)] = pixels
        return image

    spoil(own, paths(own, channel="RNA", Metadata_Well="A03"), spoilt)
    assert (grade(own).sites.failed, failures(own, "image_quality")) == ({}, set())
    row = read(own, "image_quality", "image_quality").filter(channel="RNA", Metadata_Well="A03").row(0, named=True)
    assert [name for name in row if name.startswith("flag_") and row[name]] == [flag]
    assert row["ImageQuality_ThresholdOtsu_3FW"] is None
    illuminate(own)
    three = ThresholdConfig(method="otsu_three_classes")
    segment(own, WatershedConfig(cells=CellsConfig(threshold=three)))
    assert failures(own, "masks") == set()


def test_the_gallery_s_own_functions_are_taken_as_they_are(workspace, tiny_gallery):
    functions = illuminate(workspace, method="gallery")
    assert functions["method"].to_list() == ["gallery"] * 5
    assert functions["images"].to_list() == [0] * 5
    own = np.load(next(Path(tiny_gallery).rglob(f"{PLATE}_IllumDNA.npy")))
    kept = np.load(io.BytesIO(workspace.lake.read_bytes(functions.filter(channel="DNA")["path"][0])))
    np.testing.assert_allclose(kept, own, rtol=1e-6)
    raw, corrected = (image[0] for image in images_of(workspace))
    np.testing.assert_allclose(corrected, np.clip(raw / own, 0, 1), rtol=1e-5)


def test_a_dark_field_is_subtracted_before_the_division(workspace):
    functions = illuminate(workspace, method="basic", dark_field=True)
    row = functions.filter(channel="ER").row(0, named=True)
    flat, dark = (np.load(io.BytesIO(workspace.lake.read_bytes(row[name]))) for name in ("path", "dark_path"))
    raw, corrected = (image[1] for image in images_of(workspace))
    np.testing.assert_allclose(corrected, np.clip((raw - dark) / flat, 0, 1), rtol=1e-5, atol=1e-7)


def test_without_correction_images_come_as_they_were_acquired(workspace):
    assert illuminate(workspace, method="none").height == 0
    np.testing.assert_array_equal(*images_of(workspace))


def test_a_plate_without_functions_of_its_own_is_told_so(workspace):
    sites = read(workspace, "plate_manifest", "sites").with_columns(illumination_uri=None)
    commit_tables(workspace.lake, "plate_manifest", plate(PLATE), {"sites": sites})
    with pytest.raises(InputError, match=r"illumination.method, gallery: found a plate without one"):
        illuminate(workspace, method="gallery")


def test_label_images_that_exist_already_are_taken_site_by_site(workspace, tmp_path):
    illuminate(workspace, method="none")
    found = segment(workspace, WatershedConfig())
    first = read(workspace, "masks", "masks")
    for row in first.iter_rows(named=True):
        for name in ("nuclei", "cells"):
            labels = read_labels(workspace.lake.read_bytes(row[name]))
            (tmp_path / f"{row['Metadata_Well']}_{name}.tif").write_bytes(write_labels(labels))
    outside = ExternalConfig(method="external", nuclei="{well}_nuclei.tif", cells="{well}_cells.tif", folder=tmp_path)
    assert segment(workspace, outside).outputs["objects"] == found.outputs["objects"]
    assert read(workspace, "masks", "masks")["Count_Cells"].to_list() == first["Count_Cells"].to_list()


def label_images(workspace, folder, labels):
    """The settings that take these labels for every site, as files that a test may exchange."""
    for well in wells_of(workspace):
        (folder / f"{well}.tif").write_bytes(write_labels(labels))
    return ExternalConfig(nuclei="{well}.tif", cells="{well}.tif", folder=folder)


def wells_of(workspace):
    return sorted(read(workspace, "plate_manifest", "sites")["Metadata_Well"].unique())


def test_other_label_images_under_the_same_names_make_the_masks_anew(workspace, tmp_path):
    labels = np.zeros((160, 160), np.int32)
    labels[20:60, 20:60], labels[90:140, 90:140] = 1, 2
    outside = label_images(workspace, tmp_path, labels)
    workspace = changed(workspace, segmentation=outside, illumination=UNCORRECTED)

    def masks_are_stale():
        return "masks" in {task.stage for task in workspace.plan([PLATE])}

    _, before = make_stages(workspace, PLATE, ["illumination", "masks"])
    assert before.outputs["objects"].rows == 36
    assert not masks_are_stale()
    labels[labels == 2] = 0
    (tmp_path / "A02.tif").write_bytes(write_labels(labels))
    assert masks_are_stale()
    [after] = make_stages(workspace, PLATE, ["masks"])
    assert after.outputs["objects"].rows == 35
    assert after.notes["sites worked on"] == 1
    assert (after.content, after.recipe) != (before.content, before.recipe)
    assert not masks_are_stale()


def test_masks_that_a_person_corrected_take_the_place_of_their_site_s_and_the_commit_says_so(workspace, tmp_path):
    workspace = changed(workspace, segmentation=WatershedConfig(), illumination=UNCORRECTED)
    _, before = make_stages(workspace, PLATE, ["illumination", "masks"])
    corrected = CorrectedConfig(nuclei="{well}_nuclei.tif", cells="{well}_cells.tif", folder=tmp_path)
    workspace = changed(workspace, segmentation=WatershedConfig(corrected=corrected))
    assert "masks" not in {task.stage for task in workspace.plan([PLATE])}
    labels = np.zeros((160, 160), np.int32)
    labels[20:60, 20:60] = 1
    for kind in ("nuclei", "cells"):
        (tmp_path / f"A02_{kind}.tif").write_bytes(write_labels(labels))
    reasons = {task.stage: task.reasons for task in workspace.plan([PLATE])}
    assert reasons["masks"] == ("corrected is new",)
    [after] = make_stages(workspace, PLATE, ["masks"])
    assert after.notes["sites worked on"] == 1
    assert after.notes["corrected"] == f"1 of {len(wells_of(workspace))} sites by hand: A02-1"
    assert "corrected" not in before.notes
    masks = read(workspace, "masks", "masks")
    assert masks.filter(Metadata_Well="A02")["Count_Cells"].to_list() == [1]
    (tmp_path / "A02_nuclei.tif").unlink()
    (tmp_path / "A02_cells.tif").unlink()
    [again] = make_stages(workspace, PLATE, ["masks"])
    assert again.outputs["objects"] == before.outputs["objects"]


def test_a_run_that_goes_on_takes_up_no_site_of_other_label_images(workspace, tmp_path, monkeypatch):
    illuminate(workspace, method="none")
    labels = np.zeros((160, 160), np.int32)
    labels[20:60, 20:60] = 1
    outside = label_images(workspace, tmp_path, labels)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(workspace.lake), "write_stream", killed)  # every site is finished, none is committed
        with pytest.raises(KeyboardInterrupt):
            segment(workspace, outside)
    assert len(workspace.lake.files.find(".work/masks")) == 2 * len(wells_of(workspace))
    labels[100:140, 100:140] = 2
    segment(workspace, label_images(workspace, tmp_path, labels))
    assert read(workspace, "masks", "masks")["Count_Cells"].to_list() == [2] * len(wells_of(workspace))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:Sparse invariant:UserWarning")
def test_masks_say_which_weights_made_them(workspace):
    from morpho_assets.imaging.segmentation.cellpose_network import SHIPPED

    illuminate(workspace, method="none")
    files = read(workspace, "raw_images", "image_files").head(5)  # one site is enough
    commit_tables(workspace.lake, "raw_images", plate(PLATE), {"image_files": files})
    network = CellposeNetworkConfig(model="small-nuclei", channels=("DNA",), diameter="estimate")
    config = CellposeConfig(nuclei=network, cells=CellsConfig())
    assert segment(workspace, config).outputs["objects"].rows > 0
    workspace = changed(workspace, segmentation=config)
    sources = workspace.look(
        "masks", workspace.target(plate(PLATE), workspace.state([PLATE])), workspace.state([PLATE])
    )
    assert sources["weights of small-nuclei"] == hashlib.sha256(SHIPPED["small-nuclei"].read_bytes()).hexdigest()
    assert sources["cellpose"].startswith("3.")


def test_augmentation_is_one_switch(workspace):
    from morpho_assets.imaging.augmentation import Augmented
    from morpho_assets.imaging.segmentation import make_segmenter

    assert isinstance(make_segmenter(WatershedConfig(augment=True)), Augmented)
    assert not isinstance(make_segmenter(WatershedConfig()), Augmented)
