"""A run: makes stages of partitions, each from pinned inputs to a commit, or says in one sentence why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from morpho_assets import __version__
from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import LakeError, MorphoError
from morpho_assets.lake.digests import digest, plain
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.leases import Busy, held
from morpho_assets.lake.ledger import Commit, Partition, Read, State, Taken, Verdict, now, who
from morpho_assets.lake.work import Work
from morpho_assets.plan import (
    digests_of,
    gate_sentence,
    gates,
    method_of,
    plain_settings,
    reads_of,
    recipe_of,
    why,
)
from morpho_assets.refusals import refusal, told
from morpho_assets.retry import forgiven, network_faults
from morpho_assets.stages import STAGES, Check, Stage, Target
from morpho_assets.workspace import Workspace


class GateClosed(MorphoError):
    """A check of something that is read does not hold, and nobody waived it; or a person rejected the plate."""


@dataclass
class Run:
    """Makes stages. It pins the settings, the plates of its studies and the commits that it starts from: what others
    commit meanwhile does not enter; what it commits itself does.

    With `force` what is current is made again, from nothing; with `retry` what has failed sites is.
    """

    workspace: Workspace
    progress: Progress = no_progress
    committed: Callable[[Commit], None] = lambda commit: None
    force: bool = False
    retry: bool = False
    _state: State = field(default_factory=lambda: State({}, {}, frozenset(), {}))
    _loaded: set[Partition] = field(default_factory=set)
    _plates: dict[str, list[str]] = field(default_factory=dict)
    _left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def make(self, name: str, partition: Partition) -> Commit:
        """The commit of a stage: the one that is there if it is current, else a new one.

        Raises InputError, LakeError or GateClosed where it cannot be made, and Busy or Taken where another run is at
        it. A failed attempt is recorded.
        """
        with told(f"{name} of {partition}"):
            return self._made(name, partition)

    def _made(self, name: str, partition: Partition) -> Commit:
        stage = STAGES[name]
        target = self._target(partition)
        if rejection := stage.rejection(target):
            raise GateClosed(rejection)
        for asked in self._asked(stage, target):
            self.make(*asked)
        state = self._pinned(partition)
        self._require_inputs(stage, target, state)
        lake = self.workspace.lake
        lake.check_store()
        with held(lake.files, name, partition, lake.ledger.writer):
            number = max(lake.ledger.numbers(name, partition), default=0) + 1  # another's commit meanwhile takes it
            latest = lake.ledger.latest(name, partition)
            sources = self.workspace.look(name, target, _with(state, name, partition, latest))
            damage = lake.damage(latest, deep=True) if latest is not None else None
            reasons = why(stage, target, latest, state.commits, sources, damage)
            again = self.force or (self.retry and latest is not None and bool(latest.sites.failed))
            if latest is not None and not reasons and not again:
                return self._keep(latest)
            work = self._work(stage, target, state, None if self.force or damage else latest, sources)
            commit = self._attempt(stage, target, state, work, latest, number)
        self.committed(commit)
        return self._keep(commit)

    def _attempt(
        self, stage: Stage, target: Target, state: State, work: Work, latest: Commit | None, number: int
    ) -> Commit:
        """Do the work and commit it. A failure is recorded with the recipe and the sources that it failed with: only
        another of these is worth a new try at once."""
        lake, sources = self.workspace.lake, dict(work.sources)
        try:
            stage.function(work)
            commit = lake.ledger.commit(self._draft(stage, target, state, work, latest, number))
        except (Busy, Taken):
            raise
        except Exception as error:
            refused = None if isinstance(error, MorphoError) else refusal(error, f"{stage.name} of {target.partition}")
            sentence = refused or (str(error) if isinstance(error, MorphoError) else f"{type(error).__name__}: {error}")
            with forgiven(lake.files.remote):
                recipe = recipe_of(stage, target, state.commits, sources)
                lake.ledger.fail(stage.name, target.partition, recipe, sentence)
                self._record(stage.name, target.partition, sources)
            raise
        with forgiven(lake.files.remote):  # it is committed, whatever happens now
            work.clear()
            self._record(stage.name, target.partition, commit.sources)
        return commit

    def plates(self, study: str) -> list[str]:
        """The plates of a study, as they were when this run first asked."""
        if study not in self._plates:
            state, asked = self.workspace.state(studies=[study]), self.workspace.study(study)
            chosen = self.workspace.study_plates(asked, state)
            self._plates[study], self._left_out[study] = chosen, self.workspace.left_out(asked, chosen, state)
        return self._plates[study]

    # Below: how

    def _pinned(self, partition: Partition) -> State:
        """The state of what this run reads: each plate and study is loaded once."""
        whole = partition._replace(part="")
        needed = {whole}
        if partition.kind == "study":
            needed |= {Partition("plate", plate) for plate in self.plates(partition.key)}
        elif partition.part:
            needed |= {Partition("study", partition.part.partition("/")[0])}
        if needed - self._loaded:
            self._state = _joined(self.workspace.lake.ledger.state(needed - self._loaded), self._state)
            self._loaded |= needed
        return self._state

    def _record(self, name: str, partition: Partition, sources: Mapping[str, str]) -> None:
        """Record how the sources of a plate's stage looked; those of a study are looked at whenever it is planned."""
        if partition.kind == "plate":
            self.workspace.lake.ledger.observe(partition._replace(part=""), {name: sources})

    def _keep(self, commit: Commit) -> Commit:
        self._state = _with(self._state, commit.stage, commit.partition, commit)
        return commit

    def _target(self, partition: Partition) -> Target:
        if partition.kind == "plate":
            return self.workspace.target(partition, self._pinned(partition))
        found = self.workspace.target(partition, self._pinned(partition), self.plates(partition.key))
        return replace(found, left_out=self._left_out[partition.key])

    def _asked(self, stage: Stage, target: Target) -> Iterator[tuple[str, Partition]]:
        names = {each.stage for each in stage.inputs if each.asked}
        return (key for key in reads_of(stage, target) if key[0] in names)

    def _require_inputs(self, stage: Stage, target: Target, state: State) -> None:
        """Raise unless all that the stage reads is there, was made with the settings in force, and its gates hold."""
        for name, partition in self._upstream(stage, target):
            commit = state.commits.get((name, partition))
            if commit is None:
                raise LakeError(f"{stage.name} of {target.partition} reads {name} of {partition}, which is not there. "
                                f"Materialise it first: `morpho run --{partition.kind} {partition.key}`.")  # fmt: skip
            if partition.kind == "study" and target.study is None:
                continue  # an encoder is what it is, whatever became of the plates that it was trained on
            stale = why(STAGES[name], self._target(partition), commit, state.commits)
            if stale:
                raise LakeError(f"{stage.name} of {target.partition} reads {name} of {partition}, which is stale "
                                f"({'; '.join(stale)}): two settings never mix. Materialise it first: "
                                f"`morpho run --{partition.kind} {partition.key}`.")  # fmt: skip
        read = [state.commits[key] for key in reads_of(stage, target)]
        for commit, verdict in gates(state, read):
            raise GateClosed(gate_sentence(commit, verdict))
        for commit in read:
            damage = self.workspace.lake.damage(commit, deep=target.study is None)
            if damage is not None:
                raise LakeError(f"{commit.stage} of {commit.partition} is damaged: {damage}. Materialise it again: "
                                f"`morpho run --{commit.partition.kind} {commit.partition.key}`.")  # fmt: skip

    def _upstream(self, stage: Stage, target: Target) -> list[tuple[str, Partition]]:
        """All that a stage comes from, at any distance, first things first; of a study's plates what it reads itself,
        for their chains were looked at when the plates were chosen."""
        found: dict[tuple[str, Partition], None] = {}
        for name, partition in reads_of(stage, target):
            if partition.kind == target.partition.kind and not (partition.kind == "plate" and target.study):
                found |= dict.fromkeys(self._upstream(STAGES[name], self._target(partition)))
            found[name, partition] = None
        return list(found)

    def _work(
        self, stage: Stage, target: Target, state: State, previous: Commit | None, sources: Mapping[str, str]
    ) -> Work:
        lake, settings = self.workspace.lake, self.workspace.settings
        return Work(
            stage=stage.name,
            partition=target.partition,
            lake=lake,
            inputs=lake.snapshot(state.commits[key] for key in reads_of(stage, target)),
            settings=stage.settings(target),
            method=method_of(stage, target),
            options=stage.options(target),
            compute=settings.compute,
            progress=self.progress,
            source=target.from_where,
            previous=previous,
            sources=dict(sources),
        )

    def _draft(
        self, stage: Stage, target: Target, state: State, work: Work, latest: Commit | None, number: int
    ) -> Commit:
        """The commit of what was made. Raises LakeError for work that is not whole."""
        missing = set(stage.outputs) - set(work.outputs)
        if missing:
            raise LakeError(f"{stage.name} of {target.partition} made no {', '.join(sorted(missing))}")
        ledger = self.workspace.lake.ledger
        files = self.workspace.lake.sizes(work.named_files)
        absent = work.named_files - set(files)
        if absent:
            work.clear()  # what was kept on the way names it, and would again
            raise LakeError(f"{stage.name} of {target.partition} names {min(absent)}, which is not there; run again")
        keys = {"sites": work.sites, "files": files, "basis": work.basis}
        commit = Commit(
            stage=stage.name,
            partition=target.partition,
            number=number,
            before=latest.number if latest else None,
            recipe=recipe_of(stage, target, state.commits, work.sources),
            content=digest({name: output.digest for name, output in work.outputs.items()} | {"files": sorted(files)}),
            outputs=work.outputs,
            files=ledger.write_keys(target.partition, keys) if any(keys.values()) else None,
            reads=tuple(
                Read(stage=name, kind=own.kind, key=own.key, part=own.part, number=state.commits[name, own].number,
                     tables=digests_of(state.commits[name, own], tables))
                for (name, own), tables in reads_of(stage, target).items()
            ),
            sources=work.sources,
            settings=plain_settings(stage, target),
            code_version=stage.code_version,
            package_version=__version__,
            sites=work.covered(),
            verdicts=(),
            notes=work.notes,
            writer=ledger.writer,
            who=who(),
            at=now(),
        )  # fmt: skip
        damage = self.workspace.lake.damage(commit)
        if damage is not None:
            raise LakeError(f"{stage.name} of {target.partition} was not written whole: {damage}; run again")
        return commit.model_copy(update={"verdicts": self._verdicts(stage, target, work, commit)})

    def _verdicts(self, stage: Stage, target: Target, work: Work, draft: Commit) -> tuple[Verdict, ...]:
        settings = target.study if target.study is not None else target.settings
        return tuple(_asked_of(check, work.inputs.adding(draft), work.key, settings) for check in stage.checks)


