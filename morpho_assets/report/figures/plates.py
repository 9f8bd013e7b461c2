"""Plates from above: a square per well."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.report.figures.canvas import RED, WIDTH, drawing, floats, limits
from morpho_assets.report.pictures import FAINT, chart_bytes

PLATE_SHAPES = ((8, 12), (16, 24), (32, 48))


def plate_heatmap(wells: Sequence[str], values: Sequence[float | None], title: str, unit: str) -> bytes:
    """One square per well of the smallest of the 96, 384 and 1536-well plates that holds all of them.

    `wells` are names like "A01" or "AF48"; a well named twice shows its mean. A well that is not named is hatched, one
    whose value is None or NaN is crossed. Raises InputError for a name that is no well.
    """
    from matplotlib.colors import Normalize

    rows, columns, grid, named = _plate_grid(wells, values)
    with drawing(WIDTH, WIDTH * rows / columns * 0.86 + 0.7) as figure:
        axes = figure.add_subplot()
        low, high = limits(grid)
        edges = {96: 2.0, 384: 1.0, 1536: 0.3}[rows * columns]
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(grid), cmap="viridis", norm=Normalize(low, high), edgecolors="white", linewidth=edges
        )
        for row, column in np.argwhere(~named):
            axes.add_patch(_square(column, row, facecolor="#f5f7fa", edgecolor="#cbd2d9", hatch="////", linewidth=0))
        crossed = np.argwhere(named & ~np.isfinite(grid))
        axes.scatter(crossed[:, 1] + 0.5, crossed[:, 0] + 0.5, marker="x", color=RED, s=1000 / rows, linewidth=1)
        step = 1 if rows < 32 else 3
        axes.set_xticks(np.arange(0, columns, step) + 0.5, [str(column + 1) for column in range(0, columns, step)])
        axes.set_yticks(np.arange(0, rows, step) + 0.5, [row_name(row) for row in range(0, rows, step)])
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=9 if rows < 16 else 7)
        axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
        axes.spines[:].set_visible(False)
        axes.set_title(title, pad=12)
        bar = figure.colorbar(mesh, ax=axes, fraction=0.03, pad=0.02, aspect=24)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        bar.set_label(unit)
        notes = ["hatched: not imaged"] * bool((~named).any()) + ["cross: no value"] * bool(len(crossed))
        axes.text(0, rows + 0.25, "   ".join(notes), va="top", color=FAINT, fontsize=8)
        return chart_bytes(figure)


def _plate_grid(
    wells: Sequence[str], values: Sequence[float | None]
) -> tuple[int, int, NDArray[np.float64], NDArray[np.bool_]]:
    """Rows, columns, mean value per well (NaN without), and which wells are named."""
    places = [well_place(well) for well in wells]
    tallest, widest = (max((place[axis] for place in places), default=0) for axis in (0, 1))
    shape = next((shape for shape in PLATE_SHAPES if tallest < shape[0] and widest < shape[1]), None)
    if shape is None:
        well = max(zip(places, wells, strict=True))[1]
        raise InputError(
            "plate heat map", "well", repr(well), "a well of a 96, 384 or 1536-well plate", "Correct its name."
        )
    sums, counts, named = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    for place, value in zip(places, floats(values), strict=True):
        named[place] = True
        if math.isfinite(value):
            sums[place] += value
            counts[place] += 1
    return *shape, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), named


def well_place(well: str) -> tuple[int, int]:
    """Row and column from 0: "A01" is (0, 0), "AF48" is (31, 47)."""
    match = re.fullmatch(r"([A-Z]{1,2})(\d{1,2})", well)
    if match is None or int(match[2]) == 0:
        raise InputError("plate heat map", "well", repr(well), 'a name such as "A01" or "AF48"', "Correct its name.")
    row = 0
    for letter in match[1]:
        row = 26 * row + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def row_name(row: int) -> str:
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


def _square(x: float, y: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.06, y + 0.06), 0.88, 0.88, **style)
