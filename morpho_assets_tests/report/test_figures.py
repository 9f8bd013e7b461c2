from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from morpho_assets.errors import InputError
from morpho_assets.report import figures, pictures
from morpho_assets.report.figures import canvas, fields, likeness, maps, plates

WELLS_96 = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
NAN = float("nan")


def opened(data: bytes) -> Image.Image:
    """The picture in the bytes, checked for format and size."""
    assert len(data) < pictures.LARGEST_BYTES
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == "WEBP"
    return image


def site(height: int, width: int, channels: int = 5) -> np.ndarray:
    return np.random.default_rng(0).random((channels, height, width), dtype=np.float32)


STAINS = ["DNA", "ER", "RNA", "AGP", "Mito"]

DOSED = ("a compound", [0.1, 1.0, 10.0], [0.0, 1.0, 4.0], [-1.0, 0.0, 3.0], [1.0, 2.0, 5.0])
POWER = {name: {"2": ([1.0, 2.0], [0.1, 0.8], [0.0, 0.7], [0.2, 0.9])} for name in ("a", "b")}

CASES = {
    "confusion": lambda: figures.confusion_chart(np.arange(9).reshape(3, 3), ["a", "b", "c"], "model"),
    "confusion, a class without rows": lambda: figures.confusion_chart([[1, 0], [0, 0]], ["a", "b"]),
    "confusion, none": lambda: figures.confusion_chart(np.zeros((2, 2)), ["a", "b"]),
    "confusion, many": lambda: figures.confusion_chart(np.eye(60), [f"class {i}" for i in range(60)]),
    "precision": lambda: figures.precision_recall_chart({"a": ([0.5, 1.0], [1.0, 0.7]), "b": ([], [])}, "model"),
    "precision, none": lambda: figures.precision_recall_chart({}),
    "cells": lambda: figures.cell_strips([[np.zeros((8, 8, 3))] * 3, [np.ones((8, 8, 3))]]),
    "cells, none": lambda: figures.cell_strips([]),
    "plate": lambda: figures.plate_heatmap(WELLS_96, list(range(96)), "P1: cells", "cells"),
    "plate, no wells": lambda: figures.plate_heatmap([], [], "P1", "cells"),
    "plate, one well": lambda: figures.plate_heatmap(["B02"], [3.0], "P1", "cells"),
    "plate, constant": lambda: figures.plate_heatmap(WELLS_96, [5.0] * 96, "P1", "cells"),
    "plate, all zero": lambda: figures.plate_heatmap(["A01"], [0], "P1", "cells"),
    "plate, gaps": lambda: figures.plate_heatmap(["A01", "A02", "A03"], [1.0, None, NAN], "P1", "cells"),
    "plate, 1536": lambda: figures.plate_heatmap(["AF48", "A01"], [1.0, 2.0], "P1", "cells"),
    "illumination": lambda: figures.illumination_panel({"DNA": site(9, 9, 1)[0], "ER": site(9, 9, 1)[0]}),
    "illumination, none": lambda: figures.illumination_panel({}),
    "illumination, constant": lambda: figures.illumination_panel({"DNA": np.ones((5, 5))}),
    "illumination, NaN": lambda: figures.illumination_panel({"DNA": np.full((5, 5), NAN)}),
    "scatter": lambda: figures.scatter(np.eye(4)[:, :2], ["negcon", "a", "b", None], "UMAP"),
    "scatter, many groups": lambda: figures.scatter(np.ones((90, 2)), [f"g{i % 30}" for i in range(90)], "UMAP"),
    "scatter, none": lambda: figures.scatter(np.empty((0, 2)), [], "UMAP"),
    "scatter, one": lambda: figures.scatter([[0.0, 0.0]], ["a"], "UMAP"),
    "scatter, NaN": lambda: figures.scatter([[NAN, 0.0]], ["a"], "UMAP"),
    "loss": lambda: figures.loss_curve([3.0, 2.0, 1.0], [3.0, 2.5, 2.7]),
    "loss, untrained": lambda: figures.loss_curve([], []),
    "loss, one epoch": lambda: figures.loss_curve([1.0], [1.0]),
    "loss, NaN": lambda: figures.loss_curve([1.0, NAN], [NAN, NAN]),
    "sweep": lambda: figures.sweep_curve([0.1, 1.0], {name: [0.2, 0.1] for name in "abcd"}, "epsilon"),
    "sweep, none": lambda: figures.sweep_curve([], {}, "epsilon"),
    "sweep, NaN, linear": lambda: figures.sweep_curve([0.0, 1.0], {name: [NAN, NAN] for name in "abcd"}, "theta"),
    "bars": lambda: figures.metric_bars(["a", "b"], [0.5, 0.2], [0.1, 0.1], [0.4, 0.1], [0.6, 0.3], "mAP", "0 to 1"),
    "bars, none": lambda: figures.metric_bars([], [], []),
    "bars, NaN": lambda: figures.metric_bars(["a"], [NAN], [None]),
    "bars, negative": lambda: figures.metric_bars(["silhouette"], [-0.2], [0.0]),
    "map": lambda: figures.map_versus_p([0.1, 0.9, 0.91], [0.5, 0.001, 0.0], ["x", "y", "$z_1$"], "mAP"),
    "map, none": lambda: figures.map_versus_p([], [], []),
    "map, NaN": lambda: figures.map_versus_p([NAN, 0.5], [0.5, NAN], ["x", "y"]),
    "correlation": lambda: figures.correlation_heatmap(np.eye(5), list("abcde"), "treatments"),
    "correlation, none": lambda: figures.correlation_heatmap(np.empty((0, 0)), []),
    "correlation, one": lambda: figures.correlation_heatmap([[1.0]], ["a"]),
    "correlation, NaN": lambda: figures.correlation_heatmap(np.full((4, 4), NAN), list("abcd")),
    "tree": lambda: figures.similarity_tree(
        np.eye(3), [[0, 1, 0.2, 2], [2, 3, 0.9, 3]], [2, 0, 1], list("abc"), "treatments"
    ),
    "correlation, many": lambda: figures.correlation_heatmap(np.eye(80), [str(i) for i in range(80)]),
}

