"""The evaluation stage of a study: every evaluator on every space and step, and on what has no signal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import polars as pl

from morpho_assets.errors import InputError, NothingLeft
from morpho_assets.evaluate.baselines import shuffled_before
from morpho_assets.evaluate.evaluators import (
    PLATE_EVALUATORS,
    TRUTH_EVALUATORS,
    evaluate,
    evaluate_plates,
    evaluate_truth,
    evaluator_config,
)
from morpho_assets.evaluate.metrics import (
    SCORES_SCHEMA,
    Evaluation,
    averaged,
    metrics_frame,
    paired_differences,
    treatment_names,
)
from morpho_assets.evaluate.sites import evaluate_sites
from morpho_assets.gallery.truth import read_truth, truth_folders
from morpho_assets.imaging.sites import plate_reader
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.learn.kinds import STARTED, UNTRAINED
from morpho_assets.learn.seen import encoders_of, what_was_seen
from morpho_assets.profiles.made import Chains
from morpho_assets.profiles.recipe import apply_recipe, load_recipe
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.space import SpaceConfig
from morpho_assets.profiles.study import SHUFFLED, read_space, space_features, space_steps, variant_name
from morpho_assets.profiles.tuning import is_reported, reported

Made = tuple[pl.DataFrame, tuple[str, ...], Refit | None]
"""Profiles, their features, and how they came to be."""
RETRIEVAL = ["variant", "evaluator"]  # of rows whose scores `treatments` has, in columns
TRUTH = "truth"  # the variant of what is compared with what was planted
COMMON = "common"  # the recipe of the common post-processing
PROCESSED = "common post-processing"
"""What is added to the name of a space's variant after it."""
PLATES = "plates"  # the variant of what does not depend on a feature space


