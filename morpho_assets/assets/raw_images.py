"""Stage 2 of a plate: its images, here and verified."""

import dagster as dg

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import plate_asset, result
from morpho_assets.gallery.images import fetch_images


@plate_asset("source", {"s3", "tiff"})
def raw_images(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """The plate's images, fetched from the gallery (or used where they lie), each with its size and checksum.

    An interrupted fetch goes on where it was. An image that cannot be had is a row in `site_failures`; the plate
    goes on without its site. Table `image_files`.
    """
    opened, plate = workspace.open(), context.partition_key
    files = fetch_images(
        opened.lake,
        plate,
        opened.provenance("raw_images", plate),
        opened.store(plate),
        opened.settings.images,
        progress.of(context),
    )
    made = opened.lake.provenance("image_files", plate)
    assert made is not None
    wanted = opened.lake.read("sites", plate).height
    metadata = {"gigabytes": float(files["bytes"].sum()) / 1e9, "missing images": wanted - files.height}
    return result(made.fingerprint, files.height, {**metadata, "policy": opened.settings.images.policy})
