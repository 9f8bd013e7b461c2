"""A plate of 384 wells and 9 sites of 1080 x 1080 x 5, end to end: hours, processor seconds, memory and disk.

`python -m benchmarks.whole_plate [--drawn PATH] [--rows 16]`. To draw 3,456 sites would take the simulator longer than
the plate takes the graph, so 48 are drawn and stand on the plate many times over, as hard links: reading, measuring,
writing and publishing do not know that. An hour or two on two cores, and some 20 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import polars as pl

from benchmarks.figures import Figures
from benchmarks.plate import SITES_A_WELL, WORKERS, run, simulated
from benchmarks.process_tree import Spent, Watched
from morpho_assets.simulator.design import CHANNEL_NUMBERS

COLUMNS, SITES, DRAWN_WELLS = 24, 9, 16
WORK_OF_THE_FIRST = ("raw_images", "well_profiles")  # not site by site: no worker has a part in them
ABOUT = (
    "`morpho run` with two workers takes a plate of {wells} wells and 9 sites (1080 x 1080 pixels, 5 channels) through "
    "every stage, once. 48 sites are drawn and stand on the plate many times over, as hard links: what repeats packs "
    "better, so the disk is less than that of distinct sites, which is some 1.4 MB each."
)


def whole_plate(drawn: Path, folder: Path, rows: int) -> str:
    """A plate of `rows` x 24 wells in its own project, whose well i shows the sites of well i % 16 of the plate in
    `drawn` (a project of `benchmarks.plate.simulated`); its barcode."""
    shutil.copytree(drawn / "gallery", folder / "gallery",
                    ignore=shutil.ignore_patterns("*.tif*", "truth", "illum", "*with_illum*"))  # fmt: skip
    shutil.copy(drawn / "morpho.yaml", folder)
    [table], [layout], [images] = (list(folder.rglob(name)) for name in ("load_data.csv", "platemap/*.txt", "Images"))
    shown = list(pl.read_csv(table).group_by("Metadata_Well", maintain_order=True))
    treatments = {row["well_position"]: row for row in pl.read_csv(layout, separator="\t").to_dicts()}
    wells, sites = [], []
    for number in range(rows * COLUMNS):
        row, column = number // COLUMNS + 1, number % COLUMNS + 1
        well = f"{chr(ord('A') + row - 1)}{column:02d}"
        (name,), fields = shown[number % DRAWN_WELLS]
        wells.append({**treatments[name], "well_position": well})
        for site in range(1, SITES + 1):
            own = fields.row(site % SITES_A_WELL, named=True)
            for channel, ending in CHANNEL_NUMBERS.items():
                file = f"r{row:02d}c{column:02d}f{site:02d}p01-ch{ending}sk1fk1fl1.tiff"
                os.link(drawn / images.relative_to(folder) / own[f"FileName_Orig{channel}"], images / file)
                own[f"FileName_Orig{channel}"] = file
            place = {"Metadata_Well": well, "Metadata_Site": site, "Metadata_Row": row, "Metadata_Col": column}
            sites.append({**own, **place})
    pl.DataFrame(wells).write_csv(layout, separator="\t")
    pl.DataFrame(sites).write_csv(table)
    return table.parent.name


def add_figures(figures: Figures, found: Watched, stages: dict[str, Spent], folder: Path, sites: int) -> None:
    figures.add("wall_minutes", found.wall / 60, "min", f"{sites} sites, {WORKERS} workers")
    figures.add("site_cpu_seconds", found.cpu / sites, "s", "of the processor, all stages and processes")
    for stage, spent in stages.items():
        figures.add(f"{stage.split(',')[0].replace(' ', '_')}_seconds", spent.all / sites, "s", f"a site; {stage}")
    figures.add("peak_tree_mb", found.peak_mb, "MB", "of all processes, what they share once")
    figures.add("first_process_share", found.first / found.wall, "", "processor seconds of the process that starts the "
                f"workers, over the wall's; {' and '.join(WORK_OF_THE_FIRST)} are its own work")  # fmt: skip
    orchestrating = found.first - sum(stages[stage].first for stage in WORK_OF_THE_FIRST)
    figures.add("orchestrator_share", orchestrating / found.wall, "", "the same without those two stages: it plans, "
                "hands out sites, publishes and draws", at_most=0.05)  # fmt: skip
    size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    figures.add("disk_gb", size / 1e9, "GB", "the lake, the catalog and Dagster's own, beside the images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawn", type=Path, help="a project of 16 wells that benchmarks.plate drew; else it is drawn")
    parser.add_argument("--folder", type=Path, help="where the plate is run and kept, on the drawn images' file system")
    parser.add_argument("--rows", type=int, default=16, help="rows of 24 wells")
    options = parser.parse_args()
    section = "whole_plate" if options.rows == 16 else f"plate_of_{options.rows * COLUMNS}_wells"
    figures = Figures(section, ABOUT.format(wells=options.rows * COLUMNS))
    with tempfile.TemporaryDirectory() as scratch:
        drawn, folder = options.drawn or Path(scratch) / "drawn", options.folder or Path(scratch) / "plate"
        folder.mkdir()
        if not options.drawn:
            drawn.mkdir()
            simulated(drawn, DRAWN_WELLS)
        plate = whole_plate(drawn, folder, options.rows)
        add_figures(figures, *run(folder, plate), folder, options.rows * COLUMNS * SITES)
    figures.publish(command="" if options.rows == 16 else f"python -m benchmarks.whole_plate --rows {options.rows}")


if __name__ == "__main__":
    main()
