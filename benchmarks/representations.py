"""What learned representations add: on demo plates that no setting was chosen on, and on real, labelled nuclei.

python -m benchmarks.representations [--seeds 11,12,13] [--folder PATH] [--reference PATH] [--only demo|cells]

With --folder the plates and embeddings are kept there, and used again. Twenty minutes on two free cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from benchmarks.figures import Figures
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.prediction import PredictionConfig, prediction
from morpho_assets.evaluate.retrieval import treatment_scores
from morpho_assets.evaluate.silhouette import silhouette
from morpho_assets.learn.encoders import load_encoder
from morpho_assets.learn.windows import PlateWindows
from morpho_assets.predict.classifiers.linear import LogisticConfig
from morpho_assets.predict.splits import SplitConfig
from morpho_assets.profiles.study import SELECTED, read_space, space_features
from morpho_assets.runs import Run
from morpho_assets.simulator import write_gallery
from morpho_assets.studies.model import SHIPPED
from morpho_assets.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
STUDY = "representations"
SEEDS = "11,12,13"
STAGES = ("encoder", "embeddings", "feature_space")
AGAINST_CONTROLS = RetrievalConfig()
AGAINST_TREATED = RetrievalConfig(
    pairing="published", negatives=PairRule(diffby=("Metadata_Perturbation",)), queries="treated"
)
CLASSIFIER = PredictionConfig(
    among="treated", model=LogisticConfig(C=(1.0,), standardize=False, class_weight=None), split=SplitConfig(by="plate")
)
ABOUT = (
    "Encoders of the demo study on plates of the simulator that no setting was chosen on: mean average precision of "
    "treatments against controls, and its paired gain over the encoder's untrained twin (best of three draws), and of "
    "CellProfiler's features joined with them, early (all features) and late (3 or 50 components); of these also the "
    "balanced accuracy of a logistic classifier on plates held out, and the silhouette. And real nuclei (MitoCheck, "
    "one stain, classes of at least three movies): phenotypes by a ridge classifier whose penalty is chosen inside "
    "training folds."
)
GAINS = {
    "imagenet": ("imagenet_untrained", 0.10), "patches": ("patches_untrained", 0.0), "sites": ("sites_untrained", None),
    "fused": ("cellprofiler", 0.0), "late_50": ("cellprofiler_64", None), "late_3": ("cellprofiler_64", None),
}  # fmt: skip
"""A space, what it has to beat, and the least that the lower end of the gain's interval is to be."""
TREATED_GAIN = -0.01
"""The least that the fused space is to gain over CellProfiler with other treatments as rivals."""
FUSIONS = ("cellprofiler", "cellprofiler_64", "imagenet", "fused", "late_50", "late_3", "fused_twin", "fused_noise")
"""The spaces of which classifiers are trained."""


