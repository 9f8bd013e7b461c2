"""The evaluation stage of a study: every evaluator on every space and step, and on what has no signal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise, product

import polars as pl

from morpho_assets.errors import InputError, NothingLeft
from morpho_assets.evaluate.baselines import shuffled_before
from morpho_assets.evaluate.evaluators import (
    PLATE_EVALUATORS,
    TRUTH_EVALUATORS,
    evaluate,
    evaluate_plates,
    evaluate_truth,
)
from morpho_assets.evaluate.metrics import (
    SCORES_SCHEMA,
    Evaluation,
    averaged,
    metrics_frame,
    paired_differences,
    treatment_names,
)
from morpho_assets.gallery.truth import read_truth, truth_folders
from morpho_assets.imaging.sites import plate_reader
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.profiles.made import Chains
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.study import SHUFFLED, read_space, space_features, space_steps, variant_name
from morpho_assets.profiles.tuning import reported

Made = tuple[pl.DataFrame, tuple[str, ...], Refit | None]
"""Profiles, their features, and how they came to be."""
TRUTH = "truth"  # the variant of what is compared with what was planted
PLATES = "plates"  # the variant of what does not depend on a feature space


def evaluate_study(work: Work) -> None:
    """Write `metrics`, `treatments`, `treatment_scores`, `potencies`, `dose_responses` and `planted_and_found`.

    A variant is a space, a space and the step it has come to, or a space with its treatments shuffled: what an
    evaluator gives where there is nothing, in the mean of several draws, each made before the first step that reads
    treatments. Treatments that a correction was tuned on are left out. What a step changes stands in rows of scope
    `against <the step before>`, paired by treatment. Evaluators of plates see the plates once, as
    variant `plates`; those of truth see the whole study beside what is known of simulated plates, as variant `truth`,
    and write nothing of real ones. InputError names the evaluator and the variant.
    """
    inputs, study, asked = work.inputs, work.key, work.settings
    steps, evaluators, seed = space_steps(asked.spaces, asked.corrections), asked.evaluators, asked.seed
    of_plates = {name: settings for name, settings in evaluators.items() if settings["evaluator"] in PLATE_EVALUATORS}
    of_truth = {name: settings for name, settings in evaluators.items() if settings["evaluator"] in TRUTH_EVALUATORS}
    of_profiles = {name: settings for name, settings in evaluators.items() if name not in {*of_plates, *of_truth}}
    variants = [(space, step) for space, names in steps.items() for step in names]
    chains = Chains(inputs, study, asked.spaces, asked.corrections, seed)
    metrics, treatments, scores = [], [], []
    of_doses: dict[str, list[pl.DataFrame]] = {"potencies": [], "dose_responses": []}
    total, done = (1 + asked.shuffles) * len(variants) * len(of_profiles) + len(of_plates) + len(of_truth), 0
    for space, step in variants:
        profiles = reported(read_space(inputs, study, space, step))
        made = profiles, tuple(space_features(profiles)), chains.refit(space, step, profiles)
        name = variant_name(space, step)
        shuffles = _shuffles(made, range(seed, seed + asked.shuffles))
        for variant, draws in ((name, iter([made])), (f"{name}, {SHUFFLED}", shuffles)):
            found: dict[str, list[Evaluation]] = {evaluator: [] for evaluator in of_profiles}
            for wells, features, refit in draws:
                for evaluator, settings in of_profiles.items():
                    with _named(study, evaluator, variant):
                        found[evaluator].append(evaluate(wells, features, settings, seed, refit))
                    done += 1
                    work.progress("evaluation", done, total)
            for evaluator, evaluations in found.items():
                if not evaluations:
                    continue
                place = {"study": pl.lit(study), "variant": pl.lit(variant), "evaluator": pl.lit(evaluator)}
                mean = averaged(evaluations)
                metrics.append(mean.metrics.with_columns(**place))
                scores.append(mean.scores.with_columns(**place))
                treatments += _treatments(mean, place)
                for table_name, frames in of_doses.items():
                    if table_name in mean.details:
                        frames.append(mean.details[table_name].with_columns(**place))
    scored = pl.concat(scores) if scores else table("treatment_scores").empty()
    metrics += _changes(study, scored, steps, of_profiles, seed)
    readers = {plate: plate_reader(inputs, source.store(), plate) for plate, source in work.source.items()}
    for evaluator, settings in of_plates.items():
        place = {"study": pl.lit(study), "variant": pl.lit(PLATES), "evaluator": pl.lit(evaluator)}
        with _named(study, evaluator, PLATES):
            metrics.append(evaluate_plates(inputs, readers, settings, seed).metrics.with_columns(**place))
        done += 1
        work.progress("evaluation", done, total)
    points = []
    truth = read_truth(truth_folders(inputs, work.source)) if of_truth else None
    for evaluator, settings in of_truth.items():
        with _named(study, evaluator, TRUTH):
            seen = evaluate_truth(inputs, study, list(steps), truth, settings, seed)
        place = {"study": pl.lit(study), "variant": pl.lit(TRUTH), "evaluator": pl.lit(evaluator)}
        metrics.append(seen.metrics.with_columns(**place))
        points.append(seen.details["points"].with_columns(study=pl.lit(study), evaluator=pl.lit(evaluator)))
        done += 1
        work.progress("evaluation", done, total)
    frame = pl.concat(metrics) if metrics else table("metrics").empty()
    work.write("treatments", pl.concat(treatments) if treatments else table("treatments").empty())
    work.write("treatment_scores", scored)
    for name, frames in of_doses.items():
        work.write(name, pl.concat(frames) if frames else table(name).empty())
    work.write("planted_and_found", pl.concat(points) if points else table("planted_and_found").empty())
    work.write("metrics", frame)


def _shuffles(made: Made, seeds: Iterable[int]) -> Iterator[Made]:
    """The profiles with treatments shuffled, once for each seed; none where a step then leaves no feature."""
    for seed in seeds:
        with suppress(NothingLeft):
            yield shuffled_before(*made, seed=seed)


def _changes(
    study: str, scored: pl.DataFrame, steps: Mapping[str, Sequence[str]], evaluators: Iterable[str], seed: int
) -> Iterator[pl.DataFrame]:
    """Metric rows of every step but a space's first: what it changed, paired by treatment."""
    named = [[variant_name(space, step) for step in of_space] for space, of_space in steps.items()]
    pairs = [pair for variants in named for pair in pairwise(variants)]
    for evaluator, (last, variant) in product(evaluators, pairs):
        before, after = (
            scored.filter(evaluator=evaluator, variant=name).select(*SCORES_SCHEMA) for name in (last, variant)
        )
        rows = paired_differences(before, after, evaluator, f"against {last}", seed)
        yield metrics_frame(rows).with_columns(study=pl.lit(study), variant=pl.lit(variant))


@contextmanager
def _named(study: str, evaluator: str, variant: str) -> Iterator[None]:
    """Says in an InputError of which evaluator and variant it is."""
    try:
        yield
    except InputError as error:
        place = f"evaluator {evaluator}, variant {variant}: {error.file}"
        where = f"{place}, {error.where}" if error.where else place
        raise InputError(f"study {study}", where, error.found, error.expected, error.do) from error


def _treatments(found: Evaluation, place: dict[str, pl.Expr]) -> list[pl.DataFrame]:
    if "treatments" not in found.details:
        return []
    rows = found.details["treatments"]
    group = rows.columns[: rows.columns.index("mAP")]
    return [rows.with_columns(treatment_names(rows.select(group)), **place).drop(group)]
