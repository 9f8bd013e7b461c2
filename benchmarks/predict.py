"""Phenotype models: what they reach on real nuclei and on known truth, and how fast they are learned and applied.

python -m benchmarks.predict [--share 0.2] [--only crops|grid|states|apply] [--folder PATH] [--reference PATH]

With --folder plates are kept there, and used again. `--share` takes that share of plates, fits and cells: a quick look,
whose figures are not those of the page (nothing is published).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.figures import Figures
from benchmarks.peak import peak_mb
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.lake.ledger import Partition
from morpho_assets.predict.cells import CellReader
from morpho_assets.predict.classifiers.linear import (
    PUBLISHED_C,
    PUBLISHED_L1_RATIO,
    TUNING,
    ElasticNetConfig,
    LogisticConfig,
    leave_each_out,
)
from morpho_assets.predict.config import CellFeaturesConfig
from morpho_assets.predict.elastic_net import fit_elastic_nets, fit_grid, objective_of
from morpho_assets.predict.enriched import call_treatments, enrich_plate
from morpho_assets.predict.labels import crops_as_plate, read_crops
from morpho_assets.predict.models import fit_model, load_model
from morpho_assets.predict.predictions import FINAL, prediction_rows
from morpho_assets.predict.splits import SplitConfig, split_rows
from morpho_assets.predict.tested import ELSEWHERE
from morpho_assets.runs import Run
from morpho_assets.simulator import GalleryDesign, write_gallery
from morpho_assets.simulator.biology import MECHANISMS
from morpho_assets.workspace import Workspace

SECTION = "predict"
CROPS, STATES = "phenotypes_mitocheck", "phenotypes_demo"
ABOUT = (
    "Phenotype models. Real nuclei (MitoCheck, one stain, half of the published set, classes of at least three movies) "
    "go through the whole graph as sites of a plate; movies stay whole where it says movie. Cell states of the "
    "simulator are learned on two plates and called on others. The elastic net is the published grid (7 C x 11 "
    "l1_ratio x 10 folds, then every image left out) on the same nuclei, against scikit-learn's saga with the "
    "published 100 passes. Application reads cells from a lake, a few wells at a time."
)
PLATE = "mitocheck"
MEASURED = {
    # one stain is nucleus and cell; crops are small, and the nucleus in the middle may touch the border
    "segmentation": {
        "method": "watershed",
        "nuclei": {
            "threshold": {"method": "otsu", "smoothing_scale": 1}, "declump": "none", "border": "keep",
            "min_diameter": 6,
        },
        "cells": {"channels": ["DNA"], "threshold": {"method": "otsu", "smoothing_scale": 2}},
    },
    "illumination": {"method": "none"},
    "profiles": {"normalize": {"too_few": "all"}},
}  # fmt: skip
FULL_STATES = GalleryDesign(batches=1, plates_per_batch=4, sites=2, cells_per_site=30)
SEED = 21
WELLS_OF_MILLION, CELLS_OF_WELL, FEATURES = 384, 2605, 157


def made(workspace: Workspace, plates: list[str], study: str, stages: tuple[str, ...]) -> Snapshot:
    """The tables of a study after its plates and the stages named."""
    for targets in ({"plates": plates}, {"studies": [study]}):
        wanted = set(stages) | {"encoder", "embeddings"} if "studies" in targets else None
        while tasks := [task for task in workspace.plan(**targets)
                        if not task.waits and (wanted is None or task.stage in wanted)]:  # fmt: skip
            run = Run(workspace)
            for task in tasks:
                run.make(task.stage, task.partition)
    return workspace.lake.snapshot(workspace.lake.ledger.state().commits.values())


# Real nuclei


def crops_tables(folder: Path, reference: Path, share: float) -> Snapshot:
    """The study of the crops, through every stage from the images on."""
    crops = read_crops(reference / "mitocheck_crops").rename({"plate": "movie"})
    if share < 1:  # whole movies
        movies = sorted(set(crops["movie"]))
        crops = crops.filter(pl.col("movie").is_in(movies[:: max(1, round(1 / share))]))
    sheet, points = crops_as_plate(crops, reference / "mitocheck_crops", PLATE, "DNA", "movie",
                                   ["movie", "well", "frame"])  # fmt: skip
    (folder / PLATE).mkdir(parents=True, exist_ok=True)
    sheet.write_csv(folder / "sheet.csv")
    points.write_csv(folder / PLATE / "labels.csv")
    source = {"name": "crops", "kind": "samplesheet", "path": "sheet.csv", "negative_controls": []}
    (folder / "morpho.yaml").write_text(yaml.safe_dump({"sources": [source], **MEASURED}))
    return made(Workspace.open(folder / "morpho.yaml"), [PLATE], CROPS, ("models",))


def crop_figures(figures: Figures, folder: Path, reference: Path, share: float) -> Snapshot:
    began = time.perf_counter()
    tables = crops_tables(folder, reference, share)
    figures.add("crops_seconds", time.perf_counter() - began, "s", "the plate of crops from images to five models, "
                "beside the plates of states")  # fmt: skip
    metrics = tables.read("metrics", CROPS)
    goals = {("cellprofiler", "well"): 0.60, ("joined", "well"): 0.66, ("joined", "image"): 0.76}
    published = {"cellprofiler": "0.763", "joined": "0.837", "area_shape": "0.417", "zernike": "0.306"}
    for model in ("cellprofiler", "joined", "area_shape", "zernike"):
        for by in ("well", "image", "random"):
            row = _row(metrics, model, f"by {by}", "weighted_F1")
            words = {"well": "movie"}.get(by, by)
            beside = "; ".join(
                f"{name} {_row(metrics, f'{model}, {name}', f'by {by}', 'weighted_F1')['value']:.2f}"
                for name in ("shuffled features", "always the commonest class", "classes drawn by their shares")
            )
            note = f"weighted F1, {words} folds, 95 % over units {row['ci_low']:.2f} to {row['ci_high']:.2f}; {beside}"
            if by == "random":
                note += f"; published {published[model]} on twice the cells"
            figures.add(f"{model}_{words}", row["value"], "", note, at_least=goals.get((model, by)))
    for metric, words in (("rank_1", "1"), ("rank_2", "at most 2")):
        row = _row(metrics, "each_image", "each image left out", metric)
        null = _row(metrics, "each_image, shuffled features", "each image left out", metric)
        note = f"share of image and class whose mean rank is {words}; shuffled {null['value']:.3f}, chance " \
               f"{row['chance']:.3f}; published 0.123 and 0.316"  # fmt: skip
        figures.add(f"left_out_{metric}", row["value"], "", note)
    note = tables.read("models", CROPS).filter(model="joined", predicted_by=FINAL)["notes"][0]
    print(note)
    return tables


def _row(metrics: pl.DataFrame, variant: str, scope: str, metric: str) -> dict[str, Any]:
    return metrics.row(
        by_predicate=(pl.col("variant") == variant) & (pl.col("scope") == scope) & (pl.col("metric") == metric),
        named=True,
    )


# The solver


def grid_figures(figures: Figures, tables: Snapshot, folder: Path, share: float) -> None:
    """The published grid and the left-out images, on the measured nuclei; and the ratio to saga on a sample."""
    labels = tables.read("labels", CROPS).filter(model="cellprofiler", trains=True)
    reader = CellReader(tables, CROPS, PLATE, CellFeaturesConfig(prefixes=("Nuclei_",), scale="training"))
    keys, x = reader.of_wells(reader.sizes["Metadata_Well"].to_list(), reader.features, labels)
    labels = keys.join(labels, on=keys.columns, how="left", maintain_order="left")
    x = x[:, np.isfinite(x).all(axis=0)]
    x = x[:, x.std(axis=0) > 1e-9]
    x = np.clip((x - x.mean(0)) / x.std(0), -10, 10)
    names, codes = np.unique(labels["class"].to_numpy(), return_inverse=True)
    k = len(names)
    splits = split_rows(keys, labels["class"].to_list(), SplitConfig(by="random", folds=10))
    rows = np.zeros((10, len(x)))
    for number, fold in enumerate(splits):
        rows[number, fold.train] = 1
    cost = PUBLISHED_C if share == 1 else PUBLISHED_C[:: round(1 / share)] or PUBLISHED_C[:1]
    shape = f"{len(x)} nuclei, {x.shape[1]} features, {k} classes"
    began = time.perf_counter()
    grid = fit_grid(x, codes, k, cost, PUBLISHED_L1_RATIO, rows, most=TUNING)
    seconds = time.perf_counter() - began
    worst = max(fits.gap.max() for fits in grid.values())
    figures.add("grid_seconds", seconds, "s", f"{len(cost)} C x 11 l1_ratio x 10 folds, at most {TUNING} iterations "
                f"each; {shape}; largest gap {worst:.2g} of the objective")  # fmt: skip
    points = pl.read_csv(folder / PLATE / "labels.csv").select("well", "site", "image")
    images = (
        keys.select(well="Metadata_Well", site=pl.col("Metadata_Site").cast(pl.Int64))
        .join(points, on=["well", "site"], how="left", maintain_order="left")["image"]
        .to_numpy()
    )
    images = np.unique(images, return_inverse=True)[1]
    began = time.perf_counter()
    leave_each_out(ElasticNetConfig(C=(0.1,), l1_ratio=(0.1,)), x, codes, k, images)
    figures.add("loio_seconds", time.perf_counter() - began, "s", f"{images.max() + 1} refits, each without one image",
                at_most=180)  # fmt: skip
    _against_saga(figures, x, codes, k, rows, share)


def _against_saga(figures: Figures, x: Any, codes: Any, k: int, rows: Any, share: float) -> None:
    from sklearn.linear_model import LogisticRegression

    ratios, folds = (0.0, 0.5, 1.0), range(2 if share == 1 else 1)
    sample = [(c, ratio, fold) for c in PUBLISHED_C for ratio in ratios for fold in folds]
    theirs, reached = 0.0, {}
    for c, ratio, fold in sample:
        train = rows[fold] > 0
        model = LogisticRegression(C=c, l1_ratio=ratio, solver="saga", max_iter=100, random_state=0)
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x[train], codes[train])
        theirs += time.perf_counter() - began
        reached[c, ratio, fold] = objective_of(x, codes, model.coef_, model.intercept_, c, ratio, rows[fold])
    ours, near, last, above = 0.0, 0.0, None, 0
    for c in PUBLISHED_C:
        at_once = [(ratio, fold) for ratio in ratios for fold in folds]
        goal = np.array([reached[c, ratio, fold] for ratio, fold in at_once])
        weights = np.stack([rows[fold] for _, fold in at_once])
        wanted = np.array([ratio for ratio, _ in at_once])
        began = time.perf_counter()
        last = fit_elastic_nets(x, codes, k, c, wanted, weights, last, tolerance=0, reach=goal)
        ours += time.perf_counter() - began
        exact = np.array([
            objective_of(x, codes, last.weights[i], last.intercepts[i], c, wanted[i], weights[i])
            for i in range(len(goal))
        ])  # fmt: skip
        above += int((exact > goal * (1 + 1e-5)).sum())
        if c <= 0.1:
            began = time.perf_counter()
            fit_elastic_nets(x, codes, k, c, wanted, weights, tolerance=1e-4)
            near += time.perf_counter() - began
    figures.add("ratio_vs_saga", theirs / ours, "x", f"time of saga's 100 passes over the time to reach its objective, "
                f"{len(sample)} fits (7 C x 3 l1_ratio x {len(folds)} folds): {theirs:.0f} s and {ours:.1f} s",
                at_least=15)  # fmt: skip
    figures.add("above_saga", above, "fits", "of these whose objective is above saga's", at_most=0)
    some = sum(c <= 0.1 for c in PUBLISHED_C) * len(ratios) * len(folds)
    figures.add("gap_seconds", near / some, "s", "a fit to a gap of 1e-4, C up to 0.1, begun from zero")


# Known truth


def state_figures(folder: Path, share: float) -> Figures:
    figures = Figures(SECTION, ABOUT)
    folder.mkdir(parents=True, exist_ok=True)
    design = FULL_STATES if share == 1 else FULL_STATES.model_copy(update={"sites": 1})
    plates = write_gallery(folder / "data/gallery", design, seed=SEED, workers=os.cpu_count() or 1)
    source = {"name": "demo", "kind": "gallery", "root": "data/gallery", "project": "cpg9999-synthetic",
              "source": "source_0"}  # fmt: skip
    (folder / "morpho.yaml").write_text(yaml.safe_dump({"sources": [source], "measurement": "core"}))
    tables = made(Workspace.open(folder / "morpho.yaml"), plates, STATES, ("models", "predictions", "phenotypes"))
    metrics = tables.read("metrics", STATES)
    row = _row(metrics, "state", ELSEWHERE, "balanced_accuracy")
    tested = tables.read("labels", STATES).filter(pl.col("status") == "given", ~pl.col("trains"))
    fewest = tested.group_by("class").len().sort("len").row(0)
    null = _row(metrics, "state, shuffled features", ELSEWHERE, "balanced_accuracy")["value"]
    note = (
        f"learned on two plates, called on {len(plates) - 2}; {tested.height} test cells, fewest {fewest[1]} "
        f"{fewest[0]}; shuffled {null:.2f}"
    )
    figures.add("states_balanced_accuracy", row["value"], "", note, at_least=0.80)
    row = _row(metrics, "state", f"{ELSEWHERE}, cells without a mask as errors", "balanced_accuracy")
    figures.add("states_with_missed", row["value"], "", "the same with true cells without a mask as errors")
    calls = tables.read("phenotype_calls", STATES).filter(predicted_by=FINAL)
    truth = pl.read_parquet(folder / "data/gallery/cpg9999-synthetic/source_0/workspace/truth/treatments.parquet")
    planted, faint, quiet = planted_pairs(truth, calls)
    note = f"against {len(quiet)} pairs of inactive compounds, by the effect on wells"
    figures.add("planted_auroc", auroc(planted, quiet), "", f"{len(planted)} planted pairs of treatment and state, "
                f"doses of half the effect and more, {note}", at_least=0.95)  # fmt: skip
    every = planted + faint
    figures.add("planted_auroc_every_dose", auroc(every, quiet), "", f"{len(every)} pairs, {len(faint)} of them "
                f"at doses that plant next to nothing, {note}")  # fmt: skip
    figures.add("null_called", null_called(20 if share == 1 else 4), "", "share of pairs called at q < 0.05 on null "
                "plates with a correlation of 0.05 within wells", at_most=0.05)  # fmt: skip
    return figures


def planted_pairs(truth: pl.DataFrame, calls: pl.DataFrame) -> tuple[list[float], list[float], list[float]]:
    """(effects of pairs whose mechanism plants the state, at doses that have half of it or more; the same at lower
    doses, which plant next to nothing; effects of inactive compounds)."""
    known = truth.select("treatment", "mechanism", strong=pl.col("dose") >= pl.col("half_dose"))
    chance = {"mitotic": "mitotic_arrest", "binucleate": "binucleation"}
    planted, faint, quiet = [], [], []
    rows = calls.filter(pl.col("phenotype").is_in(list(chance))).join(known, on="treatment", how="inner")
    for phenotype, mechanism, strong, effect in rows.select("phenotype", "mechanism", "strong", "effect").iter_rows():
        if mechanism == "inactive":
            quiet.append(effect)
        elif MECHANISMS.get(mechanism, {}).get(chance[phenotype], 0) >= 2:
            (planted if strong else faint).append(effect)
    return planted, faint, quiet


def auroc(high: list[float], low: list[float]) -> float:
    one, two = np.array(high)[:, None], np.array(low)[None]
    return float(np.mean((one > two) + 0.5 * (one == two)))


def null_called(draws: int, plates: int = 4, cells: int = 150, correlation: float = 0.05) -> float:
    """Share of pairs called on plates where wells differ as wells do and treatments do nothing."""
    rng = np.random.default_rng(5)
    wells = [f"{chr(65 + i // 12)}{i % 12 + 1:02d}" for i in range(96)]
    controls, names = wells[::6], ["a", "b", "c"]
    found = []
    for _ in range(draws):
        frames = []
        for plate in range(plates):
            own = rng.normal(0, np.sqrt(correlation), (96, 3))
            values = np.repeat(own, cells, axis=0) + rng.normal(0, np.sqrt(1 - correlation), (96 * cells, 3))
            frame = enrich_plate(list(np.repeat(wells, cells)), 1 / (1 + np.exp(-values)), names, controls)
            frames.append(frame.with_columns(Metadata_Plate=pl.lit(f"P{plate}"), treatment=pl.col("Metadata_Well")))
        found.append(float((call_treatments(pl.concat(frames))["q_value"] < 0.05).mean()))
    return float(np.mean(found))


# Application


def apply_figures(figures: Figures, folder: Path, share: float) -> None:
    wells = max(8, round(WELLS_OF_MILLION * share))
    file = _million(folder, wells)
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    worker = context.Process(target=_apply, args=(str(folder), file, wells, queue))
    worker.start()
    worker.join()
    if worker.exitcode:
        raise SystemExit(f"the process that applies ended with {worker.exitcode}")
    cells, seconds, peak = queue.get()
    note = f"{cells:,} cells, {FEATURES} features, 15 classes, scaled by the plate's controls, rows written"
    figures.add("cells_per_second", cells / seconds, "cells/s", note, at_least=100_000)
    figures.add("apply_peak_mb", peak, "MB", "peak of the process that applies", at_most=1000)


def _million(folder: Path, wells: int) -> tuple[str, bytes, bytes]:
    """(file of single cells, a model's card and arrays)."""
    rng = np.random.default_rng(0)
    features = [f"Nuclei_AreaShape_F{i}" for i in range(FEATURES)]

    def frames() -> Any:
        for number in range(wells):
            n = CELLS_OF_WELL
            yield pl.DataFrame({
                "Metadata_Plate": ["P"] * n, "Metadata_Well": [_well(number)] * n,
                "Metadata_Site": np.repeat(np.arange(1, 10, dtype=np.int32), n // 9 + 1)[:n],
                "ObjectNumber": np.arange(1, n + 1, dtype=np.int32),
            }).hstack(pl.DataFrame(rng.normal(size=(n, FEATURES)).astype(np.float32), features))  # fmt: skip

    lake = Lake(str(folder / "lake"))
    output = lake.write_stream("single_cells", Partition("plate", "P"), "single_cells", frames())
    x, codes = rng.normal(size=(3000, FEATURES)), rng.integers(15, size=3000)
    model = fit_model(LogisticConfig(C=(0.1,)), x, [f"class {code:02d}" for code in codes], features, scale="controls")
    return (output.files[0].path, *model.save())


def _well(number: int) -> str:
    return f"{chr(65 + number // 24)}{number % 24 + 1:02d}"


class _Cells:
    """One plate of the lake, as a reader asks for it."""

    def __init__(self, lake: Lake, path: str, wells: int) -> None:
        self.cells = lambda: lake.scan_files([path])
        names = [_well(number) for number in range(wells)]
        kinds = ["negcon" if number % 6 == 0 else None for number in range(wells)]
        self.wells = pl.DataFrame({"Metadata_Well": names, "Metadata_control_type": kinds})

    def scan(self, name: str, keys: list[str]) -> pl.LazyFrame:
        return self.cells()

    def read(self, name: str, key: str) -> pl.DataFrame:
        return self.wells


def _apply(folder: str, file: tuple[str, bytes, bytes], wells: int, queue: Any) -> None:
    path, card, weights = file
    lake = Lake(f"{folder}/lake")
    model = load_model(card, weights)
    reader = CellReader(_Cells(lake, path, wells), "bench", "P", CellFeaturesConfig())
    began = time.perf_counter()
    cells = 0

    def frames() -> Any:
        nonlocal cells
        for keys, values in reader.batches(model.card.features):
            cells += len(values)
            yield prediction_rows("m", FINAL, keys, model, model.predict(values)).with_columns(
                study=pl.lit("bench"), in_training=pl.lit(False)
            )

    lake.write_stream("predictions", Partition("study", "bench"), "predictions", frames())
    seconds = time.perf_counter() - began
    queue.put((cells, seconds, peak_mb()))


def _one_thread() -> Any:
    """From here on, or within this, no product of arrays takes more than one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    limits = ExitStack()
    limits.enter_context(threadpool_limits(1))
    limits.callback(torch.set_num_threads, before)
    return limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of plates, fits and cells (default: all)")
    parser.add_argument("--folder", type=Path, help="where plates are kept; default: a temporary folder")
    parser.add_argument("--reference", default=os.environ.get("MORPHO_REFERENCE_DATA"), help="folder of reference data")
    parser.add_argument("--only", choices=["crops", "grid", "states", "apply"], help="one of the parts")
    options = parser.parse_args()
    figures = Figures(SECTION, ABOUT)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        # Plates of states are made and called beside the crops, each with one thread, for threads of two would wait for
        # each other; the solver and what is applied are timed alone.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, _one_thread) as beside, _one_thread():
            states = None
            if options.only in (None, "states"):
                states = beside.submit(state_figures, folder / "states", options.share)
            if options.only in (None, "crops", "grid") and options.reference is not None:
                reference = Path(options.reference).resolve()
                if options.only != "grid":
                    tables = crop_figures(figures, folder / "crops", reference, options.share)
                else:
                    tables = crops_tables(folder / "crops", reference, options.share)
            if states is not None:
                figures.rows += states.result().rows
        if options.only in (None, "grid") and options.reference is not None:
            grid_figures(figures, tables, folder / "crops", options.share)
        if options.only in (None, "apply"):
            apply_figures(figures, folder / "apply", options.share)
    if options.share == 1 and options.only is None:
        figures.publish()


if __name__ == "__main__":
    main()
