"""Asset checks: what must hold of a plate before its numbers are believed. Each names what offends."""

from typing import Any

import dagster as dg
import polars as pl

from morpho_assets.lake.failures import failed_sites
from morpho_assets.profiles.features import feature_columns
from morpho_assets.resources import WorkspaceResource


def _failed_sites_check(stage: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=stage, name="few_failed_sites", blocking=True)
    def few_failed_sites(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
        """The share of sites that failed so far is under the settings' `failed_sites`; else the plate stops here."""
        opened, plate = workspace.open(), context.partition_key
        failed = failed_sites(opened.lake, plate)
        sites = opened.lake.read("sites", plate).select("Metadata_Well", "Metadata_Site").n_unique()
        share = failed.height / max(sites, 1)
        names = [f"{well}-{site}" for well, site in failed.head(20).iter_rows()]
        metadata: dict[str, Any] = {
            "failed sites": failed.height,
            "sites": sites,
            "share": share,
            "which": ", ".join(names) or "none",
        }
        limit = opened.settings.failed_sites
        text = f"{failed.height} of {sites} sites failed (limit {limit:.0%}); table site_failures says why"
        return dg.AssetCheckResult(passed=share <= limit, metadata=metadata, description=text)

    return few_failed_sites


@dg.asset_check(asset="plate_manifest")
def controls_present(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """The plate has imaged negative control wells, at least two, better a dozen: all is measured against them."""
    opened, plate = workspace.open(), context.partition_key
    wells = opened.lake.read("wells", plate)
    controls = wells.filter(Metadata_control_type="negcon")
    imaged = opened.lake.read("sites", plate)["Metadata_Well"].unique()
    if len(imaged):  # a plate that was measured elsewhere has no images
        controls = controls.filter(pl.col("Metadata_Well").is_in(imaged.to_list()))
    names = controls["Metadata_Well"].to_list()
    text = f"{len(names)} imaged negative control wells"
    metadata = {"negative control wells": ", ".join(names) or "none"}
    severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(passed=len(names) >= 2, severity=severity, metadata=metadata, description=text)


@dg.asset_check(asset="well_profiles")
def every_well_has_a_profile(
    context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource
) -> dg.AssetCheckResult:
    """Every well that was imaged has a row; wells whose sites all failed are listed, and wells without cells."""
    opened, plate = workspace.open(), context.partition_key
    imaged = opened.lake.read("sites", plate)["Metadata_Well"].unique()
    profiles = opened.lake.read("normalized_profiles", plate)
    absent = sorted(set(imaged) - set(profiles["Metadata_Well"]))
    lost = profiles.filter(Metadata_Count_Sites=0)["Metadata_Well"].to_list()
    empty = profiles.filter(pl.col("Metadata_Count_Sites") > 0, Metadata_Count_Cells=0)["Metadata_Well"].to_list()
    metadata = {
        "wells without a row": ", ".join(absent) or "none",
        "wells whose sites all failed": ", ".join(lost) or "none",
    }
    return dg.AssetCheckResult(
        passed=not absent and not lost,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**metadata, "wells without cells": ", ".join(empty) or "none"},
    )


@dg.asset_check(asset="well_profiles")
def finite_features(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """Of the wells with cells, under a twentieth of all feature values are missing; the emptiest features are named."""
    opened, plate = workspace.open(), context.partition_key
    profiles = opened.lake.read("normalized_profiles", plate).filter(pl.col("Metadata_Count_Cells") > 0)
    names = feature_columns(profiles)
    if not profiles.height or not names:
        return dg.AssetCheckResult(
            passed=False, description="no well has measurements", severity=dg.AssetCheckSeverity.WARN
        )
    missing = profiles.select(pl.col(names).null_count()).row(0)
    share = sum(missing) / (profiles.height * len(names))
    worst = sorted(zip(missing, names, strict=True), reverse=True)[:10]
    listed = ", ".join(f"{name} ({count} wells)" for count, name in worst if count) or "none"
    metadata = {"share missing": share, "emptiest features": listed}
    return dg.AssetCheckResult(passed=share < 0.05, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


CHECKS = [
    *(_failed_sites_check(stage) for stage in ("raw_images", "masks", "single_cells")),
    controls_present,
    every_well_has_a_profile,
    finite_features,
]
