"""The published catalog: one DuckDB database over the whole lake, brought up to date aside and swapped in.

Small tables and profiles are copied into the database; single cells and embeddings are views over their Parquet files.
Only what changed since the last publication is read (`lake/database.py`).
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import duckdb
import polars as pl

from morpho_assets.errors import InputError, LakeError
from morpho_assets.lake.database import Draft, copy_file, discard, lend_files, quoted
from morpho_assets.lake.digests import digest
from morpho_assets.lake.features import FEATURES
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Commit, Output, Partition, State
from morpho_assets.lake.tables import PLATE, TABLES, Column, Table
from morpho_assets.refusals import refusal

FORM = "6"
"""Raised when the database is laid out in another way: an older one is then made anew."""
BLOATED = 1.4
"""Times its size when it was dense from which on the database is written anew, without what is dead and free in it."""

PARTITIONS = Table(
    "partitions", "plate",
    "Every stage of every plate and study that was made: its last commit, from what and with which settings, and why "
    "it is left out of the other tables where it is.",
    ("kind", "key", "part", "stage"),
    (
        Column("kind", pl.String, "plate or study"),
        Column("key", pl.String, "the plate or the study"),
        Column("part", pl.String, "second part of the partition, such as an encoder, or null"),
        Column("stage", pl.String, "the stage"),
        Column("number", pl.Int64, "number of its last commit, from 1"),
        Column("published", pl.Boolean, "whether its rows are in the other tables"),
        Column("left_out_because", pl.String, "why they are not, or null"),
        Column("rows", pl.Int64, "rows of all its tables", "rows"),
        Column("sites", pl.Int64, "sites that it covers, failed ones too", "sites"),
        Column("failed_sites", pl.Int64, "sites that failed", "sites"),
        Column("content", pl.String, "digest of what came out"),
        Column("recipe", pl.String, "digest of what it was made by: code, settings and content of what it reads"),
        Column("code_version", pl.String, "version of the stage's code"),
        Column("package_version", pl.String, "version of morpho-assets"),
        Column("settings", pl.String, "its part of the settings, as JSON"),
        Column("notes", pl.String, "what else the stage says of it, as JSON"),
        Column("who", pl.String, "account that ran it"),
        Column("at", pl.String, "when it was committed, UTC"),
    ),
)  # fmt: skip
CHECKS = Table(
    "plate_checks", "plate",
    "One row per check of a plate's stage: what must hold before its numbers are believed, and whether it does.",
    ("Metadata_Plate", "stage", "check"),
    (
        PLATE,
        Column("stage", pl.String, "the stage"),
        Column("check", pl.String, "the check"),
        Column("passed", pl.Boolean, "whether it holds"),
        Column("blocking", pl.Boolean, "whether what follows waits where it does not hold"),
        Column("waived", pl.Boolean, "whether somebody lets it pass all the same"),
        Column("text", pl.String, "what was found"),
        Column("facts", pl.String, "the figures behind it, as JSON"),
        Column("at", pl.String, "when it was committed, UTC"),
    ),
)  # fmt: skip
VERDICTS = Table(
    "verdicts", "plate",
    "What people said of plates, wells and sites, and took back again: profiles are made without what is rejected.",
    ("Metadata_Plate", "at"),
    (
        PLATE,
        Column("Metadata_Well", pl.String, "the well, null for the whole plate"),
        Column("Metadata_Site", pl.Int32, "the site, null for the whole well"),
        Column("verdict", pl.String, "approved, rejected, or withdrawn"),
        Column("in_force", pl.Boolean, "whether it stands: the last of its place, and not withdrawn"),
        Column("who", pl.String, "the person"),
        Column("reason", pl.String, "why, in the person's words"),
        Column("at", pl.String, "when it was said, UTC"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A commit that may be published, and why it is left out, where it is (made with other settings, …)."""

    commit: Commit
    left_out: str | None = None


@dataclass(frozen=True)
class _Place:
    """What a database says of itself: its layout, the lake it is of, where it was published, what from, and how many
    bytes it took, when it was dense, for each byte of Parquet that it copied."""

    form: str
    root: str
    target: str
    fingerprint: str
    expansion: float = 0.0

    @property
    def home(self) -> tuple[str, str, str]:
        """What a database can only be brought up to date with, and not changed to."""
        return self.form, self.root, self.target


