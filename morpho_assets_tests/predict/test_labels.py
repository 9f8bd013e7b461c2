"""Labels: which mask a point means, what is listed, what annotators agree on."""

import numpy as np
import polars as pl
import pytest
from PIL import Image

from morpho_assets.errors import InputError
from morpho_assets.predict.labels import (
    LABEL,
    MetadataLabels,
    PointLabels,
    attach_points,
    compared_annotators,
    crops_as_plate,
    metadata_labels,
    nearest_objects,
    read_crops,
    read_points,
    renamed,
)

HEAD = "plate,well,site,x,y,class\n"


def field():
    """Two cells: 1 at rows 2-5, columns 2-5; 2 at rows 2-5, columns 10-13, in a field of 20 x 20."""
    image = np.zeros((20, 20), np.int32)
    image[2:6, 2:6], image[2:6, 10:14] = 1, 2
    return image


def attached(text, **settings):
    points = read_points((HEAD + text).encode(), "labels.csv")
    known = {("P1", "A01", 1): field()}
    return attach_points(points, lambda *site: known.get(site), settings.pop("radius", 3), **settings)


def test_a_point_means_the_mask_that_holds_it_or_the_nearest():
    found = attached("P1,A01,1,3,4,mitotic\nP1,A01,1,15.2,3,interphase\n")
    assert found.cells.select("ObjectNumber", LABEL).rows() == [(1, "mitotic"), (2, "interphase")]
    np.testing.assert_allclose(found.cells["distance"], [0, 2.2])
    assert found.misses.height == 0


def test_misses_are_listed_with_their_reason():
    found = attached("P1,A01,1,18,18,a\nP1,A01,1,30,3,a\nP1,B01,1,3,3,a\n")
    assert found.cells.is_empty()
    assert found.misses["reason"].to_list() == [
        "have no mask within 3 pixels", "lie outside of the image", "are of a site without masks",
    ]  # fmt: skip
    assert "1 points lie outside of the image" in found.words


def test_nothing_is_said_of_rejected_sites_and_that_is_listed():
    found = attached("P1,A01,1,3,4,mitotic\nP1,A01,1,18,18,a\n")
    sites = found.cells.select("Metadata_Plate", "Metadata_Well", "Metadata_Site")
    left = found.outside(sites)
    assert left.cells.is_empty()
    assert left.misses[LABEL].to_list() == ["a", "mitotic"]
    assert "1 points are of a site that a person rejected" in left.words
    assert found.outside(sites.clear()) == found


def test_a_tie_goes_to_the_lower_number():
    image = np.zeros((5, 9), np.int32)
    image[2, 1], image[2, 7] = 2, 1
    number, distance, _ = nearest_objects(image, np.array([[2.0, 4.0]]), 5)
    assert (number[0], distance[0]) == (1, 3.0)


def test_two_classes_on_one_cell_are_a_conflict():
    text = "P1,A01,1,3,3,a\nP1,A01,1,4,4,b\nP1,A01,1,5,5,b\nP1,A01,1,11,3,a\nP1,A01,1,12,3,a\n"
    found = attached(text)
    assert found.cells.select("ObjectNumber", LABEL, "points").rows() == [(2, "a", 2)]
    assert found.conflicts["ObjectNumber"].to_list() == [1, 1, 1]
    found = attached(text, conflict="majority")
    assert found.cells.select("ObjectNumber", LABEL).rows() == [(1, "b"), (2, "a")]
    assert attached("P1,A01,1,3,3,a\nP1,A01,1,4,4,b\n", conflict="majority").cells.is_empty()


def test_no_points_label_nothing():
    points = read_points((HEAD + "P1,A01,1,3,4,a\n").encode(), "labels.csv").clear()
    assert attach_points(points, lambda *site: field(), 3).cells.is_empty()


def test_columns_of_another_tool_and_frames_of_movies():
    body = b"Plate ID,well,frame,Centroid X px,y,phenotype,annotator\nP1,A01,53,3,4,Grape,ann\n"
    points = read_points(body, "labels.csv", {"plate": "Plate ID", "x": "Centroid X px"})
    row = points.row(0, named=True)
    assert (row["x"], row["Metadata_Site"], row["Metadata_Image"]) == (3.0, 1, "P1 A01 1 53")


