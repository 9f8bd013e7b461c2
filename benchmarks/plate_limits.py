"""What bounds each stage of a plate: its bytes, and what of its work cannot be spared; for `benchmarks.plate`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import fft
from skimage.segmentation import watershed

from morpho_assets.imaging.images import read_image, read_labels
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Partition

BOUND = {
    "raw_images": ("images", "", "the checksum of every byte"),
    "illumination": ("images", "", "decoding; smoothing a plate's sums is no matter of sites"),
    "image_quality": ("images", "", "decoding, and the power spectrum of each plane"),
    "masks": ("images", "labels", "decoding, and two watersheds, each in the order of light"),
    "single_cells": ("images and labels", "cells", "decoding, and the order of every object's pixels in every stain"),
    "well_profiles": ("cells", "", "reading the cells"),
}
"""Of a stage what it reads and writes of a site, and what cannot be spared."""


def limits(inputs: Snapshot, plate: str, sites: int, seconds: Mapping[str, float]) -> str:
    """A table: of each stage its bytes and pixels, its seconds a site, and those of what cannot be spared, here."""
    files = inputs.read("image_files", plate)
    masks = inputs.read("masks", plate)
    row = masks.sort("Count_Cells").row(masks.height // 2, named=True)
    of_site = files.filter(
        (pl.col("Metadata_Well") == row["Metadata_Well"]) & (pl.col("Metadata_Site") == row["Metadata_Site"])
    )
    paths = [Path(path) for path in of_site.sort("channel")["path"]]
    contents = [inputs.lake.read_bytes(row[name]) for name in ("nuclei", "cells")]
    nuclei, cells = map(read_labels, contents)
    planes = [read_image(path) for path in paths]
    measured = inputs.commits["single_cells", Partition("plate", plate)].outputs["single_cells"]
    cell_bytes = sum(file.bytes for file in measured.files) / sites
    size = {
        "images": sum(path.stat().st_size for path in paths), "labels": sum(map(len, contents)),
        "cells": cell_bytes, "": 0,
    }  # fmt: skip
    size["images and labels"] = size["images"] + size["labels"]
    spared = _least(inputs, plate, sites, paths, planes, nuclei, cells)
    rows = ["| stage | reads | writes | what bounds it | that alone, s | the stage, s | times |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for stage, (read, written, what) in BOUND.items():
        rows.append(
            f"| `{stage}` | {size[read] / 1e6:.1f} MB | {size[written] / 1e6:.1f} MB | {what} | {spared[stage]:.3f} | "
            f"{seconds[stage] / sites:.3f} | {seconds[stage] / sites / spared[stage]:.1f} |"
        )
    about = (
        f"A site has {len(planes)} x {planes[0].size:,} pixels. The stage's seconds hold its share of starting two "
        "workers, which a plate of 3,456 sites has once."
    )
    return "\n".join([about, "", *rows])


def _least(
    inputs: Snapshot, plate: str, sites: int, paths: list[Path], planes: list[NDArray[np.float32]],
    nuclei: NDArray[np.int32], cells: NDArray[np.int32],
) -> dict[str, float]:  # fmt: skip
    """Processor seconds of a site for what a stage cannot spare, by the library that does it."""
    light = planes[0]
    inside = [labels > 0 for labels in (nuclei, cells, cytoplasm_of(nuclei, cells))]
    decode = _seconds(lambda: [read_image(path) for path in paths])
    return {
        "raw_images": _seconds(lambda: [hashlib.sha256(path.read_bytes()).digest() for path in paths]),
        "illumination": decode,
        "image_quality": decode + _seconds(lambda: [fft.rfft2(plane) for plane in planes]),
        "masks": decode + _seconds(lambda: [watershed(-light, nuclei, mask=mask) for mask in inside[:2]]),
        "single_cells": decode + _seconds(lambda: [np.sort(plane[mask]) for plane in planes for mask in inside]),
        "well_profiles": _seconds(lambda: inputs.read("single_cells", plate)) / sites,
    }


def _seconds(function: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)
