"""Scores beside what chance gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morpho_assets.report.figures.canvas import (
    BLUE,
    CONTROL_COLOUR,
    MOST_LABELS,
    RED,
    SKY,
    WIDTH,
    drawing,
    floats,
    limits,
    nothing,
    shortened,
)
from morpho_assets.report.pictures import FAINT, GRID, INK, chart_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def metric_bars(
    labels: Sequence[str],
    values: Sequence[float],
    chance: Sequence[float | None],
    ci_low: Sequence[float | None] | None = None,
    ci_high: Sequence[float | None] | None = None,
    title: str = "",
    unit: str = "",
) -> bytes:
    """A bar per score with its confidence interval, and what chance gives as a red tick across it."""
    value, by_chance = floats(values), floats(chance)
    low, high = (floats(bound) if bound is not None else np.full(len(value), np.nan) for bound in (ci_low, ci_high))
    with drawing(WIDTH, 1.2 + 0.32 * max(2, len(value))) as figure:
        if not len(value):
            return nothing(figure, f"{title}: no scores".lstrip(": "))
        axes = figure.add_subplot()
        rows = np.arange(len(value))
        axes.barh(rows, np.nan_to_num(value), height=0.62, color=SKY, alpha=0.75)
        axes.hlines(rows, low, high, color=INK, linewidth=1.4)
        axes.vlines(by_chance, rows - 0.4, rows + 0.4, color=RED, linewidth=2.2, label="chance")
        ends = np.fmax(np.fmax(np.nan_to_num(value), high), by_chance)
        for row, number, end in zip(rows, value, ends, strict=True):
            text = f"{number:.3g}" if math.isfinite(number) else "no value"
            axes.annotate(text, (max(end, 0), row), (6, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_yticks(rows, [shortened(label) for label in labels])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(value) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.grid(axis="x")
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.spines["left"].set_visible(False)
        axes.set(title=title, xlabel=unit)
        if np.isfinite(by_chance).any():
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
        return chart_bytes(figure)


def checks_chart(
    labels: Sequence[str], values: Sequence[float | None], bounds: Sequence[float], above: Sequence[bool]
) -> bytes:
    """A dot per check at its value, and a tick at its bound with a bar over the side that is allowed; `above` says that
    side. Dots within the bound are blue, others red crosses."""
    value, bound = floats(values), floats(bounds)
    allowed = np.asarray(above, dtype=bool)
    with drawing(WIDTH, 1.0 + 0.26 * max(2, len(value))) as figure:
        if not len(value):
            return nothing(figure, "no checks")
        axes = figure.add_subplot()
        rows = np.arange(len(value))
        low, high = limits(np.concatenate([value, bound, [0.0, 1.0]]))
        left, right = np.where(allowed, bound, low), np.where(allowed, high, bound)
        axes.barh(rows, right - left, left=left, height=0.6, color=GRID)
        axes.vlines(bound, rows - 0.4, rows + 0.4, color=INK, linewidth=1.6)
        kept = np.where(allowed, value >= bound, value <= bound)
        axes.scatter(value[kept], rows[kept], color=BLUE, s=34, zorder=3, label="holds")
        if (~kept).any():
            axes.scatter(value[~kept], rows[~kept], color=RED, marker="X", s=48, zorder=3, label="does not hold")
        axes.set_yticks(rows, [shortened(label) for label in labels])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(value) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel="value of the check (the bar is where it may lie)")
        figure.legend(loc="outside lower left", ncols=2)
        return chart_bytes(figure)


def planted_panels(
    panels: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]], units: Mapping[str, tuple[str, str]]
) -> bytes:
    """Small scatter plots side by side, each of what was planted (x) and found (y); `units` names both axes."""
    with drawing(2 * WIDTH, 2.6 * math.ceil(max(len(panels), 1) / 4) + 0.1) as figure:
        if not panels:
            return nothing(figure, "nothing planted")
        for number, (title, (planted, found)) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(math.ceil(len(panels) / 4), 4, number)
            axes.scatter(floats(planted), floats(found), s=14, color=BLUE, alpha=0.6, linewidth=0)
            axes.set(title=title, xlabel=units[title][0], ylabel=units[title][1])
            axes.margins(0.08)
        return chart_bytes(figure)


def map_versus_p(
    average_precision: Sequence[float],
    p_values: Sequence[float],
    labels: Sequence[str],
    title: str = "",
    threshold: float = 0.05,
) -> bytes:
    """Mean average precision of each treatment against its corrected p-value; the strongest ten are named."""
    score, p = floats(average_precision), floats(p_values)
    known = np.isfinite(score) & np.isfinite(p)
    score, strength = score[known], -np.log10(np.clip(p[known], 1e-12, 1))
    names = np.asarray(labels, dtype=object)[known]
    with drawing(WIDTH, 4.2) as figure:
        if not len(score):
            return nothing(figure, f"{title}: no treatments".lstrip(": "))
        axes = figure.add_subplot()
        found = p[known] < threshold
        for members, colour, label in ((~found, CONTROL_COLOUR, "not found"), (found, BLUE, "retrieved")):
            style: dict[str, Any] = {"s": 26, "linewidth": 0.5, "edgecolor": "white"}
            axes.scatter(score[members], strength[members], color=colour, label=f"{label} ({members.sum():,})", **style)
        axes.axhline(-math.log10(threshold), color=RED, linewidth=1.2, linestyle=(0, (4, 3)))
        beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": RED}
        axes.text(0.995, -math.log10(threshold), f"p = {threshold:g}", **beside)
        _name_points(axes, score, strength, names, np.flatnonzero(found))
        axes.set_xlim(-0.03, 1.03)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=-0.05)
        axes.grid()
        axes.set(title=title, xlabel="mean average precision (0 to 1)", ylabel="−log₁₀ corrected p")
        axes.legend(loc="upper left", handletextpad=0.1)
        return chart_bytes(figure)


def confusion_chart(counts: ArrayLike, labels: Sequence[str], title: str = "") -> bytes:
    """Rows of each true class (down) by what they were called (across), as shares of the row; numbers in the cells
    where up to 20 classes leave room. A class without rows is blank."""
    given = np.asarray(counts, dtype=float)
    with drawing(WIDTH, 5.2) as figure:
        if not given.size or not given.sum():
            return nothing(figure, f"{title}: nothing was called".lstrip(": "))
        total = given.sum(axis=1, keepdims=True)
        shares = np.divide(given, total, out=np.full(given.shape, np.nan), where=total > 0)
        axes = figure.add_subplot()
        shown = axes.imshow(np.ma.masked_invalid(shares), cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_facecolor(GRID)
        axes.spines[:].set_visible(False)
        size = float(np.clip(220 / len(labels), 3.5, 8.5))
        names = [shortened(name, 22) for name in labels]
        if len(labels) <= MOST_LABELS:
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
            axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.tick_params(length=0)
        axes.set(xlabel="called", ylabel="true", title=title)
        for row, column in np.argwhere(given > 0) if len(labels) <= 20 else ():
            colour = "black" if shares[row, column] > 0.6 else "white"
            axes.text(column, row, f"{given[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=size)
        bar = figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.02, aspect=26)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
        return chart_bytes(figure)


def _name_points(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], names: NDArray[np.object_], among: NDArray[np.int64]
) -> None:
    """Names of the ten highest of `among`, leaving out those that would cover one already written."""
    from matplotlib.patheffects import withStroke

    written: list[tuple[float, float]] = []
    for index in among[np.lexsort((-x[among], -y[among]))][:10]:
        across, up = x[index], y[index] / max(float(y.max()), 1e-9)
        if all(abs(across - other) > 0.2 or abs(up - height) > 0.045 for other, height in written):
            written.append((across, up))
            right = across < 0.75
            name = axes.annotate(
                shortened(names[index], 22), (x[index], y[index]), (6 if right else -6, 0), textcoords="offset points",
                ha="left" if right else "right", va="center", fontsize=8,
            )  # fmt: skip
            name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
