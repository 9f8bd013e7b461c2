"""Profiles and retrieval against pycytominer 1.7.1 and copairs 0.5.5, time and memory, every task in a fresh process.

python -m benchmarks.profiles            all figures; needs 30 GB of temporary disk
python -m benchmarks.profiles --quick    a twentieth of each size, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figures
from benchmarks.peak import peak_mb

FEATURES, WELLS, CELLS, PLATE_CELLS = 3000, 384, 60_000, 550_000
PAIRS = 7  # runs of either side: single ones differ by a fifth on a shared machine
OPERATIONS = ["variance_threshold", "correlation_threshold", "drop_na_columns", "blocklist", "drop_outliers"]
ABOUT = (
    "Cells to selected profiles (aggregate by median, normalise on the negative controls by MAD, select features) from "
    "one Parquet file of 60,000 cells x 3,000 features in 384 wells, and average precision of 1,536 wells x 600 "
    "features with all non-replicates as negatives: this package and its peers, one after the other, in fresh "
    "processes on one machine. Seconds include reading and leave out imports and what is loaded on first use (either "
    "side does a plate of a few cells before); memory is the peak resident set."
)


def feature_names(count: int) -> list[str]:
    """Names of the three compartments in turn."""
    return [f"{('Cells', 'Nuclei', 'Cytoplasm')[i % 3]}_Intensity_{i}" for i in range(count)]


def write_cells(path: Path, cells: int, features: int = FEATURES, block: int = 60_000) -> dict[str, Any]:
    """Cells of one plate: features of different scale, a third of them nearly copies of others, some constant."""
    import polars as pl
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    scale, copies = rng.lognormal(0, 2, features), features // 3
    source = rng.integers(copies, features, copies)
    writer = None
    for start in range(0, cells, block):
        rows = min(block, cells - start)
        values = rng.standard_normal((rows, features))
        values[:, :copies] = values[:, source] + 0.02 * values[:, :copies]
        values[:, ::100] = 1.0
        values *= scale
        wells = (np.arange(start, start + rows) * WELLS) // cells
        names = [f"{chr(65 + w // 24)}{w % 24 + 1:02d}" for w in range(WELLS)]
        frame = pl.DataFrame(values, schema=feature_names(features)).with_columns(
            pl.lit("P1").alias("Metadata_Plate"), pl.Series("Metadata_Well", [names[w] for w in wells])
        )
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False, compression="none")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return {"gb": path.stat().st_size / 1e9}


def timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, with its seconds and the peak memory (GB) of this process."""
    start = time.perf_counter()
    found = work()
    return found | {"seconds": time.perf_counter() - start, "peak_gb": peak_mb() / 1e3}


def cells_ours(path: Path) -> dict[str, Any]:
    import polars as pl

    from morpho_assets.profiles.aggregate import aggregate
    from morpho_assets.profiles.normalize import normalize
    from morpho_assets.profiles.select import SelectConfig, select_features

    steps = [{"operation": name} | ({"cutoff": 0.05} if name == "drop_na_columns" else {}) for name in OPERATIONS]
    config = SelectConfig.model_validate({"operations": steps})

    def work(cells: Path) -> dict[str, Any]:
        control = pl.when(pl.col("Metadata_Well").str.ends_with("12")).then(pl.lit("negcon"))
        profiles = aggregate(pl.scan_parquet(cells)).with_columns(control.alias("Metadata_control_type"))
        return {"kept": sorted(select_features(normalize(profiles), config).kept)}

    work(path.with_name("few.parquet"))
    return timed(lambda: work(path))


def cells_theirs(path: Path) -> dict[str, Any]:
    import pandas as pd
    from pycytominer import aggregate, feature_select, normalize

    def work(cells_path: Path) -> dict[str, Any]:
        cells = pd.read_parquet(cells_path)
        profiles = aggregate(cells, strata=["Metadata_Plate", "Metadata_Well"])
        profiles["Metadata_control_type"] = np.where(profiles["Metadata_Well"].str.endswith("12"), "negcon", "trt")
        scaled = normalize(profiles, method="mad_robustize", samples="Metadata_control_type == 'negcon'")
        selected = feature_select(scaled, operation=OPERATIONS)
        return {"kept": sorted(name for name in selected.columns if not name.startswith("Metadata_"))}

    work(path.with_name("few.parquet"))
    return timed(lambda: work(path))


