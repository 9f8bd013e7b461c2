from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.simulator.biology import NAMES
from morpho_assets.simulator.population import BINUCLEATE, draw_population
from morpho_assets.simulator.shapes import ANGLES, draw_labels, draw_outlines, polar


def test_polar_gives_distance_and_direction() -> None:
    dy, dx = np.array([0, 3, 0, -5], np.int32), np.array([2, 4, -7, 0], np.int32)
    distance, direction = polar(dy, dx)
    assert distance.tolist() == [2, 5, 7, 5]
    assert direction[[0, 2, 3]].tolist() == [0, ANGLES // 2, 3 * ANGLES // 4]


def test_outlines_enclose_the_areas_of_the_population() -> None:
    rng = np.random.default_rng(0)
    cells = draw_population(rng, 80, 800, 1.0, np.zeros(len(NAMES)), 0.0)
    outlines = draw_outlines(rng, cells)
    step = 2 * np.pi / ANGLES
    np.testing.assert_allclose((outlines.cell**2).sum(1) * step / 2, cells.cell_area, rtol=1e-4)
    areas = np.bincount(outlines.owner, (outlines.nucleus**2).sum(1) * step / 2)
    share = np.where(cells.state == BINUCLEATE, 2 * 0.62, 1.0)
    np.testing.assert_allclose(areas, share * cells.nucleus_area, rtol=1e-4)


def test_a_cell_hangs_together() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(1)
    cells = draw_population(rng, 60, 500, 0.7, np.zeros(len(NAMES)), 0.0)
    labels, nuclei = draw_labels(rng, draw_outlines(rng, cells), cells, 500, 0.7)
    whole = 0
    for number in np.unique(nuclei)[1:]:
        parts, _ = ndimage.label(labels == number, np.ones((3, 3)))
        largest = np.bincount(parts.ravel())[1:].max()
        whole += largest > 0.95 * (labels == number).sum()
    assert whole >= 0.97 * (len(np.unique(nuclei)) - 1)


def test_nobody_gives_empty_labels() -> None:
    rng = np.random.default_rng(0)
    cells = draw_population(rng, 0, 64, 1.0, np.zeros(len(NAMES)), 0.0)
    labels, nuclei = draw_labels(rng, draw_outlines(rng, cells), cells, 64, 1.0)
    assert labels.max() == nuclei.max() == 0


def test_spacing_keeps_nuclei_apart() -> None:
    cells = draw_population(np.random.default_rng(3), 60, 600, 0.8, np.zeros(len(NAMES)), 0.0)
    gaps = np.hypot(cells.row[:, None] - cells.row, cells.column[:, None] - cells.column)
    radius = np.sqrt(cells.nucleus_area / np.pi)
    room = radius[:, None] + radius
    off = ~np.eye(len(cells), dtype=bool)
    assert (gaps[off] / room[off]).min() == pytest.approx(1.12, abs=0.25)
