"""A study's scores and its report."""

import dagster as dg
import polars as pl

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import result, small_table, study_asset
from morpho_assets.evaluate.study import evaluate_study
from morpho_assets.profiles.study import space_steps


@study_asset("evaluation", {"parquet"})
def evaluation(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """Every evaluator of the study on every space and step, and on shuffled treatments; beside each score its chance.

    Tables `metrics`, `treatments`, `treatment_scores` and, where the truth is known, `planted_and_found`.
    """
    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("evaluation", study)
    steps = space_steps(study.spaces, study.corrections)
    readers = {plate: opened.reader(plate) for plate in opened.study_plates(study)}
    metrics = evaluate_study(
        opened.lake, study.name, made, steps, study.evaluators, study.seed, readers, opened.truth(study),
        progress.of(context),
    )  # fmt: skip
    overall = metrics.filter(pl.col("scope") == "overall").select(
        "variant", "evaluator", "metric", "value", "chance", "n"
    )
    headline = {
        f"{row['metric']} of {row['variant']}": float(row["value"])
        for row in overall.filter(pl.col("metric") == "mAP").iter_rows(named=True)
        if row["value"] is not None
    }
    return result(made.fingerprint, metrics.height, {**headline, "scores": small_table(overall, rows=40)})


@study_asset("evaluation", {"html"}, deps=["evaluation", "projections", "embeddings"])
def report(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """One self-contained HTML page: what was asked, how well it is answered, what chance gives, how it was made."""
    from morpho_assets.report.study import report_study

    opened = workspace.open()
    study = opened.study(context.partition_key)
    readers = {plate: opened.reader(plate) for plate in opened.study_plates(study)}
    path, size = report_study(opened.lake, study, readers, opened.settings.reports)
    made = opened.lake.provenance("metrics", study.name)
    assert made is not None
    return result(made.fingerprint, len(readers), {"report": dg.MetadataValue.path(path), "kilobytes": size // 1000})
