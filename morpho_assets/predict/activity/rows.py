"""Tables of what was found: scores by assay, overlaps, scores of methods, and the list of compounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.predict.activity.applicability import calibration_error, conformal
from morpho_assets.predict.activity.baselines import NUISANCES
from morpho_assets.predict.activity.compare import Answer, Predictor, Question
from morpho_assets.predict.activity.overlap import overlap_table
from morpho_assets.predict.activity.scores import interval, mean_interval

Floats = NDArray[np.floating]
EVALUATOR = "activity"
"""The evaluator of the rows of `metrics` that activity leaves."""


def score_rows(question: Question, found: Answer, split: str) -> pl.DataFrame:
    """Rows of `assay_scores` of one split."""
    frames = []
    for predictor in found.predictors.values():
        low, high = predictor.scores.interval()
        tested = np.maximum(predictor.scores.tested, 1)
        frames.append(pl.DataFrame({
            "split": split, "predictor": predictor.name, "kind": predictor.kind, "of": " + ".join(predictor.of),
            "assay": list(question.assays), "auroc": predictor.scores.auroc, "ci_low": low, "ci_high": high,
            "average_precision": predictor.scores.average_precision, "chance": predictor.scores.actives / tested,
            "enrichment": predictor.scores.enrichment, "folds": len(predictor.scores.of_folds),
            "dropped": predictor.scores.dropped, "actives": predictor.scores.actives,
            "tested": predictor.scores.tested,
            "reached_by": [", ".join(names) or None for names in found.reached_by(predictor)],
        }, schema_overrides={"reached_by": pl.String}))  # fmt: skip
    return pl.concat(frames)


def overlap_rows(found: Answer, scores: pl.DataFrame, thresholds: Sequence[float]) -> pl.DataFrame:
    """Rows of `assay_overlaps`: the modalities' and, where they were joined, what the first fusion of all adds."""
    names = [each.name for each in found.predictors.values() if each.kind == "modality"]
    return overlap_table(scores.select("assay", "predictor", "auroc"), names, thresholds)


def metric_rows(question: Question, found: Answer, split: str, thresholds: Sequence[float], seed: int) -> pl.DataFrame:
    """Rows of `metrics` of one split: mean AUROC, assays above each threshold, and against each part that is joined."""
    rows: list[dict[str, Any]] = []
    for predictor in found.predictors.values():
        if predictor.kind == "shuffled":
            continue
        null = found.shuffled_of(predictor)
        rows.append(_row(predictor, split, "mean_AUROC", mean_interval(predictor.scores.draws, predictor.scores.auroc,
                    seed), _mean(null.scores.auroc) if null else 0.5))  # fmt: skip
        for threshold in thresholds:
            above = np.nan_to_num(predictor.scores.auroc) > threshold
            of_draws = np.nan_to_num(predictor.scores.draws) > threshold
            low, high = interval(of_draws.sum(axis=1).astype(float))
            chance = float((np.nan_to_num(null.scores.auroc) > threshold).sum()) if null else 0.0
            rows.append(_row(predictor, split, f"assays_above_{threshold:g}", (float(above.sum()), float(low),
                        float(high)), chance))  # fmt: skip
        if predictor.kind not in ("early", "late", "merger"):
            continue
        for part in predictor.of:
            one = found.predictors[part].scores
            difference = mean_interval(predictor.scores.draws - one.draws, predictor.scores.auroc - one.auroc, seed)
            rows.append(_row(predictor, f"{split}, against {part}", "mean_AUROC", difference, 0.0))
    rows += _calibration(question, found, split)
    return pl.DataFrame(rows).with_columns(evaluator=pl.lit(EVALUATOR))


