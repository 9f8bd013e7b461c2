"""The database behind the catalog while it is written: a copy of the published one in which what changed is exchanged.

Nobody else knows of a draft, and it is thrown away where anything fails; so nothing is logged. It is written in a
storage version that DuckDB 1.5 reads too.
"""

from __future__ import annotations

import glob
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import duckdb
import polars as pl

from morpho_assets.lake.features import family_of, feature_table
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Output
from morpho_assets.lake.macros import macros
from morpho_assets.lake.tables import ANNOTATION, TABLES, Table

# DuckDB 2's own version cannot be read by 1.x. A column that is written takes a block: of the default's 256 kB, 3,500
# features take a gigabyte.
STORAGE = "STORAGE_VERSION 'v1.5.0', RECOVERY_MODE 'no_wal_writes', BLOCK_SIZE 16384"
_PIECE = 8 * 2**20  # bytes that are copied at once
_IN_PATH = re.compile(r"([^/=]+)=[^/]+")

Wanted = Mapping[str, Mapping[str, str]]
"""Of a table: plate or study to its files with rows, each with the digest of its columns."""


@dataclass(frozen=True)
class Draft:
    """A database that is to be published as `target`. It holds, of each table there is, its `contents`: plate or study
    to files, each with the digest of its columns."""

    connection: duckdb.DuckDBPyConnection
    lake: Lake
    target: str
    contents: dict[str, dict[str, dict[str, str]]]

    @classmethod
    @contextmanager
    def opened(cls, path: str, lake: Lake, target: str) -> Iterator[Draft]:
        """The database at `path`, made where there is none; written to the disk when the block ends."""
        with duckdb.connect() as connection:
            connection.execute("SET enable_progress_bar = false")  # it would be written into the run's log
            connection.execute(f"SET temp_directory = {quoted(path + '.tmp')}")
            lend_files(connection, lake)
            connection.execute(f"ATTACH {quoted(path)} AS catalog ({STORAGE})")
            connection.execute("USE catalog")
            draft = cls(connection, lake, target, _contents(connection))
            connection.execute("CREATE SCHEMA IF NOT EXISTS publication")
            yield draft
            draft.replace("publication.contents", _noted(draft.contents))
            connection.execute("USE memory")
            connection.execute("DETACH catalog")

    def bring_up_to_date(self, table: Table, outputs: Mapping[str, Sequence[Output]]) -> int:
        """Have the rows of these outputs, by plate or study, in one table and no others; returns how many changed."""
        wanted = {
            key: files
            for key, found in outputs.items()
            if (files := {file.path: each.columns for each in found for file in each.files if file.rows})
        }
        exists = table.name in self.contents
        known = self.contents.get(table.name, {})
        changed = [key for key in wanted if known.get(key) != wanted[key]]
        gone = [key for key in known if key not in wanted]
        if exists and not changed and not gone:
            return 0
        columns = None if exists and _shapes(known).keys() == _shapes(wanted).keys() else self._columns(table, wanted)
        if table.native:
            self._exchange(table, columns, {key: wanted[key] for key in changed}, [*changed, *gone])
        else:
            self._list(table, columns, wanted)
        self.contents[table.name] = wanted
        return len(changed) + len(gone)

    def replace(self, name: str, frame: pl.DataFrame) -> None:
        """Have a frame as a table."""
        self.connection.register("given", frame.to_arrow())
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM given")
        self.connection.unregister("given")

    def comment(self, tables: Iterable[Table]) -> None:
        """Say of every table and column what it means, where that is not said yet. Features are told of in a table of
        their own: a comment takes the longer the more columns a table has, and thousands of them a minute."""
        kinds = {name: (kind, said) for name, kind, said in self.connection.execute(
            "SELECT table_name, 'TABLE', comment FROM duckdb_tables() WHERE database_name = 'catalog' "
            "UNION ALL SELECT view_name, 'VIEW', comment FROM duckdb_views() WHERE database_name = 'catalog'"
        ).fetchall()}  # fmt: skip
        of_table = self._commented()
        for table in tables:
            kind, said = kinds[table.name]
            families = "".join(f" {family.prefix}*: {family.meaning}." for family in table.families)
            if said != table.about + families:
                self.connection.execute(f'COMMENT ON {kind} "{table.name}" IS {quoted(table.about + families)}')
            for column, said in of_table[table.name].items():
                if family_of(table, column) is None and said != (meaning := _meaning(table, column)):
                    where = f'"{table.name}".{_identifier(column)}'
                    self.connection.execute(f"COMMENT ON COLUMN {where} IS {quoted(meaning)}")

    def features(self) -> pl.DataFrame:
        """What is a feature in any table, as rows of `features`."""
        stains = [channel for (channel,) in self.connection.execute("SELECT DISTINCT channel FROM sites").fetchall()]
        return feature_table(self._commented(), list(TABLES.values()), set(stains))

    def define_macros(self) -> None:
        """Have the macros, with what they give as comments."""
        features = [name for name in self._described('"treatment_profiles"') if not name.startswith("Metadata_")]
        declared = {column.name for column in TABLES["treatment_profiles"].columns}
        for macro in macros(has_features=bool(set(features) - declared)):
            self.connection.execute(macro.statement)
            self.connection.execute(f'COMMENT ON MACRO TABLE "{macro.name}" IS {quoted(macro.about)}')

    def drop_macros(self) -> None:
        """Without them a database can be copied in any order of its parts, and columns of tables may go."""
        for macro in macros(has_features=False):
            self.connection.execute(f'DROP MACRO TABLE IF EXISTS "{macro.name}"')

    def bytes(self, path: str) -> int:
        """The bytes of the database, which lies at `path`, with all that was done."""
        self.connection.execute("CHECKPOINT catalog")
        return os.path.getsize(path)

    def compact(self, path: str) -> None:
        """Go on with a copy at another path, without the rows that are dead and the blocks that are free."""
        self.connection.execute(f"ATTACH {quoted(path)} AS fresh ({STORAGE})")
        self.connection.execute("COPY FROM DATABASE catalog TO fresh")
        self.connection.execute("DETACH fresh")
        self.connection.execute("USE memory")
        self.connection.execute("DETACH catalog")
        self.connection.execute(f"ATTACH {quoted(path)} AS catalog ({STORAGE})")
        self.connection.execute("USE catalog")

    # Below: how

    def _commented(self) -> dict[str, dict[str, str | None]]:
        """Table to its columns, each with its comment."""
        columns = self.connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'catalog' "
            "AND schema_name = 'main' ORDER BY table_name, column_index"
        ).fetchall()
        of_table: dict[str, dict[str, str | None]] = {}
        for name, column, said in columns:
            of_table.setdefault(name, {})[column] = said
        return of_table

    def _exchange(self, table: Table, columns: Mapping[str, str] | None, new: Wanted, old: Sequence[str]) -> None:
        """Take the rows of plates or studies out of a table of rows, and those of files in; with `columns`, the table
        gets these first."""
        name = f'"{table.name}"'
        if columns is not None and table.name not in self.contents:
            listed = ", ".join(f"{_identifier(column)} {kind}" for column, kind in columns.items())
            self.connection.execute(f"CREATE TABLE {name} ({listed})")
        elif columns is not None:
            have = self._described(name)
            for column in have.keys() - columns.keys():
                self.connection.execute(f"ALTER TABLE {name} DROP COLUMN {_identifier(column)}")
            for column in columns.keys() - have.keys():
                self.connection.execute(f"ALTER TABLE {name} ADD COLUMN {_identifier(column)} {columns[column]}")
        self.connection.execute(f'DELETE FROM {name} WHERE "{table.partition_column}" IN ({_listed(old) or "NULL"})')
        for paths in _shapes(new).values():
            self.connection.execute(f"INSERT INTO {name} BY NAME {self._scan(table, paths)}")

    def _list(self, table: Table, columns: Mapping[str, str] | None, wanted: Wanted) -> None:
        """Have a view over files. They are listed in a macro behind it, for a view that is made anew, as it is with
        other `columns`, loses its comments. It answers only in the database that was published, not in a copy."""
        scans = [self._scan(table, paths) for _, paths in sorted(_shapes(wanted).items())]
        moved = f"This catalog was moved or copied: it was published as {self.target}. Run `morpho catalog` there."
        answer = f"CASE WHEN count(*) > 0 THEN true ELSE error({quoted(moved)}) END"
        here = f"SELECT {answer} FROM duckdb_databases() WHERE path = {quoted(self.target)}"
        rows = f"SELECT * FROM ({' UNION ALL BY NAME '.join(scans)}) WHERE ({here})"
        if not scans:
            assert columns is not None
            none = (f"CAST(NULL AS {kind}) AS {_identifier(column)}" for column, kind in columns.items())
            rows = f"SELECT {', '.join(none)} WHERE false"
        self.connection.execute(f'CREATE OR REPLACE MACRO "{table.name}_files"() AS TABLE {rows}')
        if columns is not None:
            self.connection.execute(f'CREATE OR REPLACE VIEW "{table.name}" AS FROM "{table.name}_files"()')

    def _columns(self, table: Table, wanted: Wanted) -> dict[str, str]:
        """Name to type of the declared columns and of all that some file has."""
        self.connection.register("declared", table.empty().to_arrow())
        columns = self._described("declared")
        self.connection.unregister("declared")
        for paths in _shapes(wanted).values():
            columns = {**self._described(f"({self._scan(table, paths[:1])})"), **columns}
        return columns

    def _scan(self, table: Table, paths: Sequence[str]) -> str:
        """The rows of files of the same columns. The plate or study is taken from their folder, as text: so the files
        of others need not be opened."""
        column = table.partition_column
        urls = [self.lake.files.url(path) for path in paths]
        urls = urls if self.lake.files.remote else list(map(glob.escape, urls))
        above = set(_IN_PATH.findall(self.lake.root)) - {column}  # no columns of ours
        without = f" EXCLUDE ({', '.join(map(_identifier, sorted(above)))})" if above else ""
        options = f"hive_partitioning = true, hive_types = {{'{column}': VARCHAR}}"
        return f"SELECT *{without} FROM read_parquet([{_listed(urls)}], {options})"

    def _described(self, what: str) -> dict[str, str]:
        return {row[0]: row[1] for row in self.connection.execute(f"DESCRIBE FROM {what}").fetchall()}


