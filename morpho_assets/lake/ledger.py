"""The ledger: what is true of every partition, as commits (docs/ledger.md).

A commit says that a stage of a partition is done, from what, with which settings, and what came out. It is one small
JSON file, written last and in one step that fails where its number is taken; files that it names never change. Nothing
else says what is in the lake.
"""

from __future__ import annotations

import gc
import getpass
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from morpho_assets.errors import LakeError
from morpho_assets.lake.digests import digest
from morpho_assets.lake.files import Entry, Files, quoted, unquoted
from morpho_assets.lake.judgements import InForce, Judgement, in_force
from morpho_assets.retry import faults, forgiven

FORMAT: Literal[2] = 2
_READERS = 16  # small files are read from an object store so many at a time
_KINDS = ("commits", "attempts", "waivers", "judgements")


class Partition(NamedTuple):
    """What a stage is done for: a plate or a study, and where the stage has one a second part (an encoder)."""

    kind: str
    key: str
    part: str = ""

    @property
    def folder(self) -> str:
        return f"{self.kind}={quoted(self.key)}"

    def __str__(self) -> str:
        return f"{self.kind} {self.key}" + (f", {self.part}" if self.part else "")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFile(_Record):
    """A file of rows: its path under the lake's root, its bytes and rows."""

    path: str
    bytes: int
    rows: int


class Output(_Record):
    """One table of a stage: its files, and the digests of its rows and of the names and types of its columns."""

    digest: str
    columns: str
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


class Read(_Record):
    """A commit that a stage read: whose, which number, and the digests of the tables it took from it."""

    stage: str
    kind: str
    key: str
    part: str = ""
    number: int
    tables: dict[str, str]

    @property
    def partition(self) -> Partition:
        return Partition(self.kind, self.key, self.part)


class Verdict(_Record):
    """What a check found. A `blocking` one that has not passed is a closed gate: what follows does not start."""

    check: str
    passed: bool
    text: str
    blocking: bool = False
    facts: dict[str, Any] = Field(default_factory=dict)


class Sites(_Record):
    """The sites of a plate's stage: how many, the digest of their keys, and why each failed one did."""

    total: int = 0
    digest: str = ""
    failed: dict[str, str] = Field(default_factory=dict)


class Commit(_Record):
    """A stage of a partition is done. docs/ledger.md says what each field is for."""

    format: Literal[2] = FORMAT
    stage: str
    partition: Partition
    number: int
    before: int | None
    recipe: str
    content: str
    outputs: dict[str, Output]
    files: str | None
    reads: tuple[Read, ...]
    sources: dict[str, str]
    settings: Any
    code_version: str
    package_version: str
    sites: Sites
    verdicts: tuple[Verdict, ...]
    notes: dict[str, Any] = Field(default_factory=dict)
    writer: str
    who: str
    at: str

    @property
    def closed(self) -> tuple[Verdict, ...]:
        """The gates that do not hold."""
        return tuple(verdict for verdict in self.verdicts if verdict.blocking and not verdict.passed)


class Attempt(_Record):
    """A stage was tried and failed: with which recipe, why, and when."""

    stage: str
    partition: Partition
    recipe: str
    sentence: str
    at: str


class Waiver(_Record):
    """Somebody lets a closed gate of one commit pass."""

    stage: str
    partition: Partition
    number: int
    check: str
    who: str
    reason: str
    at: str


class Observation(_Record):
    """What the sources of a partition's stages looked like when somebody looked: stage to name to stamp."""

    partition: Partition
    seen: dict[str, dict[str, str]]
    at: str


class Taken(LakeError):
    """Another run committed the number first."""


class Unreadable(LakeError):
    """A file of the ledger that holds no commit."""


Latest = Callable[[str, Partition], Commit | None]


