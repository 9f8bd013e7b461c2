"""What a plate takes, and from that what thousands of plates take: machines, hours, storage and money.

    python -m benchmarks.scale --wells 384     # a plate of real size, end to end; hours on two cores
    python -m benchmarks.scale                 # docs/scale.md from the figures that are there

Measured is one plate of 1,080 x 1,080 x 5 in nine sites a well, through every stage by `morpho run`. All else is
computed from the figures of docs/benchmarks.md and the assumptions below; docs/scale.md says which is which.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from benchmarks.figures import PAGE, Figures
from benchmarks.process_tree import Watched, watch
from morpho_assets_tests.project import Project

DOCS = PAGE.parent / "scale.md"
BEGIN, END = "<!-- begin scale -->", "<!-- end scale -->"
PLATES, WELLS, SITES_A_WELL, TERABYTES = 2000, 384, 9, 115
CORES, MEMORY_GB, GIGABIT = 16, 64, 10
"""A machine as it is rented: cores, memory and network."""
CORE_HOUR, STORAGE_MONTH = 0.02, 23.0
"""US dollars for an hour of one core at the spot price, and for a TB of object storage a month: typical of 2026."""
REQUESTS = 5500
"""GET requests a second that an object store gives for one prefix (Amazon's figure); a plate is a prefix of its own."""
RUN_SECONDS = 3.0
"""Seconds between two runs that Dagster's daemon takes off its queue, one after the other."""
ABOUT = (
    "A synthetic plate of 1,080 x 1,080 pixels x 5 stains, from its manifest to its profiles and "
    "the catalog by `morpho run` with two workers. Memory is the sum over all processes of what they hold alone and "
    "their share of what they share, four times a second. The orchestrator's seconds are those of `morpho run` on a "
    "plate of eight tiny wells, less those of the same stages in a bare process."
)


# One plate, measured


def measure(figures: Figures, wells: int, sites_a_well: int) -> None:
    from morpho_assets.simulator import write_gallery
    from morpho_assets.simulator.design import SIZES
    from morpho_assets_tests.killed import project_over
    from morpho_assets_tests.simulator.conftest import SMALL

    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        whole = SIZES["plate384"]
        size = {
            "sites": SITES_A_WELL,
            "pixels": whole.pixels,
            "scale": whole.scale,
            "cells_per_site": whole.cells_per_site,
        }
        design = whole if wells == WELLS else SMALL.model_copy(update={**size, "rows": 2, "columns": wells // 2})
        (folder / "gallery").mkdir()
        (plate,) = write_gallery(folder / "gallery", design, seed=0)
        project = project_over(folder / "project", folder / "gallery", compute={"workers": 2}, measurement="jump")
        found = run(project, plate)
        seconds, processor, peak = found.wall, found.cpu, found.peak_mb * 1e6
        sites = wells * sites_a_well
        of = f"{sites} sites of {wells} wells"
        figures.add("plate_sites", sites, "sites", "measured; the figures of a site hold for any number")
        figures.add("wall_seconds_per_site", seconds / sites, "s", f"two workers; {of}")
        figures.add("processor_seconds_per_site", processor / sites, "s", f"every stage and the catalog; {of}")
        for stage, took in stage_seconds(project, plate).items():
            figures.add(f"{stage}_seconds_per_site", took / sites, "s", "by the clock, two workers")
        figures.add("peak_memory_gb", peak / 1e9, "GB", "all processes together")
        images = sum(file.stat().st_size for file in (folder / "gallery").rglob("*.tiff"))
        lake = sum(file.stat().st_size for file in (project.folder / "data/lake").rglob("*") if file.is_file())
        figures.add("images_mb_per_site", images / sites / 1e6, "MB", "five stains, LZW")
        figures.add("lake_mb_per_site", lake / sites / 1e6, "MB", "tables, label images, functions, ledger")
    figures.add("orchestrator_seconds", orchestrator(), "s", "of a run, whatever its size")


def run(project: Project, plate: str) -> Watched:
    """`morpho run` of a plate, with all its processes. Raises SystemExit where it fails."""
    command = [sys.executable, "-m", "morpho_assets.cli", "run", "--plate", plate]
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parent.parent)}
    process = psutil.Popen(command, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL)
    found = watch(process)
    if process.returncode:
        raise SystemExit(f"morpho run --plate {plate} ended with {process.returncode}")
    return found


def stage_seconds(project: Project, plate: str) -> dict[str, float]:
    """Seconds between the commits of a plate that was made in one go."""
    from datetime import datetime

    from morpho_assets.stages import PLATE_STAGES

    commits = [commit for stage in PLATE_STAGES if (commit := project.commit(stage, plate)) is not None]
    times = [datetime.fromisoformat(commit.at).timestamp() for commit in commits]
    pairs = sorted(zip(times, PLATE_STAGES, strict=True))
    return {stage: at - before for (before, _), (at, stage) in pairwise(pairs)}


def orchestrator() -> float:
    """What a run takes beside its stages: a process, Dagster's bookkeeping, the catalog."""
    from morpho_assets.simulator import write_gallery
    from morpho_assets_tests.killed import project_over
    from morpho_assets_tests.simulator.conftest import SMALL

    bare = (
        "import sys; from pathlib import Path; from morpho_assets.workspace import Workspace; "
        "from morpho_assets.runs import Run; from morpho_assets.stages import PLATE_STAGES; "
        "from morpho_assets.lake.ledger import Partition; run = Run(Workspace.open(Path(sys.argv[1]))); "
        "[run.make(stage, Partition('plate', sys.argv[2])) for stage in PLATE_STAGES]"
    )
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        (folder / "gallery").mkdir()
        (plate,) = write_gallery(folder / "gallery", SMALL, seed=3)
        took = []
        for number in range(3):
            one, other = (project_over(folder / f"{kind}-{number}", folder / "gallery") for kind in ("dagster", "bare"))
            began = time.monotonic()
            one.run("run", "--plate", plate)
            between = time.monotonic()
            subprocess.run([sys.executable, "-c", bare, str(other.folder / "morpho.yaml"), plate], check=True,
                           cwd=PAGE.parent.parent)  # fmt: skip
            took.append(between - began - (time.monotonic() - between))
        return sorted(took)[1]


# Thousands of plates, computed


def figure(page: str, name: str) -> float:
    """A figure of docs/benchmarks.md. Raises KeyError where it is not there."""
    found = re.search(rf"^\| `{re.escape(name)}` \| (\S+) \|", page, re.MULTILINE)
    if found is None:
        raise KeyError(f"{name} is not in docs/benchmarks.md: run its benchmark")
    return float(found[1])


@dataclass(frozen=True)
class Screen:
    """A screen and what was measured of one plate."""

    plates: int
    sites: int
    terabytes: float
    processor: float
    lake_mb: float
    orchestrator: float
    publish: float

    @classmethod
    def jump(cls, page: str) -> Screen:
        """JUMP by the figures of a page."""
        return cls(
            PLATES, WELLS * SITES_A_WELL, TERABYTES, figure(page, "scale.processor_seconds_per_site"),
            figure(page, "scale.lake_mb_per_site"), figure(page, "scale.orchestrator_seconds"),
            figure(page, "ledger.publish_one_seconds"),
        )  # fmt: skip

    @property
    def core_hours(self) -> float:
        return self.plates * self.sites * self.processor / 3600

    @property
    def lake_tb(self) -> float:
        return self.plates * self.sites * self.lake_mb / 1e6

    def hours(self, machines: int) -> dict[str, float]:
        """What each part would take alone, in hours, with so many machines of CORES cores."""
        images = 5 * self.plates * self.sites
        prefixes = min(machines, self.plates)  # plates that are read at the same time
        return {
            "cores": self.core_hours / (machines * CORES),
            "network of the machines": self.terabytes * 8e12 / (machines * GIGABIT * 1e9) / 3600,
            "requests of the object store": images / (REQUESTS * prefixes) / 3600,
            "starting runs, one after the other": self.plates * RUN_SECONDS / 3600,
            "publishing, once for every ten plates": self.plates / 10 * self.publish / 3600,
        }

    def bottleneck(self, machines: int) -> tuple[str, float]:
        return max(self.hours(machines).items(), key=lambda pair: pair[1])


def section(page: str) -> str:
    """The tables of docs/scale.md from the figures of docs/benchmarks.md."""
    screen = Screen.jump(page)
    share = screen.orchestrator / (screen.sites * screen.processor / CORES)
    measured = figure(page, "scale.plate_sites")
    lines = [
        f"**Measured**, on {measured:.0f} sites of 1,080 x 1,080 x 5: {screen.processor:.2f} processor seconds a site, "
        f"every stage included, {figure(page, 'scale.peak_memory_gb'):.1f} GB of memory with two workers, "
        f"{screen.lake_mb:.2f} MB of results a site; a run costs {screen.orchestrator:.1f} s beside its stages, "
        f"which is {share:.1%} of a plate of {screen.sites:,} sites on {CORES} cores. **Computed from it**: "
        f"{screen.core_hours:,.0f} core hours, {screen.lake_tb:.1f} TB of results.",
        "",
        "| machines | hours | what limits | hours of the cores | of the network | of the requests | of starting runs | "
        "of publishing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for machines in (1, 10, 100):
        hours = screen.hours(machines)
        name, longest = screen.bottleneck(machines)
        each = " | ".join(f"{one:,.1f}" for one in hours.values())
        lines.append(f"| {machines} | {longest:,.1f} | {name} | {each} |")
    cost = screen.core_hours * CORE_HOUR
    lines += [
        "",
        f"| what | amount | at | US dollars |\n|---|---|---|---|\n"
        f"| cores | {screen.core_hours:,.0f} hours | {CORE_HOUR} an hour | {cost:,.0f} |\n"
        f"| results kept | {screen.lake_tb:.1f} TB | {STORAGE_MONTH:g} a TB and month | "
        f"{screen.lake_tb * STORAGE_MONTH:,.0f} a month |\n"
        f"| images kept as a copy | {screen.terabytes:g} TB | {STORAGE_MONTH:g} a TB and month | "
        f"{screen.terabytes * STORAGE_MONTH:,.0f} a month; none with `policy: stream` |",
    ]
    return "\n".join(lines)


def renewed(text: str, page: str) -> str:
    """docs/scale.md with its tables, between the two marks, made anew."""
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{section(page)}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=int, help="measure a plate of so many wells first: 8 or 384")
    parser.add_argument("--sites", type=int, default=SITES_A_WELL, help="sites of a well (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.wells:
        figures = Figures("scale", ABOUT)
        measure(figures, arguments.wells, arguments.sites)
        figures.publish("What limits: segmentation and measurement, in about equal parts.",
                        f"python -m benchmarks.scale --wells {arguments.wells} --sites {arguments.sites}")  # fmt: skip
    DOCS.write_text(renewed(DOCS.read_text(), PAGE.read_text()))


if __name__ == "__main__":
    main()
