"""What labels buy: encoders told treatments of some plates, on plates and compounds that they never saw.

    python -m benchmarks.training [--seeds 21,22] [--folder PATH] [--only NAME,NAME] [--small]

Eight plates of four batches by the simulator, for each seed. The encoders learn on the first two batches, without every
third compound; the wells of the other two batches are scored. With --folder the plates are kept there, and used again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import torch
import yaml
from joblib import Parallel, delayed
from numpy.typing import NDArray
from pydantic import TypeAdapter

from benchmarks.figures import Figures
from benchmarks.training_heat import Plates, heat_figures
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.retrieval import treatment_scores
from morpho_assets.lake.lake import Snapshot
from morpho_assets.learn.cells import Cells, joined
from morpho_assets.learn.encoders import Trained, fit_encoder
from morpho_assets.learn.kinds import STARTED, UNTRAINED, EncoderConfig, twins_of
from morpho_assets.learn.set_study import PlatesCells
from morpho_assets.learn.set_study import wells_by as set_profiles
from morpho_assets.learn.sets import MEDIAN, SetConfig, fit_set, twins_of_set
from morpho_assets.learn.windows import WELL, PlateWindows, drawn
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.runs import Run
from morpho_assets.simulator import write_gallery
from morpho_assets.simulator.design import GalleryDesign, Technique
from morpho_assets.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
SEEDS = "21,22"
DESIGN = GalleryDesign(batches=4, plates_per_batch=2, sites=2)
SMALL = GalleryDesign(
    batches=2, plates_per_batch=2, rows=3, columns=6, pixels=160, scale=0.5, cells_per_site=11, negative_controls=6,
    positive_controls=0, mechanisms=("aurora_inhibitor", "er_stress", "actin_disruptor"), inactive_compounds=2,
    series_compounds=0,
)  # fmt: skip
NEEDED = {"plate_manifest", "raw_images", "illumination", "image_quality", "masks"}
CROP = {"crop_size": 64, "max_cells": 4000, "device": "cpu"}
ENCODERS: dict[str, dict[str, Any]] = {
    "small": {
        "kind": "supervised",
        "architecture": "small",
        "shrink": 2,
        "size": 32,
        "epochs": 20,
        "learning_rate": 1e-3,
    },
    "weakly_supervised": {"kind": "weakly_supervised", "epochs": 6},
    "contrastive": {"kind": "contrastive", "epochs": 8},
    "vae": {"kind": "vae", "epochs": 15},
    "set": {},
}
DEEP = {"kind": "imagenet", **CROP, "size": 32}
"""The embedding of cells that `set` reads beside their measurements."""
SET = {"encoder": "deep", "max_cells": 20_000}
NAMING = {**CROP, **ENCODERS["small"]}
"""The encoder by which a training is killed, and plates and cells are held out: the fastest."""
ABOUT = (
    "Encoders that are told the treatments of four plates (two batches; every third compound left out), on four plates "
    "of two other batches: mean average precision of treatments against controls, and its gain, paired by treatment, "
    "over the untrained twin (best of three draws) and over the weights that the encoder starts from (of `set`, which "
    "reads a frozen network's embedding and measurements, the plain mean of the same numbers); for treatments "
    "whose compound it was told, and for compounds that it never saw."
)


@cache
def gallery_of(folder: Path, design: GalleryDesign, seed: int) -> tuple[Workspace, list[str]]:
    """The plates of a seed, drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load((ROOT / "morpho.yaml").read_text())
    (folder / "morpho.yaml").write_text(yaml.safe_dump({**settings, "measurement": "core"}))
    names = write_gallery(folder / "data/gallery", design, seed, workers=os.cpu_count() or 1)
    return Workspace.open(folder / "morpho.yaml"), names


