"""How fast each form of export is written, with how much memory, and whether it reads back equal.

`python -m benchmarks.export [--wells N] [--cells N] [--features N] [--side N]`: a plate is filled by hand (images of
noise, label images of squares, measurements of noise), so that nothing but the export is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.figures import Figures
from benchmarks.peak import forget_peak, peak_mb
from morpho_assets.export.plate import KEYS, Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.images import write_labels
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_tables, plate

NAME = "P1"
CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
ABOUT = (
    "A plate of {wells} wells with one site of {side} x {side} pixels and {channels} channels each, {cells} cells a "
    "site and {features} features, filled by hand and written in every form, each in a process of its own; `equal` is "
    "1 where the form's own reader gives the same values."
)


def fill(folder: Path, wells: int, cells: int, features: int, side: int) -> Lake:
    """A lake with one plate: what the stages would have committed, of noise."""
    import tifffile

    lake, rng, p1 = Lake(str(folder / "lake")), np.random.default_rng(0), plate(NAME)
    names = [f"{chr(65 + i // 24)}{i % 24 + 1:02d}" for i in range(wells)]
    known = pl.DataFrame({"Metadata_Plate": NAME, "Metadata_Well": names, "Metadata_Source": "source_1",
                          "Metadata_Batch": "b1", "Metadata_Perturbation": [f"T{i % 8}" for i in range(wells)],
                          "Metadata_Row": [i // 24 + 1 for i in range(wells)],
                          "Metadata_Col": [i % 24 + 1 for i in range(wells)]})  # fmt: skip
    across = int(np.ceil(np.sqrt(cells)))
    step = side // across
    places = np.array([(r * step + step // 2, c * step + step // 2) for r in range(across) for c in range(across)])[
        :cells
    ]
    labels = {"nuclei": _squares(side, places, step // 4), "cells": _squares(side, places, step // 2 - 1)}
    images, files, masks, objects = [], [], [], []
    (folder / "images").mkdir()
    for well in names:
        place = {"Metadata_Plate": NAME, "Metadata_Well": well, "Metadata_Site": 1}
        for channel in CHANNELS:
            path = folder / "images" / f"{well}-{channel}.tiff"
            tifffile.imwrite(path, rng.integers(200, 4_000, (side, side), dtype=np.uint16))
            body = path.read_bytes()
            images.append({**place, "channel": channel, "uri": str(path), "source": "lab"})
            files.append({**place, "channel": channel, "uri": str(path), "path": str(path), "bytes": len(body),
                          "sha256": hashlib.sha256(body).hexdigest()})  # fmt: skip
        paths = {
            name: lake.write_named("labels", f"{well}_{name}.tif", write_labels(each)) for name, each in labels.items()
        }
        masks.append({**place, **paths, "Count_Cells": cells, "Count_Dropped": 0})
        objects += [{**place, "ObjectNumber": i + 1, "Nuclei_Center_Y": float(r), "Nuclei_Center_X": float(c),
                     "Nuclei_Area": 9, "Cells_Area": 9} for i, (r, c) in enumerate(places)]  # fmt: skip
    columns = [f"{name}_Texture_Feature{i}" for name in ("Nuclei", "Cells", "Cytoplasm") for i in range(features // 3)]
    values = pl.DataFrame(rng.normal(size=(wells * cells, len(columns))).astype(np.float32), schema=columns)
    measured = pl.DataFrame(objects).select(KEYS).hstack(values)
    keys = ["Metadata_Plate", "Metadata_Well"]
    profiles = known.join(measured.group_by(keys, maintain_order=True).agg(pl.col(columns).median()), on=keys)
    commit_tables(lake, "plate_manifest", p1, {"wells": known, "sites": pl.DataFrame(images)})
    commit_tables(lake, "raw_images", p1, {"image_files": pl.DataFrame(files)})
    commit_tables(lake, "illumination", p1, {"illumination_functions": pl.DataFrame(
        schema={"Metadata_Plate": pl.String, "channel": pl.String})})  # fmt: skip
    commit_tables(lake, "masks", p1, {"masks": pl.DataFrame(masks), "objects": pl.DataFrame(objects)})
    commit_tables(lake, "single_cells", p1, {"single_cells": measured})
    commit_tables(lake, "well_profiles", p1, {"well_profiles": profiles, "normalized_profiles": profiles})
    return lake


def _squares(side: int, places: np.ndarray, half: int) -> np.ndarray:
    labels = np.zeros((side, side), np.int32)
    for number, (row, column) in enumerate(places, start=1):
        labels[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = number
    return labels


def opened(folder: Path) -> Plate:
    lake = Lake(str(folder / "lake"))
    return Plate(NAME, lake.snapshot(lake.ledger.state().commits.values()), Store(), AboutConfig(pixel_size=0.6))


# Each form: how it is written, and whether it reads back equal


def h5ad(mine: Plate, out: Written) -> None:
    from morpho_assets.export.ann_data import export_cells

    export_cells(mine, out)


def zarr(mine: Plate, out: Written) -> None:
    from morpho_assets.export.ann_data import export_cells

    export_cells(mine, out, "zarr")


def ome_zarr(mine: Plate, out: Written) -> None:
    from morpho_assets.export.ome_zarr import export_plate

    export_plate(mine, out)


def crops(mine: Plate, out: Written) -> None:
    from morpho_assets.export.crops import Windows, export_crops

    export_crops(mine, out, Windows(size=64, corrected=False))


def gallery(mine: Plate, out: Written) -> None:
    from morpho_assets.export.gallery_layout import export_gallery

    export_gallery(mine, out)


def cytotable(mine: Plate, out: Written) -> None:
    from morpho_assets.export.cytotable import export_cytotable

    export_cytotable(mine, out)


def labels(mine: Plate, out: Written) -> None:
    from morpho_assets.export.labels import export_labels

    export_labels(mine, out)


def _cells_equal(mine: Plate, found: pl.DataFrame) -> bool:
    expected = mine.tables.read("single_cells", NAME)
    found = found.cast(dict(expected.schema)).select(expected.columns)
    return found.sort(KEYS).equals(expected.sort(KEYS))


def _anndata_equal(mine: Plate, folder: Path) -> bool:
    import anndata

    file = next(folder.glob("*.cells.*"))
    found = anndata.read_h5ad(file) if file.suffix == ".h5ad" else anndata.read_zarr(file)
    return bool(np.array_equal(found.X, mine.tables.read("single_cells", NAME).select(mine.features).to_numpy()))


def _zarr_equal(mine: Plate, folder: Path) -> bool:
    import zarr
    from tifffile import imread

    root = zarr.open_group(str(folder / f"{NAME}.ome.zarr"), mode="r")
    for site in mine.sites:
        field = root[f"{site.well[:-2]}/{site.well[-2:]}/0"]
        pixels = np.array_equal(field["0"][...], np.stack([imread(path) for path in site.paths]))
        own = mine.labels(site)
        if not pixels or any(not np.array_equal(field[f"labels/{n.lower()}/0"][...], own[n]) for n in own):
            return False
    return True


def _crops_equal(mine: Plate, folder: Path) -> bool:
    from tifffile import imread

    half = 32
    for site in mine.sites:
        image = np.pad(np.stack([imread(path) for path in site.paths]), ((0, 0), (half, half), (half, half)))
        rows = mine.tables.read("objects", NAME).filter(Metadata_Well=site.well)
        treatment = mine.wells.filter(Metadata_Well=site.well)["Metadata_Perturbation"][0]
        for number, row, column in rows.select("ObjectNumber", "Nuclei_Center_Y", "Nuclei_Center_X").iter_rows():
            crop = imread(folder / treatment / f"{NAME}_{site.well}_1_{number}.tiff")
            if not np.array_equal(crop, image[:, int(row) : int(row) + 2 * half, int(column) : int(column) + 2 * half]):
                return False
    return True


def _gallery_equal(mine: Plate, folder: Path) -> bool:
    from morpho_assets.gallery.cellprofiler import read_analysis, read_sqlite

    workspace = folder / "exported/source_1/workspace"
    tables = read_analysis(workspace / f"analysis/b1/{NAME}/analysis")
    database = read_sqlite(workspace / f"backend/b1/{NAME}/{NAME}.sqlite")
    return all(_cells_equal(mine, pl.concat([cells for _, cells in parts])) for parts in (tables, database))


def _cytotable_equal(mine: Plate, folder: Path) -> bool:
    from morpho_assets.gallery.cellprofiler import scan_cytotable

    return _cells_equal(mine, scan_cytotable(folder / f"{NAME}.parquet").collect())


def _labels_equal(mine: Plate, folder: Path) -> bool:
    from morpho_assets.imaging.images import read_labels

    return all(
        np.array_equal(read_labels(folder / NAME / f"{site.key}_{name}.tiff"), own)
        for site in mine.sites for name, own in mine.labels(site).items()
    )  # fmt: skip


FORMS: dict[str, tuple[Callable[[Plate, Written], None], Callable[[Plate, Path], bool]]] = {
    "anndata_h5ad": (h5ad, _anndata_equal),
    "anndata_zarr": (zarr, _anndata_equal),
    "ome_zarr": (ome_zarr, _zarr_equal),
    "crops": (crops, _crops_equal),
    "gallery": (gallery, _gallery_equal),
    "cytotable": (cytotable, _cytotable_equal),
    "labels": (labels, _labels_equal),
}


def measure(folder: Path, form: str) -> None:
    """Write one form and say how it went, as JSON; run in a process of its own, whose peak of memory it is."""
    mine = opened(folder)
    write, equal = FORMS[form]
    forget_peak()
    before = peak_mb()
    start = time.perf_counter()
    with Written.opened(folder / form) as out:
        write(mine, out)
    seconds, peak = time.perf_counter() - start, peak_mb()
    with Written.opened(folder / form) as out:
        write(mine, out)
        again = out.made
    sys.stdout.write(json.dumps({"seconds": seconds, "peak": peak, "before": before, "again": again,
                                 "equal": equal(mine, folder / form)}))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wells", type=int, default=24)
    parser.add_argument("--cells", type=int, default=100, help="in each site")
    parser.add_argument("--features", type=int, default=1_500)
    parser.add_argument("--side", type=int, default=540, help="of an image, px")
    parser.add_argument("--of", help="the folder with the plate: measure one form, for ourselves")
    parser.add_argument("--form", choices=list(FORMS))
    options = parser.parse_args()
    if options.of:
        measure(Path(options.of), options.form)
        return
    sizes = {name: getattr(options, name) for name in ("wells", "cells", "features", "side")}
    figures = Figures("export", ABOUT.format(channels=len(CHANNELS), **sizes))
    total = options.wells * options.cells
    with tempfile.TemporaryDirectory() as root:
        fill(Path(root), **sizes)
        for form in FORMS:
            command = [sys.executable, "-m", "benchmarks.export", "--of", root, "--form", form]
            said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            megabytes = sum(path.stat().st_size for path in (Path(root) / form).rglob("*") if path.is_file()) / 1e6
            note = f"{said['seconds']:.1f} s, {megabytes:.0f} MB; written again: {said['again']}"
            figures.add(f"{form}_cells_per_s", total / said["seconds"], "cells/s", note)
            figures.add(f"{form}_peak_mb", said["peak"], "MB", f"{said['before']:.0f} before it began")
            figures.add(f"{form}_equal", float(said["equal"]), "", at_least=1)
    figures.publish()


if __name__ == "__main__":
    main()
