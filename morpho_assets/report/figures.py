"""The pictures of the report and of the asset pages: each takes arrays and returns WebP bytes under 150 kB.

Charts are drawn for a width of 512 to 900 pixels, in colours that people with any colour vision can tell apart
(viridis, red-blue, and Okabe and Ito's palette, jfly.uni-koeln.de/color). Values that are not finite are left out or
marked; where nothing is left the picture says so.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morpho_assets.errors import InputError
from morpho_assets.report.pictures import FAINT, GRID, INK, STYLE, chart_bytes, photo_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.6  # inches: 9 points are 11 pixels high where the picture is shown 512 pixels wide

BLUE, ORANGE, GREEN, RED, SKY, PURPLE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7",
)  # fmt: skip
GROUP_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK)  # its yellow cannot be seen on white
MARKERS = "osD^vPX"
CONTROL_COLOUR = "#9aa5b1"

# The colours in which the field prints its stains; a channel of another name takes the next free one.
STAIN_COLOURS = {
    "DNA": (0.25, 0.45, 1.0),
    "ER": (0.1, 0.85, 0.35),
    "RNA": (0.95, 0.85, 0.2),
    "AGP": (1.0, 0.45, 0.1),
    "Mito": (0.95, 0.15, 0.4),
}
OTHER_STAINS = ((0.2, 0.85, 0.9), (0.85, 0.4, 0.95), (0.8, 0.8, 0.8))
DARKEST, BRIGHTEST = 15.0, 99.8  # percentiles of a channel shown as black and as full colour
GAMMA, SATURATION = 0.85, 1.6
LARGEST_SIDE = 900  # pixels of a shown field

PLATE_SHAPES = ((8, 12), (16, 24), (32, 48))
MOST_LABELS = 50  # names that still can be read along a side of a square


def plate_heatmap(wells: Sequence[str], values: Sequence[float | None], title: str, unit: str) -> bytes:
    """One square per well of the smallest of the 96, 384 and 1536-well plates that holds all of them.

    `wells` are names like "A01" or "AF48"; a well named twice shows its mean. A well that is not named is hatched, one
    whose value is None or NaN is crossed. Raises InputError for a name that is no well.
    """
    from matplotlib.colors import Normalize

    rows, columns, grid, named = _plate_grid(wells, values)
    with _drawing(WIDTH, WIDTH * rows / columns * 0.86 + 0.7) as figure:
        axes = figure.add_subplot()
        low, high = _limits(grid)
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
        axes.set_yticks(np.arange(0, rows, step) + 0.5, [_row_name(row) for row in range(0, rows, step)])
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


def mask_overlay(
    image: NDArray[np.floating], channels: Sequence[str], nuclei: NDArray[np.integer], cells: NDArray[np.integer]
) -> bytes:
    """The stains of a site (C, H, W) in their usual colours, cells outlined in white and nuclei in cyan.

    `nuclei` and `cells` are label images (H, W). The bar is 100 pixels of the image long.
    """
    shape = _shown_shape(image, LARGEST_SIDE)
    picture = _resized(composite(image, channels), shape)
    for labels, colour in ((cells, (1.0, 1.0, 1.0)), (nuclei, (0.25, 0.95, 1.0))):
        picture[_outlines(_nearest(labels, shape))] = colour
    _scale_bar(picture, 100 * shape[1] / image.shape[2])
    return photo_bytes(picture)


def composite(image: NDArray[np.floating], channels: Sequence[str]) -> NDArray[np.float32]:
    """Stains (C, H, W) as one colour picture (H, W, 3) in [0, 1]: each stretched, then screened together.

    Saturation is raised afterwards: stains of one cell overlap, and what tells them apart would drown in white.
    """
    dark = np.ones((*image.shape[1:], 3), dtype=np.float32)
    for plane, colour in zip(image, _stain_colours(channels), strict=True):
        dark *= 1 - 0.8 * _stretched(plane)[..., None] * np.asarray(colour, dtype=np.float32)
    screened = 1 - dark
    grey = screened.mean(axis=2, keepdims=True)
    return np.clip(grey + SATURATION * (screened - grey), 0, 1)


def illumination_panel(functions: Mapping[str, NDArray[np.floating]]) -> bytes:
    """The illumination function (H, W) of every channel on one colour scale; 1 is the light that is left unchanged."""
    planes = {
        name: _nearest(np.asarray(plane, dtype=float), _shown_shape(plane[None], LARGEST_SIDE // 3))
        for name, plane in functions.items()
    }
    with _drawing(*_panel_size(len(planes), 1.0)) as figure:
        if not planes:
            return _nothing(figure, "no illumination functions")
        everything = np.concatenate([plane.ravel() for plane in planes.values()])
        low, high = _limits(everything)
        all_axes = _panels(figure, len(planes))
        for axes, (name, plane) in zip(all_axes, planes.items(), strict=True):
            shown = axes.imshow(plane, cmap="viridis", vmin=low, vmax=high)
            finite = plane[np.isfinite(plane)]
            span = f"{finite.min():.2f} to {finite.max():.2f}" if finite.size else "no value"
            axes.set_title(f"{name}  {span}", pad=3, fontsize=8)
        bar = figure.colorbar(shown, ax=all_axes, fraction=0.025, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        bar.set_label("relative illumination (×)")
        return chart_bytes(figure)


def scatter(
    points: ArrayLike, groups: Sequence[str | None], title: str, controls: Sequence[str] = ("negcon",)
) -> bytes:
    """A map of points (n, 2), coloured by group; `controls` grey and behind, a group of None is "unknown".

    Up to seven other groups have a colour and a marker each; of more, the largest six have, and the rest share one.
    """
    places = np.asarray(points, dtype=float).reshape(-1, 2)
    names = np.array(["unknown" if group is None else str(group) for group in groups], dtype=object)
    finite = np.isfinite(places).all(axis=1)
    places, names = places[finite], names[finite]
    with _drawing(WIDTH, 4.9) as figure:
        if not len(places):
            return _nothing(figure, f"{title}: no points")
        axes = figure.add_subplot()
        size = float(np.clip(9000 / len(places), 6, 42))
        for label, members, colour, marker in _coloured_groups(names, controls):
            style: dict[str, Any] = {"s": size, "linewidth": 0.4, "edgecolor": "white", "marker": marker}
            axes.scatter(*places[members].T, color=colour, label=f"{label} ({members.sum():,})", **style)
        axes.set(title=title, xlabel="map axis 1 (no unit)", ylabel="map axis 2 (no unit)", xticks=[], yticks=[])
        legend = figure.legend(loc="outside lower left", ncols=3, columnspacing=1.2, handletextpad=0.2)
        for handle in legend.legend_handles:
            handle.set_sizes([30])  # type: ignore[union-attr]
        return chart_bytes(figure)


def loss_curve(train: Sequence[float], validation: Sequence[float], unit: str = "nats per pixel value") -> bytes:
    """Training and validation loss per epoch; the dot is the epoch whose weights were kept."""
    from matplotlib.ticker import MaxNLocator

    with _drawing(WIDTH, 3.2) as figure:
        if not len(train):
            return _nothing(figure, "not trained: no losses")
        axes = figure.add_subplot()
        epochs = np.arange(1, len(train) + 1)
        axes.plot(epochs, train, color=CONTROL_COLOUR, linewidth=2, marker="." if len(train) == 1 else None)
        axes.plot(epochs, validation, color=BLUE, linewidth=2, marker="." if len(train) == 1 else None)
        losses = np.asarray(validation, dtype=float)
        if np.isfinite(losses).any():
            best = int(np.nanargmin(losses))
            axes.plot(epochs[best], losses[best], "o", color=BLUE, markersize=7, markeredgecolor="white")
            at = (epochs[best], losses[best])
            axes.annotate(
                f"kept: epoch {epochs[best]}", at, (0, 12), textcoords="offset points", ha="center", color=BLUE
            )
        _label_line_ends(axes, {"training": (train, FAINT), "validation": (validation, BLUE)})
        axes.grid(axis="y")
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title="Loss while training", xlabel="epoch", ylabel=f"loss ({unit})")
        return chart_bytes(figure)


def sweep_curve(values: Sequence[float], lines: Mapping[str, Sequence[float]], setting: str) -> bytes:
    """Scores against the values of a setting; the first line chose the value at the dot, shuffled ones are grey."""
    with _drawing(WIDTH, 3.2) as figure:
        if not len(values):
            return _nothing(figure, f"{setting}: no values")
        axes = figure.add_subplot()
        for (name, scores), colour in zip(lines.items(), (BLUE, RED, CONTROL_COLOUR, FAINT), strict=True):
            axes.plot(values, _floats(scores), color=colour, marker=".", linewidth=2, label=name)
        chosen = _floats(next(iter(lines.values())))
        if np.isfinite(chosen).any():
            best = int(np.nanargmax(chosen))
            axes.plot(values[best], chosen[best], "o", color=BLUE, markersize=8, markeredgecolor="white")
        if min(values) > 0:
            axes.set_xscale("log")
        axes.grid(axis="y")
        axes.margins(y=0.15)
        axes.legend(loc="best")
        axes.set(title=f"Choice of {setting}", xlabel=setting, ylabel="normalised AP (chance 0)")
        return chart_bytes(figure)


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
    value, by_chance = _floats(values), _floats(chance)
    low, high = (_floats(bound) if bound is not None else np.full(len(value), np.nan) for bound in (ci_low, ci_high))
    with _drawing(WIDTH, 1.2 + 0.32 * max(2, len(value))) as figure:
        if not len(value):
            return _nothing(figure, f"{title}: no scores".lstrip(": "))
        axes = figure.add_subplot()
        rows = np.arange(len(value))
        axes.barh(rows, np.nan_to_num(value), height=0.62, color=SKY, alpha=0.75)
        axes.hlines(rows, low, high, color=INK, linewidth=1.4)
        axes.vlines(by_chance, rows - 0.4, rows + 0.4, color=RED, linewidth=2.2, label="chance")
        ends = np.fmax(np.fmax(np.nan_to_num(value), high), by_chance)
        for row, number, end in zip(rows, value, ends, strict=True):
            text = f"{number:.3g}" if math.isfinite(number) else "no value"
            axes.annotate(text, (max(end, 0), row), (6, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_yticks(rows, [_shortened(label) for label in labels])
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
    value, bound = _floats(values), _floats(bounds)
    allowed = np.asarray(above, dtype=bool)
    with _drawing(WIDTH, 1.0 + 0.26 * max(2, len(value))) as figure:
        if not len(value):
            return _nothing(figure, "no checks")
        axes = figure.add_subplot()
        rows = np.arange(len(value))
        low, high = _limits(np.concatenate([value, bound, [0.0, 1.0]]))
        left, right = np.where(allowed, bound, low), np.where(allowed, high, bound)
        axes.barh(rows, right - left, left=left, height=0.6, color=GRID)
        axes.vlines(bound, rows - 0.4, rows + 0.4, color=INK, linewidth=1.6)
        kept = np.where(allowed, value >= bound, value <= bound)
        axes.scatter(value[kept], rows[kept], color=BLUE, s=34, zorder=3, label="holds")
        if (~kept).any():
            axes.scatter(value[~kept], rows[~kept], color=RED, marker="X", s=48, zorder=3, label="does not hold")
        axes.set_yticks(rows, [_shortened(label) for label in labels])
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
    with _drawing(2 * WIDTH, 2.6 * math.ceil(max(len(panels), 1) / 4) + 0.1) as figure:
        if not panels:
            return _nothing(figure, "nothing planted")
        for number, (title, (planted, found)) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(math.ceil(len(panels) / 4), 4, number)
            axes.scatter(_floats(planted), _floats(found), s=14, color=BLUE, alpha=0.6, linewidth=0)
            axes.set(title=title, xlabel=units[title][0], ylabel=units[title][1])
            axes.margins(0.08)
        return chart_bytes(figure)


class DoseCurve(NamedTuple):
    """What is drawn of one compound: per dose mean, lowest and highest response; whether it acts; and, where it does,
    its Hill curve and benchmark dose with interval (None: unbounded)."""

    name: str
    doses: Sequence[float]
    response: Sequence[float]
    lowest: Sequence[float]
    highest: Sequence[float]
    acts: bool
    top: float | None
    slope: float | None
    ec50: float | None
    benchmark: float | None
    benchmark_low: float | None
    benchmark_high: float | None


def dose_curves(curves: Sequence[DoseCurve]) -> bytes:
    """Small charts side by side, one per compound: responses by dose (logarithmic), curve and benchmark dose."""
    with _drawing(2 * WIDTH, 2.3 * math.ceil(max(len(curves), 1) / 4) + 0.1) as figure:
        if not curves:
            return _nothing(figure, "no doses")
        for place, curve in enumerate(curves, start=1):
            axes = figure.add_subplot(math.ceil(len(curves) / 4), 4, place)
            colour = BLUE if curve.acts else CONTROL_COLOUR
            axes.vlines(curve.doses, curve.lowest, curve.highest, color=colour, linewidth=1, alpha=0.6)
            axes.scatter(curve.doses, curve.response, s=16, color=colour, zorder=3)
            axes.axhline(0, color=FAINT, linewidth=0.8)
            low, high = min(curve.doses), max(curve.doses)
            if curve.top is not None and curve.slope is not None and curve.ec50 is not None:
                doses = np.geomspace(low, high, 100)
                axes.plot(doses, curve.top / (1 + (curve.ec50 / doses) ** curve.slope), color=colour, linewidth=1.6)
            if curve.benchmark is not None:
                axes.axvline(curve.benchmark, color=RED, linewidth=1.2)
                ends = curve.benchmark_low or low / 3, curve.benchmark_high or high * 3
                axes.axvspan(*ends, color=RED, alpha=0.12, linewidth=0)
            axes.set_xscale("log")
            axes.set_xlim(low / 3, high * 3)
            axes.set_title(_shortened(curve.name, 24), fontsize=9)
            axes.set(xlabel="dose", ylabel="distance (SD)" if place % 4 == 1 else "")
        return chart_bytes(figure)


def power_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]]],
    chance: float,
) -> bytes:
    """Small charts side by side: by the name of a line its sizes of effect, power, and both ends of its interval. The
    dashed line is the share that is allowed to be found without any effect."""
    columns = min(3, max(len(panels), 1))
    rows = math.ceil(max(len(panels), 1) / columns)
    every = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    with _drawing(0.68 * WIDTH * columns, 2.7 * rows + 0.5) as figure:
        if not panels:
            return _nothing(figure, "no designs")
        for place, (title, lines) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            for name, (effects, power, low, high) in lines.items():
                number = every.index(name)
                colour, marker = GROUP_COLOURS[number % len(GROUP_COLOURS)], MARKERS[number % len(MARKERS)]
                axes.fill_between(effects, low, high, color=colour, alpha=0.15, linewidth=0)
                axes.plot(effects, power, color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
            axes.axhline(chance, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
            axes.set(ylim=(-0.03, 1.03), xlabel="size of the effect (control MADs)")
            axes.set_title(title, fontsize=9)
            axes.set_ylabel("share found" if place % columns == 1 or columns == 1 else "")
            axes.grid(axis="y")
        named = {
            label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(named.values()), list(named), loc="outside lower left", ncols=4)
        return chart_bytes(figure)


def map_versus_p(
    average_precision: Sequence[float],
    p_values: Sequence[float],
    labels: Sequence[str],
    title: str = "",
    threshold: float = 0.05,
) -> bytes:
    """Mean average precision of each treatment against its corrected p-value; the strongest ten are named."""
    score, p = _floats(average_precision), _floats(p_values)
    known = np.isfinite(score) & np.isfinite(p)
    score, strength = score[known], -np.log10(np.clip(p[known], 1e-12, 1))
    names = np.asarray(labels, dtype=object)[known]
    with _drawing(WIDTH, 4.2) as figure:
        if not len(score):
            return _nothing(figure, f"{title}: no treatments".lstrip(": "))
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


def correlation_heatmap(matrix: ArrayLike, labels: Sequence[str], title: str = "", unit: str = "correlation") -> bytes:
    """A symmetric (n, n) matrix of similarities in [-1, 1], similar ones side by side (average linkage)."""
    similarity = np.asarray(matrix, dtype=float)
    with _drawing(WIDTH, 5.2) as figure:
        if not similarity.size:
            return _nothing(figure, f"{title}: nothing to compare".lstrip(": "))
        order = _similar_together(similarity)
        axes = figure.add_subplot()
        shown = axes.imshow(similarity[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_facecolor(GRID)
        axes.spines[:].set_visible(False)
        axes.set_title(title)
        if len(order) <= MOST_LABELS:
            names = [_shortened(labels[index]) for index in order]
            size = float(np.clip(220 / len(order), 3.5, 8.5))
            axes.set_xticks(range(len(order)), names, rotation=90, fontsize=size)
            axes.set_yticks(range(len(order)), names, fontsize=size)
            axes.tick_params(length=0)
        else:
            axes.set(xticks=[], yticks=[], xlabel=f"{len(order):,} profiles, similar ones side by side")
        bar = figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.02, aspect=26)
        bar.outline.set_visible(False)
        bar.set_label(unit)
        return chart_bytes(figure)


def similarity_tree(
    matrix: ArrayLike, merges: ArrayLike, order: Sequence[int], labels: Sequence[str], title: str = "",
    unit: str = "cosine",
) -> bytes:  # fmt: skip
    """The tree of scipy's `merges` (n - 1, 4) above the (n, n) similarities of its leaves in their `order`."""
    from scipy.cluster.hierarchy import dendrogram

    similarity, order = np.asarray(matrix, dtype=float), list(order)
    with _drawing(WIDTH, 6.4) as figure:
        above, below = figure.subplots(2, 1, height_ratios=(1, 3))
        drawn = dendrogram(np.asarray(merges, dtype=float), no_plot=True)
        for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
            above.plot((np.array(x) - 5) / 10, y, color=INK, linewidth=0.8)
        above.set(xlim=(-0.5, len(order) - 0.5), xticks=[], ylim=(0, None), ylabel=f"1 - {unit}", title=title)
        above.spines["bottom"].set_visible(False)
        shown = below.imshow(
            similarity[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto"
        )
        below.spines[:].set_visible(False)
        names = [_shortened(labels[index]) for index in order] if len(order) <= MOST_LABELS else []
        size = float(np.clip(220 / len(order), 3.5, 8.5))
        below.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        below.set_yticks(range(len(names)), names, fontsize=size)
        below.tick_params(length=0)
        bar = figure.colorbar(shown, ax=[above, below], fraction=0.03, pad=0.02, aspect=32)
        bar.outline.set_visible(False)
        bar.set_label(unit)
        return chart_bytes(figure)


def confusion_chart(counts: ArrayLike, labels: Sequence[str], title: str = "") -> bytes:
    """Rows of each true class (down) by what they were called (across), as shares of the row; numbers in the cells
    where up to 20 classes leave room. A class without rows is blank."""
    given = np.asarray(counts, dtype=float)
    with _drawing(WIDTH, 5.2) as figure:
        if not given.size or not given.sum():
            return _nothing(figure, f"{title}: nothing was called".lstrip(": "))
        total = given.sum(axis=1, keepdims=True)
        shares = np.divide(given, total, out=np.full(given.shape, np.nan), where=total > 0)
        axes = figure.add_subplot()
        shown = axes.imshow(np.ma.masked_invalid(shares), cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_facecolor(GRID)
        axes.spines[:].set_visible(False)
        size = float(np.clip(220 / len(labels), 3.5, 8.5))
        names = [_shortened(name, 22) for name in labels]
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


def precision_recall_chart(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str = "") -> bytes:
    """Precision over recall of each class: a small panel per class, (recall, precision) at falling thresholds."""
    with _drawing(*_panel_size(max(1, len(curves)), 1.0)) as figure:
        if not curves:
            return _nothing(figure, f"{title}: no class was tested".lstrip(": "))
        figure.suptitle(title, fontsize=9)
        for axes, (name, (recall, precision)) in zip(_panels(figure, len(curves)), curves.items(), strict=True):
            axes.step([0, *recall], [1 if not len(precision) else precision[0], *precision], where="pre", color=BLUE,
                      linewidth=1.2)  # fmt: skip
            axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xticks=[0, 1], yticks=[0, 1])
            axes.set_axis_on()
            axes.set_title(_shortened(name, 18), fontsize=7, pad=2)
            axes.tick_params(labelsize=6, length=0)
        return chart_bytes(figure)


def cell_strips(strips: Sequence[Sequence[NDArray[np.floating]]]) -> bytes:
    """Rows of cells, each a colour picture (s, s, 3) in [0, 1] of one size, with white gaps between."""
    rows = [[np.asarray(cell, dtype=np.float32) for cell in strip] for strip in strips if len(strip)]
    if not rows:
        with _drawing(WIDTH, 1.4) as figure:
            return _nothing(figure, "no cells")
    side, longest = rows[0][0].shape[0], max(map(len, rows))
    picture = np.ones((len(rows) * (side + 3) - 3, longest * (side + 3) - 3, 3), dtype=np.float32)
    for down, strip in enumerate(rows):
        for across, cell in enumerate(strip):
            top, left = down * (side + 3), across * (side + 3)
            picture[top : top + side, left : left + side] = cell
    larger = max(1, round(1200 / picture.shape[1]))
    return photo_bytes(picture.repeat(larger, axis=0).repeat(larger, axis=1))


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Figure]:
    """An empty figure, `width` x `height` inches, in the style of the house while it is drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _nothing(figure: Figure, text: str) -> bytes:
    figure.set_size_inches(WIDTH, 1.4)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, fontsize=11)
    return chart_bytes(figure)


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _limits(values: NDArray[np.floating]) -> tuple[float, float]:
    """Lowest and highest finite value, apart even where all are the same or there is none."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))


