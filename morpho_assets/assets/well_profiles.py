"""Stage 7 of a plate: one profile per well, in units of the plate's controls."""

import dagster as dg

from morpho_assets.assets.shared import picture, plate_asset, result
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.plate import profile_plate
from morpho_assets.resources import WorkspaceResource


@plate_asset("profiles", {"parquet", "polars"})
def well_profiles(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """One profile per well: its cells aggregated, annotated, and normalised to the plate's negative controls.

    With the cells and sites behind each well. Tables `well_profiles` and `normalized_profiles`.
    """
    from morpho_assets.report.figures import plate_heatmap

    opened, plate = workspace.open(), context.partition_key
    made = opened.provenance("well_profiles", plate)
    profiles = profile_plate(opened.lake, plate, made, opened.settings.profiles)
    counts = profiles["Metadata_Count_Cells"]
    heatmap = plate_heatmap(profiles["Metadata_Well"].to_list(), counts.to_list(), f"{plate}: cells", "cells")
    return result(
        made.fingerprint,
        profiles.height,
        {
            "features": len(feature_columns(profiles)),
            "cells per well (median)": float(counts.median() or 0),  # type: ignore[arg-type]
            "wells without cells": int((counts == 0).sum()),
            "negative control wells": int((profiles["Metadata_control_type"] == "negcon").sum()),
            "cells per well": picture(heatmap, "cells per well"),
        },
    )
