"""What every chart is drawn on: the figure in the style of the house, its colours, and what to do with nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morpho_assets.report.pictures import FAINT, INK, STYLE, chart_bytes

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

MOST_LABELS = 50  # names that still can be read along a side of a square


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """An empty figure, `width` x `height` inches, in the style of the house while it is drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained", facecolor="white")


def nothing(figure: Figure, text: str) -> bytes:
    figure.set_size_inches(WIDTH, 1.4)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, fontsize=11)
    return chart_bytes(figure)


def floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def limits(values: NDArray[np.floating]) -> tuple[float, float]:
    """Lowest and highest finite value, apart even where all are the same or there is none."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))


def shortened(name: object, longest: int = 34) -> str:
    text = str(name)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def panel_size(panels: int, aspect: float) -> tuple[float, float]:
    columns = min(3, max(1, panels))
    return WIDTH, WIDTH / columns / aspect * math.ceil(max(1, panels) / columns) + 0.4


def panels_of(figure: Figure, panels: int) -> list[Axes]:
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    all_axes = [figure.add_subplot(rows, columns, number + 1) for number in range(panels)]
    for axes in all_axes:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return all_axes