def _asked_of(check: Check, tables: Snapshot, key: str, settings: Any) -> Verdict:
    """A check's verdict, under its name; a check that fails itself has not passed, and says so. A fault of the disk or
    the network is no verdict. What it was judged by is kept with it."""
    try:
        verdict = check.function(tables, key, settings)
    except network_faults():
        raise
    except Exception as error:  # what was made stands all the same
        text = f"the check failed itself: {type(error).__name__}: {error}"
        return Verdict(check=check.name, passed=False, text=text, blocking=check.blocking)
    judged_by = {name: plain(getattr(settings, name)) for name in check.judged_by}
    facts = {**verdict.facts, **judged_by}
    return verdict.model_copy(update={"check": check.name, "blocking": check.blocking, "facts": facts})


def _with(state: State, stage: str, partition: Partition, commit: Commit | None) -> State:
    if commit is None:
        return state
    return replace(state, commits={**state.commits, (stage, partition): commit})


def _joined(first: State, last: State) -> State:
    """Both; where both know something, what the last knows stands."""
    return replace(
        last,
        commits={**first.commits, **last.commits},
        attempts={**first.attempts, **last.attempts},
        waivers=first.waivers | last.waivers,
        observations={**first.observations, **last.observations},
        judgements={**first.judgements, **last.judgements},
    )
