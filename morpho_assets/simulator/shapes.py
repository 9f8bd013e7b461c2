"""Outlines of cells and nuclei, and who owns which pixel.

An outline is a table of radii over ANGLES directions round a centre. A pixel belongs to the cell in whose outline it
lies deepest, relative to that outline; a nucleus always wins against the cytoplasm of another cell. So neighbours
that touch share a straight-ish wall, and overlapping nuclei are cut where they are equally deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from morpho_assets.simulator.population import APOPTOTIC, BINUCLEATE, MITOTIC, Population
from morpho_assets.simulator.textures import SIDE, tile

ANGLES = 512
REACH = 512  # pixels from a centre that an outline may have at most
STRETCH = 1.4  # how far beyond its outline a cell is drawn out where neighbours are near
CLINGING = 8.0  # pixels at scale 1 over which it notices them


@dataclass(frozen=True)
class Outlines:
    """For n cells: `cell` (n, ANGLES) radii about the cell's centre; nuclei as m >= n lobes, of which each has an
    `owner` (m,) index of a cell, centre `row`, `column` (m,) int32 and `nucleus` (m, ANGLES) radii. Radii are float32
    pixels."""

    cell: np.ndarray
    owner: np.ndarray
    row: np.ndarray
    column: np.ndarray
    nucleus: np.ndarray


def draw_outlines(rng: np.random.Generator, cells: Population) -> Outlines:
    """Random outlines with the areas, axes and states of the population."""
    n = len(cells)
    theta = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    round_up = np.isin(cells.state, (MITOTIC, APOPTOTIC))

    cell = _ellipse(theta, cells.angle, cells.cell_ratio)
    lobes = _lobes(rng, theta, cells) * np.where(round_up, 0.04, 1.0)[:, None]
    cell = cell * (1 + lobes) * (1 + np.where(round_up, 0.4, 1.0)[:, None] * _ripple(rng, theta, n, 0.05, 3, 9))
    cell *= np.sqrt(2 * cells.cell_area / (cell**2).sum(1) * ANGLES / (2 * np.pi))[:, None]

    two = np.flatnonzero(cells.state == BINUCLEATE)
    owner = np.concatenate([np.arange(n), two])
    area = np.where(cells.state == BINUCLEATE, 0.62, 1.0)[owner] * cells.nucleus_area[owner]
    turn = cells.angle[owner] + np.where(owner < n, rng.normal(0, 0.25, len(owner)), 0)
    nucleus = _ellipse(theta, turn, cells.nucleus_ratio[owner])
    crumpled = np.where(cells.state == APOPTOTIC, 0.05, np.where(cells.state == MITOTIC, 0.1, 0.035))[owner]
    nucleus = nucleus * (1 + crumpled[:, None] * _ripple(rng, theta, len(owner), 1.0, 2, 6))
    nucleus *= np.sqrt(2 * area / (nucleus**2).sum(1) * ANGLES / (2 * np.pi))[:, None]

    apart = 0.92 * np.sqrt(area / np.pi) * np.where(cells.state[owner] == BINUCLEATE, 1.0, 0.0)
    side = np.where(np.arange(len(owner)) < n, 1.0, -1.0)
    axis = cells.angle[owner] + np.pi / 2
    row = cells.row[owner] + np.rint(side * apart * np.sin(axis)).astype(np.int32)
    column = cells.column[owner] + np.rint(side * apart * np.cos(axis)).astype(np.int32)
    return Outlines(cell.astype(np.float32), owner, row, column, nucleus.astype(np.float32))


def _ellipse(theta: np.ndarray, angle: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """(n, ANGLES) radii of ellipses of unit mean radius, long axis along `angle`."""
    turned = theta[None, :] - angle[:, None]
    across, along = ratio[:, None] ** -0.5, ratio[:, None] ** 0.5
    return across * along / np.hypot(across * np.cos(turned), along * np.sin(turned))


def _ripple(rng: np.random.Generator, theta: np.ndarray, n: int, size: float, first: int, last: int) -> np.ndarray:
    """(n, ANGLES) random harmonics `first` to `last`, falling as 1/order, of standard deviation `size`."""
    order = np.arange(first, last + 1)
    amplitude = rng.normal(size=(n, 2, len(order))) / order
    waves = amplitude[:, 0] @ np.cos(order[:, None] * theta) + amplitude[:, 1] @ np.sin(order[:, None] * theta)
    return size * waves / np.sqrt((1 / order**2).sum())


def _lobes(rng: np.random.Generator, theta: np.ndarray, cells: Population) -> np.ndarray:
    """(n, ANGLES) pointed extensions, mostly along the cell's axis, as a share of the radius."""
    n = len(cells)
    most = 5
    number = rng.integers(2, most + 1, n)
    towards = cells.angle[:, None] + np.pi * np.arange(most) + rng.normal(0, 0.7, (n, most))
    height = rng.gamma(2.5, 0.3, (n, most)) * (np.arange(most) < number[:, None])
    sharpness = rng.uniform(5, 22, (n, most, 1))
    return (height[..., None] * np.exp(sharpness * (np.cos(theta - towards[..., None]) - 1))).sum(1)


