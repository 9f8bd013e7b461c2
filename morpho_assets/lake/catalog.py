"""The published catalog: one DuckDB database over the whole lake, brought up to date aside and swapped in.

Small tables are copied into the database; single cells and embeddings are views over their Parquet files. What has not
changed since the last publication is not read again. It is written in a storage version that DuckDB 1.5 reads too.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.lake.digests import digest
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Commit, Output, State
from morpho_assets.lake.tables import TABLES, Table

STORAGE_VERSION = "v1.5.0"  # DuckDB 2's own default cannot be read by 1.x
FORM = "2"
"""Raised when the database is laid out in another way: an older one is then made anew."""


@dataclass(frozen=True)
class Published:
    """A commit that may be published: in force, or why it is left out (made with other settings, …)."""

    commit: Commit
    left_out: str | None = None


def publish_catalog(lake: Lake, path: str, commits: Sequence[Published], state: State) -> pl.DataFrame:
    """Bring the database at `path` up to date with these commits; returns a row per table: name, kind, changed, rows.

    A commit that is left out stands in the table `partitions` with the reason, and in no other. An open reader keeps
    the database that it opened; a new one sees the new. One publication at a time: the caller holds `publishing`.
    """
    target = os.path.realpath(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    _sweep(target)
    aside = f"{target}.{uuid.uuid4().hex}.aside"
    try:
        if _can_grow(target, lake.root):
            shutil.copyfile(target, aside)
            os.chmod(aside, 0o644)
        rows = _bring_up_to_date(lake, aside, target, commits, state)
        os.chmod(aside, 0o444)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, target)
    finally:
        for left in (aside, f"{aside}.wal"):
            if os.path.exists(left):
                os.remove(left)
    return pl.DataFrame(rows, schema=["table", "kind", "changed", "rows"], orient="row")


def publishing(path: str) -> AbstractContextManager[Any]:
    """The lock under which the ledger is read and the catalog swapped, so that of two publications none is lost."""
    from filelock import FileLock

    os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
    return FileLock(f"{os.path.realpath(path)}.lock")


def published_commits(path: str) -> dict[tuple[str, ...], tuple[int, str | None]]:
    """What a catalog was made from: stage, kind, key and part to the number of the commit and why it is left out."""
    try:
        with duckdb.connect(path, read_only=True) as connection:
            rows = connection.execute(
                "SELECT stage, kind, key, coalesce(part, ''), number, left_out_because FROM partitions"
            ).fetchall()
    except duckdb.Error:
        return {}
    return {tuple(row[:4]): (row[4], row[5]) for row in rows}


def query_catalog(path: str, sql: str, lake: Lake | None = None) -> pl.DataFrame:
    """Run one statement on the published catalog, read-only.

    Raises InputError without a catalog, for one that was moved or copied since it was published, and for wrong SQL.
    """
    if not os.path.exists(path):
        raise InputError(path, "", "no catalog", "a published one", "Run `morpho catalog`, or `morpho demo`.")
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")
        if lake is not None and lake.files.remote:
            connection.register_filesystem(lake.files.system)  # type: ignore[attr-defined]
        try:
            relation = connection.sql(sql)
            return pl.DataFrame() if relation is None else relation.pl()
        except duckdb.Error as error:
            raise InputError(
                "SQL", "", str(error).strip(), "a statement DuckDB can run", "`SHOW TABLES` lists tables."
            ) from None


def _bring_up_to_date(
    lake: Lake, aside: str, target: str, commits: Sequence[Published], state: State
) -> list[tuple[str, str, int, int]]:
    in_force = [each.commit for each in commits if each.left_out is None]
    connection = duckdb.connect()
    try:
        connection.execute("SET enable_progress_bar = false")  # it would be written into the run's log
        if lake.files.remote:
            connection.register_filesystem(lake.files.system)  # type: ignore[attr-defined]
        connection.execute(f"ATTACH {_quoted(aside)} AS catalog (STORAGE_VERSION {_quoted(STORAGE_VERSION)})")
        connection.execute("USE catalog")
        connection.execute("CREATE TABLE IF NOT EXISTS published (form VARCHAR, root VARCHAR, "
                           "target VARCHAR, name VARCHAR, key VARCHAR, digest VARCHAR, columns VARCHAR)")  # fmt: skip
        rows = [_update(connection, lake, table, in_force, target) for table in TABLES.values()]
        _replace(connection, "partitions", _partitions(commits), "Every stage of every plate and study that was made: "
                 "its last commit, from what and with which settings, and why it is left out where it is.")  # fmt: skip
        _replace(connection, "plate_checks", _checks(in_force, state), "One row per check of a plate's stage: what "
                 "must hold before its numbers are believed, and whether it does.")  # fmt: skip
        connection.execute("USE memory")
        connection.execute("DETACH catalog")
    finally:
        connection.close()
    return rows


def _update(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, commits: Iterable[Commit], target: str
) -> tuple[str, str, int, int]:
    """Bring one table up to date: its name, kind, the plates or studies that changed, and its rows."""
    outputs: dict[str, list[Output]] = {}
    for commit in commits:
        if table.name in commit.outputs and commit.partition.kind == table.partition:
            outputs.setdefault(commit.partition.key, []).append(commit.outputs[table.name])
    wanted = {key: digest(sorted(output.digest for output in found)) for key, found in outputs.items()}
    known = {
        key: (found, columns)
        for key, found, columns in connection.execute(
            "SELECT key, digest, columns FROM published WHERE name = ?", [table.name]
        ).fetchall()
    }
    columns = {key: "|".join(sorted({output.columns for output in found})) for key, found in outputs.items()}
    changed = [key for key in wanted if known.get(key, ("",))[0] != wanted[key]]
    gone = [key for key in known if key not in wanted]
    exists = bool(_kind(connection, table.name))
    lost = {each for _, each in known.values()} - set(columns.values())  # columns that may be nobody's now
    if changed or gone or not exists:
        every = [output for found in outputs.values() for output in found]
        if not table.native:
            _view(connection, lake, table, every, target)
        elif not exists or lost or len(changed) == len(wanted):
            _create(connection, lake, table, every)
        else:
            _exchange(connection, lake, table, [*changed, *gone], [each for key in changed for each in outputs[key]])
        _comment(connection, table)
        connection.execute("DELETE FROM published WHERE name = ?", [table.name])
        noted = [(FORM, lake.root, target, table.name, key, wanted[key], columns[key]) for key in wanted]
        if noted:
            connection.executemany("INSERT INTO published VALUES (?, ?, ?, ?, ?, ?, ?)", noted)
    rows = sum(output.rows for found in outputs.values() for output in found)
    return table.name, "table" if table.native else "view", len(changed) + len(gone), rows


def _create(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, outputs: Sequence[Output]) -> None:
    _drop(connection, table.name)
    groups = _by_columns(lake, outputs)
    if not groups:
        connection.register("no_rows", table.empty().to_arrow())
        connection.execute(f'CREATE TABLE "{table.name}" AS FROM no_rows')
        connection.unregister("no_rows")
        return
    for number, paths in enumerate(groups):
        if number == 0:
            connection.execute(f'CREATE TABLE "{table.name}" AS FROM {_parquet(table, paths)}')
        else:
            _insert(connection, table, paths)


def _exchange(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, keys: Sequence[str], outputs: Sequence[Output]
) -> None:
    """Take the rows of these plates or studies out, and those of the outputs in."""
    connection.execute(f'DELETE FROM "{table.name}" WHERE "{table.partition_column}" IN ({_listed(keys)})')
    for paths in _by_columns(lake, outputs):
        _insert(connection, table, paths)


def _insert(connection: duckdb.DuckDBPyConnection, table: Table, paths: Sequence[str]) -> None:
    """Add the rows of files of the same columns; a column that the table lacks is added to it."""
    have = _columns(connection, f'"{table.name}"')
    for name, kind in _columns(connection, _parquet(table, paths[:1])).items():
        if name not in have:
            connection.execute(f'ALTER TABLE "{table.name}" ADD COLUMN {_identifier(name)} {kind}')
    connection.execute(f'INSERT INTO "{table.name}" BY NAME FROM {_parquet(table, paths)}')


def _view(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, outputs: Sequence[Output], target: str
) -> None:
    """A view that lists its files, and that answers only in the database that was published, not in a copy."""
    groups = _by_columns(lake, outputs)
    if not groups:
        _create(connection, lake, table, [])
        return
    _drop(connection, table.name)
    moved = f"This catalog was moved or copied: it was published as {target}. Run `morpho catalog` where its lake is."
    answer = f"CASE WHEN count(*) > 0 THEN true ELSE error({_quoted(moved)}) END"
    guard = f"(SELECT {answer} FROM duckdb_databases() WHERE path = {_quoted(target)})"
    scans = [f"SELECT * FROM {_parquet(table, paths)} WHERE {guard}" for paths in groups]
    connection.execute(f'CREATE VIEW "{table.name}" AS {" UNION ALL BY NAME ".join(scans)}')


def _by_columns(lake: Lake, outputs: Iterable[Output]) -> list[list[str]]:
    """The paths of files with rows, those of the same columns together."""
    groups: dict[str, list[str]] = {}
    for output in outputs:
        groups.setdefault(output.columns, []).extend(lake.files.url(file.path) for file in output.files if file.rows)
    return [paths for paths in groups.values() if paths]


def _parquet(table: Table, paths: Sequence[str]) -> str:
    """A scan of these files; the plate or the study is taken from their folder, so that others need not be opened."""
    column = table.partition_column
    return f"read_parquet([{_listed(paths)}], hive_partitioning = true, hive_types = {{'{column}': VARCHAR}})"


def _columns(connection: duckdb.DuckDBPyConnection, what: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {what}").fetchall()}


def _partitions(commits: Sequence[Published]) -> pl.DataFrame:
    rows = [
        {
            "kind": each.commit.partition.kind,
            "key": each.commit.partition.key,
            "part": each.commit.partition.part or None,
            "stage": each.commit.stage,
            "number": each.commit.number,
            "current": each.left_out is None,
            "left_out_because": each.left_out,
            "rows": sum(output.rows for output in each.commit.outputs.values()),
            "sites": each.commit.sites.total,
            "failed_sites": len(each.commit.sites.failed),
            "content": each.commit.content,
            "recipe": each.commit.recipe,
            "code_version": each.commit.code_version,
            "package_version": each.commit.package_version,
            "settings": json.dumps(each.commit.settings, ensure_ascii=False),
            "notes": json.dumps(each.commit.notes, ensure_ascii=False),
            "who": each.commit.who,
            "at": each.commit.at,
        }
        for each in sorted(commits, key=lambda each: (each.commit.partition, each.commit.stage))
    ]
    return pl.DataFrame(rows, schema=_PARTITIONS)


_PARTITIONS = {
    **dict.fromkeys(("kind", "key", "part", "stage"), pl.String), "number": pl.Int64, "current": pl.Boolean,
    "left_out_because": pl.String, **dict.fromkeys(("rows", "sites", "failed_sites"), pl.Int64),
    **dict.fromkeys(("content", "recipe", "code_version", "package_version", "settings", "notes", "who", "at"),
                    pl.String),
}  # fmt: skip


def _checks(commits: Iterable[Commit], state: State) -> pl.DataFrame:
    rows = [
        {
            "Metadata_Plate": commit.partition.key,
            "stage": commit.stage,
            "check": verdict.check,
            "passed": verdict.passed,
            "blocking": verdict.blocking,
            "waived": (commit.stage, commit.partition, commit.number, verdict.check) in state.waivers,
            "text": verdict.text,
            "facts": json.dumps(verdict.facts, ensure_ascii=False, default=str),
            "at": commit.at,
        }
        for commit in sorted(commits, key=lambda each: (each.partition, each.stage))
        if commit.partition.kind == "plate"
        for verdict in commit.verdicts
    ]
    texts = dict.fromkeys(("Metadata_Plate", "stage", "check"), pl.String)
    flags = dict.fromkeys(("passed", "blocking", "waived"), pl.Boolean)
    return pl.DataFrame(rows, schema={**texts, **flags, **dict.fromkeys(("text", "facts", "at"), pl.String)})


def _replace(connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame, about: str) -> None:
    connection.register("found", frame.to_arrow())
    connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM found")
    connection.execute(f"COMMENT ON TABLE {name} IS {_quoted(about)}")
    connection.unregister("found")


def _kind(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """TABLE or VIEW; empty where there is neither."""
    found = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_name = ? AND table_catalog = 'catalog'", [name]
    ).fetchall()
    return "" if not found else "VIEW" if found == [("VIEW",)] else "TABLE"


def _drop(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    kind = _kind(connection, name)
    if kind:
        connection.execute(f'DROP {kind} "{name}"')


def _comment(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    kind = _kind(connection, table.name)
    families = "".join(f" {family.prefix}*: {family.meaning}." for family in table.families)
    connection.execute(f'COMMENT ON {kind} "{table.name}" IS {_quoted(table.about + families)}')
    meanings = {column.name: column.meaning + (f" ({column.unit})" if column.unit else "") for column in table.columns}
    for name in _columns(connection, f'"{table.name}"'):
        family = next((family for family in table.families if name.startswith(family.prefix)), None)
        meaning = meanings.get(name) or (family.meaning if family else "")
        connection.execute(f'COMMENT ON COLUMN "{table.name}".{_identifier(name)} IS {_quoted(meaning)}')


def _can_grow(target: str, root: str) -> bool:
    """Whether there is a database that was published here, in this form, of this lake; it need not be made anew."""
    if not os.path.exists(target):
        return False
    try:
        with duckdb.connect(target, read_only=True) as connection:
            forms = connection.execute("SELECT DISTINCT form, root, target FROM published").fetchall()
        return forms == [(FORM, root, target)]
    except duckdb.Error:
        return False


def _sweep(target: str) -> None:
    """Remove what publications that were killed left aside; the caller holds the lock, so none of them is alive."""
    folder, name = os.path.split(target)
    for left in os.listdir(folder):
        if left.startswith(f"{name}.") and left.endswith((".aside", ".aside.wal")):
            os.remove(os.path.join(folder, left))


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(_quoted(text) for text in texts)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
