"""Stage 6 of a plate: every cell, measured."""

from collections import Counter

import dagster as dg

from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.assets.shared import plate_asset, result, small_table
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.images import delete_fetched
from morpho_assets.imaging.sites import Site
from morpho_assets.measure.plate import import_cells, measure_plate


@plate_asset("cells", {"parquet"})
def single_cells(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
) -> dg.MaterializeResult:
    """Shape, intensity, texture and more of every nucleus, cell and cytoplasm, under CellProfiler's names.

    A row per cell. Site by site: a run that was stopped goes on with the sites it has not done. The cells of a plate
    that was measured elsewhere are read from its source.
    """
    opened, plate = workspace.open(), context.partition_key
    made = opened.provenance("single_cells", plate)
    settings = opened.settings

    def measured(site: Site) -> None:
        if settings.images.policy == "stream":
            delete_fetched(list(site.paths), settings.images.folder)

    elsewhere, account = opened.measured_elsewhere(plate), Account()
    if elsewhere is not None:
        outcome = import_cells(opened.lake, plate, made, elsewhere.cells(plate, account) or (), account)
    else:
        outcome = measure_plate(
            opened.lake,
            plate,
            made,
            settings.measurement,
            opened.reader(plate),
            settings.compute,
            progress.of(context),
            measured,
        )
    names = opened.lake.scan("single_cells", [plate]).collect_schema().names()
    modules = Counter(tuple(name.split("_")[:2]) for name in names if not name.startswith(("Metadata_", "Object")))
    families = [{"compartment": c, "module": m, "features": n} for (c, m), n in sorted(modules.items())]
    metadata: dict[str, object] = {"sites": outcome.sites, "failed sites": outcome.failed, "features": modules.total()}
    if elsewhere is not None:
        metadata["beside the cells"] = small_table(account.frame(), rows=100)
    if families:
        import polars as pl

        metadata["features by module"] = small_table(pl.DataFrame(families), rows=40)
    return result(made.fingerprint, outcome.rows, metadata)
