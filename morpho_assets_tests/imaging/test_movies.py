"""Movies: a frame is corrected by the frames around it, and a drifting lamp with it."""

import io

import numpy as np
import pytest
import tifffile

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.images import ImagesConfig, fetch_images
from morpho_assets.gallery.manifest import read_manifest
from morpho_assets.imaging.illumination import IlluminationConfig, estimate_illumination
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.movies import frames_around, function_of_frame
from morpho_assets.imaging.planes import Plane
from morpho_assets.imaging.plate import illuminate_plate
from morpho_assets.imaging.sites import complete_sites, illumination_paths, plate_reader
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_work, make_work, plate, samplesheet, write

CONFIG = IlluminationConfig(method="basic", frames=2, degree=2, working_size=32)
P1 = plate("P1")


def movie(frames=7, size=48, seed=0):
    """((frames, size, size) uint16, the lamp of each): light falls off from a corner that wanders with time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    lamps = np.stack([1 - 0.5 * ((x - t / 20) ** 2 + (y - t / 20) ** 2) / 2 for t in range(frames)])
    cells = 0.05 + 0.6 * (rng.random((frames, size, size)) > 0.9)
    return np.clip(lamps * cells * 65535, 0, 65535).astype(np.uint16), lamps


def as_tiff(planes):
    file = io.BytesIO()
    tifffile.imwrite(file, planes, photometric="minisblack", metadata={"axes": "TYX"})
    return file.getvalue()


@pytest.mark.parametrize(("frame", "found"), [(0, [0, 1, 2]), (3, [1, 2, 3, 4, 5]), (6, [4, 5, 6])])
def test_the_frames_around_are_those_that_the_file_has(frame, found):
    assert list(frames_around(frame, 7, 2)) == found


def test_the_function_is_that_of_the_frames_around_alone():
    planes, lamps = movie()
    content = as_tiff(planes)
    found = function_of_frame(content, Plane(frame=3), CONFIG, "m.tif")
    own = [read_image(content, Plane(frame=number)) for number in range(1, 6)]
    np.testing.assert_array_equal(found.flat, estimate_illumination(own, CONFIG).flat)
    assert found.images == 5

    def off(frame, lamp):
        flat = function_of_frame(content, Plane(frame=frame), CONFIG, "m.tif").flat
        return np.abs(flat / flat.mean() - lamp / lamp.mean()).mean()

    assert off(6, lamps[5]) < off(0, lamps[5])  # the lamp has wandered


def test_a_file_of_too_few_frames_is_told():
    with pytest.raises(ImageError, match=r"m.tif: has 2 frames around frame 0, where its illumination takes 3"):
        function_of_frame(as_tiff(movie(2)[0]), Plane(frame=0), CONFIG, "m.tif")


def illuminated(tmp_path, config, frame=True):
    """A plate of one movie with frames 0 and 3 as sites, and what was made of it."""
    (tmp_path / "m.tif").write_bytes(as_tiff(movie()[0]))
    tifffile.imwrite(tmp_path / "one.tif", movie()[0][0])
    rows = ["DNA,m.tif,P1,A01,1,0", "DNA,m.tif,P1,A01,2,3"] if frame else ["DNA,one.tif,P1,A01,1,"]
    sheet = write(tmp_path / "sheet.csv", "\n".join(["channel,path,plate,well,site,frame", *rows]) + "\n")
    lake = Lake(str(tmp_path / "lake"))
    source = samplesheet(sheet).model_copy(update={"perturbation": (), "negative_controls": ()})
    for stage, function, settings in (
        ("plate_manifest", read_manifest, {}), ("raw_images", fetch_images, {"options": ImagesConfig()}),
        ("illumination", illuminate_plate, {"settings": config}),
    ):  # fmt: skip
        work = make_work(lake, stage, P1, source=source, **settings)
        function(work)
        commit_work(work)
    return lake.latest(["plate_manifest", "raw_images", "illumination"], [P1]), source


def test_a_plate_of_movies_is_read_with_the_function_of_each_frame(tmp_path):
    tables, source = illuminated(tmp_path, CONFIG)
    rows = tables.read("illumination_functions", "P1")
    assert rows.select("channel", "method", "images").rows() == [("DNA", "basic, 2 frames before and after", None)]
    reader = plate_reader(tables, source.store(), "P1")
    content = (tmp_path / "m.tif").read_bytes()
    for site in complete_sites(tables, "P1"):
        raw = read_image(content, site.planes[0])
        flat = function_of_frame(content, site.planes[0], CONFIG, "m.tif").flat
        np.testing.assert_allclose(reader.read(site)[0], np.clip(raw / flat, 0, 1))
    assert illumination_paths(tables, "P1")["DNA"][0].endswith(".json")


def test_images_that_are_no_movies_are_told(tmp_path):
    with pytest.raises(InputError, match=r"images of A01-1 that are no planes of a file"):
        illuminated(tmp_path, CONFIG, frame=False)
    with pytest.raises(ValueError, match="frames needs a method that estimates"):
        IlluminationConfig(method="none", frames=2)