def _shortened(name: object, longest: int = 34) -> str:
    text = str(name)
    return text if len(text) <= longest else text[: longest - 1] + "…"


# Plates


def _plate_grid(
    wells: Sequence[str], values: Sequence[float | None]
) -> tuple[int, int, NDArray[np.float64], NDArray[np.bool_]]:
    """Rows, columns, mean value per well (NaN without), and which wells are named."""
    places = [_place(well) for well in wells]
    tallest, widest = (max((place[axis] for place in places), default=0) for axis in (0, 1))
    shape = next((shape for shape in PLATE_SHAPES if tallest < shape[0] and widest < shape[1]), None)
    if shape is None:
        well = max(zip(places, wells, strict=True))[1]
        raise InputError(
            "plate heat map", "well", repr(well), "a well of a 96, 384 or 1536-well plate", "Correct its name."
        )
    sums, counts, named = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    for place, value in zip(places, _floats(values), strict=True):
        named[place] = True
        if math.isfinite(value):
            sums[place] += value
            counts[place] += 1
    return *shape, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), named


def _place(well: str) -> tuple[int, int]:
    """Row and column from 0: "A01" is (0, 0), "AF48" is (31, 47)."""
    match = re.fullmatch(r"([A-Z]{1,2})(\d{1,2})", well)
    if match is None or int(match[2]) == 0:
        raise InputError("plate heat map", "well", repr(well), 'a name such as "A01" or "AF48"', "Correct its name.")
    row = 0
    for letter in match[1]:
        row = 26 * row + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def _row_name(row: int) -> str:
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