def plates_of(
    folder: Path, design: GalleryDesign, seed: int, config: EncoderConfig, measured: bool = False
) -> Plates:  # fmt: skip
    """The plates of a seed as an encoder sees them: as far as masks, or as measurements of shape and intensity."""
    workspace, names = gallery_of(folder, design, seed)
    needed = NEEDED | ({"single_cells"} if measured else set())
    while tasks := [task for task in workspace.plan(names) if not task.waits and task.stage in needed]:
        run = Run(workspace)
        for task in tasks:
            run.make(task.stage, task.partition)
    tables = workspace.lake.snapshot(workspace.lake.ledger.state().commits.values())
    state = workspace.state(names)
    windows = {name: PlateWindows.of(tables, workspace.source(name, state).store(), name, config) for name in names}
    scalings = {name: plate.scaling() for name, plate in windows.items()}
    return Plates(windows, tables.scan("wells", names).collect(), scalings, tables)


def lesson_of(
    plates: Plates, config: EncoderConfig, names: list[str] | None = None, without: Sequence[str] | None = None
) -> tuple[Cells, dict[str, Any]]:
    """What the encoders learn from: windows of the training plates without unknown compounds; of each what is told."""
    names = plates.trained_on if names is None else names
    without = plates.unknown if without is None else without
    allowed = plates.wells.filter(
        pl.col("Metadata_Plate").is_in(names)
        & pl.col("Metadata_broad_sample").is_in(list(without)).not_().fill_null(True)
    )
    parts, keys = [], []
    for name in names:
        plate = plates.windows[name]
        for rows, cells in plate.stream(drawn(plate.rows(allowed), config.max_cells, 0, allowed)):
            parts.append(cells)
            keys.append(rows)
    of = pl.concat(keys).join(allowed, on=WELL, how="left", maintain_order="left")
    wells = of.select(pl.concat_str(WELL, separator=" ")).to_series().to_list()
    controls = (of["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    return joined(parts), {"labels": of["Metadata_Perturbation"], "groups": wells, "controls": controls}


def profiles_of(plates: Plates, encoder: Trained) -> pl.DataFrame:
    """Profiles of the held-out plates' wells: means over cells."""
    rows = []
    for name in plates.held_out:
        plate = plates.windows[name]
        for keys, cells in plate.stream(plate.rows()):
            vectors = encoder.encode(cells, plates.scalings[name])
            columns = {f"Embedding_{number}": vectors[:, number] for number in range(vectors.shape[1])}
            rows.append(keys.select(WELL).hstack(pl.DataFrame(columns)))
    return pl.concat(rows).group_by(WELL, maintain_order=True).mean()


def scores_of(plates: Plates, profiles: pl.DataFrame) -> pl.DataFrame:
    """mAP and chance of each treatment on held-out plates, and whether its compound was told, by profiles of wells
    (Embedding_0 and so on) on the scale of their plate's controls."""
    wells = profiles.join(plates.wells, on=WELL, how="left")
    wells = normalize(wells, NormalizeConfig(flat="zero", prefixes=("Embedding_",)))
    features = [column for column in wells.columns if column.startswith("Embedding_")]
    scores = treatment_scores(wells, features, RetrievalConfig(), 0)
    of = plates.wells.select("Metadata_Perturbation", "Metadata_broad_sample").unique()
    told = pl.col("Metadata_broad_sample").is_in(plates.unknown).not_().alias("told")
    return scores.join(of, on="Metadata_Perturbation", how="left").select(
        "mAP", "chance", told, treatment="Metadata_Perturbation"
    )


def scores_of_seed(name: str, place: Path, design: GalleryDesign, seed: int, small: bool) -> dict[str, Any]:
    """The scores of an encoder, or a set, and its twins on one seed's plates, on one thread; its card under `card`, the
    seconds that it trained under `seconds`, the windows that it saw under `cells`."""
    torch.set_num_threads(1)
    settings = settings_of(name, small)
    asked = TypeAdapter(EncoderConfig).validate_python(DEEP if name == "set" else settings)
    plates = plates_of(place, design, seed, asked, name == "set")
    return set_scores(plates, settings, small) if name == "set" else encoder_scores(plates, settings)


def settings_of(name: str, small: bool) -> dict[str, Any]:
    settings = {**CROP, **ENCODERS[name], **({"epochs": 2, "max_cells": 300} if small else {})}
    if name == "set":
        settings = {key: value for key, value in settings.items() if key in SetConfig.model_fields}
        settings = {**settings, "max_cells": SET["max_cells"]}
    return settings


def encoder_scores(plates: Plates, settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    read = TypeAdapter(EncoderConfig).validate_python
    for ending, own in {"": settings, **twins_of(settings)}.items():
        config = read(own)
        cells, told = lesson_of(plates, config)
        began = time.process_time()
        encoder = fit_encoder(config, cells, told["labels"], told["groups"], None, plates.scalings,
                              controls=told["controls"])  # fmt: skip
        if not ending:
            found["seconds"] = time.process_time() - began
            found["card"], found["cells"] = encoder.card, len(cells) * len(encoder.card.losses.train)
        found[f"encoder{ending}"] = encoder
        found[ending] = scores_of(plates, profiles_of(plates, encoder))
    return found


def set_scores(plates: Plates, settings: dict[str, Any], small: bool) -> dict[str, Any]:
    """Of a set. It reads the embeddings of an encoder that was fitted on the training plates."""
    deep = TypeAdapter(EncoderConfig).validate_python({**DEEP, **({"block": 3} if small else {})})
    cells, told = lesson_of(plates, deep)
    encoder = fit_encoder(deep, cells, None, told["groups"], None, plates.scalings)
    embedded = {name: embeddings_of(plates, name, encoder) for name in plates.windows}
    without = plates.wells.filter(pl.col("Metadata_broad_sample").is_in(plates.unknown))["Metadata_Perturbation"]
    trains_on = {"plates": plates.trained_on, "without": without.unique().to_list()}
    settings = {**SET, **settings, "trains_on": trains_on}
    of = PlatesCells(cast(Any, SimpleNamespace(inputs=Embedded(plates.tables, embedded), source=dict(plates.windows),
                                               key="training")), "deep", True)  # fmt: skip
    found: dict[str, Any] = {}
    for ending, own in {"": settings, **twins_of_set(settings)}.items():
        config = SetConfig.model_validate(own)
        lesson = of.lesson(config)
        began = time.process_time()
        fitted = fit_set(config, lesson)
        if not ending:
            found["seconds"] = time.process_time() - began
            found["card"], found["cells"] = fitted.card, len(lesson.wells) * len(fitted.card.losses.train)
        rows = [set_profiles("training", "set", fitted, keys, blocks) for keys, blocks in of.wells()]
        profiles = pl.concat(rows).filter(pl.col("Metadata_Plate").is_in(plates.held_out))
        numbers = [pl.col("embedding").list.get(at).alias(f"Embedding_{at}") for at in range(fitted.card.numbers)]
        found[ending] = scores_of(plates, profiles.select(*WELL, *numbers))
    return found


@dataclass(frozen=True)
class Embedded:
    """Tables of plates, with embeddings that no commit has."""

    tables: Snapshot
    embeddings: dict[str, pl.DataFrame]

    def scan(self, name: str, plates: Sequence[str]) -> pl.LazyFrame:
        if name == "embeddings":
            return pl.concat(self.embeddings[plate] for plate in plates).lazy()
        return self.tables.scan(name, plates)

    def keys(self, name: str) -> list[str]:
        return self.tables.keys(name)


def embeddings_of(plates: Plates, name: str, encoder: Trained) -> pl.DataFrame:
    """Rows as of the table `embeddings`."""
    plate = plates.windows[name]
    rows = []
    for keys, cells in plate.stream(plate.rows()):
        vectors = pl.Series("embedding", encoder.encode(cells, plates.scalings[name]).tolist(), pl.List(pl.Float32))
        place = keys.select(*WELL, "Metadata_Site", ObjectNumber=pl.col("number").cast(pl.Int32))
        rows.append(place.with_columns(vectors, study=pl.lit("training"), encoder=pl.lit("deep")))
    return pl.concat(rows)


def gains(scores: pl.DataFrame, baseline: pl.DataFrame, told: bool) -> NDArray[np.float64]:
    both = scores.filter(pl.col("told") == told).join(baseline, on="treatment", suffix="_before")
    return (both["mAP"] - both["mAP_before"]).drop_nulls().to_numpy()


class Killed:
    """A place to keep a training, which is killed after an epoch."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        if self.content is None:
            self.content = content
            raise KeyboardInterrupt
        self.content = content


def resume_figure(figures: Figures, plates: Plates) -> None:
    """Bytes in which a training that was killed after its first epoch differs from one that was not."""
    config = TypeAdapter(EncoderConfig).validate_python({**NAMING, "epochs": 3, "max_cells": 300})
    cells, told = lesson_of(plates, config)
    keep = Killed()
    fit = partial(fit_encoder, config, cells, told["labels"], told["groups"], None, plates.scalings)
    whole = fit()
    with suppress(KeyboardInterrupt):
        fit(keep=keep)
    resumed = fit(keep=keep)
    differing = sum(
        int(
            (np.frombuffer(array.tobytes(), np.uint8) != np.frombuffer(resumed.weights[name].tobytes(), np.uint8)).sum()
        )
        for name, array in whole.weights.items()
    )
    figures.add("resume_differences", differing, "bytes", "killed after the first of three epochs", at_most=0)


def batch_figures(figures: Figures, folder: Path, seed: int, small: bool) -> None:
    """How well treatments of cells are named where whole plates are held out, and where cells are: with the batch
    effects of the simulator, doubled, and without any."""
    base = (SMALL if small else DESIGN).model_copy(update={"batches": 2})
    loud = Technique(batch_gain=0.24, batch_blur=1.0, stain_drift=0.4)
    techniques = {"with": loud, "without": Technique.none()}
    tasks = (
        delayed(names_told)(folder / f"seed-{seed}-{name}", base.model_copy(update={"technique": each}), seed, small)
        for name, each in techniques.items()
    )
    for name, each in zip(techniques, side_by_side(2, tasks), strict=True):
        note = f"cells out {each['cells']:.3f}, plates out {each['plates']:.3f}, chance {each['chance']:.3f}"
        figures.add(f"{name}_batches_cells_minus_plates", each["cells"] - each["plates"], "balanced accuracy", note)


def names_told(place: Path, design: GalleryDesign, seed: int, small: bool) -> dict[str, float]:
    """Balanced accuracy of treatments named on cells held out, on plates held out, and by chance."""
    torch.set_num_threads(1)
    each: dict[str, float] = {}
    for out in ("cells", "plates"):
        settings = {**NAMING, "validate_on": out, "validation": 0.4, **({"epochs": 2} if small else {})}
        config = TypeAdapter(EncoderConfig).validate_python(settings)
        plates = plates_of(place, design, seed, config)
        cells, told = lesson_of(plates, config, list(plates.windows), ())
        card = fit_encoder(config, cells, told["labels"], told["groups"], None, plates.scalings).card
        each[out], each["chance"] = card.scores["balanced_accuracy"], card.scores["chance"]
    return each


def side_by_side(number: int, tasks: Iterable[Any]) -> list[Any]:
    """Results of joblib's tasks, a core for each."""
    return list(Parallel(n_jobs=min(number, os.cpu_count() or 1))(tasks))


def main() -> None:
    parser = argparse.ArgumentParser(description="What labels buy, on held-out plates and compounds.")
    parser.add_argument("--seeds", default=SEEDS)
    parser.add_argument("--folder", type=Path, help="keep the plates there")
    parser.add_argument("--only", default=",".join(ENCODERS))
    parser.add_argument("--small", action="store_true", help="small plates: a minute, and no figures worth keeping")
    options = parser.parse_args()
    figures, began = Figures("training", ABOUT), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="training-") as temporary:
        folder = options.folder or Path(temporary)
        run(figures, folder, [int(seed) for seed in options.seeds.split(",")], options.only.split(","), options.small)
    minutes, cores = (time.perf_counter() - began) / 60, os.cpu_count() or 1
    figures.add("minutes", minutes, "min", f"all of it, with drawing the plates, on {cores} cores", at_most=20)
    if not options.small and options.only == ",".join(ENCODERS):
        figures.publish()


def run(figures: Figures, folder: Path, seeds: list[int], names: list[str], small: bool) -> None:
    design = SMALL if small else DESIGN
    read = TypeAdapter(EncoderConfig).validate_python
    resume_figure(figures, plates_of(folder / f"seed-{seeds[0]}", design, seeds[0], read(NAMING)))
    if "small" in names:
        batch_figures(figures, folder, seeds[0], small)
    best, best_name = -1.0, ""
    networks = [name for name in names if name != "set"]
    looked_at = "weakly_supervised" if "weakly_supervised" in networks else "".join(networks[:1])
    for name in names:
        places = {seed: folder / f"seed-{seed}" for seed in seeds}
        tasks = (delayed(scores_of_seed)(name, place, design, seed, small) for seed, place in places.items())
        each = side_by_side(len(seeds), tasks)
        windows, seconds = (sum(found[what] for found in each) for what in ("cells", "seconds"))
        card = each[0]["card"]
        what = "a head over cells" if name == "set" else card.architecture
        note = f"{what}; {card.verdict}; seconds of one core {seconds:.0f}"
        figures.add(f"{name}_windows_per_second", windows / max(seconds, 1e-9), "windows/s", note)
        if name == looked_at:
            plates = plates_of(places[seeds[0]], design, seeds[0], read(settings_of(name, small)))
            for method in ("integrated_gradients", "occlusion"):
                heat_figures(figures, name, plates, each[0], method)
        if name != "set" and card.scores:
            note = ", ".join(f"{key} {value:.3f}" for key, value in card.scores.items())
            figures.add(f"{name}_balanced_accuracy", card.scores["balanced_accuracy"], "", f"of the first seed: {note}")
        for told, what in ((True, "plates"), (False, "compounds")):
            maps = [found[""].filter(pl.col("told") == told) for found in each]
            chance = np.mean([rows["chance"].mean() for rows in maps])
            note = f"held-out {what}; chance {chance:.3f}"
            figures.add(f"{name}_{what}_map", float(np.mean([rows["mAP"].mean() for rows in maps])), "mAP", note)
            for ending, twin in ((UNTRAINED, "untrained"), (STARTED, "started"), (MEDIAN, "median")):
                if ending not in each[0]:
                    continue
                by_seed = [gains(found[""], found[ending], told) for found in each]
                pooled = np.concatenate(by_seed)
                interval = mean_interval(pooled, seed=0)
                low, high = interval or (float("nan"), float("nan"))
                before = np.mean([found[ending].filter(pl.col("told") == told)["mAP"].mean() for found in each])
                note = (
                    f"over its twin ({before:.3f}), 95 % [{low:.3f}, {high:.3f}], {pooled.size} treatments; by seed "
                    + ", ".join(f"{gain.mean():+.3f}" for gain in by_seed)
                )
                figures.add(f"{name}_{what}_gain_over_{twin}", float(pooled.mean()), "mAP", note)
                start = STARTED if STARTED in each[0] else UNTRAINED
                if ending == start and what == "plates" and name != "vae":
                    best, best_name = max((best, best_name), (low, name))
    note = f"{best_name}: lower end of its gain over what it started from, on held-out plates"
    figures.add("best_gain_low", best, "mAP", note, at_least=0.0)


if __name__ == "__main__":
    from benchmarks import training  # processes beside this one find what they are sent under its own name

    training.main()
