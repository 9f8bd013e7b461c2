"""Classes drawn in another tool: points and outlines mean the cells that they hold."""

import json

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.predict.drawn import drawn_points, read_shapes
from morpho_assets.predict.labels import CELL, LABEL, DrawnLabels, attach_points

SITES = [("P1", "A01", 1), ("P1", "A02", 1)]


def image(plate, well, site):
    """Three cells: at (5, 5), (5, 15) and (15, 5) of x and y."""
    labels = np.zeros((20, 20), np.int32)
    for number, (x, y) in enumerate([(5, 5), (5, 15), (15, 5)], start=1):
        labels[y - 2 : y + 3, x - 2 : x + 3] = number
    return labels


def drawing(kind, coordinates, name="Mitotic", qupath=True):
    properties = {"classification": {"name": name, "color": [1, 2, 3]}} if qupath else {"class": name}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def attached(tmp_path, *drawings, **settings):
    (tmp_path / "P1_A01_1.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": list(drawings)}))
    config = DrawnLabels(of="drawn", file=f"{tmp_path}/{{plate}}_{{well}}_{{site}}.geojson", **settings)
    return attach_points(drawn_points(config, SITES, image), image, config.radius, config.conflict)


def test_points_and_outlines_mean_the_cells_that_they_hold(tmp_path):
    found = attached(
        tmp_path,
        drawing("Point", [15, 6]),
        drawing("Polygon", [box(0, 0, 10, 19)], "Interphase", qupath=False),
    )
    assert found.cells.select(CELL[1], CELL[3], LABEL).sort(CELL[3]).rows() == [
        ("A01", 1, "Interphase"), ("A01", 2, "Interphase"), ("A01", 3, "Mitotic")
    ]  # fmt: skip


def test_holes_several_parts_and_conflicts(tmp_path):
    around = drawing("MultiPolygon", [[box(0, 0, 19, 19), box(1, 11, 10, 19)], [box(30, 30, 40, 40)]], "A")
    found = attached(tmp_path, around)
    assert sorted(found.cells[CELL[3]]) == [1, 3]  # the second lies in the hole
    found = attached(tmp_path, around, drawing("MultiPoint", [[5, 5], [5, 15]], "B"))
    assert found.cells.select(CELL[3], LABEL).sort(CELL[3]).rows() == [(2, "B"), (3, "A")]
    assert set(found.conflicts[CELL[3]]) == {1}


def test_an_outline_without_a_cell_is_a_miss(tmp_path):
    found = attached(tmp_path, drawing("Polygon", [box(13, 13, 18, 18)]), radius=1)
    assert found.cells.is_empty()
    assert found.misses["reason"].to_list() == ["have no mask within 1 pixels"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "expected GeoJSON"),
        ("3", "found int; expected a FeatureCollection"),
        (
            json.dumps({"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}}]}),
            "drawing 1: found no class",
        ),
        (json.dumps([drawing("LineString", [[0, 0], [1, 1]])]), "drawing 1: found a LineString"),
        (json.dumps(drawing("Point", ["a", 2])), "drawing 1: .* expected coordinates x, y"),
    ],
)
def test_what_is_no_drawing_is_told(body, message):
    with pytest.raises(InputError, match=message):
        list(read_shapes(body.encode(), "d.geojson"))


def test_no_file_at_all_is_told(tmp_path):
    config = DrawnLabels(of="drawn", file=f"{tmp_path}/{{plate}}-{{well}}.geojson")
    with pytest.raises(InputError, match="no such file of any site"):
        drawn_points(config, SITES, image)
