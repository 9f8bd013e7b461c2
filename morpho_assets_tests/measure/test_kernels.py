"""Kernels against plain twins and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import measure as regions
from skimage import morphology

from morpho_assets.imaging.sorting import key_values, sort_items, sort_keys
from morpho_assets.measure import measure_site
from morpho_assets.measure.edge_distance import squared_edge_distance, within_frame
from morpho_assets.measure.granularity import least_in_disc, openings
from morpho_assets.measure.hulls import hull_statistics
from morpho_assets.measure.intensity import absolute_deviation
from morpho_assets.measure.objects import find_objects
from morpho_assets.measure.ranks import rank_values
from morpho_assets_tests.measure.fields import synthetic


def one_object(mask: list[list[int]], pixels: list[list[float]] | None = None) -> dict[str, float]:
    """Measurements of the mask's object, in the middle of a 12 x 12 field."""
    labels = np.pad(np.array(mask, np.int32), 4)
    image = np.pad(np.array(pixels if pixels is not None else mask, np.float32), 4)[None]
    (row,) = measure_site(image, {"Cells": labels}, ["DNA"]).iter_rows(named=True)
    return {name.removeprefix("Cells_"): value for name, value in row.items()}


def test_two_by_two_square_by_hand() -> None:
    row = one_object([[1, 1], [1, 1]], [[0.1, 0.2], [0.3, 0.4]])
    expected = {
        "AreaShape_Area": 4,
        "AreaShape_Perimeter": 4,
        "AreaShape_Center_X": 4.5,
        "AreaShape_MajorAxisLength": 2,
        "AreaShape_MaxFeretDiameter": np.sqrt(2),
        "AreaShape_MinFeretDiameter": 1,
        "AreaShape_EulerNumber": 1,
        "AreaShape_MaximumRadius": 1,
        "Intensity_IntegratedIntensity_DNA": 1.0,
        "Intensity_MedianIntensity_DNA": 0.3,
        "Intensity_LowerQuartileIntensity_DNA": 0.2,
        "Intensity_StdIntensity_DNA": np.sqrt(0.0125),
        "Location_CenterMassIntensity_X_DNA": 4.6,
        "Location_MaxIntensity_Y_DNA": 5,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-6), name


def test_texture_of_four_pixels_by_hand() -> None:
    """A row of the levels 1 2 1 2 2: at distance 3 the pairs are (1, 2) and (2, 2)."""
    levels = np.array([[1, 2, 1, 2, 2]] * 7)
    row = one_object(np.ones_like(levels).tolist(), (levels / 255).tolist())
    # Symmetric table of each row: P(1,2) = P(2,1) = 1/4, P(2,2) = 1/2; so the marginals are 1/4 and 3/4.
    assert row["Texture_AngularSecondMoment_DNA_3_00_256"] == pytest.approx(3 / 8)
    assert row["Texture_Contrast_DNA_3_00_256"] == pytest.approx(1 / 2)
    assert row["Texture_Variance_DNA_3_00_256"] == pytest.approx(3 / 16)
    assert row["Texture_SumAverage_DNA_3_00_256"] == pytest.approx(7 / 2)
    assert row["Texture_Entropy_DNA_3_00_256"] == pytest.approx(3 / 2)
    assert row["Texture_Correlation_DNA_3_00_256"] == pytest.approx(-1 / 3)
    assert row["Texture_Entropy_DNA_10_00_256"] == 0


@pytest.mark.parametrize("side", [10, 12, 17])
@pytest.mark.parametrize("level", [1, 7, 255])
def test_texture_of_one_level_has_no_information(side: int, level: int) -> None:
    """Both entropies are 0, so that InfoMeas1 is 0 / 0, which is 0 here; the logarithms' rounding gave -1 or 0."""
    row = one_object([[1] * side] * side, [[level / 255] * side] * side)
    for step in ("3_00", "3_01", "5_02", "5_03"):
        for feature, value in {"InfoMeas1": 0, "InfoMeas2": 0, "Entropy": 0, "AngularSecondMoment": 1}.items():
            assert row[f"Texture_{feature}_DNA_{step}_256"] == value


