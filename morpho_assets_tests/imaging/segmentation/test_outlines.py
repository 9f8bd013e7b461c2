"""Outlines that other programs write, and masks that a person corrected."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from morpho_assets.errors import ImageError, InputError
from morpho_assets.imaging.images import write_labels
from morpho_assets.imaging.segmentation import (
    ExternalConfig,
    WatershedConfig,
    corrected_sites,
    file_stamps,
    made_with,
    make_segmenter,
)
from morpho_assets.imaging.segmentation.config import CorrectedConfig
from morpho_assets.imaging.segmentation.corrections import Corrected
from morpho_assets.imaging.segmentation.outlines import read_outlines
from morpho_assets_tests.imaging.segmentation.test_segmenters import two_stains

SHAPE = (30, 40)
SITE = {"plate": "P1", "well": "A01", "site": 1}


def square(left: float, top: float, side: float) -> list[list[float]]:
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]]


def expected() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    labels[4:14, 3:13] = 1
    labels[15:20, 20:25] = 2
    return labels


def geojson(path: Path, *features: dict) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def feature(rings: list, **more: object) -> dict:
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, **more}


def rois(path: Path, *outlines: list[list[float]]) -> Path:
    roifile = pytest.importorskip("roifile")
    with zipfile.ZipFile(path, "w") as archive:
        for number, outline in enumerate(outlines):
            archive.writestr(f"{number}.roi", roifile.ImagejRoi.frompoints(outline).tobytes())
    return path


def test_outlines_of_every_kind_give_the_same_pixels(tmp_path: Path) -> None:
    one, other = square(3, 4, 10), square(20, 15, 5)
    found = {
        "GeoJSON": read_outlines(geojson(tmp_path / "a.geojson", feature([one]), feature([other])), SHAPE, "cells"),
        "list": read_outlines(listed(tmp_path / "a.json", [feature([one]), feature([other])]), SHAPE, "cells"),
        "ROIs": read_outlines(rois(tmp_path / "a.zip", one, other), SHAPE, "cells"),
        # cellpose writes the rim's own pixels
        "cellpose": read_outlines(cellpose(tmp_path / "a.txt", square(3, 4, 9), square(20, 15, 4)), SHAPE, "cells"),
    }
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, expected(), err_msg=name)


def listed(path: Path, features: list) -> Path:
    path.write_text(json.dumps(features))
    return path


def cellpose(path: Path, *outlines: list[list[float]]) -> Path:
    path.write_text("\n".join(",".join(f"{x},{y}" for x, y in outline[:-1]) for outline in outlines))
    return path


def test_stardist_polygons_that_cross_pixels_take_those_whose_middle_is_inside(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    outline = np.column_stack([20.5 + 6 * np.cos(angle), 15.5 + 6 * np.sin(angle)])
    labels = read_outlines(rois(tmp_path / "s.zip", outline.tolist()), SHAPE, "nuclei")
    row, column = np.mgrid[:30, :40]
    disk = np.hypot(row - 15, column - 20) < 5.9
    assert (labels[np.hypot(row - 15, column - 20) < 5.5] == 1).all()
    assert labels[~disk & (np.hypot(row - 15, column - 20) > 6.01)].max() == 0


def test_holes_stay_and_the_first_of_two_objects_has_a_pixel(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", feature([square(2, 2, 12), square(6, 6, 4)]), feature([square(10, 2, 12)]))
    labels = read_outlines(path, SHAPE, "cells")
    assert labels[7, 7] == 0
    assert labels[3, 12] == 1
    assert labels[3, 20] == 2
    assert np.bincount(labels.ravel())[1:].tolist() == [144 - 16, 144 - 4 * 12]


def test_a_cell_of_qupath_has_two_outlines(tmp_path: Path) -> None:
    nucleus = {"type": "Polygon", "coordinates": [square(6, 6, 4)]}
    path = geojson(tmp_path / "a.geojson", feature([square(3, 4, 10)], nucleusGeometry=nucleus))
    assert (read_outlines(path, SHAPE, "nuclei") > 0).sum() == 16
    assert (read_outlines(path, SHAPE, "cells") > 0).sum() == 100
    config = ExternalConfig(nuclei="{well}-{site}.geojson", cells="{well}-{site}.geojson", folder=tmp_path)
    path.rename(tmp_path / "A01-1.geojson")
    found = make_segmenter(config, SITE).segment(np.zeros((1, *SHAPE), np.float32), ["DNA"])
    assert (found.count, int((found.nuclei > 0).sum()), int((found.cells > 0).sum())) == (1, 16, 100)


def test_files_that_are_no_outlines_of_the_image_say_why(tmp_path: Path) -> None:
    bad = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
    with pytest.raises(ImageError, match="drawing 1 is a Point"):
        read_outlines(geojson(tmp_path / "p.geojson", bad), SHAPE, "cells")
    with pytest.raises(ImageError, match="outline 1 lies outside the image of 30 x 40 pixels"):
        read_outlines(geojson(tmp_path / "far.geojson", feature([square(300, 300, 10)])), SHAPE, "cells")
    (tmp_path / "broken.geojson").write_text("{")
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    (tmp_path / "broken.txt").write_text("1,2,three,4")
    for name, kind in (("broken.geojson", "GeoJSON"), ("broken.zip", "a zip"), ("broken.txt", "cellpose's outlines")):
        with pytest.raises(ImageError, match=f"cannot be read as {kind}"):
            read_outlines(tmp_path / name, SHAPE, "cells")
    with pytest.raises(ImageError, match="cannot be read"):
        read_outlines(tmp_path / "none.txt", SHAPE, "cells")
    roifile = pytest.importorskip("roifile")
    line = roifile.ImagejRoi.frompoints([[1, 2], [5, 6]])
    line.roitype = roifile.ROI_TYPE.LINE
    (tmp_path / "line.roi").write_bytes(line.tobytes())
    with pytest.raises(ImageError, match="ROI is a line, expected an outline"):
        read_outlines(tmp_path / "line.roi", SHAPE, "cells")


def test_an_empty_file_of_outlines_has_no_objects(tmp_path: Path) -> None:
    assert read_outlines(geojson(tmp_path / "a.geojson"), SHAPE, "cells").max() == 0
    (tmp_path / "a.txt").write_text("")
    assert read_outlines(tmp_path / "a.txt", SHAPE, "cells").max() == 0


def corrected(folder: Path, **patterns: str) -> WatershedConfig:
    return WatershedConfig(corrected=CorrectedConfig(folder=folder, **patterns))


def test_a_corrected_site_is_taken_as_it_is_and_no_other(tmp_path: Path) -> None:
    image, truth = two_stains()
    config = corrected(tmp_path, nuclei="{well}-{site}_nuclei.tif", cells="{well}-{site}_cells.tif")
    drawn = np.where(truth <= 5, truth, 0).astype(np.int32)
    for kind in ("nuclei", "cells"):
        (tmp_path / f"A01-1_{kind}.tif").write_bytes(write_labels(drawn))
    sites = [SITE, SITE | {"site": 2}]
    assert corrected_sites(config, sites) == [0]
    np.testing.assert_array_equal(make_segmenter(config, SITE).segment(image, ["DNA", "RNA"]).nuclei, drawn)
    other = make_segmenter(config, sites[1]).segment(image, ["DNA", "RNA"])
    np.testing.assert_array_equal(other.cells, make_segmenter(WatershedConfig()).segment(image, ["DNA", "RNA"]).cells)
    assert other.count == 14
    assert corrected_sites(WatershedConfig(), sites) == []


def test_where_nuclei_alone_were_corrected_cells_are_the_methods(tmp_path: Path) -> None:
    image, truth = two_stains()
    config = corrected(tmp_path, nuclei="{well}-{site}.tif")
    (tmp_path / "A01-1.tif").write_bytes(write_labels(np.where(truth == 3, 0, truth).astype(np.int32)))
    found = make_segmenter(config, SITE).segment(image, ["DNA", "RNA"])
    assert (found.count, found.dropped) == (13, {"cell_without_nucleus": 1})
    assert np.bincount(found.cells.ravel())[1:].min() > 1.3 * np.pi * 11**2


def test_corrections_are_among_the_sources_by_their_content(tmp_path: Path) -> None:
    config = corrected(tmp_path, nuclei="{well}-{site}.tif")
    none, stamp = made_with(config, [SITE]), file_stamps(config, [SITE])
    (tmp_path / "A01-1.tif").write_bytes(write_labels(np.ones((5, 5), np.int32)))
    assert none == stamp == {}  # as without corrections: such a site stays as it is
    assert set(made_with(config, [SITE])) == {"corrected"}
    before = made_with(config, [SITE])
    (tmp_path / "A01-1.tif").write_bytes(write_labels(np.zeros((5, 5), np.int32)))
    assert made_with(config, [SITE]) != before
    assert file_stamps(config, [SITE]) != stamp
    assert made_with(WatershedConfig(), [SITE]) == {}


def test_corrections_that_cannot_be_of_one_site_stop_before_any(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one path for all wells"):
        make_segmenter(corrected(tmp_path, cells="{plate}.tif"))
    with pytest.raises(ValueError, match="names neither nuclei nor cells"):
        CorrectedConfig(folder=tmp_path)
    assert isinstance(make_segmenter(corrected(tmp_path, cells="{well}.tif")), Corrected)