def frame_rows(question: Question, found: Answer, compounds: pl.DataFrame, split: str) -> pl.DataFrame:
    """Rows of `metrics`: what each nuisance says of the outcomes, and whether a correction may remove it.

    In the causal frame (Moshkov's thesis, row M12) treatment and batch both make the image, and the treatment makes the
    outcome. Batch and place are there before the treatment: what they say of an outcome is confounding, and may be
    removed as far as compounds lie in several of them. The number of cells is made by the treatment: removing it
    removes effects.
    """
    rows = []
    for name in NUISANCES:
        predictor = found.predictors.get(name)
        if predictor is None:
            continue
        low, _ = predictor.scores.interval()
        value = float((low > 0.5).mean())
        rows.append({
            "variant": name, "scope": f"causal frame, {split}", "metric": "outcomes_it_tells", "value": value,
            "chance": 0.025, "n": len(question.assays), "note": _may_be_removed(name, compounds),
        })  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"note": pl.String}) if rows else pl.DataFrame()
    return frame.with_columns(evaluator=pl.lit(EVALUATOR)) if rows else frame


def prediction_rows(question: Question, found: Answer, compounds: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Rows of `assay_predictions`, an assay after the other: every compound with a prediction, best first among those
    that were not tested."""
    active, inactive = conformal(found.calibrated, question.labels, found.fold)
    modalities = [each for each in found.predictors.values() if each.kind == "modality"]
    names = np.asarray(compounds)
    for number, assay in enumerate(question.assays):
        chance = found.calibrated.score[:, number]
        tested = np.isfinite(question.labels[:, number])
        rank = np.full(len(names), np.nan)
        open_ones = np.flatnonzero(~tested & np.isfinite(chance))
        rank[open_ones[np.argsort(-chance[open_ones], kind="stable")]] = np.arange(1, len(open_ones) + 1)
        columns: dict[str, Any] = {
            "assay": assay, "compound": names, "tested": tested, "active": question.labels[:, number],
            "fold": found.fold, "probability": chance, "p_active": active[:, number], "p_inactive": inactive[:, number],
            "rank": rank,
        }  # fmt: skip
        if found.similarity is not None and found.similar_to is not None:
            who = found.similar_to[:, number]
            columns["similarity"] = found.similarity[:, number]
            columns["similar_to"] = [names[each] if each >= 0 else None for each in who]
        columns |= {f"Probability_{each.name}": each.held.score[:, number] for each in modalities}
        frame = pl.DataFrame(columns).with_columns(
            pl.col("active").fill_nan(None).cast(pl.Boolean), pl.col("rank").fill_nan(None).cast(pl.Int32)
        )
        yield frame.filter(pl.col("probability").is_finite() | pl.col("tested"))


def _row(
    predictor: Predictor, scope: str, metric: str, value: tuple[float, float, float], chance: float
) -> dict[str, Any]:
    return {
        "variant": predictor.name, "scope": scope, "metric": metric, "value": value[0], "chance": chance,
        "ci_low": value[1], "ci_high": value[2], "n": int(np.isfinite(predictor.scores.auroc).sum()),
    }  # fmt: skip


def _mean(values: Floats) -> float:
    """Of what is there; NaN where nothing is."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def _calibration(question: Question, found: Answer, split: str) -> list[dict[str, Any]]:
    """How far calibrated chances are from shares of actives; beside it the same of chances as models give them."""
    ranked = found.predictors[found.ranked_by]
    error = calibration_error(found.calibrated.score, question.labels)
    plain = calibration_error(ranked.held.score, question.labels)
    return [_row(ranked, f"{split}, calibrated", "calibration_error", (error, np.nan, np.nan), plain)]


def _may_be_removed(name: str, compounds: pl.DataFrame) -> str:
    if name == NUISANCES[0]:
        return "made by the treatment: a correction that removes it removes effects; report it beside every score"
    column = {"plate position alone": "row", "batch alone": "batch"}[name]
    single = compounds[column].count() / max(1, compounds.height)
    if single > 0.5:
        return (
            "there before the treatment, but most compounds lie in one: it and the compounds cannot be told apart; "
            "compare within it, or split by it"
        )
    return "there before the treatment, and compounds lie in several: a correction may remove it"