def test_texture_of_one_pair() -> None:
    """At distance 3 only the corners of a 4 x 4 square meet along its diagonals: of equal levels 0, of unequal -1."""
    corners = [[9, 5, 5, 3], [5] * 4, [5] * 4, [3, 5, 5, 7]]
    row = one_object([[1] * 4] * 4, (np.array(corners) / 255).tolist())
    assert row["Texture_InfoMeas1_DNA_3_01_256"] == -1
    assert row["Texture_InfoMeas1_DNA_3_03_256"] == 0


def test_single_pixel_has_a_size_and_no_shape() -> None:
    row = one_object([[1]])
    assert row["AreaShape_Area"] == 1
    assert row["AreaShape_Perimeter"] == 0
    assert np.isnan(row["AreaShape_FormFactor"])
    assert np.isnan(row["AreaShape_Zernike_2_0"])


def test_constant_and_dark_objects() -> None:
    bright, dark = one_object([[1] * 3] * 3), one_object([[1] * 3] * 3, [[0.0] * 3] * 3)
    assert bright["Intensity_StdIntensity_DNA"] == 0
    assert bright["RadialDistribution_FracAtD_DNA_1of4"] == pytest.approx(1 / 9)
    assert np.isnan(dark["Location_CenterMassIntensity_X_DNA"])
    assert np.isnan(dark["RadialDistribution_FracAtD_DNA_1of4"])


def test_squares_side_by_side_touch_on_one_side() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[5:10, 5:10], labels[5:10, 10:15] = 1, 2
    row = measure_site(np.ones((1, 20, 20), np.float32), {"Cells": labels}, ["DNA"]).row(0, named=True)
    assert row["Cells_Neighbors_NumberOfNeighbors_Adjacent"] == 1
    assert row["Cells_Neighbors_PercentTouching_Adjacent"] == pytest.approx(100 * 5 / 16)
    assert row["Cells_Neighbors_FirstClosestDistance_5"] == 5
    assert row["Cells_Neighbors_FirstClosestObjectNumber_5"] == 2


