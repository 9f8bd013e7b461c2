"""Maps of points, coloured by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morpho_assets.report.figures.canvas import (
    CONTROL_COLOUR,
    GROUP_COLOURS,
    MARKERS,
    WIDTH,
    drawing,
    nothing,
    shortened,
)
from morpho_assets.report.pictures import chart_bytes


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
    with drawing(WIDTH, 4.9) as figure:
        if not len(places):
            return nothing(figure, f"{title}: no points")
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
        yield shortened(name, 24), names == name, colour, marker