@pytest.mark.parametrize(
    ("body", "settings", "message"),
    [
        ("plate,well,x,y\nP,A01,1,1\n", {}, "column class: found the columns plate, well, x, y"),
        (HEAD + "P1,A01,1,left,4,a\n", {}, "row 2, column x: found 'left'"),
        (HEAD + "P1,A01,one,3,4,a\n", {}, "row 2, column site: found 'one'"),
        (HEAD + "P1,A01,1,3,4,\n", {}, "column class"),
        (HEAD + "P1,A01,1,3,4,a\n", {"x": "Centroid"}, "Centroid"),
        (HEAD + "P1,A01,1,3,4,a\n", {"z": "x"}, "columns.z: found an unknown column"),
    ],
)
def test_wrong_files_are_told(body, settings, message):
    with pytest.raises(InputError, match=message):
        read_points(body.encode(), "labels.csv", settings)


def test_classes_are_merged_and_dropped():
    labels = pl.DataFrame({LABEL: ["Metaphase", "MetaphaseAlignment", "Folded", "Grape", None]})
    config = PointLabels(
        of="points", file="x", merge={"Mitosis": ("Metaphase", "MetaphaseAlignment")}, drop=("Folded",)
    )
    assert renamed(labels, config)[LABEL].to_list() == ["Mitosis", "Mitosis", "Grape"]
    with pytest.raises(InputError, match="the class Flolded"):
        renamed(labels, PointLabels(of="points", file="x", drop=("Flolded",)))


def test_annotators_compared_by_hand():
    text = "".join(
        f"P1,A01,1,{x},{y},{name},{who}\n"
        for who, names in {"ann": "aabb", "bob": "abbb"}.items()
        for (x, y), name in zip([(2, 2), (5, 2), (10, 2), (13, 2)], names, strict=True)
    )
    points = read_points(("plate,well,site,x,y,class,annotator\n" + text).encode(), "l.csv")
    image = np.zeros((20, 20), np.int32)
    for number, (x, y) in enumerate([(2, 2), (5, 2), (10, 2), (13, 2)], start=1):
        image[y, x] = number
    found = attach_points(points, lambda *site: image, 1)
    [row] = compared_annotators(found.given).rows()
    # by hand: 3 of 4 agree; chance 0.5 * 0.25 + 0.5 * 0.75 = 0.5
    assert row == ("ann", "bob", 4, 0.75, 0.5)
    assert found.conflicts["ObjectNumber"].unique().to_list() == [2]
    assert compared_annotators(found.given.drop("annotator")).is_empty()


def test_labels_of_wells_are_a_column_of_the_metadata():
    wells = pl.DataFrame({
        "Metadata_Plate": ["P"] * 3, "Metadata_Well": ["A01", "A02", "A03"], "Metadata_moa": ["x", None, "y"],
    })  # fmt: skip
    found = metadata_labels(wells, MetadataLabels(of="metadata", column="Metadata_moa"))
    assert found[LABEL].to_list() == ["x", "y"]
    with pytest.raises(InputError, match="Metadata_target"):
        metadata_labels(wells, MetadataLabels(of="metadata", column="Metadata_target"))


def test_a_folder_of_crops_becomes_a_plate(tmp_path):
    rows = []
    for number, name in enumerate(["Grape", "Grape", "Large"]):
        path = tmp_path / "crops" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 10), number, np.uint8)).save(path)
        rows.append(f"{path.relative_to(tmp_path)},movie {number // 2},{number}")
    rows = [f"{row},P0025" for row in rows]  # a place of its own naming, which is no well
    (tmp_path / "index.csv").write_text("path,movie,frame,well\n" + "\n".join(rows) + "\n")
    crops = read_crops(tmp_path)
    assert crops[LABEL].to_list() == ["Grape", "Grape", "Large"]
    sheet, points = crops_as_plate(crops, tmp_path, "crops", "DNA", "movie", ["movie", "frame"])
    assert sheet["well"].to_list() == ["A01", "A01", "A02"]
    assert sheet["site"].to_list() == [1, 2, 1]
    assert points.row(0) == ("crops", "A01", 1, 4.5, 3.5, "Grape", "movie 0 0")
    with pytest.raises(InputError, match="no images"):
        read_crops(tmp_path / "nothing")
