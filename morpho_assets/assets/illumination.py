"""Stage 3 of a plate: how unevenly the microscope lit it."""

import io

import dagster as dg
import numpy as np

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import picture, plate_asset, result, small_table
from morpho_assets.imaging.plate import illuminate_plate


@plate_asset("images", {"numpy"})
def illumination(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """The illumination function of each channel, over all sites of the plate; images are divided by it.

    Computed from the plate or taken from the gallery, as the settings say; 1 means evenly lit.
    """
    opened, plate = workspace.open(), context.partition_key
    made = opened.provenance("illumination", plate)
    settings = opened.settings
    reader = opened.reader(plate, corrected=False)
    functions = illuminate_plate(
        opened.lake, plate, made, settings.illumination, reader, settings.compute, progress.of(context)
    )
    metadata: dict[str, object] = {"method": settings.illumination.method}
    if functions.height:
        from morpho_assets.report.figures import illumination_panel

        arrays = {
            row["channel"]: np.load(io.BytesIO(opened.lake.read_bytes(row["path"]))) for row in functions.to_dicts()
        }
        metadata["functions"] = picture(illumination_panel(arrays), "illumination functions")
        metadata["range"] = small_table(functions.select("channel", "images", "minimum", "maximum"))
    return result(made.fingerprint, functions.height, metadata)
