"""A study's feature spaces: selected, corrected step by step, and laid out on a map."""

import dagster as dg
import polars as pl

from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.assets.shared import picture, result, small_table, study_asset
from morpho_assets.evaluate.sweep import sweep
from morpho_assets.learn.study import project_spaces
from morpho_assets.profiles.study import build_spaces, consensus_spaces, correct_spaces, space_steps


@study_asset("spaces", {"parquet", "polars"}, reads=("well_profiles",))
def feature_space(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The spaces in which the study compares wells: selected CellProfiler features, embeddings, the cell count alone.

    Tables `profiles` (step `selected`) and `feature_selection` (what was left out, and by which rule).
    """
    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("feature_space", study, reads=("well_profiles",))
    plates = opened.study_plates(study)
    profiles = build_spaces(opened.lake, study.name, made, study.spaces, plates, study.tuning_share, study.seed)
    dropped = opened.lake.read("feature_selection", study.name)
    sizes = profiles.group_by("space", maintain_order=True).agg(pl.len().alias("wells"))
    rules = dropped.group_by("space", "operation").len("features left out").sort("space", "operation")
    return result(made.fingerprint, profiles.height, {"spaces": small_table(sizes), "left out": small_table(rules)})


@study_asset("spaces", {"parquet", "polars"})
def corrected_profiles(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The spaces after each corrector of the study's chain, in its order; each step can be compared with the last.

    Tables `profiles` (a step per corrector), `correction_notes`, and `metrics` for the curve of a sweep.
    """
    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("corrected_profiles", study)
    profiles = correct_spaces(opened.lake, study.name, made, study.corrections, study.spaces, study.seed, sweep)
    steps = profiles.group_by("space", "step", maintain_order=True).agg(pl.len().alias("wells"))
    notes = opened.lake.read("correction_notes", study.name).drop("study")
    return result(made.fingerprint, profiles.height, {"steps": small_table(steps), "notes": small_table(notes)})


@study_asset("spaces", {"parquet", "polars"})
def treatment_profiles(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """One profile per treatment (or treatment and batch) of every space after its last correction: their consensus."""
    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("treatment_profiles", study)
    steps = space_steps(study.spaces, study.corrections)
    profiles = consensus_spaces(opened.lake, study.name, made, study.consensus, steps)
    sizes = profiles.group_by("space", maintain_order=True).agg(pl.len().alias("treatments"))
    return result(
        made.fingerprint, profiles.height, {"spaces": small_table(sizes), "by": ", ".join(study.consensus.by)}
    )


@study_asset("spaces", {"umap"})
def projections(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """A UMAP map of the wells in every space, after the last correction; distances on it measure nothing."""
    from morpho_assets.report.figures import scatter

    opened = workspace.open()
    study = opened.study(context.partition_key)
    made = opened.study_provenance("projections", study)
    points = project_spaces(
        opened.lake, study.name, made, space_steps(study.spaces, study.corrections), study.projection.seed
    )
    metadata = {}
    for (space,), frame in points.group_by("space", maintain_order=True):
        groups = frame["group"].to_list()
        image = scatter(frame.select("x", "y").to_numpy(), groups, f"UMAP of {space}")
        metadata[f"map of {space}"] = picture(image, f"UMAP of {space}")
    return result(made.fingerprint, points.height, metadata)
