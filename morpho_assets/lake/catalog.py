"""The published catalog: one DuckDB database over the whole lake, rebuilt aside and swapped in.

Small tables are copied into the database, single cells are a view over their Parquet files. It is written in a storage
version that DuckDB 1.5 reads too, and opens from any working directory.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence

import duckdb
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import TABLES, Table

STORAGE_VERSION = "v1.5.0"  # DuckDB 2's own default cannot be read by 1.x


def publish_catalog(lake: Lake, path: str, current: Mapping[str, str]) -> pl.DataFrame:
    """Rebuild the database at `path`; returns one row per table: its name, kind, partitions and rows.

    `current` maps a stage to the digest of its settings in force. Plates that were made with others are left out, so
    that two settings never mix in a table; the table `partitions` lists every partition and whether it is in. An open
    reader keeps the database it opened; a new one sees the new. Any number of readers, no locks.
    """
    partitions = lake_partitions(lake, current)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{uuid.uuid4().hex}.aside"
    connection = duckdb.connect()
    try:
        connection.execute("SET enable_progress_bar = false")  # it would be written into the run's log
        if lake.remote:
            connection.register_filesystem(lake.files)
        connection.execute(f"ATTACH {_quoted(aside)} AS catalog (STORAGE_VERSION {_quoted(STORAGE_VERSION)})")
        connection.execute("USE catalog")
        connection.register("found", partitions.to_arrow())
        connection.execute("CREATE TABLE partitions AS FROM found")
        connection.execute(
            "COMMENT ON TABLE partitions IS 'Every partition of the lake, what made it, and whether it is in.'"
        )
        rows = [
            _create(connection, table, partitions.filter(pl.col("table") == table.name)) for table in TABLES.values()
        ]
        connection.execute("USE memory")
        connection.execute("DETACH catalog")
        connection.close()
        os.chmod(aside, 0o444)
        os.replace(aside, path)
    finally:
        connection.close()
        for left in (aside, f"{aside}.wal"):
            if os.path.exists(left):
                os.remove(left)
    return pl.DataFrame(rows, schema=["table", "kind", "partitions", "rows"], orient="row")


def lake_partitions(lake: Lake, current: Mapping[str, str]) -> pl.DataFrame:
    """One row per Parquet file of the lake: table, partition, part, stage, settings, fingerprint, current and path."""
    rows = []
    for name, table in TABLES.items():
        for partition in lake.partitions(name):
            for path in lake.parts(name, partition):
                part = path.rsplit("part-", 1)[-1].removesuffix(".parquet")
                made = lake.provenance(name, partition, part)
                if made is None:  # replaced or dropped since it was listed
                    continue
                fresh = table.partition == "study" or current.get(made.stage) == made.settings
                rows.append((name, partition, part, made.stage, made.settings, made.fingerprint, fresh, path))
    names = ["table", "partition", "part", "stage", "settings", "fingerprint", "current", "path"]
    schema = {name: pl.Boolean if name == "current" else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def query_catalog(path: str, sql: str, lake: Lake | None = None) -> pl.DataFrame:
    """Run one statement on the published catalog, read-only. Raises InputError without a catalog, and for wrong SQL."""
    if not os.path.exists(path):
        raise InputError(path, "", "no catalog", "a published one", "Materialise `catalog`, or run `morpho demo`.")
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")
        if lake is not None and lake.remote:
            connection.register_filesystem(lake.files)
        try:
            relation = connection.sql(sql)
            return pl.DataFrame() if relation is None else relation.pl()
        except duckdb.Error as error:
            raise InputError(
                "SQL", "", str(error).strip(), "a statement DuckDB can run", "`SHOW TABLES` lists tables."
            ) from None


def _create(connection: duckdb.DuckDBPyConnection, table: Table, found: pl.DataFrame) -> tuple[str, str, int, int]:
    paths = found.filter("current")["path"].to_list()
    name = f'"{table.name}"'
    if not paths:
        connection.register("no_rows", table.empty().to_arrow())
        connection.execute(f"CREATE TABLE {name} AS FROM no_rows")
    else:
        kind = "TABLE" if table.native else "VIEW"
        connection.execute(f"CREATE {kind} {name} AS FROM {_parquet(connection, paths)}")
    _comment(connection, table)
    [(rows,)] = connection.execute(f"SELECT count(*) FROM {name}").fetchall()
    return table.name, "table" if table.native else "view", len(set(found.filter("current")["partition"])), int(rows)


def _parquet(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> str:
    """A scan of these files; by name only where their columns differ, which costs a look at every file."""
    columns = {
        tuple(row[0] for row in connection.execute(f"DESCRIBE FROM read_parquet({_quoted(path)})").fetchall())
        for path in paths
    }
    listed = ", ".join(_quoted(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name = {len(columns) > 1}, hive_partitioning = false)"


def _comment(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    kind = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_name = ? AND table_catalog = 'catalog'",
        [table.name],
    ).fetchall()
    kind_name = "VIEW" if kind == [("VIEW",)] else "TABLE"
    families = "".join(f" {family.prefix}*: {family.meaning}." for family in table.families)
    connection.execute(f'COMMENT ON {kind_name} "{table.name}" IS {_quoted(table.about + families)}')
    for column in table.columns:
        unit = f" ({column.unit})" if column.unit else ""
        text = _quoted(column.meaning + unit)
        connection.execute(f'COMMENT ON COLUMN "{table.name}"."{column.name}" IS {text}')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
