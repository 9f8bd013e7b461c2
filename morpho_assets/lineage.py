"""Where the rows of a table come from: the commits behind them, with code, settings, inputs and digests.

The ledger says all of it (docs/ledger.md): a commit names the commits that it read, by number and by the digest of each
table. Nothing is looked at but commits, and the rows that are asked about.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from morpho_assets.errors import InputError, LakeError
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Commit, Partition, State
from morpho_assets.lake.tables import table as declared

ROWS = 20
"""Rows that are shown of those that were asked about."""
SHOWN = 6
"""Files of a source, or failed sites, that the text names; JSON has all."""
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PRODUCER = "https://pypi.org/project/morpho-assets"


@dataclass(frozen=True)
class Lineage:
    """A table of a plate or a study, what wrote it, and all commits behind it: these, then those they read.

    `rows` are those asked about, at most ROWS of `matching`; None where no condition was given.
    """

    table: str
    key: str
    written_by: tuple[Commit, ...]
    commits: tuple[Commit, ...]
    rows: pl.DataFrame | None = None
    matching: int = 0

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        said: dict[str, Any] = {"table": self.table, declared(self.table).partition: self.key}
        if self.rows is not None:
            said |= {"matching_rows": self.matching, "rows": self.rows.to_dicts()}
        said["written_by"] = [_name(each) for each in self.written_by]
        said["commits"] = {_name(each): _commit(each) for each in self.commits}
        return said

    def text(self) -> str:
        """For a terminal: a paragraph for each commit, from the table to the sources."""
        total = sum(each.outputs[self.table].rows for each in self.written_by)
        lines = [f"{self.table} of {declared(self.table).partition} {self.key}: {total} rows"]
        if self.rows is not None:
            lines.append(f"{self.matching} rows match" + (f"; the first {ROWS}:" if self.matching > ROWS else ":"))
            for row in self.rows.iter_rows(named=True):
                said = ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)
                lines.append(f"  {said}")
        for commit in self.commits:
            lines += ["", *_paragraph(commit)]
        return "\n".join(lines)

    def events(self, namespace: str) -> list[dict[str, Any]]:
        """OpenLineage's run events, one for each commit, from the sources to the table. `namespace` is the lake."""
        return [_event(commit, namespace) for commit in reversed(self.commits)]


def trace(lake: Lake, state: State, name: str, key: str, where: str | None = None) -> Lineage:
    """What is behind a table of a plate or study, or behind those of its rows for which an SQL condition holds.

    Where several stages write the table, the condition leaves those that have such a row. Raises LakeError for a table
    that there is not or that was not made, or where a commit that was read is gone; InputError for a condition that
    cannot be asked or holds for no row.
    """
    kind = declared(name).partition
    writers = [
        commit for (_, own), commit in sorted(state.commits.items(), key=lambda pair: (pair[0][0], pair[0][1]))
        if (own.kind, own.key) == (kind, key) and name in commit.outputs
    ]  # fmt: skip
    if not writers:
        raise LakeError(f"table {name} of {kind} {key} is not there; materialise it first")
    if where is None:
        return Lineage(name, key, tuple(writers), tuple(_chain(lake, state, writers)))
    found = {writer.stage + writer.partition.part: _rows(lake, writer, name, key, where) for writer in writers}
    rows = pl.concat(found.values(), how="diagonal_relaxed")
    if not rows.height:
        todo = "Ask for fewer conditions."
        raise InputError("--where", "", f"no row of {name} of {key} where {where}", "some", todo)
    having = [writer for writer in writers if found[writer.stage + writer.partition.part].height]
    return Lineage(name, key, tuple(having), tuple(_chain(lake, state, having)), rows.head(ROWS), rows.height)


# Below: how


def _rows(lake: Lake, writer: Commit, name: str, key: str, where: str) -> pl.DataFrame:
    scan = lake.snapshot([writer]).scan(name, [key])
    try:
        return scan.filter(pl.sql_expr(where)).collect()
    except (pl.exceptions.PolarsError, BaseExceptionGroup) as error:
        columns = ", ".join(scan.collect_schema().names()[:12])
        raise InputError("--where", repr(where), str(error).splitlines()[0], f"a condition on {columns} …",
                         "Such as --where \"metric = 'mAP'\".") from None  # fmt: skip


