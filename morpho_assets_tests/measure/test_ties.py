"""Which of equal maxima an object is given: the rule of each setting, and what follows from it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from morpho_assets.measure import measure_site
from morpho_assets.measure.edge_distance import squared_edge_distance
from morpho_assets.measure.inputs import prepare
from morpho_assets.measure.objects import find_objects
from morpho_assets.measure.ties import places_of_maxima, sort_around
from morpho_assets_tests.measure.agreement import disagreeing
from morpho_assets_tests.measure.fields import CHANNELS, COMPARTMENTS, real_image, real_labels, synthetic


def central_maximum(keys: NDArray[np.integer], rows: NDArray[np.int32], cols: NDArray[np.int32]) -> int:
    """The rule in plain words, in fractions: of the largest keys the nearest to the centroid, then the first."""
    middle = [Fraction(int(axis.sum()), len(axis)) for axis in (rows, cols)]

    def distance(k: int) -> Fraction:
        return (int(rows[k]) - middle[0]) ** 2 + (int(cols[k]) - middle[1]) ** 2

    return min(np.flatnonzero(keys == keys.max()), key=lambda k: (distance(k), k))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [1, 3, 40])
def test_centroid_is_the_plain_rule(seed: int, levels: int) -> None:
    _, labels = synthetic(seed, side=70, cells=9)
    objects = find_objects(labels["Cytoplasm"], "Cytoplasm")
    keys = np.random.default_rng(seed).integers(1, levels + 1, len(objects.rows)).astype(np.int32)
    found = places_of_maxima(keys, objects, "centroid", with_background=True)
    for i, (first, last) in enumerate(zip(objects.starts[:-1], objects.starts[1:], strict=True)):
        part = slice(first, last)
        assert found[i] == first + central_maximum(keys[part], objects.rows[part], objects.cols[part])


@pytest.mark.parametrize(
    ("mask", "centre"),
    [
        (np.ones((4, 4)), (1, 1)),  # four pixels equally deep and equally near: the first
        (np.ones((3, 7)), (1, 3)),  # a ridge of five: its middle
        (np.ones((3, 8)), (1, 3)),  # of six: the first of the two beside the middle
        (np.pad(np.ones((3, 3)), ((0, 0), (4, 0))), (1, 5)),
    ],
)
def test_centres_by_hand(mask: NDArray[np.float64], centre: tuple[int, int]) -> None:
    for corner in ((3, 4), (11, 2)):  # wherever the object lies
        labels = np.zeros((24, 24), np.int32)
        labels[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
        objects = find_objects(labels, "Cells")
        keys = squared_edge_distance(objects, frame_is_edge=False)
        (place,) = places_of_maxima(keys, objects, "centroid", with_background=True)
        assert (objects.rows[place] - corner[0], objects.cols[place] - corner[1]) == centre


def plain_rings(mask: NDArray[np.bool_], pixels: NDArray[np.float32], bins: int) -> NDArray[np.float64]:
    """FracAtD, MeanFrac and RadialCV of one object by MeasureObjectIntensityDistribution's definition: the way from the
    centre by Dijkstra's algorithm over neighbouring pixels, the distance to the edge by scipy's transform."""
    rows, cols = np.nonzero(mask)
    deep = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1][mask]
    centre = central_maximum(np.rint(deep**2).astype(int), rows, cols)
    steps = np.hypot(rows[:, None] - rows, cols[:, None] - cols)
    ways = dijkstra(coo_array(np.where(steps < 1.5, steps, 0)), indices=centre)
    reached = np.isfinite(ways)
    ring = np.minimum((ways / (ways + deep + 0.001) * bins)[reached].astype(int), bins)
    down, across = (axis[reached] - axis[centre] for axis in (rows, cols))
    wedge = (down > 0) + 2 * (across > 0) + 4 * (abs(down) > abs(across))
    values = pixels[mask][reached].astype(float)
    found = []
    for k in range(bins):
        here = ring == k
        fraction = values[here].sum() / values.sum()
        means = [values[here & (wedge == w)].mean() for w in range(8) if (here & (wedge == w)).any()]
        spread = np.std(means) / np.mean(means) if means else 0
        found.append((fraction, fraction / (here.mean() + np.finfo(float).eps), spread))
    return np.array(found).T.ravel()


@pytest.mark.parametrize("seed", [1, 2])
def test_rings_are_the_plain_ones(seed: int) -> None:
    image, labels = synthetic(seed, side=64, cells=5, channels=1)
    ours = measure_site(image, labels, ["DNA"])
    names = [
        f"RadialDistribution_{kind}_DNA_{k}of4" for kind in ("FracAtD", "MeanFrac", "RadialCV") for k in range(1, 5)
    ]
    for compartment, label in labels.items():
        values = ours.select(f"{compartment}_{name}" for name in names).to_numpy()
        for row, number in zip(values, ours["ObjectNumber"], strict=True):
            np.testing.assert_allclose(row, plain_rings(label == number, image[0], 4), rtol=1e-4, atol=1e-6)


def test_rings_are_those_of_cellprofiler_where_no_maximum_ties(reference_data: Path) -> None:
    import polars as pl

    folder = reference_data / "cellprofiler_reference/N09"
    image, labels = real_image(reference_data, "N09"), real_labels(folder)
    site, ours = prepare(image, labels, CHANNELS), measure_site(image, labels, CHANNELS)
    for name in COMPARTMENTS:
        keys, objects = site.edge_distance(name), site.objects[name]
        alone = [
            (keys[first:last] == keys[first:last].max()).sum() == 1
            for first, last in zip(objects.starts[:-1], objects.starts[1:], strict=True)
        ]
        assert 0.5 < np.mean(alone) < 1
        theirs = pl.read_csv(folder / f"{name}.csv.gz", infer_schema_length=None)
        columns = [column for column in theirs.columns if "RadialDistribution" in column]
        values = [frame.select(columns).to_numpy()[alone] for frame in (ours, theirs)]
        assert not disagreeing(*values).any()


def quicksort(keys: list[int]) -> list[int]:
    """Numpy's argsort without vector instructions, in plain words, for lists too short for its heap sort."""
    order, parts = list(range(len(keys))), [(0, len(keys) - 1)]
    while parts:
        low, high = parts.pop()
        while high - low > 15:
            middle = low + (high - low) // 2
            for a, b in ((low, middle), (middle, high), (low, middle)):
                if keys[order[b]] < keys[order[a]]:
                    order[a], order[b] = order[b], order[a]
            pivot, up, down = keys[order[middle]], low, high - 1
            order[middle], order[down] = order[down], order[middle]
            while True:
                up = next(k for k in range(up + 1, high + 1) if keys[order[k]] >= pivot)
                down = next(k for k in range(down - 1, -1, -1) if keys[order[k]] <= pivot)
                if up >= down:
                    break
                order[up], order[down] = order[down], order[up]
            order[up], order[high - 1] = order[high - 1], order[up]
            parts.append((up + 1, high))
            high = up - 1
        order[low : high + 1] = sorted(order[low : high + 1], key=keys.__getitem__)
    return order


def items_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    return keys.astype(np.int64) << 32 | np.arange(len(keys))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=120), st.sets(st.integers(0, 9), min_size=1))
def test_equal_maxima_are_ordered_as_by_quicksort(keys: list[int], wanted: set[int]) -> None:
    ours = sort_around(items_of(np.array(keys)), np.array(sorted(wanted), np.int32)) & 0xFFFFFFFF
    expected = quicksort(keys)
    for key in wanted:
        assert [k for k in ours if keys[k] == key] == [k for k in expected if keys[k] == key]


def test_depth_limit_sorts_by_heap() -> None:
    """Keys built against the median of three make quicksort deep; all must come out in order all the same."""
    size = 2000
    keys = np.zeros(size, np.int64)
    keys[: size // 2 : 2], keys[1 : size // 2 : 2] = (
        np.arange(1, size // 4 + 1) * 2 - 1,
        np.arange(size // 4) + size // 2,
    )
    keys[size // 2 :] = np.arange(1, size // 2 + 1) * 2
    assert (np.diff(sort_around(items_of(keys), np.unique(keys).astype(np.int32)) >> 32) >= 0).all()
