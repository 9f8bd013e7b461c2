"""Small fields for the measurement tests: seeded synthetic cells, and the real fields with CellProfiler's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]
COMPARTMENTS = ["Nuclei", "Cells", "Cytoplasm"]
WELLS = {"D14": "r04c14f05", "N09": "r14c09f05", "A21": "r01c21f05", "D08": "r04c08f05"}

Labels = dict[str, NDArray[np.int32]]


def compartments(nuclei: NDArray[np.integer], cells: NDArray[np.integer]) -> Labels:
    """Label images of the three compartments: cytoplasm is cell minus the nucleus shrunk by one pixel."""
    inner = ndimage.grey_erosion(nuclei, footprint=ndimage.generate_binary_structure(2, 1))
    inner[inner != ndimage.grey_dilation(nuclei, footprint=ndimage.generate_binary_structure(2, 1))] = 0
    cytoplasm = np.where(inner > 0, 0, cells)
    return {"Nuclei": nuclei.astype(np.int32), "Cells": cells.astype(np.int32), "Cytoplasm": cytoplasm.astype(np.int32)}


def synthetic(seed: int, side: int = 160, cells: int = 12, channels: int = 5) -> tuple[NDArray[np.float32], Labels]:
    """Touching cells around round nuclei on a noisy field: image (channels, side, side) and the three compartments."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side]
    centres = rng.uniform(0.05 * side, 0.95 * side, (cells, 2))
    distance = np.hypot(rows[..., None] - centres[:, 0], cols[..., None] - centres[:, 1])
    nearest = distance.argmin(axis=2)
    reach = rng.uniform(0.5, 1, cells) * side / np.sqrt(cells)
    cell_labels = np.where(distance.min(axis=2) < reach[nearest], nearest + 1, 0)
    nuclei = np.where(distance.min(axis=2) < 0.4 * reach[nearest], nearest + 1, 0)
    grain = rng.normal(size=(channels, side, side))
    texture = np.stack([ndimage.gaussian_filter(g, 1 + k % 3) for k, g in enumerate(grain)])
    image = 0.1 + 0.25 * (cell_labels > 0) + 0.2 * (nuclei > 0) + 0.6 * texture + 0.02 * grain
    camera = np.rint(np.clip(image, 0, 1) * 65535)
    return (camera / 65535).astype(np.float32), compartments(nuclei, cell_labels)


def real_image(reference: Path, name: str) -> NDArray[np.uint16]:
    """(5, H, W) uint16 of a reference field."""
    if name not in WELLS:
        return tifffile.imread(reference / "cellprofiler_reference" / name / "image.tif")
    planes = [next((reference / "gallery").rglob(f"{WELLS[name]}p01-ch{k}sk1fk1fl1.tiff")) for k in (5, 4, 3, 2, 1)]
    return np.stack([tifffile.imread(plane) for plane in planes])


def real_labels(folder: Path) -> Labels:
    """The three label images of a folder of reference segmentations."""
    return {name: tifffile.imread(folder / f"{name.lower()}.tif").astype(np.int32) for name in COMPARTMENTS}
