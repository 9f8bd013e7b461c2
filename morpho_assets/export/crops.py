"""Windows around single cells as TIFF, a folder per class, and a table that says of each which cell it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import InputError, LakeError
from morpho_assets.export.labels import write_text
from morpho_assets.export.plate import KEYS, SITE, Plate, by_well, each_site
from morpho_assets.export.written import Written
from morpho_assets.gallery.csv_text import harmless
from morpho_assets.imaging.sites import Site, SiteReader
from morpho_assets.lake.digests import digest_bytes
from morpho_assets.learn.crops import crop_cells

CENTRE = ["Nuclei_Center_Y", "Nuclei_Center_X"]


@dataclass(frozen=True)
class Windows:
    """How cells are cut. `column` of the wells names the class; `size` is the side of a window, px; `most` cells of a
    class are taken, the same ones each time; `alone` blacks out the neighbours; `corrected` divides by the illumination
    functions, what is above 1 then being cut."""

    column: str = "Metadata_Perturbation"
    size: int = 128
    most: int | None = None
    alone: bool = False
    corrected: bool = True


def export_crops(plate: Plate, out: Written, windows: Windows, progress: Progress = no_progress) -> list[str]:
    """Write `<class>/<plate>_<well>_<site>_<object>.tiff` (channel, row, column; uint16), `<plate>.crops.csv` and
    `<plate>.about.json`; returns a sentence for every site that cannot be read.

    Cells of wells without a class are left out. Raises LakeError for a plate without label images or a column that it
    lacks, and InputError for a size or number under 1.
    """
    if windows.size < 1 or (windows.most is not None and windows.most < 1):
        found = f"--size {windows.size}, --most {windows.most}"
        raise InputError("morpho export crops", "", found, "numbers from 1 on", "Correct them.")
    sites = plate.segmented()
    cells = _chosen(plate, windows)
    by_site = cells.partition_by(SITE, as_dict=True, maintain_order=True)
    reader = plate.reader(windows.corrected)
    functions = sorted(reader.illumination.items()) if windows.corrected else []
    how = ["crops", windows.size, windows.alone, functions, plate.about.pixel_size]

    def write(site: Site) -> None:
        mine = by_site.get((site.well, site.site), cells.clear())
        row = plate.masks[site.well, site.site]
        made_from = [
            how,
            site.content,
            row["cells"] if windows.alone else None,
            mine.select(KEYS, *CENTRE, "file").rows(),
        ]
        out.put_all(f"{plate.name}/{site.key}", made_from, partial(_write_site, plate, reader, site, mine, windows))

    failed = each_site(sites, f"{plate.name} crops", progress, write)
    there = {file for site in sites for file in out.files(f"{plate.name}/{site.key}")}
    text = harmless(cells.filter(pl.col("file").is_in(sorted(there)))).write_csv()
    out.put(f"{plate.name}.crops.csv", text, partial(write_text, text))
    out.put(f"{plate.name}.about.json", plate.about.text(), partial(write_text, plate.about.text()))
    return failed


def _chosen(plate: Plate, windows: Windows) -> pl.DataFrame:
    """The cells to cut: file, class, keys and centre, in the order of the plate. LakeError where no well has one."""
    objects = plate.tables.read("objects", plate.name).select(KEYS + CENTRE)
    classes = by_well(plate.wells, objects["Metadata_Well"].unique().to_list(), windows.column)
    folders = _folders({name for name in classes.values() if name is not None})
    known = {well: name for well, name in classes.items() if name is not None}
    if not known:
        raise LakeError(f"no imaged well of plate {plate.name} has a value in {windows.column}; name another --by")
    cells = objects.filter(pl.col("Metadata_Well").is_in(list(known)))
    cells = cells.with_columns(pl.col("Metadata_Well").replace_strict(known, return_dtype=pl.String).alias("class"))
    keys = pl.concat_str([pl.col(key).cast(pl.String) for key in KEYS], separator="_")
    folder = pl.col("class").replace_strict(folders, return_dtype=pl.String)
    cells = cells.with_columns(pl.format("{}/{}.tiff", folder, keys).alias("file"))
    if windows.most is not None:
        drawn = pl.Series("drawn", [digest_bytes(file.encode()) for file in cells["file"]], pl.String)
        rank = pl.col("drawn").rank("ordinal").over("class")
        cells = cells.with_columns(drawn).filter(rank <= windows.most).drop("drawn")
    return cells.select("file", "class", *KEYS, *CENTRE)


def _folders(classes: set[str]) -> dict[str, str]:
    """A folder for each class: its name with _ for what no file system takes, and a digest where two would be one."""
    plain = {name: re.sub(r"[^\w.+@ -]+", "_", name).strip(" .") or "_" for name in classes}
    count: dict[str, int] = {}
    for folder in plain.values():
        count[folder.lower()] = count.get(folder.lower(), 0) + 1
    return {
        name: folder if count[folder.lower()] == 1 else f"{folder}-{digest_bytes(name.encode())[:8]}"
        for name, folder in plain.items()
    }


def _write_site(
    plate: Plate, reader: SiteReader, site: Site, cells: pl.DataFrame, windows: Windows, folder: Path
) -> None:
    if not cells.height:
        return
    image = np.clip(reader.read(site), 0, 1)
    labels = plate.labels(site)["Cells"] if windows.alone else None
    objects = cells["ObjectNumber"].to_numpy()
    crops = crop_cells(image, cells.select(CENTRE).to_numpy(), windows.size, labels, objects)
    counts = np.rint(crops * 65_535).astype(np.uint16)
    for file, crop in zip(cells["file"], counts, strict=True):
        (folder / file).parent.mkdir(exist_ok=True)
        _write_crop(folder / file, crop, site.channels, plate.about.pixel_size)


def _write_crop(path: Path, crop: np.ndarray, channels: tuple[str, ...], pixel_size: float | None) -> None:
    """A stack that ImageJ opens as channels, with their names and the size of a pixel."""
    import tifffile

    said: Mapping[str, object] = {"axes": "CYX", "mode": "composite", "Labels": list(channels)}
    unit = {"unit": "um"} if pixel_size else {}
    resolution = (1 / pixel_size, 1 / pixel_size) if pixel_size else None
    tifffile.imwrite(path, crop, imagej=True, metadata={**said, **unit}, resolution=resolution)
