"""Whether the numbers hold: plates drawn from a model with nothing on them, or with what was planted, through the
chains of the shipped studies.

python -m benchmarks.calibration [--share S]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.figures import Figures
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.retrieval import mean_average_precision, retrieval, treatment_scores
from morpho_assets.evaluate.sweep import sweep
from morpho_assets.evaluate.truth.statistics import roc_auc
from morpho_assets.profiles.correct import CORRECTORS
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.recipe import Recipe, Step, apply_recipe, load_recipe
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.tuning import is_reported, mark_tuning
from morpho_assets.studies.model import Study, load_study

ABOUT = (
    "Plates drawn from a factor model with the spectrum of real controls, through the chains of the shipped studies: "
    "with nothing on them, with half of the treatments acting, and with their labels shuffled. Beside each mean its "
    "standard error over runs."
)
DECAY = 1.1  # of the spectrum: the controls of three CPJUMP1 plates have 0.14, 0.41, 0.71 of it in 1, 5, 20 components
LEVEL = 10.0  # of raw features, in spreads: recipes ask that a spread is small beside its level
SHIPPED = Path("nowhere")  # no folder of a user's own studies
Numbers = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Design:
    """Plates of `treatments` with so many `wells` on each, `controls` on each, and a `shift` between plates in spreads
    of a well; `study` is the shipped study whose chain they go through."""

    study: str
    plates: int
    wells: int
    controls: int
    features: int
    shift: float = 1.0
    treatments: int = 24

    @property
    def name(self) -> str:
        where = "one plate" if self.plates == 1 else f"{self.plates} plates, shift {self.shift:g}"
        return f"{self.study}, {where}, {self.controls} controls, {self.features} features"


NOISE = {  # with the runs that each gets: a run of the long recipes takes ten times that of a scale
    Design("demo", 1, 4, 16, 1000): 40,
    Design("demo", 4, 1, 6, 1000): 200,
    Design("demo", 1, 4, 64, 20): 60,
    Design("pycytominer", 1, 4, 6, 300): 60,
    Design("pycytominer", 4, 1, 16, 100): 100,
    Design("cpjump1_compounds", 3, 1, 64, 300, treatments=48): 40,
    Design("jump_compound", 4, 1, 16, 100): 60,
    Design("jump_orf", 4, 1, 32, 100): 60,
    Design("jump_crispr", 4, 1, 64, 20, treatments=48): 40,
}
PLANTED = {Design("demo", 1, 4, 16, 300): 30, Design("demo", 4, 1, 16, 300): 60, Design("jump_orf", 4, 1, 32, 100): 10}
COVERED = {
    Design("demo", 4, 1, 16, 60): 400,
    Design("demo", 4, 1, 16, 60, treatments=100): 200,
    Design("demo", 1, 4, 32, 60): 200,
}
CORRECTED = {Design("demo", 4, 1, 16, 60, treatments=30): 40}
WEAK, MIDDLING = 0.4, 0.7  # lengths of planted effects, in spreads of a well


@lru_cache(maxsize=4)
def loadings(features: int) -> npt.NDArray[np.float64]:
    """(features, features) by which independent numbers become features with the spectrum k^-DECAY, spread 1."""
    rng = np.random.default_rng(features)
    spread = np.sqrt(np.arange(1, features + 1.0) ** -DECAY)
    mixed = spread[:, None] * np.linalg.qr(rng.normal(size=(features, features)))[0]
    return np.asarray(mixed / np.sqrt((mixed**2).sum(axis=0)))


def plates(design: Design, seed: int, effect: float = 0.0, active: float = 0.5) -> pl.DataFrame:
    """Raw wells of every plate at random places. A treatment acts with the chance `active`, in a direction of its own,
    drawn like the wells, of length `effect` in their spreads. Metadata_active says which do."""
    rng = np.random.default_rng(seed)
    load = loadings(design.features)
    acts = (rng.random(design.treatments) < active) & (effect > 0)
    effects = effect * acts[:, None] * (rng.normal(size=(design.treatments, design.features)) @ load)
    frames = []
    for plate in range(design.plates):
        labels = np.concatenate([
            np.repeat(np.arange(design.treatments), design.wells), np.full(design.controls, -1)
        ])  # fmt: skip
        place = rng.permutation(labels.size)
        values = rng.normal(size=(labels.size, design.features)) @ load + np.where(
            labels[:, None] >= 0, effects[labels], 0
        )
        if design.plates > 1:
            gain = np.exp(0.1 * design.shift * rng.normal(size=design.features))
            values = values * gain + design.shift * rng.normal(size=design.features) @ load
        treated = labels >= 0
        frames.append(
            pl.DataFrame(LEVEL + values, schema=[f"Cells_AreaShape_{i}" for i in range(design.features)]).with_columns(
                pl.lit(f"P{plate}").alias("Metadata_Plate"),
                pl.lit(f"B{plate // 2}").alias("Metadata_Batch"),
                pl.Series("Metadata_Well", [f"{chr(65 + at // 24)}{at % 24 + 1:02d}" for at in place]),
                pl.Series("Metadata_Row", place // 24 + 1),
                pl.Series("Metadata_Col", place % 24 + 1),
                pl.Series("Metadata_Perturbation", [f"t{i:03d}" if i >= 0 else "DMSO" for i in labels]),
                pl.Series("Metadata_control_type", [None if i >= 0 else "negcon" for i in labels], dtype=pl.String),
                pl.Series("Metadata_Count_Cells", rng.poisson(400, labels.size)),
                pl.Series("Metadata_arm", ["8q" if i >= 0 else None for i in labels]),
                pl.Series("Metadata_zfpkm", np.where(labels < design.treatments // 2, -5.0, 1.0)),
                pl.Series("Metadata_active", acts[labels] & treated),
            )
        )
    return pl.concat(frames)


def study_of(design: Design) -> Study:
    return load_study(design.study, SHIPPED)


def chain(study: Study) -> tuple[Step, ...]:
    """The steps of a study's first space, from raw wells on. Layouts are drawn at random, and may repeat by chance."""
    space = next(iter(study.spaces.values()))
    if space.recipe is not None:
        return tuple(_at_any_layout(step) for step in load_recipe(space.recipe).steps)
    select = getattr(space, "select", None)
    selected = () if select is None else (Step(select=select),)
    return (Step.model_validate({"normalize": {}}), *selected, *(Step(correct=c) for c in study.corrections))