def publish_catalog(lake: Lake, path: str, commits: Sequence[Published], state: State) -> pl.DataFrame:
    """Bring the database at `path` up to date with these commits; returns a row per table: name, kind, changed, rows.

    A commit that is left out stands in the table `partitions` with the reason, and in no other. Where all is as it was
    published, the database stays as it is. An open reader keeps the database that it opened; a new one sees the new.
    One publication at a time: the caller holds `publishing`. Raises LakeError where DuckDB cannot write or read.
    """
    target = os.path.realpath(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    _sweep(target)
    in_force = [each.commit for each in commits if each.left_out is None]
    outputs = {table.name: _outputs(table, in_force) for table in TABLES.values()}
    changed = dict.fromkeys(TABLES, 0)
    before, now = _place(target), _wanted(lake, target, commits, state)
    if before is None or before.fingerprint != now.fingerprint:
        aside, dense = (f"{target}.{uuid.uuid4().hex}.aside" for _ in range(2))
        try:
            changed, made = _draft(lake, before, now, aside, dense, commits, outputs, state)
            os.chmod(made, 0o444)
            _sync(made)
            os.replace(made, target)
            _sync(os.path.dirname(target))
        except duckdb.Error as error:
            refused = refusal(error, f"the catalog {path}")
            raise LakeError(refused or f"the catalog {path} could not be published: {error}") from error
        finally:
            discard(aside)
            discard(dense)
    rows = [
        (table.name, "table" if table.native else "view", changed[table.name],
         sum(each.rows for found in outputs[table.name].values() for each in found))
        for table in TABLES.values()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["table", "kind", "changed", "rows"], orient="row")


def is_published(lake: Lake, path: str, commits: Sequence[Published], state: State) -> bool:
    """Whether the database at `path` has these commits, and nothing else."""
    place = _place(path)
    return place is not None and place.fingerprint == _wanted(lake, os.path.realpath(path), commits, state).fingerprint


@contextmanager
def publishing(path: str) -> Iterator[None]:
    """The lock under which the ledger is read and the catalog swapped, so that of two publications none is lost."""
    from filelock import FileLock

    os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
    with FileLock(f"{os.path.realpath(path)}.lock"):
        yield


def published_commits(path: str) -> dict[tuple[str, Partition], int]:
    """The commits that a published catalog was made from: their numbers by stage and partition; none without one."""
    if _place(path) is None:
        return {}
    with _opened(path) as connection:
        rows = connection.execute("SELECT stage, kind, key, coalesce(part, ''), number FROM partitions").fetchall()
    return {(stage, Partition(kind, key, part)): number for stage, kind, key, part, number in rows}


def published_files(path: str) -> set[str]:
    """The files of the lake that a published catalog names, under the lake's root; none where there is no catalog."""
    if _place(path) is None:
        return set()
    with _opened(path) as connection:
        rows = connection.execute("SELECT path FROM publication.contents WHERE path <> ''").fetchall()
    return {path for (path,) in rows}


def query_catalog(path: str, sql: str, lake: Lake | None = None) -> pl.DataFrame:
    """Run one statement on the published catalog, read-only.

    Raises InputError without a catalog, for one that was moved, copied or published of another lake, and for wrong SQL.
    """
    if not os.path.exists(path):
        raise InputError(path, "", "no catalog", "a published one", "Run `morpho catalog`, or `morpho demo`.")
    place, target = _place(path), os.path.realpath(path)
    if place is None:
        raise InputError(path, "", "no catalog of this version", "a published one", "Run `morpho catalog`.")
    if place.target != target:
        raise InputError(path, "", f"a catalog that was published as {place.target}, and moved or copied since",
                         "one that was published here", "Run `morpho catalog`.")  # fmt: skip
    if lake is not None and place.root != lake.root:
        raise InputError(path, "", f"a catalog of the lake {place.root}", f"one of {lake.root}",
                         "Run `morpho catalog`.")  # fmt: skip
    with _opened(path) as connection:
        if lake is not None:
            lend_files(connection, lake)
        try:
            relation = connection.sql(sql)
            return pl.DataFrame() if relation is None else relation.pl()
        except duckdb.Error as error:
            raise InputError(
                "SQL", "", str(error).strip(), "a statement DuckDB can run", "`SHOW TABLES` lists tables."
            ) from None


# Below: how


def _draft(
    lake: Lake, before: _Place | None, now: _Place, aside: str, dense: str, commits: Sequence[Published],
    outputs: Mapping[str, Mapping[str, Sequence[Output]]], state: State,
) -> tuple[dict[str, int], str]:  # fmt: skip
    """Write a database at `aside`, or at `dense` if it has to be written anew; returns what changed of each table, and
    where it lies."""
    grows = before is not None and before.home == now.home
    if grows:
        copy_file(now.target, aside)
    with Draft.opened(aside, lake, now.target) as draft:
        draft.drop_macros()
        changed = {name: draft.bring_up_to_date(TABLES[name], found) for name, found in outputs.items()}
        draft.replace(PARTITIONS.name, _partitions(commits))
        draft.replace(CHECKS.name, _checks([each.commit for each in commits if each.left_out is None], state))
        draft.replace(VERDICTS.name, _verdicts(state))
        draft.replace(FEATURES.name, draft.features())
        draft.comment((*TABLES.values(), PARTITIONS, CHECKS, VERDICTS, FEATURES))
        copied = sum(file.bytes for name, found in outputs.items() if TABLES[name].native
                     for each in found.values() for output in each for file in output.files) or 1  # fmt: skip
        made, expansion = aside, draft.bytes(aside) / copied
        if before is not None and grows and expansion > BLOATED * before.expansion:
            draft.compact(dense)
            made, expansion = dense, draft.bytes(dense) / copied
        elif before is not None and grows:
            expansion = min(expansion, before.expansion)
        draft.define_macros()
        draft.replace("publication.place", pl.DataFrame([replace(now, expansion=expansion)]))
    return changed, made


def _outputs(table: Table, commits: Iterable[Commit]) -> dict[str, list[Output]]:
    """The outputs of a table by plate or study."""
    found: dict[str, list[Output]] = {}
    for commit in commits:
        if table.name in commit.outputs and commit.partition.kind == table.partition:
            found.setdefault(commit.partition.key, []).append(commit.outputs[table.name])
    return found


def _partitions(commits: Sequence[Published]) -> pl.DataFrame:
    rows = [
        {
            "kind": each.commit.partition.kind,
            "key": each.commit.partition.key,
            "part": each.commit.partition.part or None,
            "stage": each.commit.stage,
            "number": each.commit.number,
            "published": each.left_out is None,
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
    return pl.DataFrame(rows, schema=PARTITIONS.schema)


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
    return pl.DataFrame(rows, schema=CHECKS.schema)


def _verdicts(state: State) -> pl.DataFrame:
    rows = [
        {
            "Metadata_Plate": plate,
            "Metadata_Well": each.well,
            "Metadata_Site": each.site,
            "verdict": each.said,
            "in_force": state.in_force(plate).get(each.place) == each,
            "who": each.who,
            "reason": each.reason,
            "at": each.at,
        }
        for plate, said in sorted(state.judgements.items())
        for each in said
    ]
    return pl.DataFrame(rows, schema=VERDICTS.schema)


def _form() -> str:
    """Names the layout: that of the database itself, and the names and types of its tables' columns."""
    tables = [(table.name, table.partition, table.native, [(each.name, str(each.dtype)) for each in table.columns],
               [(each.prefix, str(each.dtype)) for each in table.families]) for table in TABLES.values()]  # fmt: skip
    return digest([FORM, tables])


def _wanted(lake: Lake, target: str, commits: Sequence[Published], state: State) -> _Place:
    """What a database of these commits says of itself."""
    made = sorted(
        [each.commit.stage, *each.commit.partition, each.commit.number, each.commit.writer, each.commit.at,
         each.left_out or ""]
        for each in commits
    )  # fmt: skip
    form = _form()
    said = [each.model_dump() for _, judged in sorted(state.judgements.items()) for each in judged]
    beside = [sorted(map(list, state.waivers)), said]
    return _Place(form, lake.root, target, digest([form, lake.root, target, made, beside]))


def _place(path: str) -> _Place | None:
    """What the database at `path` says of itself; None where there is none, or one that says nothing."""
    if not os.path.exists(path):
        return None
    try:
        with _opened(path) as connection:
            [row] = connection.execute("FROM publication.place").fetchall()
            return _Place(*row)
    except (duckdb.Error, ValueError, TypeError):
        return None


@contextmanager
def _opened(path: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads the database that lies at a path now: of one that this process has open already, DuckDB's
    own `connect` would give that, though another was swapped in."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"ATTACH {quoted(os.path.realpath(path))} AS catalog (READ_ONLY)")
        connection.execute("USE catalog")
        yield connection


def _sweep(target: str) -> None:
    """Remove what publications that were killed left aside; the caller holds the lock, so none of them is alive."""
    folder, name = os.path.split(target)
    for left in os.listdir(folder):
        if left.startswith(f"{name}.") and left.endswith((".aside", ".aside.wal", ".aside.tmp")):
            discard(os.path.join(folder, left.removesuffix(".wal").removesuffix(".tmp")))


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
