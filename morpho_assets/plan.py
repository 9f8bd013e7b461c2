"""The plan: what is stale and why, from commits, settings, code and what was seen of the sources.

Nothing else decides what is stale: the command line, the schedule, the sensor, the UI and every stage ask here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from morpho_assets.lake.digests import digest, plain
from morpho_assets.lake.ledger import Commit, Partition, State, Verdict
from morpho_assets.profiles.space import EmbeddingSpace
from morpho_assets.stages import STAGES, Stage, Target

_ABSENT = object()
_JUDGED = ("rejected.", "kept.")
"""Starts of the settings in which a stage has what people say of wells and sites."""


@dataclass(frozen=True)
class Task:
    """A stage of a partition that is not current, and why, in words.

    It `waits` where a stage before it is not current either: once that is made, it may prove current after all. It is
    `held` where a gate before it is closed, which the sentence names. `recipe` is what it would be made by; of one that
    waits nobody knows yet.
    """

    stage: str
    partition: Partition
    reasons: tuple[str, ...]
    waits: bool = False
    held: str | None = None
    recipe: str = ""


def reads_of(stage: Stage, target: Target) -> dict[tuple[str, Partition], tuple[str, ...]]:
    """What a stage of a target reads: the tables of each commit."""
    reads: dict[tuple[str, Partition], tuple[str, ...]] = {}
    own, study = target.partition, target.study
    for each in stage.inputs:
        if study is not None and not each.needed(study):
            continue
        before = STAGES[each.stage]
        if each.of == "same":
            partitions = [Partition(own.kind, own.key)]
        elif each.of == "plates":
            parts = _embedded(target) if before.parts else [""]
            partitions = [Partition("plate", plate, part) for plate in target.sources for part in parts]
        elif each.of == "seen":
            partitions = [Partition("plate", plate) for plate in target.seen]
        elif own.kind == "plate":
            of_study, _, encoder = own.part.partition("/")
            partitions = [Partition("study", of_study, encoder)]
        else:
            assert study is not None
            assert before.parts is not None
            partitions = [Partition("study", own.key, part) for part in before.parts(study)]
        reads |= {(each.stage, partition): each.tables for partition in partitions}
    return reads


def _embedded(target: Target) -> list[str]:
    """The encoders whose embeddings the study's spaces are of."""
    assert target.study is not None
    spaces = target.study.spaces.items()
    names = {space.encoder or name for name, space in spaces if isinstance(space, EmbeddingSpace)}
    names |= {each.encoder for each in target.study.sets.values() if each.encoder is not None}
    names |= {each for phenotype in target.study.phenotypes.values() for each in phenotype.features.encoders}
    return [f"{target.study.name}/{name}" for name in sorted(names)]


def recipe_of(stage: Stage, target: Target, commits: Mapping[tuple[str, Partition], Commit],
              sources: Mapping[str, str]) -> str:  # fmt: skip
    """Names how a stage of a target would be made now: stage, code, settings, content of what it reads, sources."""
    reads = {
        f"{name} {partition}": digests_of(commits.get((name, partition)), tables)
        for (name, partition), tables in reads_of(stage, target).items()
    }
    return digest([method_of(stage, target), reads, dict(sources)])


def method_of(stage: Stage, target: Target) -> str:
    """Names the code and the settings of a stage, without what stands where it stood before it was a setting."""
    return digest([stage.name, stage.code_version, _flat(stage.settings(target), stage.before)])


def digests_of(commit: Commit | None, tables: Iterable[str]) -> dict[str, str]:
    """The digests of tables of a commit; empty for what is not there."""
    if commit is None:
        return {}
    return {table: commit.outputs[table].digest for table in tables if table in commit.outputs}


def why(
    stage: Stage,
    target: Target,
    commit: Commit | None,
    commits: Mapping[tuple[str, Partition], Commit],
    sources: Mapping[str, str] | None = None,
    damage: str | None = None,
) -> tuple[str, ...]:
    """Why a stage of a target has to be made (again), in words; empty where its commit is current.

    `commits` are those of what it reads, as they are now; `sources` how its sources look, None where nobody looked.
    """
    if commit is None:
        return ("missing",)
    reasons = list(unlike(stage, target, commit))
    if damage is not None:
        reasons.append(damage)
    before = {(read.stage, read.partition): read.tables for read in commit.reads}
    now = {key: digests_of(commits.get(key), tables) for key, tables in reads_of(stage, target).items()}
    reasons += [_moved(name, partition, "changed" if (name, partition) in before else "is new", target)
                for (name, partition), digests in now.items() if before.get((name, partition)) != digests]  # fmt: skip
    reasons += [_moved(name, partition, "is no longer read", target) for name, partition in before if (
        name, partition) not in now]  # fmt: skip
    if sources is not None:
        reasons += _seen(commit.sources, sources)
    reasons += _judged_anew(stage, target, commit)
    return tuple(dict.fromkeys(reasons))


def unlike(stage: Stage, target: Target, commit: Commit) -> Iterator[str]:
    """How the code, the settings and what people say, with which a commit was made, differ from those in force, in
    words."""
    if rejection := stage.rejection(target):
        yield rejection
    if commit.code_version != stage.code_version:
        yield f"code {commit.code_version} -> {stage.code_version}"
    if commit.settings == plain_settings(stage, target):
        return
    was, now = (_flat(each, {}) for each in (commit.settings, stage.settings(target)))
    for name in sorted(was.keys() | now.keys()):
        old, new = (each.get(name, stage.before.get(name, _ABSENT)) for each in (was, now))
        if old != new and stage.judged and name.startswith(_JUDGED):
            yield _judged(name, old, new)
        elif old != new:
            yield f"`{_dotted(stage.named, name)}` {_shown(old)} -> {_shown(new)}"


