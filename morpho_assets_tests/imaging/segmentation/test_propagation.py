"""Propagation against centrosome's, CellProfiler's own, and on a line worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.imaging.segmentation.cells import grow_cells
from morpho_assets.imaging.segmentation.config import CellsConfig, ThresholdConfig
from morpho_assets.imaging.segmentation.propagation import propagated


@pytest.mark.parametrize("regularisation", [0.0, 0.05, 1.0])
def test_cells_are_centrosome_s(regularisation: float) -> None:
    propagate = pytest.importorskip("centrosome.propagate", reason="centrosome has no wheel here").propagate
    rng = np.random.default_rng(0)
    plane = rng.random((40, 50)).astype(np.float32)
    nuclei = np.zeros(plane.shape, np.int32)
    nuclei[5:8, 5:8], nuclei[20, 30], nuclei[0, 49] = 1, 2, 3
    mask = (rng.random(plane.shape) < 0.7) | (nuclei > 0)
    expected, _ = propagate(plane.astype(float), nuclei, mask, regularisation)
    np.testing.assert_array_equal(propagated(plane, nuclei, mask, regularisation), expected)


def test_the_border_lies_at_an_edge_or_half_way() -> None:
    plane = np.full((1, 21), 0.2, np.float32)
    plane[:, 14:] = 0.8
    nuclei = np.zeros(plane.shape, np.int32)
    nuclei[0, 0], nuclei[0, 20] = 1, 2
    everywhere = np.ones(plane.shape, bool)
    sizes = {
        weight: np.bincount(propagated(plane, nuclei, everywhere, weight)[0])[1:].tolist() for weight in (0.001, 9)
    }
    assert sizes[9] in ([10, 11], [11, 10])
    assert 13 <= sizes[0.001][0] <= 15  # the edge is as wide as the 3 x 3 pixels that are compared


def test_nothing_spreads_from_no_nucleus_or_out_of_the_foreground() -> None:
    plane = np.full((6, 6), 0.5, np.float32)
    plane[:, 3:] = 0
    config = CellsConfig(grow="propagation", threshold=ThresholdConfig(method="otsu"))
    assert grow_cells(np.zeros((6, 6), np.int32), plane, config).max() == 0
    nuclei = np.zeros((6, 6), np.int32)
    nuclei[2, 1] = 1
    np.testing.assert_array_equal(grow_cells(nuclei, plane, config), (plane > 0).astype(np.int32))
