"""Peak memory of a full-size site (1080 x 1080 x 5) through quality, masks and single cells, in one worker.

A worker is a process of its own here, as in a run: it reads a real field from disk, grades, segments and measures it,
and tells the operating system's own figure of its peak.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.peak import peak_mb

PLATE = "BR00117010"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", default=os.environ.get("MORPHO_REFERENCE_DATA"), help="folder of reference data")
    reference = parser.parse_args().reference
    if reference is None:
        parser.error("set MORPHO_REFERENCE_DATA or give --reference")
    figures = Figures("memory", "One worker takes four real CPJUMP1 sites through each stage; the jump profile.")
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(reference).resolve() / "gallery"
        context = multiprocessing.get_context("spawn")
        for stages in (("image_quality",), ("image_quality", "masks"), ("image_quality", "masks", "single_cells")):
            queue = context.Queue()
            worker = context.Process(target=_work, args=(gallery, f"{folder}/{len(stages)}", stages, queue))
            worker.start()
            peak, seconds = queue.get()
            worker.join()
            figures.add(f"{stages[-1]}_peak_mb", peak, "MB", f"peak of a worker through {', '.join(stages)}")
        figures.add("single_cells_seconds_per_site", seconds, "s", "last stage, with compiled code from the cache")
    figures.publish("The bound is 1,200 MB a worker; `compute.workers` times the figure is what a machine needs.")


def _work(gallery: Path, folder: str, stages: tuple[str, ...], queue: multiprocessing.Queue) -> None:
    """Run the stages in this process, and tell its peak (MB) and the seconds a site of the last stage took."""
    from morpho_assets.compute import ComputeConfig
    from morpho_assets.gallery.sources import GallerySource
    from morpho_assets.lake.lake import Lake
    from morpho_assets.lake.ledger import Partition
    from morpho_assets.runs import Run
    from morpho_assets.settings import Settings
    from morpho_assets.workspace import Workspace

    source = GallerySource(
        kind="gallery", name="real", root=str(gallery), project="cpg0000-jump-pilot", source="source_4"
    )
    settings = Settings(lake=folder, sources=(source,), compute=ComputeConfig(workers=1))
    run, plate = Run(Workspace(settings, Lake(folder), gallery)), Partition("plate", PLATE)
    for stage in ("plate_manifest", "raw_images", "illumination", *stages):
        began = time.perf_counter()
        commit = run.make(stage, plate)
        seconds = (time.perf_counter() - began) / max(commit.sites.total, 1)
    queue.put((peak_mb(), seconds))


if __name__ == "__main__":
    main()