def _at_any_layout(step: Step) -> Step:
    if step.correct is None or step.correct.corrector != "well_position":
        return step
    return Step(correct=step.correct.model_copy(update={"most_fixed": 1.0}))


def questions(study: Study, **settings: Any) -> dict[str, RetrievalConfig]:
    """What the study asks of retrieval, by name."""
    asked = {name: each for name, each in study.evaluators.items() if each["evaluator"] == "retrieval"}
    return {name: RetrievalConfig.model_validate(each | settings) for name, each in asked.items()}


def processed(
    frame: pl.DataFrame, steps: Sequence[Step], share: float | None, seed: int
) -> tuple[pl.DataFrame, tuple[str, ...], Refit]:
    """The reported wells after `steps`, their features, and how they were made; `share` is that of tuning."""
    names = feature_columns(frame)
    frame = frame if share is None else mark_tuning(frame, share, seed)
    made = apply_recipe(frame, Recipe(about="of a study", steps=tuple(steps)), names, seed, sweep)
    rows = np.flatnonzero(is_reported(made.final.profiles).to_numpy())
    refit = Refit(frame, tuple(names), made.settled, rows, seed)
    return made.final.profiles[rows], made.final.features, refit


def noise(design: Design, seed: int) -> Numbers:
    """Of each question that the study asks: mean gain over chance, and every p-value, where nothing acts."""
    study = study_of(design)
    profiles, features, refit = processed(plates(design, seed), chain(study), study.tuning_share, seed)
    found: Numbers = {}
    for name, config in questions(study, null_size=1000, exact_limit=1000).items():
        table = mean_average_precision(profiles, features, config, seed, refit)
        found[f"{name} gain"] = (table["mAP"] - table["chance"]).to_numpy().mean(keepdims=True)
        found[f"{name} p"] = table["p_value"].to_numpy()
    return found


def power(design: Design, seed: int) -> Numbers:
    """p-values of active and of inactive treatments against controls, by our pairing and by the published one."""
    study = study_of(design)
    profiles, features, refit = processed(plates(design, seed, WEAK), chain(study), study.tuning_share, seed)
    acts = profiles.filter("Metadata_active")["Metadata_Perturbation"].unique().to_list()
    found: Numbers = {}
    for pairing in ("matched", "published"):
        config = RetrievalConfig(pairing=pairing, null_size=2000, exact_limit=2000)
        table = mean_average_precision(profiles, features, config, seed, refit)
        is_active = table["Metadata_Perturbation"].is_in(acts).to_numpy()
        found |= {f"{pairing} p": table["p_value"].to_numpy(), f"{pairing} active": is_active.astype(float)}
    return found