@dataclass(frozen=True)
class Ledger:
    """The commits under a lake's root, and what stands beside them: attempts, waivers, judgements, observations."""

    files: Files
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)

    # Commits

    def latest(self, stage: str, partition: Partition) -> Commit | None:
        """The last commit of a stage of a partition that can be read; None where there is none."""
        for number in reversed(self.numbers(stage, partition)):
            try:
                return self.read(stage, partition, number)
            except Unreadable:
                continue
        return None

    def numbers(self, stage: str, partition: Partition) -> list[int]:
        """The numbers of a stage's commits, ascending."""
        stem = stem_of(stage, partition)
        found = (_parsed(path) for path in self.files.find(f"ledger/commits/{partition.folder}"))
        return sorted(number for name, number in found if name == stem)

    def read(self, stage: str, partition: Partition, number: int) -> Commit:
        """One commit. Raises LakeError where it is not there or cannot be read."""
        path = commit_path(stage, partition, number)
        try:
            return parse(path, self.files.read(path))
        except FileNotFoundError:
            raise LakeError(f"{stage} of {partition} has no commit {number}: {path} is gone") from None

    def commit(self, draft: Commit) -> Commit:
        """Write a commit as the one after `draft.before`, and return it. Raises Taken where another was first.

        An answer that was lost on the way is no defeat: the file is read back, and it may be this writer's own.
        """
        path = commit_path(draft.stage, draft.partition, draft.number)
        body = draft.model_dump_json().encode()
        found = create(self.files, path, body)
        if found == body:
            return draft
        other = parse(path, found)
        raise Taken(
            f"{draft.stage} of {draft.partition}: {other.who} committed number {draft.number} at {other.at}, while "
            "this run worked. What that run made stands; run again if something is still to do."
        )

    # What stands beside them

    def fail(self, stage: str, partition: Partition, recipe: str, sentence: str) -> None:
        """Record a failed attempt."""
        attempt = Attempt(stage=stage, partition=partition, recipe=recipe, sentence=sentence, at=now())
        name = f"{stem_of(stage, partition)}.{uuid.uuid4().hex[:12]}"
        self.files.write(f"ledger/attempts/{partition.folder}/{name}.json", attempt.model_dump_json().encode())

    def waive(self, commit: Commit, check: str, reason: str) -> None:
        """Let a closed gate of a commit pass. Raises LakeError for a check that is no closed gate of it."""
        if check not in {verdict.check for verdict in commit.closed}:
            closed = ", ".join(verdict.check for verdict in commit.closed) or "none"
            raise LakeError(f"{commit.stage} of {commit.partition}: no closed gate {check!r}; closed are: {closed}")
        waiver = Waiver(stage=commit.stage, partition=commit.partition, number=commit.number, check=check,
                        who=who(), reason=reason, at=now())  # fmt: skip
        name = f"{stem_of(commit.stage, commit.partition)}.{commit.number:08d}.{quoted(check)}.json"
        self.files.write(f"ledger/waivers/{commit.partition.folder}/{name}", waiver.model_dump_json().encode())

    def judge(self, judgement: Judgement) -> None:
        """Record what a person says of a plate, a well or a site."""
        name = f"{''.join(filter(str.isdigit, judgement.at))}.{uuid.uuid4().hex[:12]}"
        folder = Partition("plate", judgement.plate).folder
        self.files.write(f"ledger/judgements/{folder}/{name}.json", judgement.model_dump_json().encode())

    def observe(self, partition: Partition, seen: Mapping[str, Mapping[str, str]]) -> None:
        """Record what the sources of some of a partition's stages look like now; those of the others stay."""
        path = f"ledger/observations/{partition.folder}.json"
        try:
            known = Observation.model_validate_json(self.files.read(path)).seen
        except (FileNotFoundError, ValidationError):
            known = {}
        observation = Observation(partition=partition, seen={**known, **_plain(seen)}, at=now())
        self.files.write(path, observation.model_dump_json().encode())

    def write_keys(self, partition: Partition, keys: Mapping[str, Any]) -> str:
        """Keep what is too long for a commit (the keys of all sites, the names of all files); returns its path."""
        body = json.dumps(keys, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        path = f"ledger/keys/{partition.folder}/{digest(keys)}.json"
        self.files.write(path, body)
        return path

    def keys(self, commit: Commit) -> dict[str, Any]:
        """What `write_keys` kept for a commit: `sites` (key to recipe) and `files` (path to bytes)."""
        return dict(json.loads(self.files.read(commit.files))) if commit.files else {"sites": {}, "files": {}}

    def state(self, partitions: Iterable[Partition] | None = None) -> State:
        """The last commits, attempts, waivers, judgements and observations: of some partitions, or of all."""
        from morpho_assets.lake.index import read_bodies

        listed: dict[str, Entry] = {}
        for kind in (*_KINDS, "observations"):
            if partitions is None:
                listed |= self.files.find(f"ledger/{kind}")
        if partitions is not None:
            folders = sorted({partition.folder for partition in partitions})
            listed = self._listed_of(folders)
        return State.of(read_bodies(self.files, _last(listed), fold=partitions is None), self.latest)

    def partitions(self, kind: str) -> list[str]:
        """The keys of all partitions of a kind that have a commit, sorted."""
        start = f"ledger/commits/{kind}="
        found = {path.split("/")[2] for path in self.files.find("ledger/commits") if path.startswith(start)}
        return sorted(unquoted(folder.removeprefix(f"{kind}=")) for folder in found)

    def _listed_of(self, folders: Sequence[str]) -> dict[str, Entry]:
        def of(folder: str) -> dict[str, Entry]:
            listed: dict[str, Entry] = {}
            for kind in _KINDS:
                listed |= self.files.find(f"ledger/{kind}/{folder}")
            path = f"ledger/observations/{folder}.json"
            entry = self.files.entry(path)
            return listed | ({path: entry} if entry else {})

        with ThreadPoolExecutor(_READERS if self.files.remote else 1) as threads:
            return {path: entry for found in threads.map(of, folders) for path, entry in found.items()}


@dataclass(frozen=True)
class State:
    """The ledger as it was read once: last commits by stage and partition, and what stands beside them."""

    commits: Mapping[tuple[str, Partition], Commit]
    attempts: Mapping[tuple[str, Partition], tuple[Attempt, ...]]
    waivers: frozenset[tuple[str, Partition, int, str]]
    observations: Mapping[Partition, Observation]
    broken: tuple[str, ...] = ()
    judgements: Mapping[str, tuple[Judgement, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, bodies: Mapping[str, bytes], latest: Latest) -> State:
        """From the ledger's files. One that cannot be read is named in `broken`; for a commit, `latest` gives the last
        one that can."""
        with _uncollected():
            return cls._of(bodies, latest)

    @classmethod
    def _of(cls, bodies: Mapping[str, bytes], latest: Latest) -> State:
        commits: dict[tuple[str, Partition], Commit] = {}
        attempts: dict[tuple[str, Partition], list[Attempt]] = {}
        judgements: dict[str, list[Judgement]] = {}
        waivers, observations, broken = set(), {}, []
        for path, body in bodies.items():
            kind = path.split("/")[1]
            try:
                if kind == "commits":
                    commit = parse(path, body)
                    commits[commit.stage, commit.partition] = commit
                elif kind == "attempts":
                    attempt = Attempt.model_validate_json(body)
                    attempts.setdefault((attempt.stage, attempt.partition), []).append(attempt)
                elif kind == "waivers":
                    waiver = Waiver.model_validate_json(body)
                    waivers.add((waiver.stage, waiver.partition, waiver.number, waiver.check))
                elif kind == "judgements":
                    judgement = Judgement.model_validate_json(body)
                    judgements.setdefault(judgement.plate, []).append(judgement)
                else:
                    observation = Observation.model_validate_json(body)
                    observations[observation.partition] = observation
            except (ValidationError, Unreadable):
                broken.append(path)
                if kind == "commits" and (before := latest(*_owner(path))):
                    commits[before.stage, before.partition] = before
        tried = {key: tuple(sorted(found, key=lambda each: each.at)) for key, found in attempts.items()}
        judged = {plate: tuple(sorted(found, key=lambda each: each.at)) for plate, found in judgements.items()}
        return cls(commits, tried, frozenset(waivers), observations, tuple(broken), judged)

    def in_force(self, plate: str) -> InForce:
        """What people say of a plate and its wells and sites, by place."""
        return in_force(self.judgements.get(plate, ()))

    def closed(self, commit: Commit) -> tuple[Verdict, ...]:
        """The gates of a commit that do not hold and that nobody waived."""
        return tuple(
            verdict
            for verdict in commit.closed
            if (commit.stage, commit.partition, commit.number, verdict.check) not in self.waivers
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Where a great many objects are made and none is dropped, Python's collector would take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse(path: str, body: bytes) -> Commit:
    """The commit in a file of the ledger. Raises Unreadable where there is none or that of another place, and LakeError
    for another format."""
    try:
        commit = Commit.model_validate_json(body)
    except ValidationError as error:
        other = _format_of(body)
        if other not in (None, FORMAT):
            raise LakeError(
                f"{path} has format {other}, this version reads {FORMAT}: use the version that wrote it, or a later one"
            ) from None
        found = error.errors()[0]
        raise Unreadable(f"{path} holds no commit ({'.'.join(map(str, found['loc']))}: {found['msg']})") from None
    if commit_path(commit.stage, commit.partition, commit.number) != path:
        raise Unreadable(
            f"{path} holds commit {commit.number} of {commit.stage} of {commit.partition}: the folder was renamed, or "
            "its disk does not tell P1 from p1; give one of the two another name"
        )
    return commit


def create(files: Files, path: str, body: bytes) -> bytes:
    """What a file holds once it was to be created: `body` where that was our doing. The answer of the store may be lost
    on its way, and then the file says whose it is; a fault is raised only where it is not ours."""
    try:
        return body if files.create(path, body) else files.read(path)
    except faults(files.remote):
        with forgiven(files.remote):
            if files.read(path) == body:
                return body
        raise


def commit_path(stage: str, partition: Partition, number: int) -> str:
    """Where a commit lies under the lake's root."""
    return f"ledger/commits/{partition.folder}/{stem_of(stage, partition)}.{number:08d}.json"


def _format_of(body: bytes) -> object:
    """The format that a file of the ledger says it has; None where it says nothing."""
    try:
        return json.loads(body)["format"]
    except (ValueError, KeyError, TypeError):
        return None


def now() -> str:
    """The time, in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat()


def who() -> str:
    """Who runs this: the name of the account, never of the machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in a container
        return "unknown"


def stem_of(stage: str, partition: Partition) -> str:
    """The start of the names of a stage's files within its partition's folder."""
    return f"{stage}@{quoted(partition.part).replace('.', '%2E')}" if partition.part else stage


def _parsed(path: str) -> tuple[str, int]:
    """The stem and number in the path of a commit; number -1 for any other file."""
    stem, _, number = path.rsplit("/", 1)[-1].removesuffix(".json").rpartition(".")
    return stem, int(number) if number.isdigit() else -1


def _owner(path: str) -> tuple[str, Partition]:
    """The stage and partition that the path of a commit names."""
    kind, _, key = path.split("/")[2].partition("=")
    stage, _, part = _parsed(path)[0].partition("@")
    return stage, Partition(kind, unquoted(key), unquoted(part))


def _last(listed: Mapping[str, Entry]) -> dict[str, Entry]:
    """Of the commits the last of each stage and partition; all other files."""
    last: dict[tuple[str, str], tuple[int, str]] = {}
    kept = {}
    for path, entry in listed.items():
        if not path.startswith("ledger/commits/"):
            kept[path] = entry
            continue
        stem, number = _parsed(path)
        key = (path.split("/")[2], stem)
        if number > last.get(key, (0, ""))[0]:
            last[key] = (number, path)
    return kept | {path: listed[path] for _, path in last.values()}


def _plain(seen: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {stage: dict(stamps) for stage, stamps in seen.items()}