WIDE = {
    "doses": lambda: figures.dose_curves([figures.DoseCurve(*DOSED, True, 5.0, 1.2, 2.0, 0.5, None, 1.0)] * 5),
    "doses, no effect": lambda: figures.dose_curves([figures.DoseCurve(*DOSED, False, *[None] * 6)]),
    "doses, none": lambda: figures.dose_curves([]),
    "power": lambda: figures.power_curves({"one": {"4": ([1, 2], [0.1, NAN], [0.0, NAN], [0.3, NAN])}} | POWER, 0.05),
    "power, none": lambda: figures.power_curves({}, 0.05),
}


@pytest.mark.parametrize("case", WIDE)
def test_a_figure_of_many_small_charts_is_a_wide_picture(case):
    width, height = opened(WIDE[case]()).size
    assert 1100 < width < 2600
    assert 250 < height < 2200


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_a_picture_for_a_page(case):
    width, height = opened(CASES[case]()).size
    assert 1100 < width < 1400
    assert 250 < height < 2200


@pytest.mark.parametrize(
    ("shape", "shown"), [((30, 40), (30, 40)), ((1080, 1080), (900, 900)), ((2160, 500), (900, 208))]
)
def test_overlay_of_noise_is_small_enough(shape, shown):
    """Noise is the hardest picture to compress; a large field is shown smaller."""
    labels = np.zeros(shape, dtype=np.int32)
    width, height = opened(figures.mask_overlay(site(*shape), STAINS, labels, labels)).size
    assert height <= shown[0]
    assert width <= shown[1]
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_overlay_outlines_cells_in_white_and_nuclei_in_cyan():
    cells = np.zeros((60, 60), dtype=np.int32)
    cells[10:50, 10:50] = 1
    nuclei = np.zeros_like(cells)
    nuclei[25:35, 25:35] = 1
    black = np.zeros((1, 60, 60), dtype=np.float32)
    pixels = np.asarray(opened(figures.mask_overlay(black, ["DNA"], nuclei, cells))).astype(int)
    assert pixels[10, 30].min() > 150
    red, green, blue = pixels[25, 30]
    assert min(green, blue) > red + 30  # the file keeps colour at half the resolution
    assert pixels[40, 20].max() < 60