def test_of_equally_near_objects_the_lowest_number_comes_first() -> None:
    """Nine objects in a grid, numbered from the end; their centres lie a third off the pixels, which rounds."""
    labels = np.zeros((75, 75), np.int32)
    for k in range(9):
        row, col = 10 + 20 * (k // 3), 10 + 20 * (k % 3)
        labels[row : row + 2, col : col + 1] = labels[row, col : col + 2] = 9 - k
    rows = measure_site(np.ones((1, 75, 75), np.float32), {"Cells": labels}, ["DNA"]).rows(named=True)
    nearest = [(row["Cells_Neighbors_FirstClosestObjectNumber_5"], row["Cells_Neighbors_SecondClosestObjectNumber_5"])
               for row in rows]  # fmt: skip
    assert nearest == [(2, 4), (1, 3), (2, 6), (1, 5), (2, 4), (3, 5), (4, 8), (5, 7), (6, 8)]
    assert [row["Cells_Neighbors_FirstClosestDistance_5"] for row in rows] == pytest.approx([20] * 9)


@pytest.mark.parametrize("frame_is_edge", [True, False])
def test_edge_distance_is_that_of_scipy(frame_is_edge: bool) -> None:
    _, fields = synthetic(5, side=90, cells=8)
    objects = find_objects(fields["Cells"], "Cells")
    ours = squared_edge_distance(objects, frame_is_edge)
    for i in range(len(objects)):
        mask = fields["Cells"] == objects.numbers[i]
        expected = ndimage.distance_transform_edt(np.pad(mask, int(frame_is_edge)))
        expected = expected[1:-1, 1:-1][mask] if frame_is_edge else expected[mask]
        np.testing.assert_allclose(np.sqrt(ours[objects.starts[i] : objects.starts[i + 1]]), expected)


@pytest.mark.parametrize("labels", [
    np.ones((5, 7), np.int32), np.kron(np.arange(12, dtype=np.int32).reshape(3, 4), np.ones((6, 9), np.int32)),
    np.pad(np.full((4, 4), 3, np.int32), 2), np.zeros((3, 3), np.int32),
])  # fmt: skip
def test_only_objects_at_the_frame_have_other_distances_where_it_is_no_edge(labels: np.ndarray) -> None:
    objects = find_objects(labels, "Cells")
    found = within_frame(objects, squared_edge_distance(objects, frame_is_edge=True))
    np.testing.assert_array_equal(found, squared_edge_distance(objects, frame_is_edge=False))


def test_convex_area_and_euler_number_are_those_of_scikit_image() -> None:
    _, fields = synthetic(6, side=90, cells=8)
    extents, _ = hull_statistics(find_objects(fields["Cytoplasm"], "Cytoplasm"))
    expected = regions.regionprops(fields["Cytoplasm"])
    np.testing.assert_array_equal(extents[:, 0], [region.area_convex for region in expected])


def test_openings_are_erosions_reconstructed() -> None:
    rng = np.random.default_rng(0)
    image = np.maximum(ndimage.gaussian_filter(rng.normal(size=(40, 33)), 2), 0).astype(np.float32)
    rows, values = openings(image, 5)
    ours = values[rows].reshape(42, 35, 5)[1:-1, 1:-1]
    cross, eroded = morphology.disk(1), image
    for step in range(5):
        eroded = ndimage.grey_erosion(eroded, footprint=cross)
        np.testing.assert_array_equal(ours[:, :, step], morphology.reconstruction(eroded, image, footprint=cross))


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
def test_disc_minimum_is_that_of_scipy(radius: int) -> None:
    image = np.random.default_rng(0).random((30, 41), np.float32)
    expected = ndimage.grey_erosion(image, footprint=morphology.disk(radius))
    np.testing.assert_array_equal(least_in_disc(image, radius), expected)


def test_ranks_are_dense() -> None:
    values = np.array([[0.5, -0.25, 0.0, -0.0, 0.5, 1.0]], np.float32)
    ranking = rank_values(values, np.array([0, 0, 0, 1, 1, 1], np.int32), np.array([0, 3, 6]))
    assert ranking.ranks.tolist() == [[2, 0, 1, 1, 2, 3]]
    assert ranking.ascending.tolist() == [[-0.25, 0.0, 0.5, 0.0, 0.5, 1.0]]


def test_items_are_the_order_of_any_floats_and_equal_ones_keep_their_places() -> None:
    rng = np.random.default_rng(5)
    wide = np.concatenate([rng.normal(size=50) * 1e30, rng.normal(size=50) * 1e-40, [np.inf, -np.inf, 0.0, -0.0]])
    cases = ([], [0.5], [0.25] * 7, [0.0, -0.0, 0.0], rng.integers(0, 9, 400) / 8, rng.random(3000), wide)
    for values in (np.asarray(case, np.float32) for case in cases):
        items = sort_items(sort_keys(values))
        order = np.argsort(values, kind="stable")
        np.testing.assert_array_equal(items & np.uint64(0xFFFFFFFF), order)
        np.testing.assert_array_equal(key_values((items >> np.uint64(32)).astype(np.uint32)), values[order])


def test_absolute_deviation_is_that_of_sorted_distances() -> None:
    rng = np.random.default_rng(6)
    assert absolute_deviation(np.array([1, 2, 4, 9], np.float32), 3.0) == 2.0  # of 1, 1, 2, 6 that at 4 / 2
    assert absolute_deviation(np.empty(0, np.float32), 0.0) == 0.0
    for _ in range(500):
        values = np.sort(rng.integers(0, int(rng.integers(1, 30)) + 1, int(rng.integers(1, 40)))).astype(np.float32)
        median = float(rng.choice([values[0], values[-1], np.median(values), values.mean()]))
        distances = np.sort(np.abs(values.astype(float) - median))
        expected = np.interp(len(values) / 2, np.arange(len(values)), distances)
        assert absolute_deviation(values, median) == pytest.approx(expected, abs=1e-12)
