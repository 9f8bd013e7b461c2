"""One split of compounds: every modality, every way to join them and every baseline, predicted and scored alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.predict.activity.baselines import MAJORITY, NEAREST, NUISANCES, SHUFFLED, shuffled_labels
from morpho_assets.predict.activity.config import ActivityConfig, CompoundSplit
from morpho_assets.predict.activity.folds import cluster_folds, random_folds, whole_folds
from morpho_assets.predict.activity.fusion import fused, stacked
from morpho_assets.predict.activity.modalities import Modality, joined
from morpho_assets.predict.activity.models import HeldOut, LogisticModel, predict_held_out
from morpho_assets.predict.activity.neighbours import of_other_folds, similar_actives
from morpho_assets.predict.activity.scores import AssayScores, interval, score_assays, unit_draws

Floats = NDArray[np.floating]
Folds = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What is asked: `labels` (n, a; 1, 0, NaN) of `assays`, `modalities` by name, chances `given` elsewhere (n, a) by
    name, `nuisances`, the `units` of scaffold and of batch (n,), and fingerprints `bits` (n, d), if structures are
    known."""

    assays: Sequence[str]
    labels: Floats
    modalities: Mapping[str, Modality]
    given: Mapping[str, Floats]
    nuisances: Sequence[Modality]
    units: Mapping[str, NDArray[np.str_]]
    bits: Floats | None = None

    @property
    def names(self) -> list[str]:
        """The modalities, those predicted elsewhere last."""
        return [*self.modalities, *self.given]


@dataclass(frozen=True)
class Predictor:
    """One way to predict: `kind` (modality, model, early, late, merger, baseline or shuffled), the modalities it is
    `of`, what it predicted and how well."""

    name: str
    kind: str
    of: tuple[str, ...]
    held: HeldOut
    scores: AssayScores


@dataclass(frozen=True)
class Answer:
    """The predictors of one split, in order; `fold` (n,) of each compound; `similarity` (n, a) to the nearest tested
    active of other folds, `similar_to` (n, a) which compound that is, -1 for none; `calibrated` (n, a) chances of the
    predictor `ranked_by`, whose compounds are listed."""

    fold: Folds
    predictors: Mapping[str, Predictor]
    ranked_by: str
    calibrated: HeldOut
    similarity: Floats | None = None
    similar_to: NDArray[np.int32] | None = None

    def shuffled_of(self, predictor: Predictor) -> Predictor | None:
        """The same with shuffled labels; of what has none, of all modalities together."""
        own = self.predictors.get(f"{SHUFFLED}: {predictor.name}")
        others = [each for each in self.predictors.values() if each.kind == "shuffled"]
        return own or (others[-1] if others else None)

    def reached_by(self, predictor: Predictor) -> list[list[str]]:
        """For each assay the nuisances that alone reach its score: above chance themselves, and not surely below it."""
        found: list[list[str]] = [[] for _ in range(len(predictor.scores.auroc))]
        if predictor.kind in ("baseline", "shuffled"):
            return found
        for name in NUISANCES:
            other = self.predictors.get(name)
            if other is None:
                continue
            above = interval(other.scores.draws)[0] > 0.5
            reached = ~(interval(predictor.scores.draws - other.scores.draws)[0] > 0)
            for assay in np.flatnonzero(above & reached):
                found[assay].append(name)
        return found


def folds_of(question: Question, split: CompoundSplit) -> tuple[Folds, NDArray[np.str_]]:
    """((n,) fold of each compound, (n,) what was kept whole, by which resamples are drawn)."""
    number = len(question.labels)
    alone = np.arange(number).astype(str)
    if split.by in question.units:
        units = question.units[split.by]
        return whole_folds(units, split.folds), units if split.by == "scaffold" else alone
    if split.by == "cluster":
        x = question.modalities[str(split.of)].prepared()
        dense = np.asarray(x.toarray() if hasattr(x, "toarray") else x, float)
        dense[~question.modalities[str(split.of)].known] = np.nan
        return cluster_folds(dense, split.folds, split.seed), alone
    return random_folds(number, split.folds, split.seed), alone


@dataclass
class _Builder:
    """Predictors as they come; scored when they are added."""

    question: Question
    config: ActivityConfig
    fold: Folds
    draws: Floats
    ranked_by: str
    found: dict[str, Predictor] = field(default_factory=dict)

    def add(self, name: str, kind: str, of: Sequence[str], held: HeldOut, labels: Floats | None = None) -> None:
        truth = self.question.labels if labels is None else labels
        scores = score_assays(truth, held.score, self.fold, self.draws)
        if kind != "modality" and name != self.ranked_by:  # nothing is learned from these
            held = HeldOut(np.asarray(held.score, np.float32), held.nested[:0])
        self.found[name] = Predictor(name, kind, tuple(of), held, scores)

    def held(self, name: str) -> HeldOut:
        return self.found[name].held