@lru_cache(maxsize=1)
def _polar_tables() -> tuple[np.ndarray, np.ndarray]:
    """Distance (float32) and direction (int32) of every whole-pixel offset within REACH, centre in the middle."""
    axis = np.arange(-REACH, REACH + 1, dtype=np.float32)
    direction = np.arctan2(axis[:, None], axis[None, :]) * np.float32(ANGLES / (2 * np.pi))
    return np.hypot(axis[:, None], axis[None, :]), np.rint(direction).astype(np.int32) & (ANGLES - 1)


def polar(dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (float32) and direction (int32 index into ANGLES) of (p,) int32 offsets from a centre.

    Centres are whole pixels, so that a table serves: an arc tangent for each pixel would be the slowest step of all.
    """
    index = (dy + REACH) * (2 * REACH + 1) + (dx + REACH)
    distance, direction = _polar_tables()
    return distance.ravel().take(index), direction.ravel().take(index)


def draw_labels(
    rng: np.random.Generator, outlines: Outlines, cells: Population, pixels: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cells and nuclei as (pixels, pixels) int32, cell k of the population drawn as k + 1 (numbers may be missing).

    A cell is what of its outline hangs together with its nucleus; a cell without a nucleus in the field has no label.
    """
    depth = np.full((pixels, pixels), 2.0, np.float32)  # below 0 in a nucleus, 0 … STRETCH in cytoplasm
    labels = np.zeros((pixels, pixels), np.int32)
    inverse = 1 / scale
    start = rng.integers(0, SIDE, 2)
    steps = [((np.arange(pixels) * inverse).astype(np.int64) + s) % SIDE for s in start]
    wobble = 1 + np.float32(0.08) * tile(5.0, 2)[np.ix_(*steps)]
    for k in range(len(cells)):
        window, r, direction = _window(cells.row[k], cells.column[k], outlines.cell[k].max() * STRETCH * 1.2, pixels)
        if r.size:
            inside = r / outlines.cell[k].take(direction) * wobble[window]
            _claim(depth[window], labels[window], inside, inside < STRETCH, k + 1)
    nuclei = np.zeros_like(labels)
    for m, k in enumerate(outlines.owner):
        window, r, direction = _window(outlines.row[m], outlines.column[m], outlines.nucleus[m].max(), pixels)
        if r.size:
            inside = r / outlines.nucleus[m].take(direction) - 1
            won = _claim(depth[window], labels[window], inside, inside < 0, k + 1)
            nuclei[window][won] = k + 1
    # Cells that touch are drawn out towards each other, so that the free edge of a colony hangs in arcs between them.
    body = depth < 1
    crowd = ndimage.gaussian_filter(body.astype(np.float32), CLINGING * scale, truncate=2.5)
    labels[~body & (crowd < 0.42)] = 0
    return _connected(labels, nuclei), nuclei


def _window(row: int, column: int, reach: float, pixels: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The part of the field within `reach` of a centre, with each pixel's distance and direction from the centre."""
    far = min(int(reach) + 1, REACH - 64)  # room for the lobes of a nucleus, which lie off centre
    top, left = max(row - far, 0), max(column - far, 0)
    bottom, right = max(min(row + far + 1, pixels), top), max(min(column + far + 1, pixels), left)
    table = (slice(top - row + REACH, bottom - row + REACH), slice(left - column + REACH, right - column + REACH))
    distance, direction = _polar_tables()
    return (slice(top, bottom), slice(left, right)), distance[table], direction[table]


def _claim(depth: np.ndarray, labels: np.ndarray, inside: np.ndarray, mask: np.ndarray, label: int) -> np.ndarray:
    """Give `label` the pixels of `mask` where it lies deeper than who holds them, in place; returns those pixels."""
    won = mask & (inside < depth)
    depth[won] = inside[won]
    labels[won] = label
    return won


def _connected(labels: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Labels without the parts of a cell that a neighbour has cut off from its nucleus."""
    # One pass for all cells: a wall between different labels is taken out, then parts are numbered.
    wall = np.zeros(labels.shape, bool)
    wall[:, 1:] |= (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    wall[1:] |= (labels[1:] != labels[:-1]) & (labels[1:] > 0) & (labels[:-1] > 0)
    parts, n = ndimage.label((labels > 0) & ~wall)
    keep = np.zeros(n + 1, bool)
    keep[parts[nuclei > 0]] = True
    keep[0] = False
    kept = keep[parts]
    # The wall's own pixels stay with a cell that keeps a part beside them.
    beside = wall & ndimage.maximum_filter(kept.view(np.uint8), size=3).astype(bool)
    return np.where(kept | beside | (nuclei > 0), labels, 0)
