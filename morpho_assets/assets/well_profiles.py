"""Stage 7 of a plate: one profile per well, in units of the plate's controls."""

import dagster as dg

from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.assets.shared import picture, plate_asset, result, small_table
from morpho_assets.gallery.account import Account
from morpho_assets.profiles.features import FEATURES, feature_columns
from morpho_assets.profiles.plate import import_profiles, profile_plate


@plate_asset("profiles", {"parquet", "polars"})
def well_profiles(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """One profile per well: its cells aggregated, annotated, and normalised to the plate's negative controls.

    With the cells and sites behind each well. Profiles that were published are read from their source. Tables
    `well_profiles` and `normalized_profiles`.
    """
    from morpho_assets.report.figures import plate_heatmap

    opened, plate = workspace.open(), context.partition_key
    made = opened.provenance("well_profiles", plate)
    config = opened.settings.profiles
    elsewhere = opened.measured_elsewhere(plate)
    account = Account()
    published = elsewhere.profiles(plate, account) if elsewhere else None
    if elsewhere and published is not None:
        profiles = import_profiles(opened.lake, plate, made, config, published, elsewhere.normalized)
    else:
        profiles = profile_plate(opened.lake, plate, made, config)
    counts = profiles["Metadata_Count_Cells"]
    metadata: dict[str, object] = {
        "features": len(feature_columns(profiles, FEATURES)),
        "negative control wells": int((profiles["Metadata_control_type"] == "negcon").sum()),
    }
    if published is not None:
        metadata["beside the features"] = small_table(account.frame(), rows=100)
    if counts.null_count() < profiles.height:  # published profiles may not count their cells
        heatmap = plate_heatmap(profiles["Metadata_Well"].to_list(), counts.to_list(), f"{plate}: cells", "cells")
        metadata |= {
            "cells per well (median)": float(counts.median() or 0),  # type: ignore[arg-type]
            "wells without cells": int((counts == 0).sum()),
            "cells per well": picture(heatmap, "cells per well"),
        }
    return result(made.fingerprint, profiles.height, metadata)