def answer(question: Question, config: ActivityConfig, split: CompoundSplit, whole: bool = True) -> Answer:
    """Every predictor on one split. Without `whole` modalities, the first fusion of all, nuisances and shuffled labels
    alone."""
    fold, units = folds_of(question, split)
    labels, names = question.labels, question.names
    ranked_by = _named(config.fusion.late[0], names) if len(names) > 1 else names[0]
    builder = _Builder(question, config, fold, unit_draws(units, config.draws, config.seed), ranked_by)
    prepared = {name: each.prepared() for name, each in question.modalities.items()}
    for name, each in question.modalities.items():
        builder.add(name, "modality", [name], predict_held_out(config.model, prepared[name], each.known, labels, fold))
    for name, chances in question.given.items():
        folds = int(fold.max(initial=-1)) + 1
        builder.add(name, "modality", [name], HeldOut(chances, np.broadcast_to(chances, (folds, *chances.shape))))
    if whole:
        for model in config.also:
            for name, each in question.modalities.items():
                own = predict_held_out(model, prepared[name], each.known, labels, fold, nested=False)
                builder.add(f"{name}, {model.kind}", "model", [name], own)
    calibrated = {name: stacked([builder.held(name)], labels, fold) for name in names}
    sets = [chosen for chosen in _sets(names) if whole or len(chosen) == len(names)]
    for chosen in sets:
        for rule in config.fusion.late if whole else config.fusion.late[:1]:
            source = calibrated if config.fusion.calibrated else {name: builder.held(name) for name in names}
            parts = [source[name] for name in chosen]
            held = (
                stacked([builder.held(name) for name in chosen], labels, fold) if rule == "stacked"
                else fused(parts, rule)
            )  # fmt: skip
            builder.add(_named(rule, chosen), "late", chosen, held)
    if whole and config.fusion.early:
        for chosen in sets:
            if all(name in prepared for name in chosen):
                x = joined([prepared[name] for name in chosen])
                known = np.any([question.modalities[name].known for name in chosen], axis=0)
                builder.add(_named("early", chosen), "early", chosen,
                            predict_held_out(config.model, x, known, labels, fold, nested=False))  # fmt: skip
    similarity, similar_to = _similar(builder, whole)
    _nuisances(builder)
    _shuffled(builder, prepared)
    ranked = builder.held(ranked_by)
    sure = ranked if ranked_by.startswith("stacked") else stacked([ranked], labels, fold)
    return Answer(fold, builder.found, ranked_by, sure, similarity, similar_to)


def _similar(builder: _Builder, whole: bool) -> tuple[Floats | None, NDArray[np.int32] | None]:
    """The nearest tested active in structure: a baseline, and with the chance of structure the merger."""
    question, fold = builder.question, builder.fold
    if question.bits is None:
        return None, None
    similarity, which, nested = of_other_folds(*similar_actives(question.bits, question.labels, fold), fold)
    unknown = ~np.isfinite(question.bits).all(axis=1)
    score = np.where(unknown[:, None], np.nan, similarity)
    inside = np.where(unknown[None, :, None], np.nan, nested)
    near = HeldOut(score, inside)
    builder.add(NEAREST, "baseline", [], near)
    structure = next((name for name, each in question.modalities.items() if each.bits), None)
    if whole and builder.config.fusion.merger and structure is not None:
        held = stacked([builder.held(structure)], question.labels, fold, similar=near)
        builder.add(f"merger: {structure} + similarity", "merger", [structure], held)
    return score, which


def _nuisances(builder: _Builder) -> None:
    labels, fold = builder.question.labels, builder.fold
    for each in builder.question.nuisances:
        held = predict_held_out(LogisticModel(), each.prepared(), each.known, labels, fold, nested=False)
        builder.add(each.name, "baseline", [], held)
    same = np.where(np.isfinite(labels), 0.0, np.nan)
    folds = int(fold.max(initial=-1)) + 1
    builder.add(MAJORITY, "baseline", [], HeldOut(same, np.broadcast_to(same, (folds, *same.shape))))


def _shuffled(builder: _Builder, prepared: Mapping[str, object]) -> None:
    """Every modality learned anew from shuffled labels, and their first fusion."""
    question, config, fold = builder.question, builder.config, builder.fold
    labels = shuffled_labels(question.labels, config.seed)
    held = {}
    for name, each in question.modalities.items():
        held[name] = predict_held_out(config.model, prepared[name], each.known, labels, fold)
        builder.add(f"{SHUFFLED}: {name}", "shuffled", [name], held[name], labels)
    rule, names = config.fusion.late[0], list(held)
    if len(names) > 1:
        parts = list(held.values())
        if rule != "stacked" and config.fusion.calibrated:
            parts = [stacked([each], labels, fold) for each in parts]
        together = stacked(parts, labels, fold) if rule == "stacked" else fused(parts, rule)
        builder.add(f"{SHUFFLED}: {_named(rule, names)}", "shuffled", names, together, labels)


def _sets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every pair, and all where there are more."""
    if len(names) > 1:
        yield from combinations(names, 2)
    if len(names) > 2:
        yield tuple(names)


def _named(how: str, names: Sequence[str]) -> str:
    return f"{how}: {' + '.join(names)}"