def intervals(design: Design, seed: int) -> Numbers:
    """Value, lower and upper end of each metric over all treatments, of which half act."""
    study = study_of(design)
    profiles, features, refit = processed(plates(design, seed, MIDDLING), chain(study), study.tuning_share, seed)
    config = RetrievalConfig(null_size=2000, exact_limit=2000, resamples=500)
    rows = retrieval(profiles, features, config, seed, refit).metrics.filter(scope="overall")
    return {
        row["metric"]: np.array([row["value"], row["ci_low"], row["ci_high"]], dtype=float)
        for row in rows.iter_rows(named=True)
    }


SETTINGS: dict[str, dict[str, Any]] = {"well_position": {"most_fixed": 1}, "chromosome_arm": {"more_than": 10}}


def gains(design: Design, seed: int) -> Numbers:
    """Of each corrector what mAP gains by it where the labels are shuffled, of treatments of which half act."""
    frame = shuffled(plates(design, seed, MIDDLING), seed)
    scale = Step.model_validate({"normalize": {}})

    def score(*steps: Step) -> float:
        profiles, features, refit = processed(frame, (scale, *steps), None, seed)
        refit = replace(refit, together=True)
        return float(treatment_scores(profiles, features, RetrievalConfig(), seed, refit)["mAP"].mean())

    before = score()
    steps = {
        name: Step.model_validate({"correct": {"corrector": name, **SETTINGS.get(name, {})}}) for name in CORRECTORS
    }
    return {name: np.array([score(step) - before]) for name, step in steps.items()}


def repeated(
    function: Callable[[Design, int], Numbers], designs: Mapping[Design, int], share: float
) -> dict[Design, list[Numbers]]:
    """What `function` gives of each design at seeds 0, 1, …, as many as a `share` of its runs, two at a time."""
    from joblib import Parallel, delayed

    tasks = [(design, seed) for design, runs in designs.items() for seed in range(max(2, round(share * runs)))]
    with Parallel(n_jobs=min(2, os.cpu_count() or 1)) as parallel:
        results = parallel(delayed(function)(*task) for task in tasks)
    found: dict[Design, list[Numbers]] = {design: [] for design in designs}
    for (design, _), result in zip(tasks, results, strict=True):
        found[design].append(result)
    return found


def joined(found: Sequence[Numbers], name: str) -> npt.NDArray[np.float64]:
    """The numbers of one name, over all runs that have it."""
    return np.concatenate([each[name] for each in found])


def standard_error(values: npt.NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size))


def bias(found: Sequence[Numbers]) -> dict[str, tuple[float, float]]:
    """Of each question the mean gain over chance and its standard error over runs."""
    names = [name for name in found[0] if name.endswith(" gain")]
    gain = {name: joined(found, name) for name in names}
    return {name.removesuffix(" gain"): (float(g.mean()), standard_error(g)) for name, g in gain.items()}


def false_positives(found: Sequence[Numbers], level: float = 0.05) -> dict[str, tuple[float, float]]:
    """Of each question the share of p-values under `level`, and its standard error over runs."""
    shares = {
        name.removesuffix(" p"): np.array([(each[name] < level).mean() for each in found])
        for name in found[0]
        if name.endswith(" p")
    }
    return {name: (float(share.mean()), standard_error(share)) for name, share in shares.items()}


def coverage(found: Sequence[Numbers]) -> dict[str, tuple[float, float]]:
    """Of each metric how often the interval holds the mean of all runs, and how wide it is in the mean."""
    shares = {}
    for name in found[0]:
        values = np.array([each[name] for each in found])
        true = values[:, 0].mean()
        inside = (values[:, 1] <= true) & (true <= values[:, 2])
        shares[name] = (float(inside.mean()), float((values[:, 2] - values[:, 1]).mean()))
    return shares


def found_by(found: Sequence[Numbers], pairing: str, level: float = 0.05) -> tuple[float, float]:
    """AUROC of active against inactive treatments by p, and the share of active ones below the p-value that `level` of
    the inactive ones are below."""
    p, active = joined(found, f"{pairing} p"), joined(found, f"{pairing} active") > 0
    return roc_auc(active, -p), float((p[active] <= np.quantile(p[~active], level)).mean())


