"""The fields of dsb2018_nuclei: image and hand-drawn labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.images import read_image, read_labels


@dataclass(frozen=True)
class Field:
    """One field: its id, `image` (H, W) float32 in [0, 1] and `labels` (H, W) int32."""

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.int32]


def read_fields(folder: Path) -> list[Field]:
    """All 266 fields in the order of index.csv."""
    with (folder / "index.csv").open() as file:
        names = [row["id"] for row in csv.DictReader(file)]
    return [_read(folder, name) for name in names]


def _read(folder: Path, name: str) -> Field:
    image, labels = (next((folder / kind).glob(f"{name}*")) for kind in ("images", "labels"))
    return Field(name, read_image(image), read_labels(labels))
