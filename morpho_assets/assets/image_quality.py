"""Stage 4 of a plate: which images to trust."""

import dagster as dg
import polars as pl

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import plate_asset, result, small_table
from morpho_assets.imaging.plate import grade_plate


@plate_asset("images", {"parquet"})
def image_quality(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """Focus, saturation and intensity of every raw image, with flags for those a person should look at.

    CellProfiler's ImageQuality names. A flag removes nothing: it is a column, and the wells count their flagged sites.
    """
    opened, plate = workspace.open(), context.partition_key
    made = opened.provenance("image_quality", plate)
    settings = opened.settings
    reader = opened.reader(plate, corrected=False)
    outcome = grade_plate(opened.lake, plate, made, settings.quality, reader, settings.compute, progress.of(context))
    quality = opened.lake.read("image_quality", plate)
    flags = quality.group_by("channel", maintain_order=True).agg(pl.col("^flag_.*$").sum())
    return result(
        made.fingerprint, outcome.rows, {"failed sites": outcome.failed, "flagged images": small_table(flags)}
    )
