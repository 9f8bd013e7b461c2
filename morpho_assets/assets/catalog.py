"""The catalog: everything in one DuckDB database."""

import dagster as dg

from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.assets.shared import small_table
from morpho_assets.lake.catalog import publish_catalog
from morpho_assets.lineage import PLATE_STAGES, settings_digest


@dg.asset(
    group_name="catalog",
    kinds={"duckdb", "sql"},
    deps=[
        dg.AssetDep("well_profiles", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("treatment_profiles", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("evaluation", partition_mapping=dg.AllPartitionMapping()),
    ],
    pool="catalog",
    automation_condition=dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing()),
)
def catalog(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """`data/morpho.duckdb`: every table of every plate and study, for SQL.

    Rebuilt aside and swapped in: an open reader is never blocked and never blocks a run. Plates that were made with
    other settings than those in force are left out; the table `partitions` says which.
    """
    opened = workspace.open()
    current = {name: settings_digest(stage, opened.settings, PLATE_STAGES) for name, stage in PLATE_STAGES.items()}
    published = publish_catalog(opened.lake, opened.settings.catalog, current)
    query = f'duckdb -readonly {opened.settings.catalog} "FROM metrics LIMIT 10"'
    metadata = {
        "database": dg.MetadataValue.path(opened.settings.catalog),
        "query it": dg.MetadataValue.md(f"`{query}`"),
    }
    tables = small_table(published, rows=40)
    return dg.MaterializeResult(
        metadata={**metadata, "tables": tables, "dagster/row_count": int(published["rows"].sum())}
    )
