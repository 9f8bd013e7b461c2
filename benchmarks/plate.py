"""What a plate takes from images to profiles: processor seconds a site of every stage, memory, growth.

`python -m benchmarks.plate [--wells 16] [--reference PATH]`: `morpho run` on simulated plates at full size (three sites
a well, 1080 x 1080 x 5), and on the four real fields. Drawing the images is not counted; compiled code is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import yaml

from benchmarks.figures import Figures
from benchmarks.measure import CHANNELS, cp_measure_seconds, site_seconds
from benchmarks.plate_limits import limits
from benchmarks.process_tree import Spent, Watched, watch
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.imaging.sites import complete_sites, plate_reader
from morpho_assets.lake.ledger import Partition
from morpho_assets.measure.config import resolve
from morpho_assets.simulator import GalleryDesign, write_gallery
from morpho_assets.stages import PLATE_STAGES
from morpho_assets.workspace import Workspace

SITES_A_WELL, WORKERS = 3, 2
SITE_SECONDS, PEAK, GROWTH = 1.2, 1500, 1.05
REAL = {"name": "real", "kind": "gallery", "project": "cpg0000-jump-pilot", "source": "source_4"}
JUMP_SECONDS = 417.0  # of one processor, of CellProfiler's production pipeline on a JUMP site
ABOUT = (
    "`morpho run` with two workers takes a simulated plate of {sites} sites (1080 x 1080 pixels, 5 channels, 95 cells) "
    "through every stage, the default settings. Seconds are those of the processor, of all processes together, a site; "
    "a stage's are what was spent until its commit."
)


def simulated(folder: Path, wells: int) -> str:
    """A plate of so many wells, in its own project; its barcode."""
    design = GalleryDesign(
        batches=1, plates_per_batch=1, rows=2, columns=wells // 2, sites=SITES_A_WELL, pixels=1080, scale=1.0,
        cells_per_site=95, negative_controls=2, positive_controls=0, mechanisms=("aurora_inhibitor",),
        compounds_per_mechanism=1, inactive_compounds=1, series_compounds=0,
    )  # fmt: skip
    [plate] = write_gallery(folder / "gallery", design, seed=0, workers=os.cpu_count() or 1)
    source = {"name": "simulated", "kind": "gallery", "root": "gallery", "project": design.project,
              "source": design.source}  # fmt: skip
    _settings(folder, source)
    return plate


def _settings(folder: Path, source: dict[str, object]) -> None:
    settings = {"sources": [source], "compute": {"workers": WORKERS}, "profiles": {"normalize": {"too_few": "all"}}}
    (folder / "morpho.yaml").write_text(yaml.safe_dump(settings))


def run(folder: Path, plate: str) -> tuple[Watched, dict[str, Spent]]:
    """`morpho run` of a plate that was not run before, and the processor seconds of each of its stages."""
    command = [sys.executable, "-m", "morpho_assets.cli", "run", "--plate", plate]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    process = psutil.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    found = watch(process)
    if process.returncode:
        raise SystemExit(f"morpho run --plate {plate} ended with {process.returncode}")
    stages, before = {}, Spent(0.0, 0.0)
    for stage in PLATE_STAGES:
        [commit] = (folder / "data/lake/ledger/commits").glob(f"*/{stage}.*.json")
        now = found.spent_at(commit.stat().st_mtime)
        stages[stage], before = Spent(now.all - before.all, now.first - before.first), now
    stages["catalog, start and end"] = Spent(found.cpu - before.all, found.first - before.first)
    return found, stages


def limits_of(folder: Path, plate: str, sites: int, stages: dict[str, Spent]) -> str:
    lake = Workspace.open(folder / "morpho.yaml").lake
    return limits(lake.latest(list(PLATE_STAGES), [Partition("plate", plate)]), plate, sites,
                  {stage: spent.all for stage, spent in stages.items()})  # fmt: skip


def against_cp_measure(folder: Path, plate: str) -> tuple[float, float]:
    """Processor seconds of two sites of a plate that was run: cp_measure's, and ours of the same features."""
    workspace = Workspace.open(folder / "morpho.yaml")
    partition = Partition("plate", plate)
    inputs = workspace.lake.latest(list(PLATE_STAGES), [partition])
    reader = plate_reader(inputs, workspace.settings.sources[0].store(), plate)
    masks = {(row["Metadata_Well"], row["Metadata_Site"]): row for row in inputs.read("masks", plate).to_dicts()}
    shared = resolve("jump").model_copy(update={"neighbors": None})
    theirs = ours = 0.0
    for site in complete_sites(inputs, plate)[:: SITES_A_WELL * 4][:2]:
        row = masks[site.well, site.site]
        nuclei, cells = (read_labels(inputs.lake.read_bytes(row[name])) for name in ("nuclei", "cells"))
        compartments = {"Nuclei": nuclei, "Cells": cells, "Cytoplasm": cytoplasm_of(nuclei, cells)}
        field = reader.read(site), compartments
        ours += site_seconds(field, shared, repeats=3)
        theirs += sum(cp_measure_seconds(field, 1).values())
    return theirs, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wells", type=int, default=16, help="wells of the larger plate; the smaller has a fourth")
    parser.add_argument("--reference", default=os.environ.get("MORPHO_REFERENCE_DATA"), help="folder of reference data")
    options = parser.parse_args()
    sites = options.wells * SITES_A_WELL
    figures = Figures("plate", ABOUT.format(sites=sites))
    with tempfile.TemporaryDirectory() as scratch:
        small, large, real = (Path(scratch) / name for name in ("small", "large", "real"))
        for folder in (small, large, real):
            folder.mkdir()
        plates = {folder: simulated(folder, wells) for folder, wells in ((small, options.wells // 4),
                                                                          (large, options.wells))}  # fmt: skip
        run(small, plates[small])  # compiles what is not compiled
        (small / "data").rename(small / "before")
        few, _ = run(small, plates[small])
        many, stages = run(large, plates[large])
        figures.add("site_cpu_seconds", many.cpu / sites, "s", f"of {sites} sites: of the processor, all "
                    "stages and processes", at_most=SITE_SECONDS)  # fmt: skip
        for stage, spent in stages.items():
            figures.add(f"{stage.split(',')[0].replace(' ', '_')}_seconds", spent.all / sites, "s", f"a site; {stage}")
        figures.add("wall_seconds", many.wall / sites, "s", f"a site, by the clock, {WORKERS} workers")
        figures.add("peak_tree_mb", many.peak_mb, "MB", "of all processes, what they share once", at_most=PEAK)
        figures.add("first_process_part", many.first / many.cpu, "", "of processor seconds, in the process that starts "
                    "the workers")  # fmt: skip
        growth = many.cpu / sites / (few.cpu / (sites // 4))
        figures.add("growth", growth, "x", f"a site among {sites} over a site among {sites // 4}", at_most=GROWTH)
        figures.add("plate384_minutes", many.wall / sites * 384 * 9 / 60, "min", "384 wells x 9 sites at this rate")
        figures.add("ratio_vs_jump_pipeline", JUMP_SECONDS * sites / many.cpu, "x", f"CellProfiler's production "
                    f"pipeline takes about {JUMP_SECONDS:.0f} s of a processor a site, elsewhere")  # fmt: skip
        text = limits_of(large, plates[large], sites, stages)
        theirs, ours = against_cp_measure(large, plates[large])
        figures.add("ratio_vs_cp_measure", theirs / ours, "x", f"measuring two of these sites, the {len(CHANNELS)} "
                    f"channels and features that both have: {theirs:.0f} s and {ours:.1f} s")  # fmt: skip
        if options.reference:
            root = Path(options.reference).resolve() / "gallery"
            _settings(real, {**REAL, "root": str(root)})
            for plate in Workspace.open(real / "morpho.yaml").plates():
                found, _ = run(real, plate)
                figures.add("real_site_cpu_seconds", found.cpu / 4, "s", f"the four real fields of {plate}")
    figures.publish(text)


if __name__ == "__main__":
    main()
