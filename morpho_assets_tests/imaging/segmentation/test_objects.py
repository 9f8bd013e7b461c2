"""Objects: linking, cytoplasm, holes and borders, on labels small enough to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.segmentation.config import NucleiConfig, ThresholdConfig
from morpho_assets.imaging.segmentation.objects import Segmentation, cytoplasm_of, filled, linked, selected

LABELS = arrays.arrays(np.int32, (12, 12), elements=st.integers(0, 5))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[int(letter) if letter != "." else 0 for letter in row] for row in rows], np.int32)


@pytest.mark.parametrize("well", ["D14", "N09", "D08", "A21"])
def test_cytoplasm_is_cellprofilers(reference_data: Path, well: str) -> None:
    folder = reference_data / "cellprofiler_reference" / "segmentation" / well
    nuclei, cells, cytoplasm = (read_labels(folder / f"{name}.tif") for name in ("nuclei", "cells", "cytoplasm"))
    np.testing.assert_array_equal(cytoplasm_of(nuclei, cells), cytoplasm)


def test_cytoplasm_keeps_the_rim_of_the_nucleus() -> None:
    cells = np.ones((5, 5), np.int32)
    nuclei = drawn(".....", ".111.", ".111.", ".111.", ".....")
    assert (cytoplasm_of(nuclei, cells) == 0).sum() == 1
    assert (cytoplasm_of(cells, cells) == 0).sum() == 9  # the image's edge counts as rim


def test_linking_by_hand() -> None:
    nuclei = drawn("11..22..", "11..22.3", "........", "4...5...")
    cells = drawn("11111111", "1111111.", "........", "....6.7.")
    found = linked(nuclei, cells)
    # nuclei 1 and 2 share a cell; 1 comes first at equal size. 3 and 4 have no cell, cell 7 has no nucleus.
    np.testing.assert_array_equal(found.nuclei, drawn("11......", "11......", "........", "....2..."))
    np.testing.assert_array_equal(found.cells, drawn("11111111", "1111111.", "........", "....2..."))
    assert found.dropped == {"nucleus_without_cell": 2, "second_nucleus": 1, "cell_without_nucleus": 1}
    assert (found.count, found.dropped_nuclei, found.dropped_cells) == (2, 3, 1)


@given(LABELS, LABELS)
def test_linked_objects_are_one_to_one_and_nested(nuclei: np.ndarray, cells: np.ndarray) -> None:
    found = linked(nuclei, cells)
    expected = np.arange(1, found.count + 1)
    np.testing.assert_array_equal(np.unique(found.nuclei[found.nuclei > 0]), expected)
    np.testing.assert_array_equal(np.unique(found.cells[found.cells > 0]), expected)
    inside = found.nuclei > 0
    np.testing.assert_array_equal(found.cells[inside], found.nuclei[inside])
    again = linked(found.nuclei, found.cells)
    np.testing.assert_array_equal(again.cells, found.cells)


def test_holes_of_one_object_are_filled_and_gaps_between_two_are_not() -> None:
    labels = drawn("1111222", "1.11.22", "1111222", ".......")
    np.testing.assert_array_equal(filled(labels), drawn("1111222", "1111.22", "1111222", "......."))
    np.testing.assert_array_equal(filled(drawn(".11", "1.1", "111")), drawn(".11", "111", "111"))


def test_selection_counts_what_it_drops() -> None:
    labels = drawn("1......", "..22.3.", "..22...", ".......")
    kept, dropped = selected(labels, discard_border=True, least=2)
    np.testing.assert_array_equal(kept, np.where(labels == 2, 1, 0))
    assert dropped == {"border": 1, "small": 1}
    assert selected(labels, discard_border=False, most=3)[1] == {"large": 1}


def test_a_segmentation_checks_itself() -> None:
    with pytest.raises(ValueError, match="not of one"):
        Segmentation(np.zeros((2, 2), np.int32), np.zeros((3, 2), np.int32))
    with pytest.raises(ValueError, match="int32"):
        Segmentation(np.zeros((2, 2)), np.zeros((2, 2), np.int32))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_images_without_pixels_have_no_objects(shape: tuple[int, int]) -> None:
    nothing = np.zeros(shape, np.int32)
    found = linked(nothing, nothing)
    assert (found.count, found.nuclei.shape, dict(found.dropped)) == (0, shape, {})
    assert selected(nothing, discard_border=True)[1] == {}
    table = overlap(nothing, nothing)
    assert table.truth_area.size == table.matches(0.5).size == 0


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (ThresholdConfig, {"lower": 0.5, "upper": 0.2}, r"lower \(0.5\) is above upper \(0.2\)"),
        (NucleiConfig, {"min_diameter": 30, "max_diameter": 20}, "min_diameter .* is above max_diameter"),
    ],
)
def test_limits_the_wrong_way_round_are_refused(make, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)