def lend_files(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Let a connection read the lake's files where they lie in an object store."""
    if lake.files.remote:
        connection.register_filesystem(lake.files.system)  # type: ignore[attr-defined]


def copy_file(source: str, target: str) -> None:
    """Copy a file. Where the system can, past its cache: of gigabytes, that takes a third of the time."""
    direct = getattr(os, "O_DIRECT", 0)
    try:
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | direct, 0o644)
    except OSError:  # a file system that has no such way
        shutil.copyfile(source, target)
        return
    piece = memoryview(mmap.mmap(-1, _PIECE))  # begins at a page, as it must
    with os.fdopen(write, "wb", buffering=0) as into, open(source, "rb", buffering=0) as file:
        while size := file.readinto(piece):
            if direct and size % mmap.PAGESIZE:
                _through_the_cache(write, direct)
            done = 0
            while done < size:
                done += into.write(piece[done:size])


def _through_the_cache(handle: int, direct: int) -> None:
    import fcntl

    fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) & ~direct)


def discard(path: str) -> None:
    """Remove a draft and what DuckDB put beside it."""
    for left in (path, f"{path}.wal"):
        with suppress(FileNotFoundError):
            os.remove(left)
    shutil.rmtree(f"{path}.tmp", ignore_errors=True)


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def _contents(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, dict[str, str]]]:
    there = "SELECT 1 FROM duckdb_tables() WHERE database_name = 'catalog' AND schema_name = 'publication'"
    found: dict[str, dict[str, dict[str, str]]] = {}
    if connection.execute(there).fetchall():
        for name, key, path, columns in connection.execute("FROM publication.contents").fetchall():
            files = found.setdefault(name, {})
            if path:
                files.setdefault(key, {})[path] = columns
    return found


def _noted(contents: Mapping[str, Wanted]) -> pl.DataFrame:
    """A row per file, and one per table that says that there is the table."""
    rows = [(name, "", "", "") for name in contents]
    rows += [(name, key, path, columns) for name, files in contents.items() for key, found in files.items()
             for path, columns in found.items()]  # fmt: skip
    return pl.DataFrame(rows, schema=dict.fromkeys(("name", "key", "path", "columns"), pl.String), orient="row")


def _shapes(files: Wanted) -> dict[str, list[str]]:
    """The paths of the files of each set of columns."""
    shapes: dict[str, list[str]] = {}
    for found in files.values():
        for path, columns in found.items():
            shapes.setdefault(columns, []).append(path)
    return shapes


def _meaning(table: Table, column: str) -> str:
    found = next((each for each in table.columns if each.name == column), None)
    if found is not None:
        return found.meaning + (f" ({found.unit})" if found.unit else "")
    return ANNOTATION.meaning


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(quoted(text) for text in texts)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