def screen(wells: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """((wells, features) profiles with four replicates each, (wells,) treatment numbers)."""
    rng = np.random.default_rng(0)
    treatment = np.arange(wells) % (wells // 4)
    return rng.standard_normal((wells // 4, features))[treatment] + 2 * rng.standard_normal(
        (wells, features)
    ), treatment


def map_ours(wells: int, features: int) -> dict[str, Any]:
    import polars as pl

    from morpho_assets.evaluate.average_precision import RetrievalConfig, average_precision
    from morpho_assets.evaluate.pairs import PairRule

    values, treatment = screen(wells, features)
    metadata = pl.DataFrame({"Metadata_Perturbation": treatment})
    config = RetrievalConfig(pairing="published", queries="all", negatives=PairRule(diffby=("Metadata_Perturbation",)))
    return timed(lambda: {"ap": average_precision(values, metadata, config).ap.tolist()})


def map_theirs(wells: int, features: int) -> dict[str, Any]:
    import pandas as pd
    from copairs.map import average_precision

    values, treatment = screen(wells, features)
    metadata = pd.DataFrame({"Metadata_Perturbation": treatment})
    column = ["Metadata_Perturbation"]

    def work() -> dict[str, Any]:
        found = average_precision(metadata, values, column, [], [], column, progress_bar=False)
        return {"ap": found["average_precision"].tolist()}

    return timed(work)


def out_of_core(path: Path) -> dict[str, Any]:
    import polars as pl

    from morpho_assets.profiles.aggregate import aggregate

    return timed(lambda: {"wells": aggregate(pl.scan_parquet(path)).height})


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "write_cells": write_cells,
    "cells_ours": cells_ours,
    "cells_theirs": cells_theirs,
    "map_ours": map_ours,
    "map_theirs": map_theirs,
    "out_of_core": out_of_core,
}


def in_child(task: str, *arguments: object) -> dict[str, Any]:
    """Run one task in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.profiles", "--task", task, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of each size; nothing is published")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        name, *rest = arguments.task
        print(json.dumps(TASKS[name](*(int(x) if x.isdigit() else Path(x) for x in rest))))
        return
    figures = Figures("profiles", ABOUT)
    with tempfile.TemporaryDirectory() as folder:
        measure(figures, Path(folder), 20 if arguments.quick else 1)
    if not arguments.quick:
        figures.publish("What limits: reading and the median of each column in each well; for average precision, the "
                        "matrix product and building the pairs of each block.")  # fmt: skip


def in_pairs(
    figures: Figures, name: str, ours: tuple[object, ...], theirs: tuple[object, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides in turn, `PAIRS` times; adds the median of the pairs' ratios and returns the last results."""
    pairs = [tuple(in_child(*map(str, task)) for task in (ours, theirs)) for _ in range(PAIRS)]
    seconds = np.array([[side["seconds"] for side in pair] for pair in pairs])
    ratios = seconds[:, 1] / seconds[:, 0]
    mine, peers = np.median(seconds, axis=0)
    figures.add(name, float(np.median(ratios)), "x", f"times faster, median of {PAIRS} pairs ({ratios.min():.1f} to "
                f"{ratios.max():.1f}): {mine:.2f} s against {peers:.1f} s")  # fmt: skip
    return pairs[-1]


def measure(figures: Figures, folder: Path, less: int) -> None:
    """Every figure, at sizes divided by `less`."""
    path = folder / "cells.parquet"
    in_child("write_cells", path, CELLS // less)
    in_child("write_cells", path.with_name("few.parquet"), 2 * WELLS, 12)
    ours, theirs = in_pairs(figures, "ratio_vs_pycytominer", ("cells_ours", path), ("cells_theirs", path))
    if ours["kept"] != theirs["kept"]:
        different = set(ours["kept"]) ^ set(theirs["kept"])
        raise SystemExit(f"the two sides kept different features: {sorted(different)[:10]} of {len(different)}")
    path.unlink()
    figures.add("memory_ratio", ours["peak_gb"] / theirs["peak_gb"], "x",
                f"{ours['peak_gb']:.2f} GB against {theirs['peak_gb']:.2f} GB")  # fmt: skip
    sizes = 1536 // less, 600
    ours, theirs = in_pairs(figures, "map_ratio_vs_copairs", ("map_ours", *sizes), ("map_theirs", *sizes))
    difference = np.abs(np.array(ours["ap"]) - np.array(theirs["ap"])).max()
    figures.add("map_difference", difference, "AP", "largest difference of one average precision from copairs")
    ours = in_child("map_ours", 10_000 // less, 1000)
    figures.add("map_10k_peak_gb", ours["peak_gb"], "GB", f"10,000 wells x 1,000 features in {ours['seconds']:.1f} s")
    size = in_child("write_cells", path, PLATE_CELLS // less)["gb"]
    ours = in_child("out_of_core", path)
    figures.add("out_of_core_peak_gb", ours["peak_gb"], "GB", f"a plate of {size:.1f} GB in {ours['seconds']:.0f} s")


if __name__ == "__main__":
    main()
