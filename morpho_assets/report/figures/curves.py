"""Lines: of losses, settings, doses, power, precision over recall."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from morpho_assets.report.figures.canvas import (
    BLUE,
    CONTROL_COLOUR,
    GROUP_COLOURS,
    MARKERS,
    RED,
    WIDTH,
    drawing,
    floats,
    nothing,
    panel_size,
    panels_of,
    shortened,
)
from morpho_assets.report.pictures import FAINT, chart_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_curve(train: Sequence[float], validation: Sequence[float], unit: str = "nats per pixel value") -> bytes:
    """Training and validation loss per epoch; the dot is the epoch whose weights were kept."""
    from matplotlib.ticker import MaxNLocator

    with drawing(WIDTH, 3.2) as figure:
        if not len(train):
            return nothing(figure, "not trained: no losses")
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
    with drawing(WIDTH, 3.2) as figure:
        if not len(values):
            return nothing(figure, f"{setting}: no values")
        axes = figure.add_subplot()
        for (name, scores), colour in zip(lines.items(), (BLUE, RED, CONTROL_COLOUR, FAINT), strict=True):
            axes.plot(values, floats(scores), color=colour, marker=".", linewidth=2, label=name)
        chosen = floats(next(iter(lines.values())))
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
    with drawing(2 * WIDTH, 2.3 * math.ceil(max(len(curves), 1) / 4) + 0.1) as figure:
        if not curves:
            return nothing(figure, "no doses")
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
            axes.set_title(shortened(curve.name, 24), fontsize=9)
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
    with drawing(0.68 * WIDTH * columns, 2.7 * rows + 0.5) as figure:
        if not panels:
            return nothing(figure, "no designs")
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


def precision_recall_chart(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str = "") -> bytes:
    """Precision over recall of each class: a small panel per class, (recall, precision) at falling thresholds."""
    with drawing(*panel_size(max(1, len(curves)), 1.0)) as figure:
        if not curves:
            return nothing(figure, f"{title}: no class was tested".lstrip(": "))
        figure.suptitle(title, fontsize=9)
        for axes, (name, (recall, precision)) in zip(panels_of(figure, len(curves)), curves.items(), strict=True):
            axes.step([0, *recall], [1 if not len(precision) else precision[0], *precision], where="pre", color=BLUE,
                      linewidth=1.2)  # fmt: skip
            axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xticks=[0, 1], yticks=[0, 1])
            axes.set_axis_on()
            axes.set_title(shortened(name, 18), fontsize=7, pad=2)
            axes.tick_params(labelsize=6, length=0)
        return chart_bytes(figure)


def _label_line_ends(axes: Axes, lines: Mapping[str, tuple[Sequence[float], str]]) -> None:
    """Names beside the last points, the higher line's above the lower one's, so that they never cover each other."""
    ranked = sorted(lines, key=lambda name: lines[name][0][-1])
    for name, lift in zip(ranked, (-6, 6), strict=True):
        losses, colour = lines[name]
        at = (len(losses), losses[-1])
        axes.annotate(name, at, (8, lift), textcoords="offset points", va="center", color=colour, annotation_clip=False)
