"""Stage 5 of a plate: where the cells are."""

import dagster as dg
import polars as pl

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import picture, plate_asset, result
from morpho_assets.imaging.plate import segment_plate


@plate_asset("images", {"tiff"})
def masks(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """Label images of nuclei and cells, linked one to one, for every site; they open in Fiji and napari.

    Tables `masks` (label files and counts, a row per site) and `objects` (a row per cell).
    """
    opened, plate = workspace.open(), context.partition_key
    settings = opened.settings
    reader = opened.reader(plate)
    outcome = segment_plate(
        opened.lake,
        plate,
        opened.provenance("masks", plate),
        settings.segmentation,
        reader,
        settings.compute,
        progress.of(context),
    )
    made = opened.lake.provenance("masks", plate)
    assert made is not None
    sites = opened.lake.read("masks", plate)
    metadata: dict[str, object] = {
        "cells": outcome.rows,
        "cells per site (median)": float(sites["Count_Cells"].median() or 0),  # type: ignore[arg-type]
        "sites without cells": int((sites["Count_Cells"] == 0).sum()),
        "failed sites": outcome.failed,
        "method": settings.segmentation.method,
    }
    if sites.height:
        from morpho_assets.report.plate import cells_heatmap, typical_site

        wells = sites.group_by("Metadata_Well").agg(pl.col("Count_Cells").sum().alias("Metadata_Count_Cells"))
        metadata["cells per well"] = picture(cells_heatmap(wells, plate), "cells per well")
        name, overlay = typical_site(opened.lake, reader, plate) or ("", b"")
        metadata[f"outlines in {name}"] = picture(overlay, "outlines of nuclei and cells")
    return result(made.fingerprint, sites.height, metadata)
