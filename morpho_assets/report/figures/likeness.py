"""What is alike: similarities and their tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morpho_assets.report.figures.canvas import MOST_LABELS, WIDTH, drawing, nothing, shortened
from morpho_assets.report.pictures import GRID, INK, chart_bytes


def correlation_heatmap(matrix: ArrayLike, labels: Sequence[str], title: str = "", unit: str = "correlation") -> bytes:
    """A symmetric (n, n) matrix of similarities in [-1, 1], similar ones side by side (average linkage)."""
    similarity = np.asarray(matrix, dtype=float)
    with drawing(WIDTH, 5.2) as figure:
        if not similarity.size:
            return nothing(figure, f"{title}: nothing to compare".lstrip(": "))
        order = _similar_together(similarity)
        axes = figure.add_subplot()
        shown = axes.imshow(similarity[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_facecolor(GRID)
        axes.spines[:].set_visible(False)
        axes.set_title(title)
        if len(order) <= MOST_LABELS:
            names = [shortened(labels[index]) for index in order]
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
    with drawing(WIDTH, 6.4) as figure:
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
        names = [shortened(labels[index]) for index in order] if len(order) <= MOST_LABELS else []
        size = float(np.clip(220 / len(order), 3.5, 8.5))
        below.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        below.set_yticks(range(len(names)), names, fontsize=size)
        below.tick_params(length=0)
        bar = figure.colorbar(shown, ax=[above, below], fraction=0.03, pad=0.02, aspect=32)
        bar.outline.set_visible(False)
        bar.set_label(unit)
        return chart_bytes(figure)


def _similar_together(similarity: NDArray[np.float64]) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(similarity) < 3:
        return list(range(len(similarity)))
    distance = np.clip(1 - np.nan_to_num((similarity + similarity.T) / 2), 0, 2)
    np.fill_diagonal(distance, 0)
    return list(leaves_list(linkage(squareform(distance, checks=False), "average")))