def _judged(name: str, old: Any, new: Any) -> str:
    """What changed of a person's verdict on a well or a site, in words."""
    kind, _, place = name.partition(".")
    said = "rejected" if kind == "rejected" else "kept though its well is rejected"
    return f"{place} is no longer {said} ({old})" if new is _ABSENT else f"{place} is {said} ({new})"


def plain_settings(stage: Stage, target: Target) -> Any:
    """A stage's settings by value, as a commit has them."""
    settings = stage.settings(target)
    return _plain_model(_Same(settings)) if isinstance(settings, BaseModel) else plain(_fields(settings))


@dataclass(frozen=True)
class _Same:
    """A model that is compared by what it is and not by what is in it: thousands of plates share one."""

    model: BaseModel

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.model is self.model

    def __hash__(self) -> int:
        return id(self.model)


@lru_cache(maxsize=64)
def _plain_model(same: _Same) -> Any:
    return plain(same.model)


def gates(state: State, commits: Iterable[Commit]) -> list[tuple[Commit, Verdict]]:
    """The closed gates of commits that nobody waived."""
    return [(commit, verdict) for commit in commits for verdict in state.closed(commit)]


def gate_sentence(commit: Commit, verdict: Verdict) -> str:
    """A closed gate in words, with what to do."""
    return (
        f"{commit.stage} of {commit.partition}: {verdict.text} "
        f"(`morpho waive {verdict.check} --plate {commit.partition.key}` lets it pass)"
    )


def plan_target(
    state: State, stages: Sequence[tuple[str, Target]], seen: Mapping[str, Mapping[str, str]],
    damage: Mapping[tuple[str, Partition], str], before: Iterable[tuple[str, Partition]] = (),
) -> list[Task]:  # fmt: skip
    """The tasks of one plate or study, in order: of these stages with their targets.

    `seen` is what was seen of each stage's sources, `damage` what is wrong with the files of commits, `before` what has
    to be made of other plates.
    """
    tasks: list[Task] = []
    pending = set(before)
    for name, target in stages:
        stage = STAGES[name]
        key = (name, target.partition)
        reads = reads_of(stage, target)
        closed = gates(state, [state.commits[each] for each in reads if each in state.commits])
        held = gate_sentence(*closed[0]) if closed else stage.rejection(target)
        waits = [each for each in reads if each in pending]
        sources = seen.get(name)
        if waits:
            names = ", ".join(dict.fromkeys(each for each, _ in waits))
            reasons: tuple[str, ...] = why(stage, target, state.commits.get(key), state.commits, sources)
            tasks.append(Task(name, target.partition, (f"after {names}", *reasons), waits=True, held=held))
            pending.add(key)
            continue
        reasons = why(stage, target, state.commits.get(key), state.commits, sources, damage.get(key))
        if reasons:
            recipe = recipe_of(stage, target, state.commits, sources or {})
            tasks.append(Task(name, target.partition, reasons, held=held, recipe=recipe))
            pending.add(key)
    return tasks


def tries(state: State, task: Task) -> tuple[int, str | None]:
    """How often a task was tried in vain with the recipe that it has now, and when last."""
    found = [each for each in state.attempts.get((task.stage, task.partition), ()) if each.recipe == task.recipe]
    return len(found), found[-1].at if found else None


def _moved(stage: str, partition: Partition, what: str, target: Target) -> str:
    """A change of something that is read, in words; named by its partition where that is another one."""
    return f"{stage} {what}" if partition.key == target.partition.key else f"{stage} of {partition} {what}"


def _judged_anew(stage: Stage, target: Target, commit: Commit) -> Iterator[str]:
    """The settings by which a closed gate was judged, where they are others now."""
    closed = {verdict.check: verdict.facts for verdict in commit.closed}
    for check in stage.checks:
        for name in check.judged_by if check.name in closed else ():
            was, now = closed[check.name].get(name), plain(getattr(target.settings, name))
            if was != now:
                yield f"`{name}` {_shown(was)} -> {_shown(now)}"


def _seen(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [name for name in was if name in now and now[name] != was[name]]
    images = [name for name in changed if "/" in name and name in was and "images" in was]
    reasons = [f"{len(images)} failed {'image has a new file' if len(images) == 1 else 'images have new files'}"
               ] if images else []  # fmt: skip
    reasons += [f"{_short(name)} changed" for name in changed if name not in images]
    reasons += [f"{_short(name)} is new" for name in now if name not in was]
    return reasons + [f"{_short(name)} is gone" for name in was if name not in now]


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _fields(value: Any) -> Any:
    return vars(value) if type(value).__name__ == "SimpleNamespace" else value


def _flat(value: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted name, without those that stand where `before` says."""
    flat: dict[str, Any] = {}

    def walk(name: str, item: Any) -> None:
        if isinstance(item, dict) and item:
            for key, inner in item.items():
                walk(f"{name}.{key}" if name else str(key), inner)
        else:
            flat[name] = item

    walk("", plain(_fields(value)))
    return {name: item for name, item in flat.items() if name not in before or before[name] != item}


def _dotted(named: str, name: str) -> str:
    return ".".join(part for part in (named, name) if part)


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "(not set)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
