"""The network that ships with this package behind the segmenter's seam: nuclei, and cells from them.

Two small U-Nets (unet.py) see flattened light at a size that nuclei are brought to (network_input.py); votes of their
maps are objects (network_objects.py). weights/network.md says what they were trained on and how good they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.imaging.segmentation.channels import plane_of
from morpho_assets.imaging.segmentation.config import CellsConfig, NetworkCellsConfig, NetworkConfig
from morpho_assets.imaging.segmentation.files import file_sha256
from morpho_assets.imaging.segmentation.network_input import cell_light, levels_of, nuclear_light, rescaled
from morpho_assets.imaging.segmentation.network_objects import RULES, cells_of, labels_rescaled, nuclei_of
from morpho_assets.imaging.segmentation.nuclei import size_limits
from morpho_assets.imaging.segmentation.objects import Labels, Segmentation
from morpho_assets.imaging.segmentation.unet import TOP, UNet, load_unet
from morpho_assets.imaging.segmentation.watershed import nuclei_with_cells, wanted_with_cells

Maps = NDArray[np.float32]

SHIPPED = {kind: Path(__file__).parent / "weights" / f"network_{kind}.safetensors" for kind in ("nuclei", "cells")}
NUCLEI_PLANES, CELLS_PLANES = 2, 3
OUTSIDE = -8.0  # the logit of a field without light
_SETTINGS = "segmentation (network)"


@dataclass(frozen=True)
class NetworkSegmenter:
    """See `NetworkConfig`. Weights that are no file are an InputError when this is made."""

    config: NetworkConfig

    def __post_init__(self) -> None:
        for model in self._models.values():
            if not model.is_file():
                raise InputError(_SETTINGS, "weights", f"no file {model}", "a weights file", "Correct the path.")

    @property
    def _models(self) -> dict[str, Path]:
        parts = {"nuclei": self.config.nuclei, "cells": self.config.cells}
        return {
            kind: part.weights or SHIPPED[kind] for kind, part in parts.items() if not isinstance(part, CellsConfig)
        }

    @property
    def vectors(self) -> tuple[tuple[int, int], ...]:
        """Positions in `maps` of the (row, column) offsets, which turn when the image is turned."""
        return tuple((3 * number + 1, 3 * number + 2) for number in range(len(self._models)))

    def provenance(self) -> dict[str, str]:
        """What the masks depend on besides the settings: the rules, and the sha256 of each weights file."""
        weights = {f"weights of {kind}": file_sha256(path) for kind, path in self._models.items()}
        return {"rules of the network": RULES, **weights}

    def maps(self, image: NDArray[np.float32], channels: Sequence[str]) -> Maps:
        """(C, H, W) in [0, 1] -> (4 or 7, H, W): inside, row and column offset of nuclei, then of cells.

        The last plane is everywhere the power of two that the nuclei's network saw the image at.
        """
        nuclei, step = self._nuclei_maps(plane_of(image, channels, (self.config.nuclei.channel,)))
        found = [nuclei]
        if not isinstance(self.config.cells, CellsConfig):
            found.append(self._cells_maps(self.config.cells, self._nuclei(nuclei, step), image, channels, step - 1))
        return np.concatenate([*found, np.full((1, *image.shape[1:]), step, np.float32)])

    def from_maps(self, maps: Maps, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """Nuclei and cells from `maps`, linked one to one."""
        # Of the orientations of one image a few may have been seen at another power.
        step = round(float(maps[-1].flat[0])) if maps[-1].size else 0
        return self._linked(self._nuclei(maps[:3], step), maps[3:6], step, image, channels)

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """(C, H, W) in [0, 1] -> nuclei and cells. A field without light above its noise has none."""
        maps, step = self._nuclei_maps(plane_of(image, channels, (self.config.nuclei.channel,)))
        nuclei, cells = self._nuclei(maps, step), self.config.cells
        if not isinstance(cells, CellsConfig):
            maps = self._cells_maps(cells, nuclei, image, channels, step - 1)
        return self._linked(nuclei, maps, step, image, channels)

    def _linked(
        self, nuclei: Labels, cells_maps: Maps, step: int, image: NDArray[np.float32], channels: Sequence[str]
    ) -> Segmentation:
        """Cells of all nuclei, by their maps or the watershed; then the nuclei that are wanted, with their cells."""
        discard, limits = self.config.nuclei.border == "discard", size_limits(nuclei, self.config.nuclei)
        cells = self.config.cells
        if isinstance(cells, CellsConfig):
            return nuclei_with_cells(nuclei, image, channels, cells, discard_border=discard, limits=limits)
        grown = cells_of(cells_maps, nuclei, step - 1, cells.threshold, fill_holes=cells.fill_holes)
        return wanted_with_cells(nuclei, grown, cells.border, discard_border=discard, limits=limits)

    def _nuclei(self, maps: Maps, step: int) -> Labels:
        return nuclei_of(maps, step, self.config.nuclei.threshold, fill_holes=self.config.nuclei.fill_holes)

    def _nuclei_maps(self, plane: NDArray[np.float32]) -> tuple[Maps, int]:
        light = nuclear_light(plane, self.config.nuclei.diameter)
        if light is None:
            return _no_maps(plane.shape), 0
        maps = self._unet("nuclei", NUCLEI_PLANES).maps(levels_of(light.plane))
        return _at_image(maps, light.step, plane.shape), light.step

    def _cells_maps(
        self, config: NetworkCellsConfig, nuclei: Labels, image: NDArray[np.float32], channels: Sequence[str], step: int
    ) -> Maps:
        stains = [name for name in config.channels if name in channels] or config.channels[:1]
        planes = [plane_of(image, channels, (name,)) for name in stains]
        if not nuclei.any():
            return _no_maps(nuclei.shape)
        light = cell_light(planes, step)
        seeds = np.where(labels_rescaled(nuclei, step) > 0, np.float32(TOP), np.float32(0))
        maps = self._unet("cells", CELLS_PLANES).maps(np.concatenate([levels_of(light), seeds[None]]))
        return _at_image(maps, step, nuclei.shape)

    def _unet(self, kind: str, planes: int) -> UNet:
        network = load_unet(self._models[kind], self.config.device)
        if network.planes != planes:
            path, found = self._models[kind], f"a network that sees {network.planes} planes"
            raise InputError(_SETTINGS, str(path), found, f"{planes}, as one for {kind} does", "Name other weights.")
        return network


def _no_maps(shape: tuple[int, ...]) -> Maps:
    maps = np.zeros((3, *shape), np.float32)
    maps[0] = OUTSIDE
    return maps


def _at_image(maps: Maps, step: int, shape: tuple[int, ...]) -> Maps:
    """Maps at 2**step of an image as maps of the image, offsets in its pixels."""
    fine = np.stack([rescaled(part, -step)[: shape[0], : shape[1]] for part in maps])
    fine[1:] *= np.float32(2.0**-step)
    return fine