def _chain(lake: Lake, state: State, writers: Sequence[Commit]) -> Iterator[Commit]:
    """The commits and, after them, those that they read, nearest first."""
    seen: set[tuple[str, Partition, int]] = set()
    waiting = list(writers)
    for commit in waiting:  # grows while it is walked
        own = (commit.stage, commit.partition, commit.number)
        if own in seen:
            continue
        seen.add(own)
        yield commit
        for read in commit.reads:
            last = state.commits.get((read.stage, read.partition))
            same = last is not None and last.number == read.number
            waiting.append(
                last if last is not None and same else lake.ledger.read(read.stage, read.partition, read.number)
            )


def _name(commit: Commit) -> str:
    return f"{commit.stage} of {commit.partition}, commit {commit.number}"


def _commit(commit: Commit) -> dict[str, Any]:
    reads = [
        {"commit": f"{read.stage} of {read.partition}, commit {read.number}", "tables": dict(read.tables)}
        for read in commit.reads
    ]
    outputs = {
        name: {"digest": output.digest, "rows": output.rows, "files": [file.path for file in output.files]}
        for name, output in commit.outputs.items()
    }
    checks = [{"check": each.check, "passed": each.passed, "text": each.text} for each in commit.verdicts]
    return {
        "code_version": commit.code_version, "package_version": commit.package_version, "recipe": commit.recipe,
        "content": commit.content, "settings": commit.settings, "reads": reads, "sources": dict(commit.sources),
        "outputs": outputs, "sites": commit.sites.total, "failed_sites": dict(commit.sites.failed), "checks": checks,
        "notes": dict(commit.notes), "who": commit.who, "at": commit.at,
    }  # fmt: skip


def _paragraph(commit: Commit) -> list[str]:
    lines = [
        _name(commit),
        f"  code       {commit.code_version}, morpho-assets {commit.package_version}; {commit.who}, {commit.at}",
        f"  recipe     {commit.recipe}",
        f"  content    {commit.content}",
    ]
    lines += [f"  setting    {name} = {value}" for name, value in _flat(commit.settings)]
    for read in commit.reads:
        tables = ", ".join(f"{name} {digest}" for name, digest in read.tables.items())
        lines.append(f"  reads      {read.stage} of {read.partition}, commit {read.number}: {tables}")
    lines += [f"  source     {line}" for line in _some([f"{name} {stamp}" for name, stamp in commit.sources.items()])]
    lines += [f"  wrote      {name}: {out.rows} rows, {out.digest}" for name, out in commit.outputs.items()]
    lines += [f"  failed     {line}" for line in _some([f"{site}: {why}" for site, why in commit.sites.failed.items()])]
    lines += [f"  check      {each.check}: {each.text}" for each in commit.verdicts if not each.passed]
    return lines


def _flat(settings: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their dotted names; lists and empty ones as JSON."""
    if isinstance(settings, Mapping) and settings:
        for name, value in settings.items():
            yield from _flat(value, f"{above}.{name}" if above else str(name))
    elif settings is not None or above:
        yield above or "all", json.dumps(settings, ensure_ascii=False)


def _some(lines: Sequence[str]) -> list[str]:
    left = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {left} more (--json names them)"] if left > 0 else [])]


def _event(commit: Commit, namespace: str) -> dict[str, Any]:
    """https://openlineage.io/docs/spec/object-model: a run of a job, its inputs and outputs with their digests."""

    def dataset(partition: Partition, table: str, digest: str) -> dict[str, Any]:
        facet = {"_producer": _PRODUCER, "datasetVersion": digest,
                 "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"}  # fmt: skip
        return {"namespace": namespace, "name": f"{table}/{partition.folder}", "facets": {"version": facet}}

    run = uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace} {commit.writer} {_name(commit)}")
    inputs = [dataset(read.partition, name, digest) for read in commit.reads for name, digest in read.tables.items()]
    outputs = [dataset(commit.partition, name, output.digest) for name, output in commit.outputs.items()]
    return {
        "eventType": "COMPLETE", "eventTime": commit.at, "producer": _PRODUCER, "schemaURL": _EVENT,
        "run": {"runId": str(run)}, "job": {"namespace": namespace, "name": f"{commit.stage} of {commit.partition}"},
        "inputs": inputs, "outputs": outputs,
    }  # fmt: skip
