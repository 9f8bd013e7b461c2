"""What people have on disk goes in, or one sentence says why not: kinds of input, broken files, and `morpho check`."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import yaml

from benchmarks.figures import Figures
from morpho_assets.check import check_settings
from morpho_assets_tests.factories import load_data_csv, write
from morpho_assets_tests.gallery.cases import all_cases
from morpho_assets_tests.gallery.fuzz import KINDS, broken, foreign, silent_cuts

FUZZ_RUNS = 400  # of each kind of file
CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
ABOUT = (
    "Every kind of input of docs/inputs.md comes to the outcome that stands there. Small whole files of every kind are "
    "broken at random (cut, bits flipped, bytes replaced, zeroed, doubled, taken out, put in) and read: what is no "
    "error of ours counts, a warning and a reading that does not end too. `morpho check` looks at one plate of 384 "
    "wells, 9 sites and 5 stains on local disk: 17,280 files of 32 x 32 pixels, the metadata of a whole plate."
)


def count_cases(figures: Figures) -> None:
    """Run every case in a folder of its own."""
    wrong, run = [], 0
    for each in all_cases():
        if each.data and not os.environ.get("MORPHO_REFERENCE_DATA"):
            continue
        run += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                each.run(Path(folder))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                wrong.append(each.name)
                print(f"wrong: {each.name}: {error}")
    figures.add("cases", run, "kinds", "docs/inputs.md lists them")
    figures.add("cases_wrong", len(wrong), "kinds", ", ".join(wrong) or "each comes to its outcome")


def count_foreign(figures: Figures) -> None:
    """Read broken files of every kind."""
    chance, runs, found = random.Random(0), 0, 0
    for name, kind in KINDS.items():
        for _ in range(FUZZ_RUNS):
            runs += 1
            error = foreign(kind, broken(kind.content, chance))
            if error is not None:
                found += 1
                print(f"foreign: {name}: {type(error).__name__}: {error}")
    cuts = sum(len(list(silent_cuts(kind))) for kind in KINDS.values() if kind.closed)
    figures.add("fuzz_runs", runs, "files", f"{len(KINDS)} kinds, broken at random, seed 0")
    figures.add("fuzz_foreign_exceptions", found, "files", "neither a value nor an InputError or ImageError")
    figures.add(
        "fuzz_silent_cuts", cuts, "files", "read as another value after a cut, of kinds that say where they end"
    )


def write_plate(folder: Path) -> Path:
    """A plate of 384 wells x 9 sites x 5 stains: links to a few images, the metadata in full. Its settings file."""
    base = folder / "gallery/cpg/source_1"
    images = base / "images/batch_1/images/P1/Images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for channel in CHANNELS:
        tifffile.imwrite(folder / f"{channel}.tiff", rng.integers(0, 4000, (32, 32), dtype=np.uint16))
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]
    sites = [(well, site) for well in wells for site in range(1, 10)]
    for well, site in sites:
        for channel in CHANNELS:
            os.link(folder / f"{channel}.tiff", images / f"{well}-{site}-{channel}.tiff")
    text = load_data_csv(sites, "P1", str(images), CHANNELS)
    write(base / "workspace/load_data_csv/batch_1/P1/load_data.csv", text)
    maps = base / "workspace/metadata/platemaps/batch_1"
    write(maps / "barcode_platemap.csv", "Assay_Plate_Barcode,Plate_Map_Name\nP1,map_1\n")
    rows = [f"{well}\t{'DMSO' if n % 6 == 0 else f'BRD-{n}'}" for n, well in enumerate(wells)]
    write(maps / "platemap/map_1.txt", "\n".join(["well_position\tbroad_sample", *rows]))
    source = {"name": "lab", "kind": "gallery", "root": "gallery", "project": "cpg", "source": "source_1"}
    return write(folder / "morpho.yaml", yaml.safe_dump({"sources": [source]}))


def time_check(figures: Figures) -> None:
    """Check the plate three times and take the middle."""
    folder = Path(tempfile.mkdtemp())
    try:
        file, times = write_plate(folder), []
        before = sorted(path.name for path in folder.iterdir())
        for _ in range(3):
            began = time.perf_counter()
            report = check_settings(file)
            times.append(time.perf_counter() - began)
        assert not report.faults, report.text()
        assert report.plates[0].manifest.sites.height == 384 * 9 * 5
        assert sorted(path.name for path in folder.iterdir()) == before
    finally:
        shutil.rmtree(folder)
    figures.add("check_seconds", sorted(times)[1], "s", "384 wells x 9 sites x 5 stains; the middle of three")


def main() -> None:
    """Print the figures and rewrite their section of docs/benchmarks.md."""
    figures = Figures("inputs", ABOUT)
    count_cases(figures)
    count_foreign(figures)
    time_check(figures)
    figures.publish()


if __name__ == "__main__":
    main()