def evaluate_study(work: Work) -> None:
    """Write `metrics`, `treatments`, `treatment_scores`, `clusters`, `cluster_descriptions`, `potencies`,
    `dose_responses` and `planted_and_found`.

    A variant is a space, a space and the step it has come to, a space after the common post-processing (per-plate
    scale, 64 components, MAD of the controls), or one of these with its treatments shuffled: what an evaluator gives
    where there is nothing, in the mean of several draws, each made before the first step that reads treatments. Spaces
    of sites are scored as `evaluate_sites` says, which `note` repeats in every row.
    Treatments that a correction was tuned on are left out. What a step changes stands in rows of scope
    `against <the step before>`, paired by treatment; so are spaces after their last step: each against its shuffled
    twin, the cell count and the first space, and those of networks against each other; and each of an encoder against
    its untrained twin, which is what learning adds. `encoder_saw` says what a space's encoders have seen of what is
    scored. Evaluators of plates see the plates once, as variant `plates`; those of truth see the whole study beside
    what is known of simulated plates, as variant `truth`, and write nothing of real ones. InputError names the
    evaluator and the variant.
    """
    inputs, study, asked = work.inputs, work.key, work.settings
    steps, evaluators, seed = space_steps(asked.spaces, asked.corrections), asked.evaluators, asked.seed
    of_plates = {name: settings for name, settings in evaluators.items() if settings["evaluator"] in PLATE_EVALUATORS}
    of_truth = {name: settings for name, settings in evaluators.items() if settings["evaluator"] in TRUTH_EVALUATORS}
    grouping = [name for name, settings in evaluators.items() if settings["evaluator"] in ("hierarchy", "clusters")]
    of_profiles = {name: settings for name, settings in evaluators.items() if name not in {*of_plates, *of_truth}}
    metrics, treatments, scores, clusters, described = [], [], [], [], []
    of_doses: dict[str, list[pl.DataFrame]] = {"potencies": [], "dose_responses": []}
    number = sum(map(len, steps.values())) + sum(space.of != "cell_count" for space in asked.spaces.values())
    total, done = (1 + asked.shuffles) * number * len(of_profiles) + len(of_plates) + len(of_truth), 0
    common: dict[str, list[str]] = {}
    saw: dict[str, str | None] = {}
    encoders, wells = _encoders(inputs, study, asked.spaces, list(work.source))
    for each in _variants(Chains(inputs, study, asked.spaces, asked.corrections, seed), steps):
        if each.processed:
            common[each.space] = [each.space_variant, each.name]
        of_space = encoders.filter(pl.col("encoder").is_in(encoders_of(asked.spaces, each.space)))
        saw |= dict.fromkeys((each.name, f"{each.name}, {SHUFFLED}"), what_was_seen(of_space, wells, each.made[0]))
        shuffles = _shuffles(each.made, range(seed, seed + asked.shuffles))
        for variant, draws in ((each.name, iter([each.made])), (f"{each.name}, {SHUFFLED}", shuffles)):
            found: dict[str, list[tuple[Evaluation, str | None]]] = {evaluator: [] for evaluator in of_profiles}
            for made in draws:
                for evaluator, settings in of_profiles.items():
                    with _named(study, evaluator, variant):
                        found[evaluator].append(_evaluated(made, settings, seed))
                    done += 1
                    work.progress("evaluation", done, total)
            for evaluator, evaluations in found.items():
                if not evaluations:
                    continue
                mean = averaged([evaluation for evaluation, _ in evaluations])
                note = "; ".join(filter(None, (evaluations[0][1], mean.note))) or None
                place = {"study": pl.lit(study), "variant": pl.lit(variant), "evaluator": pl.lit(evaluator)}
                metrics.append(mean.metrics.with_columns(**place, note=pl.lit(note, pl.String)))
                scores.append(mean.scores.with_columns(**place))
                treatments += _detail(mean, "treatments", "mAP", place)
                clusters += _detail(mean, "clusters", "cluster", place) if evaluator in grouping else []
                if "cluster_descriptions" in mean.details:
                    described.append(mean.details["cluster_descriptions"].with_columns(**place))
                for name, frames in of_doses.items():
                    frames += [mean.details[name].with_columns(**place)] if name in mean.details else []
    scored = pl.concat(scores) if scores else table("treatment_scores").empty()
    chains = [[variant_name(space, step) for step in names] for space, names in steps.items()]
    compared = _compared(asked.spaces, {space: names[-1] for space, names in zip(steps, chains, strict=True)})
    compared += _twins(chains, common)
    metrics += _changes(study, scored, [*chains, *common.values(), *compared], of_profiles, seed)
    plates = work.source.items() if of_plates else ()
    readers = {plate: plate_reader(inputs, source.store(), plate) for plate, source in plates}
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
    frame = pl.concat(metrics, how="diagonal") if metrics else table("metrics").empty()
    work.write("clusters", pl.concat(clusters) if clusters else table("clusters").empty())
    work.write("cluster_descriptions", pl.concat(described) if described else table("cluster_descriptions").empty())
    of_treatments = pl.concat(treatments) if treatments else table("treatments").empty()
    work.write("treatments", _marked(of_treatments, saw))
    work.write("treatment_scores", _marked(scored.join(of_treatments, on=RETRIEVAL, how="anti"), saw))
    for name, frames in of_doses.items():
        work.write(name, pl.concat(frames) if frames else table(name).empty())
    work.write("planted_and_found", pl.concat(points) if points else table("planted_and_found").empty())
    work.write("metrics", _marked(frame, saw))