def test_touching_cells_have_a_line_between_them():
    labels = np.array([[1, 1, 2, 2]], dtype=np.int32)
    np.testing.assert_array_equal(fields.outlines(labels), [[False, False, True, False]])


def test_stains_have_their_usual_colours():
    for number, main in enumerate((2, 1)):  # DNA blue, ER green
        image = np.zeros((2, 20, 20), dtype=np.float32)
        image[number, 5:15, 5:15] = 1
        colour = figures.composite(image, ["DNA", "ER"])[10, 10]
        assert colour.argmax() == main
    assert not figures.composite(np.ones((2, 4, 4), np.float32), ["DNA", "ER"]).any()  # flat channels carry nothing


def test_unknown_channels_get_colours_of_their_own():
    colours = fields._stain_colours(["DNA", "Actin", "Golgi"])
    assert len(set(colours)) == 3


@pytest.mark.parametrize(
    ("well", "place"), [("A01", (0, 0)), ("H12", (7, 11)), ("P24", (15, 23)), ("AA01", (26, 0)), ("AF48", (31, 47))]
)
def test_well_names(well, place):
    assert plates.well_place(well) == place
    assert plates.row_name(place[0]) == well.rstrip("0123456789")


@pytest.mark.parametrize(
    ("wells", "shape"), [(["H12"], (8, 12)), (["I01"], (16, 24)), (["A13"], (16, 24)), (["A25"], (32, 48))]
)
def test_layout_is_the_smallest_plate_that_holds_all(wells, shape):
    assert plates._plate_grid(wells, [1.0])[:2] == shape


def test_a_well_named_twice_shows_its_mean_and_one_without_value_stays_named():
    _, _, grid, named = plates._plate_grid(["A01", "A01", "A02"], [1.0, 3.0, None])
    assert grid[0, 0] == 2
    assert np.isnan(grid[0, 1])
    assert named.sum() == 2


@pytest.mark.parametrize("well", ["", "A", "01", "A00", "a01", "AG01", "A49", "AAA1"])
def test_no_well_is_an_error(well):
    with pytest.raises(InputError, match="well"):
        figures.plate_heatmap([well], [1.0], "P1", "cells")


def test_groups_beyond_the_colours_share_one():
    names = np.array([f"g{i % 9}" for i in range(90)] + ["negcon"] * 5, dtype=object)
    groups = list(maps._coloured_groups(names, ["negcon"]))
    assert [label for label, *_ in groups] == ["negcon", "3 others", "g0", "g1", "g2", "g3", "g4", "g5"]
    assert sum(members.sum() for _, members, *_ in groups) == 95
    assert groups[0][2] == canvas.CONTROL_COLOUR


def test_similar_profiles_lie_side_by_side():
    block = np.kron(np.eye(2), np.ones((3, 3)))
    mixed = [0, 3, 1, 4, 2, 5]
    order = likeness._similar_together(block[np.ix_(mixed, mixed)])
    kinds = [mixed[index] // 3 for index in order]
    assert kinds in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])


def test_figures_repeat_themselves():
    first, again = (figures.scatter(np.eye(6)[:, :2], list("aabbcc"), "UMAP") for _ in range(2))
    assert first == again


def test_inputs_are_not_changed():
    image, labels = site(30, 30), np.zeros((30, 30), dtype=np.int32)
    before = image.copy()
    figures.mask_overlay(image, STAINS, labels, labels)
    np.testing.assert_array_equal(image, before)
