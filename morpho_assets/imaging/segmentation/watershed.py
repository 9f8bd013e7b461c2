"""The classical segmenter: nuclei by thresholds, cells by watershed from the nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.cells import grow_cells
from morpho_assets.imaging.segmentation.channels import plane_of
from morpho_assets.imaging.segmentation.config import Border, CellsConfig, WatershedConfig
from morpho_assets.imaging.segmentation.nuclei import find_nuclei, size_limits
from morpho_assets.imaging.segmentation.objects import (
    Labels,
    Segmentation,
    linked,
    relabelled,
    selected,
    touching_border,
)


@dataclass(frozen=True)
class WatershedSegmenter:
    """See `WatershedConfig`; the same image gives the same labels."""

    config: WatershedConfig

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """(C, H, W) in [0, 1] -> nuclei and cells. A constant image has none."""
        nuclei = find_nuclei(plane_of(image, channels, (self.config.nuclei.channel,)), self.config.nuclei)
        return nuclei_with_cells(
            nuclei,
            image,
            channels,
            self.config.cells,
            discard_border=self.config.nuclei.border == "discard",
            limits=size_limits(nuclei, self.config.nuclei),
        )


def nuclei_with_cells(
    nuclei: Labels,
    image: NDArray[np.float32],
    channels: Sequence[str],
    config: CellsConfig,
    *,
    discard_border: bool,
    limits: tuple[float, float] = (0, np.inf),
) -> Segmentation:
    """Cells for all nuclei, then only those of wanted nuclei: a dropped neighbour still claims its own ground."""
    cells = grow_cells(nuclei, plane_of(image, channels, config.channels), config)
    return wanted_with_cells(nuclei, cells, config.border, discard_border=discard_border, limits=limits)


def wanted_with_cells(
    nuclei: Labels, cells: Labels, border: Border, *, discard_border: bool, limits: tuple[float, float] = (0, np.inf)
) -> Segmentation:
    """Of nuclei and the cells under their numbers those whose nucleus is within the limits (pixels) and off the
    border where that is asked; `border` says what happens to cells on it."""
    wanted, dropped = selected(nuclei, discard_border=discard_border, least=limits[0], most=limits[1])
    number = np.zeros(int(nuclei.max(initial=0)) + 1, dtype=np.int32)
    number[nuclei] = wanted
    cells = number[cells]
    if border == "discard":
        edge = touching_border(cells)
        dropped["border"] = dropped.get("border", 0) + int(edge.sum())
        wanted, cells = relabelled(wanted, ~edge), relabelled(cells, ~edge)
    return linked(wanted, cells, dropped)