def plates_of(folder: Path, seed: int) -> tuple[Workspace, list[str]]:
    """The demo's plates of a seed as far as well profiles, with the study of this benchmark."""
    (folder / "studies").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "morpho.yaml", folder)
    plates = write_gallery(folder / "data/gallery", "demo", seed, workers=os.cpu_count() or 1)
    (folder / f"studies/{STUDY}.yaml").write_text(yaml.safe_dump(study(seed), sort_keys=False))
    workspace = Workspace.open(folder / "morpho.yaml")
    while tasks := [task for task in workspace.plan(plates) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            run.make(task.stage, task.partition)
    return workspace, plates


def study(seed: int) -> dict[str, object]:
    """The encoders as the demo study has them and one of whole sites, and CellProfiler's features joined with
    `imagenet`, early and late, with its untrained twin, and with noise."""
    demo = yaml.safe_load((SHIPPED / "demo.yaml").read_text())
    encoders = {
        "imagenet": demo["encoders"]["imagenet"],
        "patches": {"kind": "patches", "crop_size": 64, "max_cells": 1000},
        "sites": {"kind": "imagenet", "unit": "site", "crop_size": 128, "size": 128, "max_cells": 300},
    }
    mean = {"method": "mean", "prefixes": ["Embedding_"]}
    spaces: dict[str, object] = {"cellprofiler": {"of": "cells"}}
    spaces |= {name: {"of": "embedding", "aggregate": mean} for name in encoders}
    components = {number: {"reduce": {"components": number}} for number in (3, 50, 64)}
    imagenet = {"join": {"spaces": ["imagenet"]}}
    lists = {
        "cellprofiler_64": [components[64]], "fused": [imagenet], "late_50": [components[50], imagenet],
        "late_3": [components[3], imagenet], "fused_twin": [{"join": {"spaces": ["imagenet_untrained"]}}],
        "fused_noise": [{"join": {"spaces": ["noise"]}}],
    }  # fmt: skip
    spaces |= {name: {"of": "space", "space": "cellprofiler", "steps": steps} for name, steps in lists.items()}
    spaces["noise"] = {"of": "noise", "numbers": 64, "seed": seed}
    spaces["cell_count"] = {"of": "cell_count"}
    evaluators = {"replicates": {"evaluator": "retrieval"}}
    return {"name": STUDY, "title": "What learned representations add", "encoders": encoders, "spaces": spaces,
            "evaluators": evaluators}  # fmt: skip


Scores = dict[tuple[str, str], pl.DataFrame]
"""The mAP of each treatment (against controls, treated) or metrics (classifier, apart), by (space, which)."""


def scores_of(workspace: Workspace) -> Scores:
    """The scores of each space; the study is made first."""
    while tasks := [t for t in workspace.plan(studies=[STUDY]) if t.stage in STAGES and not t.waits]:
        run = Run(workspace)
        for task in tasks:
            run.make(task.stage, task.partition)
    commits = workspace.lake.ledger.state().commits
    tables = workspace.lake.snapshot(commits.values())
    found = {}
    for space in workspace.study(STUDY).spaces:
        wells = read_space(tables, STUDY, space, SELECTED)
        features = space_features(wells)
        for against, config in (("controls", AGAINST_CONTROLS), ("treated", AGAINST_TREATED)):
            rows = treatment_scores(wells, features, config, 0)
            found[space, against] = rows.select(treatment="Metadata_Perturbation", mAP="mAP", chance="chance")
        if space in FUSIONS:
            found[space, "classifier"] = prediction(wells, features, CLASSIFIER).metrics
            found[space, "apart"] = silhouette(wells, features).metrics
    return found


def loader_figures(figures: Figures, workspace: Workspace, plate: str) -> None:
    """How fast windows are read and cut, and how fast they are embedded, by one core."""
    lake = workspace.lake
    tables = lake.snapshot(lake.ledger.state().commits.values())
    source = workspace.source(plate, workspace.state([plate]))
    row = tables.read("encoders", STUDY).row(by_predicate=pl.col("encoder") == "imagenet", named=True)
    encoder = load_encoder(lake.read_bytes(row["path"]), lake.read_bytes(row["weights"]), device="cpu")
    windows = PlateWindows.of(tables, source.store(), plate, encoder.card.config)
    scaling, seconds, count = windows.scaling(), {"read": 0.0, "embedded": 0.0}, 0
    began = time.process_time()
    for _, cells in windows.stream(windows.rows()):
        read = time.process_time()
        seconds["read"] += read - began
        encoder.encode(cells, scaling)
        began = time.process_time()
        seconds["embedded"] += began - read
        count += len(cells)
    config = encoder.card.config
    note = f"windows of {config.crop_size} pixels, {len(encoder.card.inputs.channels)} channels, a second of one core"
    figures.add("loader_windows_per_second", count / seconds["read"], "windows/s", f"read and cut; {note}")
    figures.add("imagenet_windows_per_second", count / seconds["embedded"], "windows/s", f"embedded; {note}")


def demo_figures(figures: Figures, seeds: list[int], folder: Path) -> None:
    scores: list[Scores] = []
    seconds = []
    for seed in seeds:
        workspace, plates = plates_of(folder / f"seed-{seed}", seed)
        began = time.perf_counter()
        scores.append(scores_of(workspace))
        seconds.append(time.perf_counter() - began)
    loader_figures(figures, workspace, plates[0])
    for space in dict.fromkeys(space for space, _ in scores[0]):
        each = [rows[space, "controls"]["mAP"].mean() for rows in scores]
        chance = np.mean([rows[space, "controls"]["chance"].mean() for rows in scores])
        note = f"mAP against controls; chance {chance:.3f}; by seed {', '.join(f'{value:.3f}' for value in each)}"
        figures.add(f"{space}_map", float(np.mean(each)), "", note)
    for space, (baseline, least) in GAINS.items():
        for against in ("controls", "treated") if space == "fused" else ("controls",):
            gains = [_gains(rows[space, against], rows[baseline, against]) for rows in scores]
            pooled = np.concatenate(gains)
            name = f"{space}_gain" if against == "controls" else f"{space}_treated_gain"
            note = f"against {baseline}, {against} as rivals; by seed {', '.join(f'{g.mean():+.3f}' for g in gains)}"
            goal = TREATED_GAIN if against == "treated" else None
            figures.add(name, float(pooled.mean()), "mAP", note, at_least=goal)
            interval = mean_interval(pooled, seed=0)
            if interval is not None and against == "controls":
                note = f"lower end of the 95 % interval over {pooled.size} treatments of {len(seeds)} seeds"
                figures.add(f"{name}_low", interval[0], "mAP", note, at_least=least)
    for space in FUSIONS:
        for which, metric, name in (
            ("classifier", "balanced_accuracy", "accuracy"), ("apart", "silhouette", "silhouette"),
        ):  # fmt: skip
            values, chances = zip(*(_metric(rows[space, which], metric) for rows in scores), strict=True)
            what = "treatments named rightly on plates held out" if name == "accuracy" else "of treated wells"
            note = f"{what}; chance {np.mean(chances):.3f}; by seed {', '.join(f'{value:.3f}' for value in values)}"
            figures.add(f"{space}_{name}", float(np.mean(values)), "", note)
    figures.add("study_seconds", float(np.median(seconds)), "s", "encoders, twins, embeddings and spaces of a demo")


def _gains(space: pl.DataFrame, baseline: pl.DataFrame) -> NDArray[np.float64]:
    both = space.join(baseline, on="treatment", suffix="_before")
    return (both["mAP"] - both["mAP_before"]).drop_nulls().to_numpy()


def _metric(metrics: pl.DataFrame, name: str) -> tuple[float, float]:
    """A metric and its chance."""
    row = metrics.row(by_predicate=pl.col("metric") == name, named=True)
    return row["value"], row["chance"]


# Real cells


def crops_of(reference: Path) -> tuple[NDArray[np.float32], pl.DataFrame]:
    """((n, 64, 64) float32 in [0, 1], their rows of index.csv): nuclei of MitoCheck whose class was seen in at least
    three movies."""
    from PIL import Image

    folder = reference / "mitocheck_crops"
    index = pl.read_csv(folder / "index.csv")
    movies = index.group_by("phenotype").agg(pl.col("plate").n_unique().alias("movies"))
    index = index.join(movies.filter(pl.col("movies") >= 3), on="phenotype", how="semi", maintain_order="left")
    pixels = [np.asarray(Image.open(folder / path).convert("L"), np.float32) / 255 for path in index["path"]]
    return np.stack(pixels), index


def measured(crops: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, d) our measurements of each crop's nucleus by an Otsu mask (the object at the centre), signed logs, columns
    that all cells have."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    from morpho_assets.measure.site import measure_site

    frames = []
    for crop in crops:
        objects, _ = ndimage.label(ndimage.gaussian_filter(crop, 1) > threshold_otsu(crop))
        middle = objects[24:40, 24:40]
        counts = np.bincount(middle[middle > 0], minlength=2)
        nucleus = (objects == counts.argmax()) & (objects > 0) if counts.any() else np.ones(crop.shape, bool)
        frames.append(measure_site(crop[None], {"Nuclei": nucleus.astype(np.int32)}, ["DNA"]))
    values = pl.concat(frames).drop("ObjectNumber").to_numpy()
    values = values[:, np.isfinite(values).all(axis=0)]
    return np.sign(values) * np.log1p(np.abs(values))


def embedded(crops: NDArray[np.float32], untrained: bool) -> NDArray[np.float32]:
    """(n, 672) of the encoder `imagenet` at 112 pixels, each crop on its own scale."""
    from morpho_assets.learn.cells import Cells
    from morpho_assets.learn.encoders import fit_encoder
    from morpho_assets.learn.imagenet import ImagenetConfig

    config = ImagenetConfig(
        crop_size=64, size=112, scaling="image", components=None, untrained=untrained, max_cells=200
    )
    cells = Cells(crops[:, None], ("DNA",))
    return fit_encoder(config, cells, groups=np.arange(len(crops)) % 40).encode(cells)


def folds_of(index: pl.DataFrame, by: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Five folds that keep movies, images, or nothing whole."""
    from sklearn.model_selection import KFold, StratifiedGroupKFold

    rows = np.arange(index.height)
    if by == "random":
        yield from KFold(5, shuffle=True, random_state=0).split(rows)
        return
    names = {"movie": ["plate"], "image": ["plate", "well", "frame"]}[by]
    groups = index.select(pl.concat_str(names, separator=" ")).to_series().to_numpy()
    yield from StratifiedGroupKFold(5, shuffle=True, random_state=0).split(rows, index["phenotype"].to_numpy(), groups)


def predicted(blocks: list[NDArray[np.floating]], index: pl.DataFrame, by: str) -> NDArray[np.str_]:
    """Each nucleus's phenotype, by a ridge classifier of the other folds; its penalty is chosen inside them, with their
    movies kept whole."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import f1_score
    from sklearn.model_selection import GroupKFold
    from sklearn.preprocessing import StandardScaler

    truth, movies = index["phenotype"].to_numpy(), index["plate"].to_numpy()
    guess = np.empty(len(truth), dtype=truth.dtype)
    penalties = np.logspace(1, 5, 5)

    def scaled(train: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        parts = [
            StandardScaler().fit(block[train]).transform(block[rows]).clip(-10, 10) / np.sqrt(block.shape[1])
            for block in blocks
        ]
        return np.concatenate(parts, axis=1) * 30

    for train, test in folds_of(index, by):
        scores = np.zeros(len(penalties))
        for fit, check in GroupKFold(3).split(train, groups=movies[train]):
            inner, held = train[fit], train[check]
            for number, penalty in enumerate(penalties):
                model = RidgeClassifier(alpha=penalty, class_weight="balanced")
                model.fit(scaled(inner, inner), truth[inner])
                scores[number] += f1_score(truth[held], model.predict(scaled(inner, held)), average="weighted")
        model = RidgeClassifier(alpha=penalties[scores.argmax()], class_weight="balanced")
        guess[test] = model.fit(scaled(train, train), truth[train]).predict(scaled(train, test))
    return guess


def weighted_f1(index: pl.DataFrame, guess: NDArray[np.str_]) -> tuple[float, float, float]:
    """Weighted F1 and its 95 % interval, resampling movies."""
    from sklearn.metrics import f1_score

    truth, movies = index["phenotype"].to_numpy(), index["plate"].to_numpy()
    rng, names = np.random.default_rng(0), np.unique(movies)
    rows = {name: np.flatnonzero(movies == name) for name in names}
    draws = []
    for _ in range(200):
        chosen = np.concatenate([rows[name] for name in rng.choice(names, len(names))])
        draws.append(f1_score(truth[chosen], guess[chosen], average="weighted", zero_division=0))
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(f1_score(truth, guess, average="weighted")), float(low), float(high)


CELL_GOALS = {
    "cells_imagenet_movie": 0.60, "cells_imagenet_image": 0.74, "cells_cellprofiler_movie": 0.60,
    "cells_joined_movie": 0.66, "cells_joined_image": 0.76,
}  # fmt: skip


def cell_figures(figures: Figures, reference: Path) -> None:
    crops, index = crops_of(reference)
    began = time.process_time()
    deep = embedded(crops, untrained=False)
    figures.add("cells_per_second", len(crops) / (time.process_time() - began), "windows/s",
                "imagenet, one channel at 112 pixels, per second of one core")  # fmt: skip
    twin, classic = embedded(crops, untrained=True), measured(crops)
    spaces = {"imagenet": [deep], "untrained": [twin], "cellprofiler": [classic], "joined": [deep, classic]}
    for name, blocks in spaces.items():
        for by in ("movie", "image", "random"):
            value, low, high = weighted_f1(index, predicted(blocks, index, by))
            figure = f"cells_{name}_{by}"
            note = f"weighted F1, {by} folds, 95 % over movies {low:.2f} to {high:.2f}"
            figures.add(figure, value, "", note, at_least=CELL_GOALS.get(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default=SEEDS, help="seeds of the demo (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where plates are kept; default: a temporary folder")
    parser.add_argument("--reference", default=os.environ.get("MORPHO_REFERENCE_DATA"), help="folder of reference data")
    parser.add_argument("--only", choices=["demo", "cells"], help="one of the two parts")
    options = parser.parse_args()
    figures = Figures(STUDY, ABOUT)
    if options.only != "cells":
        with tempfile.TemporaryDirectory() as scratch:
            seeds = [int(seed) for seed in options.seeds.split(",")]
            demo_figures(figures, seeds, options.folder or Path(scratch))
    if options.only != "demo" and options.reference is not None:
        cell_figures(figures, Path(options.reference))
    left_out = {"cells": "The demo plates", "demo": "The real nuclei"}.get(options.only or "")
    figures.publish(f"{left_out} were left out of this run (`--only {options.only}`)." if left_out else "")


if __name__ == "__main__":
    main()
