"""A label image per compartment and site as TIFF, and the load_data that has CellProfiler load them as objects.

CellProfiler's LoadData takes objects from `ObjectsFileName_<name>` and `ObjectsPathName_<name>`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.compute import Progress, no_progress
from morpho_assets.export.load_data import image_table
from morpho_assets.export.plate import COMPARTMENTS, Plate, each_site
from morpho_assets.export.written import Written
from morpho_assets.gallery.csv_text import harmless
from morpho_assets.imaging.sites import Site


def export_labels(plate: Plate, out: Written, progress: Progress = no_progress) -> list[str]:
    """Write `<plate>/<well>-<site>_<Compartment>.tiff` of nuclei, cells and cytoplasm, `<plate>/load_data.csv` and
    `<plate>/about.json`; returns a sentence for every site that cannot be read.

    Labels are uint16 (uint32 above 65,535), those of `ObjectNumber`. Raises LakeError for a plate without label images.
    """
    sites = plate.segmented()
    about = plate.about

    def write(site: Site) -> None:
        row = plate.masks[site.well, site.site]
        made_from = ["labels", row["nuclei"], row["cells"], about.pixel_size]
        out.put_all(f"{plate.name}/{site.key}", made_from, partial(_write_site, plate, site))

    failed = each_site(sites, f"{plate.name} labels", progress, write)
    left_out = {text.split(":", 1)[0] for text in failed}
    table = _load_data(plate, [site for site in sites if site.key not in left_out], out.folder / plate.name)
    text = harmless(table).write_csv()
    out.put(f"{plate.name}/load_data.csv", text, partial(write_text, text))
    out.put(f"{plate.name}/about.json", about.text(), partial(write_text, about.text()))
    return failed


def write_text(text: str, path: Path) -> None:
    path.write_text(text)


def write_plane(path: Path, pixels: NDArray[Any], pixel_size: float | None, **options: Any) -> None:
    """Pixels as TIFF, deflated, with the pixels a centimetre where their size (µm) is known."""
    import tifffile

    if pixel_size is not None:
        options |= {"resolution": (1e4 / pixel_size, 1e4 / pixel_size), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, compression="zlib", photometric="minisblack", **options)


def _write_site(plate: Plate, site: Site, folder: Path) -> None:
    for compartment, labels in plate.labels(site).items():
        narrow = labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)
        (folder / plate.name).mkdir(exist_ok=True)
        write_plane(folder / plate.name / _file(site, compartment), narrow, plate.about.pixel_size, metadata=None)


def _load_data(plate: Plate, sites: list[Site], folder: Path) -> pl.DataFrame:
    """The images of each site as in a load_data, and its label images as objects."""
    columns: dict[str, list[str]] = {}
    for compartment in COMPARTMENTS:
        columns[f"ObjectsFileName_{compartment}"] = [_file(site, compartment) for site in sites]
        columns[f"ObjectsPathName_{compartment}"] = [str(folder.resolve())] * len(sites)
    return image_table(plate, sites).hstack(pl.DataFrame(columns))


def _file(site: Site, compartment: str) -> str:
    return f"{site.key}_{compartment}.tiff"
