"""A study's encoders: trained on its plates' cells, and every cell's embedding."""

import dagster as dg

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import picture, result, small_table, study_asset
from morpho_assets.learn.study import embed_cells, train_encoders


@study_asset("learned", {"torch"}, reads=("masks",))
def encoder(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """The study's encoders, trained on crops of its plates' cells; whole wells are held out to validate.

    A checkpoint each, which alone suffices to embed other cells, and table `encoders`.
    """
    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("encoder", study, reads=("masks",))
    readers = {plate: opened.reader(plate) for plate in opened.study_plates(study)}
    trained = train_encoders(opened.lake, study.name, made, study.encoders, readers, progress.of(context))
    metadata: dict[str, object] = {"plates": ", ".join(readers)}
    if trained.height:
        metadata["encoders"] = small_table(trained.select("encoder", "cells", "best_epoch", "split", "sha256"))
    for row in trained.iter_rows(named=True):
        if row["train_loss"]:
            from morpho_assets.report.figures import loss_curve

            image = loss_curve(row["train_loss"], row["validation_loss"])
            metadata[f"loss of {row['encoder']}"] = picture(image, "training and validation loss")
    return result(made.fingerprint, trained.height, metadata)


@study_asset("learned", {"torch", "parquet"}, reads=("masks",))
def embeddings(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """Every cell's embedding by every encoder of the study: a row per cell and encoder."""
    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("embeddings", study, reads=("masks",))
    readers = {plate: opened.reader(plate) for plate in opened.study_plates(study)}
    rows = embed_cells(opened.lake, study.name, made, readers, progress.of(context))
    return result(made.fingerprint, rows, {"encoders": ", ".join(study.encoders) or "none"})