def _noise(figures: Figures, share: float) -> list[str]:
    """The figures of noise, and the rows of their table."""
    found = repeated(noise, NOISE, share)
    gain = {(d.name, asked): value for d, runs in found.items() for asked, value in bias(runs).items()}
    wrong = {(d.name, asked): value for d, runs in found.items() for asked, value in false_positives(runs).items()}
    (worst, (mean, error)) = max(gain.items(), key=lambda each: abs(each[1][0]))
    figures.add("map_bias", abs(mean), "", f"± {error:.3f}, {', '.join(worst)}", at_most=0.015)
    figures.add("map_bias_error", max(e for _, e in gain.values()), "", "the largest standard error of a mean")
    (most, (high, error)) = max(wrong.items(), key=lambda each: each[1][0])
    (least, (low, low_error)) = min(wrong.items(), key=lambda each: each[1][0])
    figures.add("false_positive", high, "", f"p < 0.05; ± {error:.3f}, {', '.join(most)}", at_most=0.06)
    figures.add("false_positive_least", low, "", f"± {low_error:.3f}, {', '.join(least)}", at_least=0.02)
    rows = ["| noise: design, question | runs | mAP - chance | p < 0.05 |", "|---|---|---|---|"]
    runs_of = {design.name: len(runs) for design, runs in found.items()}
    for key, (mean, error) in gain.items():
        share_, share_error = wrong[key]
        rows.append(
            f"| {', '.join(key)} | {runs_of[key[0]]} | {mean:.3f} ± {error:.3f} | {share_:.3f} ± {share_error:.3f} |"
        )
    return rows


def _coverage(figures: Figures, share: float) -> list[str]:
    found = repeated(intervals, COVERED, share)
    covered = {(d.name, metric): value for d, runs in found.items() for metric, value in coverage(runs).items()}
    worst, (least, _) = min(covered.items(), key=lambda each: each[1][0])
    figures.add("coverage_min", least, "", ", ".join(worst), at_least=0.93)
    rows = ["| half of the treatments act: design, metric | runs | 95 % interval holds | width |", "|---|---|---|---|"]
    for design, runs in found.items():
        rows += [
            f"| {design.name}, {design.treatments} treatments, {metric} | {len(runs)} | {inside:.3f} | {width:.2f} |"
            for metric, (inside, width) in coverage(runs).items()
        ]
    return rows


def _gains(figures: Figures, share: float) -> list[str]:
    ((design, found),) = repeated(gains, CORRECTED, share).items()
    gain = {name: (float(joined(found, name).mean()), standard_error(joined(found, name))) for name in found[0]}
    worst, (most, error) = max(gain.items(), key=lambda each: each[1][0])
    figures.add("corrector_gain_on_shuffled", most, "", f"of mAP; ± {error:.3f}, {worst}", at_most=0.01)
    rows = [f"| corrector, on shuffled treatments of {design.name} | mAP after - before |", "|---|---|"]
    return rows + [f"| {name} | {mean:.3f} ± {error:.3f} |" for name, (mean, error) in gain.items()]


def _power(figures: Figures, share: float) -> list[str]:
    found = repeated(power, PLANTED, share)
    rows = [
        "| active against inactive treatments | AUROC | published | hits at 5 % | published |",
        "|---|---|---|---|---|",
    ]
    scores = {d: [found_by(runs, pairing) for pairing in ("matched", "published")] for d, runs in found.items()}
    for design, ((auroc, hits), (auroc_published, hits_published)) in scores.items():
        rows.append(f"| {design.name} | {auroc:.3f} | {auroc_published:.3f} | {hits:.2f} | {hits_published:.2f} |")
    (auroc, hits), (auroc_published, hits_published) = np.mean(list(scores.values()), axis=0)
    figures.add("power_auroc", auroc, "", "mean over designs", at_least=auroc_published)
    figures.add("power_auroc_published", auroc_published, "", "the published pairing")
    figures.add("power_hits", hits, "", "at 5 % of inactive treatments", at_least=hits_published)
    figures.add("power_hits_published", hits_published, "", "the published pairing")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the runs of every part (default: %(default)s)")
    share = parser.parse_args().share
    figures = Figures("calibration", ABOUT if share == 1 else f"{ABOUT} Only {share:g} of the runs were made.")
    begin = time.perf_counter()
    tables = [part(figures, share) for part in (_noise, _coverage, _gains, _power)]
    figures.add("seconds", time.perf_counter() - begin, "s", at_most=600)
    figures.publish("\n\n".join("\n".join(rows) for rows in tables))


if __name__ == "__main__":
    from benchmarks.calibration import main as run  # by a name that other processes find

    run()
