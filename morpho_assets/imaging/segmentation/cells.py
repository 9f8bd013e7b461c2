"""Cells grown from nuclei on the stain that fills them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.config import CellsConfig
from morpho_assets.imaging.segmentation.objects import Labels, filled
from morpho_assets.imaging.segmentation.thresholds import foreground


def grow_cells(nuclei: Labels, plane: NDArray[np.float32], config: CellsConfig) -> Labels:
    """A cell for every nucleus, under its number: CellProfiler's Watershed-Image, or its Propagation.

    From each nucleus the brightest pixels of `plane` (H, W) are flooded first, or those nearest in brightness and
    place, within the threshold's foreground and 8-connected; every cell holds its nucleus at least.
    """
    mask = foreground(plane, config.threshold) | (nuclei > 0)
    if config.grow == "propagation":
        from morpho_assets.imaging.segmentation.propagation import propagated

        cells = propagated(plane, nuclei, mask, config.regularisation)
    else:
        from morpho_assets.imaging.segmentation.flooding import flooded

        cells = flooded(1 - plane, nuclei, mask, corners=True)
    return filled(cells) if config.fill_holes else cells
