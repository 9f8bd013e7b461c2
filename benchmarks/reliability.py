"""Faults that do no harm: runs that are killed, a bad network, readers and writers at once, in real processes.

    python -m benchmarks.reliability [--share 0.1] [--only kills] [--seed 0]

`--share` takes that share of kills, plates and minutes: a quick look, of which nothing is published. Bounded: at most
25 minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figures import Figures
from morpho_assets.simulator import GalleryDesign, write_gallery
from morpho_assets_tests.crowd import gather
from morpho_assets_tests.killed import kill, named, project_over, tables_of, undisturbed
from morpho_assets_tests.object_store import serve
from morpho_assets_tests.simulator.conftest import SMALL
from morpho_assets_tests.stormy import STORM, pass_through, project_in, put_gallery

KILLS, EACH, PLATES, READERS, MINUTES, LATE, LONGEST = 50, 8, 4, 8, 5.0, 10.0, 25
ABOUT = (
    f"{PLATES} plates of eight wells, small images, every stage and the catalog, by `morpho run` in processes of its "
    "own. Kills: two runs over the plates in opposite order, in turns or computing side by side; SIGKILL when a random "
    "number of commits is there, and then up to 1.5 s later, in the next stage or at a random number of its sites, to "
    f"both or to one and later the other; at most {EACH} kills a back-fill; what is left is looked at after each, and "
    "compared with an undisturbed run at the end. Network, at the same time: images and lake in moto's object store, "
    f"of whose answers {STORM['refused']:.0%} are errors, {STORM['truncated']:.0%} end early, {STORM['reset']:.0%} are "
    f"broken connections and {STORM['late']:.0%} come {LATE:g} s late. Then the crowd: {READERS} processes query the "
    f"catalog for {MINUTES:g} minutes while a run writes each plate again and again."
)


def kills(figures: Figures, folder: Path, share: float, seed: int) -> list[str]:
    gallery, plates = small_gallery(folder)
    found = kill(folder, gallery, plates, max(2, round(KILLS * share)), EACH, seed)
    at_work = ", ".join(f"{stage} {count}" for stage, count in found.at_work.most_common())
    figures.add("kills", found.kills, "kills", f"in {found.backfills} back-fills, while at work: {at_work}")
    figures.add("mismatches", len(found.problems), "", "rows that differ, half-written things, sites measured again, "
                "runs that failed", at_most=0)  # fmt: skip
    figures.add("resumed", found.resumed, "stages", "went on from sites that a killed run had finished")
    return found.problems


def network(figures: Figures, folder: Path, share: float, seed: int) -> list[str]:
    gallery, plates = small_gallery(folder, max(1, round(PLATES * share)))
    expected = undisturbed(folder / "calm", gallery, plates)
    with serve() as store:
        put_gallery(store, "storm", gallery)
        project = project_in(store, folder / "stormy", "storm")
        passed = pass_through(project, store, gallery, plates, seed, LATE if share == 1 else 1.0)
        found = tables_of(project, plates)
    names_files = {"image_files", "masks"}
    other = [str(key) for key in expected if key[2] not in names_files and not expected[key].equals(found[key])]
    figures.add("requests", passed.requests, "requests", f"{passed.faults} of them met a fault; {passed.seconds:.0f} s")
    figures.add("lost_images", len(passed.lost), "images", f"of {passed.images}", at_most=0)
    figures.add("storm_mismatches", len(other), "tables", "that differ from those on a disk", at_most=0)
    return [*passed.lost, *other]


def crowd(figures: Figures, folder: Path, share: float, seed: int) -> list[str]:
    gallery, plates = small_gallery(folder)
    project = project_over(folder / "crowded", gallery)
    project.run("run", *named(plates))
    met = gather(project, plates, READERS, 60 * MINUTES * share)
    figures.add("reads", met.reads, "connections", f"{met.runs} runs wrote meanwhile; to connect took "
                f"{met.slowest:.2g} s at most")  # fmt: skip
    figures.add("reader_errors", len(met.errors), "errors", at_most=0)
    figures.add("lock_waits", met.refused, "connections", "refused because of a lock; DuckDB does not wait", at_most=0)
    figures.add("stale_reads", len(met.stale) + len(met.moved), "reads", "without what was published before, or of "
                "which the second answer was another", at_most=0)  # fmt: skip
    figures.add("writer_failures", len(met.failed), "runs", at_most=0)
    return [*met.errors, *met.stale, *met.moved, *met.failed]


def small_gallery(folder: Path, plates: int = PLATES) -> tuple[Path, list[str]]:
    root = folder / "gallery"
    root.mkdir()
    design: GalleryDesign = SMALL.model_copy(update={"plates_per_batch": plates})
    return root, list(write_gallery(root, design, seed=3))


PARTS: dict[str, Callable[[Figures, Path, float, int], list[str]]] = {
    "kills": kills,
    "network": network,
    "crowd": crowd,
}
TOGETHER = (("kills", "network"), ("crowd",))  # the bad network is mostly waited for


def part(name: str, share: float, seed: int) -> tuple[Figures, list[str]]:
    """The figures of a part, and what was wrong in words."""
    figures, began = Figures("reliability", ABOUT), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"reliability-{name}-") as folder:
        problems = PARTS[name](figures, Path(folder), share, seed)
    figures.add(f"{name}_minutes", (time.monotonic() - began) / 60, "min")
    return figures, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of kills, plates and minutes (default: all)")
    parser.add_argument("--only", choices=PARTS, help="one part; nothing is published")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server tells of every request
    figures, problems, began, load = Figures("reliability", ABOUT), [], time.monotonic(), os.getloadavg()[0]
    with ThreadPoolExecutor() as threads:
        for names in TOGETHER:
            wanted = [name for name in names if arguments.only in (None, name)]
            for found, wrong in threads.map(lambda name: part(name, arguments.share, arguments.seed), wanted):
                figures.rows += found.rows
                problems += wrong
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    figures.add("minutes", (time.monotonic() - began) / 60, "min", f"load {load:.1f} on {os.cpu_count()} cores when it "
                "began", at_most=LONGEST)  # fmt: skip
    if arguments.only is None and arguments.share == 1:
        figures.publish("What limits: starting Python and loading its libraries, some five seconds for each run.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
