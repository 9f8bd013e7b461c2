"""How long a report takes and how large it is: of a screen of 100 plates and 2,000 treatments, and of the demo.

`python -m benchmarks.report [--plates N] [--wells N] [--treatments N] [--features N] [--demo FOLDER]`: the tables of
the screen are written by hand, its cells are pictures of noise as large as a report of this size allows. FOLDER is a
folder in which `morpho demo` has run; without one it runs in a folder of its own (five minutes). Seconds are those of
a clock; beside them stand those of the processor, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.peak import peak_mb
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.sites import plate_reader
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Partition
from morpho_assets.report.study import study_page
from morpho_assets.runs import Run
from morpho_assets.workspace import Workspace
from morpho_assets_tests.report.screen import Screen, results_of, write_screen

SECONDS, MEGABYTES = 60, 30
ABOUT = (
    "The page of a screen of {plates} plates x {wells} wells with {treatments} treatments and {features} features, "
    "from its tables in the lake, with every treatment's cells; then the pictures of cells and the page of the demo. "
    "The screen is synthetic: its profiles are noise and planted effects under CellProfiler's names, its cells a few "
    "dozen montages of noise, each as large as a report of this size lets it be, which treatments share: the page "
    "writes every one of them where it stands. Writing the screen's tables is not counted."
)


def screen_page(folder: str, screen: Screen) -> tuple[float, float, float]:
    """Seconds that the page of a screen takes by the clock and of the processor, and its megabytes."""
    snapshot = write_screen(Lake(folder), screen)
    started, used = time.perf_counter(), time.process_time()
    results = results_of(snapshot, screen)
    readers = {name: plate_reader(snapshot, Store(), name) for name in screen.names}
    page = study_page(snapshot, results, readers).encode()
    return time.perf_counter() - started, time.process_time() - used, len(page) / 1e6


def stage_seconds(workspace: Workspace, stage: str) -> float:
    """Seconds that a stage of the demo's study takes from nothing."""
    run = Run(workspace, force=True)
    started = time.perf_counter()
    run.make(stage, Partition("study", "demo"))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, size in (("plates", 100), ("wells", 384), ("treatments", 2000), ("features", 3000), ("side", 64)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--demo", help="a folder in which `morpho demo` has run")
    options = parser.parse_args()
    screen = Screen(options.plates, options.wells, options.treatments, 8, options.features, options.side)
    figures = Figures("report", ABOUT.format(**vars(screen)))
    with tempfile.TemporaryDirectory() as folder:
        seconds, used, megabytes = screen_page(folder, screen)
    figures.add("seconds_100_plates", seconds, "s", at_most=SECONDS)
    figures.add("processor_seconds_100_plates", used, "s", "the same, of the processor")
    figures.add("megabytes_100_plates", megabytes, "MB", at_most=MEGABYTES)
    figures.add("peak_mb", peak_mb(), "MB", "of memory, with the tables' writing")
    with tempfile.TemporaryDirectory() as own:
        demo = Path(options.demo or own)
        if not options.demo:
            subprocess.run(
                [sys.executable, "-m", "morpho_assets.cli", "demo"], cwd=demo, check=True, stdout=subprocess.DEVNULL
            )
        workspace = Workspace.open(demo / "morpho.yaml")
        figures.add("seconds_demo_cells", stage_seconds(workspace, "montages"), "s", "stage montages")
        figures.add("seconds_demo", stage_seconds(workspace, "report"), "s", at_most=SECONDS)
        size = (Path(workspace.settings.reports) / "demo" / "report.html").stat().st_size / 1e6
        figures.add("megabytes_demo", size, "MB", at_most=MEGABYTES)
    figures.publish()


if __name__ == "__main__":
    main()
