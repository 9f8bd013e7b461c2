"""Labelled objects: nuclei and cells that belong together, and the few operations every segmenter needs.

Labels are int32 (H, W): 0 is background, objects are 1..n without gaps, nucleus i belongs to cell i.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]

EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Segmentation:
    """Nuclei and cells of one site, linked one to one, and how many objects were dropped for which reason.

    `nuclei` and `cells` are int32 (H, W) with the same labels 1..n; each nucleus lies within its cell. `dropped`
    counts by reason: border, small, large, nucleus_without_cell, cell_without_nucleus, second_nucleus.
    """

    nuclei: Labels
    cells: Labels
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.nuclei.shape != self.cells.shape or self.nuclei.ndim != 2:
            raise ValueError(f"nuclei {self.nuclei.shape} and cells {self.cells.shape} are not of one (H, W) shape")
        if self.nuclei.dtype != np.int32 or self.cells.dtype != np.int32:
            raise ValueError(f"labels are int32, not {self.nuclei.dtype} and {self.cells.dtype}")

    @property
    def count(self) -> int:
        """Number of cells."""
        return int(self.cells.max(initial=0))

    @property
    def dropped_cells(self) -> int:
        """Cells dropped for want of a nucleus."""
        return self.dropped.get("cell_without_nucleus", 0)

    @property
    def dropped_nuclei(self) -> int:
        """Nuclei dropped for any reason."""
        return sum(self.dropped.values()) - self.dropped_cells

    @property
    def cytoplasm(self) -> Labels:
        """Cells minus nuclei shrunk by one pixel, under the cells' labels."""
        return cytoplasm_of(self.nuclei, self.cells)


def cytoplasm_of(nuclei: Labels, cells: Labels) -> Labels:
    """CellProfiler's tertiary objects: each cell without the inside of its nucleus, whose rim of one pixel stays.

    The rim is every nucleus pixel with an 8-neighbour of another label, or on the image's edge.
    """
    from morpho_assets.imaging.segmentation.label_kernels import hollow

    result = np.empty(cells.shape, np.int32)
    hollow(nuclei, cells, result)
    return result


def relabelled(labels: NDArray[np.integer], keep: NDArray[np.bool_]) -> Labels:
    """Objects whose entry in `keep` (indexed by label; entry 0 is ignored) is true, numbered 1..n in their order."""
    from morpho_assets.imaging.segmentation.label_kernels import renumber

    keep = keep.copy()
    keep[0] = False
    result = np.empty(labels.shape, np.int32)
    renumber(labels.ravel(), (np.cumsum(keep) * keep).astype(np.int32), result.ravel())
    return result


def areas(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pixels per label, entry 0 (background) set to 0."""
    from morpho_assets.imaging.segmentation.label_kernels import count_pixels

    area = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    count_pixels(labels.ravel(), area)
    area[0] = 0
    return area


def touching_border(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Per label: does it have a pixel in the outermost row or column?"""
    touching = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    for edge in (labels[:1], labels[-1:], labels[:, :1], labels[:, -1:]):
        touching[edge] = True
    touching[0] = False
    return touching


def filled(labels: Labels) -> Labels:
    """Each object without holes: background enclosed by one single object becomes that object's."""
    from scipy import ndimage

    from morpho_assets.imaging.segmentation.label_kernels import touching_labels

    hole, count = ndimage.label(labels == 0)
    if count < 2:
        return labels
    low, high = np.full(count + 1, np.iinfo(np.int32).max, np.int32), np.zeros(count + 1, np.int32)
    touching_labels(labels, hole, low, high)
    owner = np.where((low == high) & ~touching_border(hole), low, 0)
    owner[0] = 0
    return np.where(labels == 0, owner[hole], labels).astype(np.int32)


def linked(nuclei: Labels, cells: Labels, dropped: Mapping[str, int] | None = None) -> Segmentation:
    """Nuclei and cells that were found apart, resolved one to one.

    A nucleus belongs to the cell that holds more than half of it; of several in one cell the one with most pixels
    there stays. Nuclei without a cell, cells without a nucleus and further nuclei are dropped and counted. Each
    cell takes its whole nucleus in. Numbers follow the nuclei's.
    """
    counts = dict(dropped or {})
    nucleus_area, cell_count = areas(nuclei), int(cells.max(initial=0))
    both = (nuclei > 0) & (cells > 0)
    pair, shared = np.unique(nuclei[both].astype(np.int64) * (cell_count + 1) + cells[both], return_counts=True)
    nucleus, cell = np.divmod(pair, cell_count + 1)
    inside = 2 * shared > nucleus_area[nucleus]
    nucleus, cell, shared = nucleus[inside], cell[inside], shared[inside]
    order = np.lexsort((nucleus, -shared))
    _, first = np.unique(cell[order], return_index=True)
    chosen = np.sort(order[first])
    _count(counts, "nucleus_without_cell", np.count_nonzero(nucleus_area) - nucleus.size)
    _count(counts, "second_nucleus", nucleus.size - chosen.size)
    _count(counts, "cell_without_nucleus", np.count_nonzero(areas(cells)) - chosen.size)
    numbers = np.arange(1, chosen.size + 1, dtype=np.int32)
    of_nucleus, of_cell = np.zeros(nucleus_area.size, np.int32), np.zeros(cell_count + 1, np.int32)
    of_nucleus[nucleus[chosen]], of_cell[cell[chosen]] = numbers, numbers
    linked_nuclei, linked_cells = of_nucleus[nuclei], of_cell[cells]
    return Segmentation(linked_nuclei, np.where(linked_nuclei > 0, linked_nuclei, linked_cells), counts)


def _count(counts: dict[str, int], reason: str, number: int) -> None:
    if number:
        counts[reason] = counts.get(reason, 0) + int(number)


def selected(
    labels: Labels, *, discard_border: bool, least: float = 0, most: float = np.inf
) -> tuple[Labels, dict[str, int]]:
    """Objects within [least, most] pixels and, where asked, off the border; and how many went for which reason."""
    area = areas(labels)
    present = area > 0
    border = touching_border(labels) & present if discard_border else np.zeros(area.size, dtype=bool)
    small, large = present & ~border & (area < least), present & ~border & (area > most)
    counts: dict[str, int] = {}
    for reason, dropped in (("border", border), ("small", small), ("large", large)):
        _count(counts, reason, np.count_nonzero(dropped))
    return relabelled(labels, present & ~(border | small | large)), counts