def _encoders(
    inputs: Snapshot, study: str, spaces: Mapping[str, SpaceConfig], plates: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The encoders of the study, and the wells of its plates; no rows where no space is of an encoder."""
    if not any(encoders_of(spaces, name) for name in spaces):
        return table("encoders").empty(), table("wells").empty()
    return inputs.read("encoders", study), inputs.scan("wells", plates).collect()


def _marked(rows: pl.DataFrame, saw: Mapping[str, str | None]) -> pl.DataFrame:
    """Rows with what the encoders of their variant saw of what is scored."""
    seen = pl.col("variant").replace_strict(dict(saw), default=None, return_dtype=pl.String)
    return rows.with_columns(seen.alias("encoder_saw")) if rows.height else rows


def _twins(chains: Iterable[Sequence[str]], common: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Pairs of a variant of a twin (untrained, or as it started) and the same variant of its encoder's space: what
    learning added."""
    names = {chain[0]: [*chain, *common.get(chain[0], [])[1:]] for chain in chains}
    pairs = []
    for space, variants in names.items():
        for twin in (f"{space}{UNTRAINED}", f"{space}{STARTED}"):
            if twin in names:
                pairs += [[twin + variant.removeprefix(space), variant] for variant in variants]
    return pairs


def _shuffles(made: Made, seeds: Iterable[int]) -> Iterator[Made]:
    """The profiles with treatments shuffled, once for each seed; none where a step then leaves no feature."""
    for seed in seeds:
        with suppress(NothingLeft):
            yield shuffled_before(*made, seed=seed)


@dataclass(frozen=True)
class _Variant:
    """A space after a step, or after the common post-processing (`processed`) of `space_variant`: its rows that are
    reported, their features, and how these came to be, as far as it is known."""

    space: str
    name: str
    made: Made
    processed: bool = False
    space_variant: str = ""


def _variants(chains: Chains, steps: Mapping[str, Sequence[str]]) -> Iterator[_Variant]:
    """Every space after each of its steps and, of all but the cell count, before corrections after the common
    post-processing, by which spaces are compared alike."""
    inputs, study, seed = chains.inputs, chains.study, chains.seed
    for space, names in steps.items():
        for step in names:
            profiles = reported(read_space(inputs, study, space, step))
            made = profiles, tuple(space_features(profiles)), chains.refit(space, step, profiles)
            yield _Variant(space, variant_name(space, step), made)
        profiles = read_space(inputs, study, space, names[0])
        features = space_features(profiles)
        if chains.spaces[space].of != "cell_count" and len(features) > 2:
            with _named(study, COMMON, space):
                final = apply_recipe(profiles, load_recipe(COMMON), features, seed).final
            rows = np.flatnonzero(is_reported(profiles).to_numpy())
            refit = Refit(profiles, tuple(features), load_recipe(COMMON).steps, rows, seed)
            first = variant_name(space, names[0])
            made = reported(final.profiles), final.features, refit
            yield _Variant(space, f"{space}, {PROCESSED}", made, True, first)


def _evaluated(made: Made, settings: Any, seed: int) -> tuple[Evaluation, str | None]:
    """What an evaluator finds, and a sentence that has to stand beside it."""
    rows, features, refit = made
    if "Metadata_Site" in rows.columns:
        return evaluate_sites(rows, features, evaluator_config(settings), seed, refit)
    return evaluate(rows, features, settings, seed, refit), None


def _compared(spaces: Mapping[str, SpaceConfig], last: Mapping[str, str]) -> list[list[str]]:
    """Pairs of variants (what is compared with, and what is compared) of the spaces after their last steps."""
    names = list(spaces)
    counts = [name for name in names if spaces[name].of == "cell_count"]
    networks = [name for name in names if spaces[name].of == "embedding"]
    pairs = [[f"{last[name]}, {SHUFFLED}", last[name]] for name in names]
    pairs += [[last[name], last[other]] for name in counts for other in names if other not in counts]
    pairs += [[last[names[0]], last[name]] for name in names[1:] if name not in counts and names[0] not in counts]
    pairs += [[last[two], last[one]] for one, two in combinations(networks, 2) if names[0] not in (one, two)]
    return pairs


def _changes(
    study: str, scored: pl.DataFrame, chains: Iterable[Sequence[str]], evaluators: Iterable[str], seed: int
) -> Iterator[pl.DataFrame]:
    """Metric rows of every variant of a chain but its first: what it changed, paired by treatment; once for a pair."""
    pairs = dict.fromkeys(pair for variants in chains for pair in pairwise(variants))
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


def _detail(found: Evaluation, name: str, first: str, place: dict[str, pl.Expr]) -> list[pl.DataFrame]:
    """A detail as rows of its table: what stands before the column `first` names the treatment."""
    if name not in found.details:
        return []
    rows = found.details[name]
    group = rows.columns[: rows.columns.index(first)]
    return [rows.with_columns(treatment_names(rows.select(group)), **place).drop(group)]