def _square(x: float, y: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.06, y + 0.06), 0.88, 0.88, **style)


# Fields of view


def _stain_colours(channels: Sequence[str]) -> list[tuple[float, float, float]]:
    others = iter(OTHER_STAINS * len(channels))
    return [STAIN_COLOURS[name] if name in STAIN_COLOURS else next(others) for name in channels]


def _stretched(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """A channel between its dark and bright percentile as 0 to 1; a flat one is 0."""
    pixels = np.nan_to_num(np.asarray(plane, dtype=np.float32))
    low, high = np.percentile(pixels, (DARKEST, BRIGHTEST)) if pixels.size else (0.0, 1.0)
    return np.clip((pixels - low) / (high - low), 0, 1) ** GAMMA if high > low else np.zeros_like(pixels)


def _shown_shape(image: NDArray[np.floating], largest: int) -> tuple[int, int]:
    """Height and width of a field (C, H, W) that is shown at most `largest` pixels long."""
    height, width = image.shape[1:]
    scale = min(1.0, largest / max(height, width, 1))
    return max(1, round(scale * height)), max(1, round(scale * width))


def _resized(pixels: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) in [0, 1] averaged down to `shape`."""
    from PIL import Image

    if pixels.ndim == 3:
        return np.stack([_resized(plane, shape) for plane in np.moveaxis(pixels, 2, 0)], axis=2)
    shrunk = Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BOX)
    return np.array(shrunk)


def _nearest(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (np.arange(shown) * whole // shown for shown, whole in zip(shape, plane.shape, strict=True))
    return plane[np.ix_(rows, columns)]


def _outlines(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels that touch another label above or to the left."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return edge


def _scale_bar(picture: NDArray[np.float32], length: float) -> None:
    height, width = picture.shape[:2]
    if height > 40 and length < width / 2:
        margin = max(8, height // 40)
        picture[-margin - 4 : -margin, width - margin - round(length) : width - margin] = 1


def _panel_size(panels: int, aspect: float) -> tuple[float, float]:
    columns = min(3, max(1, panels))
    return WIDTH, WIDTH / columns / aspect * math.ceil(max(1, panels) / columns) + 0.4


def _panels(figure: Figure, panels: int) -> list[Axes]:
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    all_axes = [figure.add_subplot(rows, columns, number + 1) for number in range(panels)]
    for axes in all_axes:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return all_axes


# Points and lines


def _coloured_groups(
    names: NDArray[np.object_], controls: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.bool_], str, str]]:
    """Label, members, colour and marker of each group in the order to draw them, controls first."""
    is_control = np.isin(names, list(controls))
    for name in controls:
        if (names == name).any():
            yield name, names == name, CONTROL_COLOUR, "o"
    counts = Counter(names[~is_control])
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    most = len(GROUP_COLOURS)
    shown = ranked if len(ranked) <= most else ranked[: most - 1]
    rest = ~is_control & ~np.isin(names, shown)
    if rest.any():
        yield f"{len(ranked) - len(shown)} others", rest, "#52606d", "."
    for name, colour, marker in zip(shown, GROUP_COLOURS, MARKERS, strict=False):
        yield _shortened(name, 24), names == name, colour, marker


def _label_line_ends(axes: Axes, lines: Mapping[str, tuple[Sequence[float], str]]) -> None:
    """Names beside the last points, the higher line's above the lower one's, so that they never cover each other."""
    ranked = sorted(lines, key=lambda name: lines[name][0][-1])
    for name, lift in zip(ranked, (-6, 6), strict=True):
        losses, colour = lines[name]
        at = (len(losses), losses[-1])
        axes.annotate(name, at, (8, lift), textcoords="offset points", va="center", color=colour, annotation_clip=False)


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
                _shortened(names[index], 22), (x[index], y[index]), (6 if right else -6, 0), textcoords="offset points",
                ha="left" if right else "right", va="center", fontsize=8,
            )  # fmt: skip
            name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _similar_together(similarity: NDArray[np.float64]) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(similarity) < 3:
        return list(range(len(similarity)))
    distance = np.clip(1 - np.nan_to_num((similarity + similarity.T) / 2), 0, 2)
    np.fill_diagonal(distance, 0)
    return list(leaves_list(linkage(squareform(distance, checks=False), "average")))
