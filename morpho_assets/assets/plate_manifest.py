"""Stage 1 of a plate: what was imaged, and what was done to each well."""

import dagster as dg

from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.assets.shared import plate_asset, result, small_table
from morpho_assets.gallery.manifest import write_manifest


@plate_asset("source", {"parquet", "csv"})
def plate_manifest(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Which image shows which well, site and channel, and what was done to each well.

    Read from the plate's load_data (or a samplesheet), its platemap and the metadata of the perturbations. All of it is
    checked before anything else runs: a wrong row stops here, with its file and row. Tables `wells` and `sites`.
    """
    opened, plate = workspace.open(), context.partition_key
    manifest = write_manifest(opened.lake, plate, opened.provenance("plate_manifest", plate), opened.source(plate))
    made = opened.lake.provenance("wells", plate)
    assert made is not None
    wells, sites = manifest.wells, manifest.sites
    counts = wells["Metadata_pert_type"].fill_null("none").value_counts(sort=True).sort("Metadata_pert_type")
    return result(
        made.fingerprint,
        wells.height,
        {
            "images": sites.height,
            "wells imaged": sites["Metadata_Well"].n_unique(),
            "sites": sites.select("Metadata_Well", "Metadata_Site").n_unique(),
            "channels": ", ".join(sites["channel"].unique(maintain_order=True)),
            "negative control wells": int((wells["Metadata_control_type"] == "negcon").sum()),
            "wells by type": small_table(counts),
            "files": "\n".join(manifest.files),
        },
    )
