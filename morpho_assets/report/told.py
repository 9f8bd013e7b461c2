"""The chapters on models of treatments, and on clusters of treatments with what is known of their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from morpho_assets.evaluate.clusters import ClustersConfig
from morpho_assets.evaluate.evaluators import evaluator_config
from morpho_assets.evaluate.prediction import PredictionConfig
from morpho_assets.lake.lake import Snapshot
from morpho_assets.report.page import Section, frame_table, number

if TYPE_CHECKING:
    from morpho_assets.studies.model import Study

WITHIN = "within"
"""The start of a scope that is not what was asked: images of one well are on both sides."""


def told_sections(inputs: Snapshot, study: Study, metrics: pl.DataFrame, variant: str) -> list[Section]:
    """Both kinds of chapter, of the evaluators that the study has."""
    return [*prediction_sections(study, metrics), *cluster_sections(inputs, study, metrics, variant)]


def prediction_sections(study: Study, metrics: pl.DataFrame) -> list[Section]:
    """A chapter per evaluator `prediction`: every space beside what knows nothing, and first of all whether it is wells
    that were recognised."""
    sections = []
    for name, settings in study.evaluators.items():
        config = evaluator_config(settings)
        if not isinstance(config, PredictionConfig):
            continue
        rows = metrics.filter(pl.col("evaluator") == name, ~pl.col("scope").str.starts_with("against "))
        rows = rows.filter(~pl.col("variant").str.ends_with("shuffled"))
        if rows.height:
            sections.append(_prediction(name, config, rows))
    return sections


def _prediction(name: str, config: PredictionConfig, rows: pl.DataFrame) -> Section:
    overall = rows.filter(~pl.col("metric").str.ends_with("_shuffled"))
    within = overall.filter(pl.col("scope").str.starts_with(WITHIN))["scope"].unique().sort().to_list()
    text = ""
    if within:
        text = (
            f"WARNING: {' and '.join(within)}. A {config.split.by} that no model has seen could not be held out, so "
            "images of one well are in training and in test. What these numbers measure is how well a well is "
            "recognised, by its place, its edge and its focus as much as by what was done to it. "
        )
    label = config.label.removeprefix("Metadata_")
    text += (
        f"How well {label} is told from profiles that a {config.model.kind} model has not seen. Chance is the greatest "
        "of the commonest class, of classes drawn by their shares, and of models learned anew from permuted classes."
    )
    notes = [note for note in overall["note"].drop_nulls().unique().sort() if note]
    text += f" Notes: {'; '.join(notes)}." if notes else ""
    shown = overall.select("variant", "scope", "metric", "value", "chance", "ci_low", "ci_high", "n")
    tables = [frame_table(shown, "Scores, beside what knows nothing", most=200)]
    return Section(f"Told apart: {name}", text, [], tables, _told_apart(label, overall, recognised=bool(within)))


def _told_apart(label: str, overall: pl.DataFrame, recognised: bool) -> str:
    """Whether the space that tells labels best does it better than chance, by its interval."""
    best = overall.filter(metric="balanced_accuracy").drop_nulls("value").sort(
        "value", descending=True, maintain_order=True
    )  # fmt: skip
    if not best.height:
        return f"Whether {label} can be told was not measured: too few were held out."
    first = best.row(0, named=True)
    interval = "" if first["ci_low"] is None else f" [{number(first['ci_low'])}, {number(first['ci_high'])}]"
    sure = first["ci_low"] is not None and first["chance"] is not None and first["ci_low"] > first["chance"]
    verdict = "can be told" if sure else "cannot be told for sure"
    answer = (
        f"{label} {verdict}: best in the space {first['variant']} with a balanced accuracy of "
        f"{number(first['value'])}{interval} where chance gives {number(first['chance'])}"
    )
    return answer + ("; but images of one well were in training and in test." if recognised else ".")


def cluster_sections(inputs: Snapshot, study: Study, metrics: pl.DataFrame, variant: str) -> list[Section]:
    """A chapter per evaluator `clusters`, of the study's main variant."""
    sections = []
    for name, settings in study.evaluators.items():
        config = evaluator_config(settings)
        if not isinstance(config, ClustersConfig):
            continue
        members = inputs.read("clusters", study.name).filter(evaluator=name, variant=variant).sort("place")
        if not members.height:
            continue
        described = inputs.read("cluster_descriptions", study.name).filter(evaluator=name, variant=variant)
        scores = {row["metric"]: row for row in
                  metrics.filter(evaluator=name, variant=variant, scope="overall").iter_rows(named=True)}  # fmt: skip
        text = (
            f"Clusters are found in anything: {config.method} makes {number(scores['clusters']['chance'])} of the same "
            f"values in disorder. The silhouette, 1 where clusters lie far apart, is "
            f"{number(scores['silhouette']['value'])} (chance {number(scores['silhouette']['chance'])})."
        )
        answer = f"{config.method} makes {number(scores['clusters']['value'])} clusters of {members.height} treatments"
        told = scores["adjusted_rand"]
        if told["value"] is not None:
            answer += (
                f"; they agree with {config.describe[0].removeprefix('Metadata_')} by an adjusted Rand index of "
                f"{number(told['value'])} (chance {number(told['chance'])}, p {number(told['p_value'])}), and "
                f"{number(scores['described']['value'])} of them have more of one of its values than chance gives"
            )
        values = described.filter(kind="value").sort("q_value", "cluster").drop("study", "variant", "evaluator", "kind")
        features = described.filter(kind="feature").select("cluster", "treatments", "name", "effect", "p_value",
                                                           "q_value")  # fmt: skip
        heads = {"effect": "odds ratio", "inside": "in the cluster", "outside": "in others"}
        tables = [frame_table(members.select("cluster", "treatment"), "Treatments, the most typical of each first")]
        if values.height:
            tables.insert(0, frame_table(values, "What clusters have more of, the surest first", heads))
        if features.height:
            circular = "" if features["p_value"].count() else ": clusters were made from them, so they have no p-value"
            heads = {"effect": "chance that a member is above another"}
            tables.insert(1, frame_table(features, f"Features that tell each cluster{circular}", heads))
        sections.append(Section(f"Clusters: {name}", text, [], tables, f"{answer}."))
    return sections
