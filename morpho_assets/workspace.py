"""Settings, lake and studies together: what a command or an asset opens, and what it asks of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from morpho_assets.errors import InputError, LakeError, MorphoError
from morpho_assets.gallery.source import PlateSource
from morpho_assets.gallery.sources import find_source
from morpho_assets.lake.judgements import rejection_of_plate
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Observation, Partition, State, now
from morpho_assets.plan import Task, plan_target, reads_of, why
from morpho_assets.refusals import told
from morpho_assets.settings import Settings, load_settings
from morpho_assets.stages import PLATE_STAGES, STAGES, STUDY_STAGES, Look, Target
from morpho_assets.studies.model import Study, load_study, study_files

_LISTED_FROM = 16  # plates from which on files are looked up by listing whole tables
_LOOKERS = 8  # plates whose sources are looked at side by side


@dataclass(frozen=True)
class Workspace:
    """One settings file's platform: its sources, its lake, its studies."""

    settings: Settings
    lake: Lake
    root: Path
    _studies: dict[str, Study] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, file: Path) -> Workspace:
        """Read the settings and open the lake they name; nothing is created yet.

        Raises InputError for wrong settings, and LakeError for a lake of the form before the ledger, or one that does
        not answer or refuses.
        """
        settings = load_settings(file)
        lake = Lake(settings.lake, settings.lake_options)
        with told(settings.lake):
            lake.check_format()
        return cls(settings, lake, file.resolve().parent)

    # Plates and studies

    def plates(self) -> list[str]:
        """Barcodes of all plates of all sources, sorted."""
        return sorted({plate for source in self.settings.sources for plate in source.plates()})

    def studies(self) -> list[str]:
        return sorted(study_files(Path(self.settings.studies)))

    def study(self, name: str) -> Study:
        """A study, as it was when this workspace first read it: what is edited meanwhile does not enter."""
        if name not in self._studies:
            self._studies[name] = load_study(name, Path(self.settings.studies), self.root)
        return self._studies[name]

    def require(self, plates: Iterable[str], studies: Iterable[str]) -> None:
        """Raise InputError for a plate that no source has, or a study that nobody wrote."""
        for plate in plates:
            find_source(self.settings.sources, plate)
        for study in studies:
            self.study(study)

    def study_plates(self, study: Study, state: State) -> list[str]:
        """The plates of a study: those it names, or all whose profiles were made with the settings in force.

        Raises LakeError where a named one is not there, or was made with other settings: they never mix.
        """
        if study.plates == "all":
            made = sorted(p.key for name, p in state.commits if name == "well_profiles" and p.kind == "plate")
            plates = [plate for plate in made if not self.unsettled(plate, state)]
            if not plates:
                raise InputError(
                    f"study {study.name}", "plates", "no plate with profiles that were made with these settings",
                    "at least one", "Materialise plates.",
                )  # fmt: skip
            return plates
        for plate in study.plates:
            if rejection := rejection_of_plate(state.in_force(plate)):
                raise LakeError(f"study {study.name}: {rejection}. Or leave it out of the study's `plates`.")
            problem = self.unsettled(plate, state)
            if problem:
                raise LakeError(
                    f"study {study.name}: {problem}. Two settings never mix in one study: "
                    f"materialise the plate again (`morpho run --plate {plate}`)"
                )
        return list(study.plates)

    def left_out(self, study: Study, chosen: Sequence[str], state: State) -> dict[str, str]:
        """The plates that something was made of, or tried, and that a study of all plates goes on without: of each why,
        as the person who rejected it, a closed gate, the last failure or the settings say."""
        if study.plates != "all":
            return {}
        begun = {partition.key for _, partition in (*state.commits, *state.attempts) if partition.kind == "plate"}
        return {plate: self._why_not(plate, state) for plate in sorted(begun - set(chosen))}

    def _why_not(self, plate: str, state: State) -> str:
        if rejection := rejection_of_plate(state.in_force(plate)):
            return rejection
        stages = [(name, Partition("plate", plate)) for name in PLATE_STAGES]
        closed = [f"{key[0]}: {verdict.text}" for key in stages if key in state.commits
                  for verdict in state.closed(state.commits[key])]  # fmt: skip
        failed = sorted((each for key in stages for each in state.attempts.get(key, ())), key=lambda each: each.at)
        failures = [f"{each.stage} failed: {each.sentence}" for each in failed[-1:]]
        return (closed + failures + [self.unsettled(plate, state) or "its profiles were made meanwhile"])[0]

    def unsettled(self, plate: str, state: State) -> str | None:
        """Which stage of a plate is not there or was made with other settings, code or verdicts of people than those in
        force, and which; None where the whole chain of its commits was made with them."""
        partition = Partition("plate", plate)
        try:
            target = self.target(partition, state)
        except InputError as error:
            return str(error)
        for name in PLATE_STAGES:
            reasons = why(STAGES[name], target, state.commits.get((name, partition)), state.commits)
            if reasons:
                return f"{name} of plate {plate} is not as the settings in force would make it ({'; '.join(reasons)})"
        return None

    # Targets

    def target(self, partition: Partition, state: State, plates: Sequence[str] | None = None) -> Target:
        """A partition with what is in force for it; `plates` are those of a study where they are known already."""
        if partition.kind == "plate":
            judged = state.in_force(partition.key)
            return Target(partition, self.settings, source=self.source(partition.key, state), judgements=judged)
        study = self.study(partition.key)
        chosen = self.study_plates(study, state) if plates is None else plates
        sources = {plate: self.source(plate, state) for plate in chosen}
        return Target(partition, self.settings, study=study, sources=sources)

    def source(self, plate: str, state: State) -> PlateSource:
        """The source that a plate's manifest was read from, else the one that has it. Raises InputError for none."""
        made = state.commits.get(("plate_manifest", Partition("plate", plate)))
        known = self._sources.get(made.notes.get("source", "")) if made is not None else None
        return known or find_source(self.settings.sources, plate)

    @cached_property
    def _sources(self) -> Mapping[str, PlateSource]:
        return {source.name: source for source in self.settings.sources}

    def targets(self, target: Target) -> list[tuple[str, Target]]:
        """The stages of a plate's or a study's job with the target of each, in order; of a stage with parts one each.

        A study also asks for the embeddings that its spaces are of, after its encoders.
        """
        if target.study is None:
            return [(name, target) for name in PLATE_STAGES]
        found: list[tuple[str, Target]] = []
        for name in STUDY_STAGES:
            stage = STAGES[name]
            for each in stage.inputs:
                if each.asked:
                    there = {(before, of.partition) for before, of in found}
                    asked = [key[1] for key in reads_of(stage, target) if key[0] == each.stage and key not in there]
                    found += [
                        (each.stage, Target(partition, self.settings, source=target.sources[partition.key]))
                        for partition in asked
                    ]
            parts = stage.parts(target.study) if stage.parts else [""]
            found += [(name, replace(target, partition=target.partition._replace(part=part))) for part in parts]
        return found

    # What is stale

    def plan(
        self, plates: Sequence[str] = (), studies: Sequence[str] = (), look: bool = True, state: State | None = None
    ) -> list[Task]:
        """What would be made of plates and studies, in order, and why.

        With `look` their sources are looked at now and what was seen is recorded; without, the last record stands (of
        a study's few files there is none: they are always looked at). `state` is the ledger where it was read already.
        """
        state = state or self.state(plates, studies)
        if look:
            state = self.observe(plates, state)
        many = len(plates) >= _LISTED_FROM
        sizes = self.sizes() if many else None
        tasks: list[Task] = []
        for plate in plates:
            partition = Partition("plate", plate)
            target = self.target(partition, state)
            seen = state.observations.get(partition)
            stages = self.targets(target)
            damage = self._damage(stages, state, sizes, deep=not many)
            tasks += plan_target(state, stages, seen.seen if seen else {}, damage)
        pending = {(task.stage, task.partition) for task in tasks}
        for name in studies:
            tasks += self._study_tasks(name, state, pending)
        return tasks

    def _study_tasks(self, name: str, state: State, pending: set[tuple[str, Partition]]) -> list[Task]:
        partition = Partition("study", name)
        try:
            target = self.target(partition, state)
        except MorphoError as error:
            return [Task(stage, partition, ("its plates are not ready",), held=str(error)) for stage in STUDY_STAGES]
        stages = self.targets(target)
        seen = self._looks([(stage, each) for stage, each in stages if each.study is not None], state)
        return plan_target(state, stages, seen, self._damage(stages, state), pending)

    def state(self, plates: Sequence[str] = (), studies: Sequence[str] = ()) -> State:
        """The ledger as it stands: of these plates and studies and of what they read; of everything for many."""
        named = [self.study(name) for name in studies]
        if len(plates) >= _LISTED_FROM or any(study.plates == "all" for study in named):
            return self.lake.ledger.state()
        keys = [*plates, *(plate for study in named for plate in study.plates)]
        partitions = [Partition("plate", key) for key in keys] + [Partition("study", name) for name in studies]
        return self.lake.ledger.state(partitions)

    def look(self, stage: str, target: Target, state: State) -> dict[str, str]:
        """How the sources of a stage look now. What it reads must be there."""
        commits = [state.commits[each] for each in reads_of(STAGES[stage], target) if each in state.commits]
        commit = state.commits.get((stage, target.partition))
        return STAGES[stage].sources(Look(target, self.lake.snapshot(commits), commit))

    def _looks(self, stages: Iterable[tuple[str, Target]], state: State) -> dict[str, dict[str, str]]:
        """How the sources of stages look now; of one whose inputs cannot be read nobody knows, nor need: these are made
        again first."""
        seen = {}
        for name, target in stages:
            with suppress(LakeError):
                seen[name] = self.look(name, target, state)
        return seen

    def observe(self, plates: Sequence[str], state: State) -> State:
        """Look at the sources of plates, record what was seen, and return the state with it."""

        def one(plate: str) -> Observation:
            partition = Partition("plate", plate)
            target = self.target(partition, state)
            seen = self._looks([(name, target) for name in self._observable(partition, state)], state)
            self.lake.ledger.observe(partition, seen)
            return Observation(partition=partition, seen=seen, at=now())

        with ThreadPoolExecutor(_LOOKERS) as threads:
            found = {each.partition: each for each in threads.map(one, plates)}
        return replace(state, observations={**state.observations, **found})

    def _observable(self, partition: Partition, state: State) -> list[str]:
        """The stages of a plate whose sources can be looked at: those whose inputs are there."""
        there = {name for name in PLATE_STAGES if (name, partition) in state.commits}
        return [name for name in PLATE_STAGES if all(each.stage in there for each in STAGES[name].inputs)]

    def _damage(
        self,
        stages: Sequence[tuple[str, Target]],
        state: State,
        sizes: Mapping[str, int] | None = None,
        deep: bool = True,
    ) -> dict[tuple[str, Partition], str]:
        """What is wrong with the files of commits, by stage and partition."""
        damage = {}
        for name, target in stages:
            commit = state.commits.get((name, target.partition))
            found = self.lake.damage(commit, sizes, deep) if commit is not None else None
            if found is not None:
                damage[name, target.partition] = found
        return damage

    def sizes(self) -> dict[str, int] | None:
        """The bytes of every file of every table, where to list them takes less than to ask for each."""
        if not self.lake.files.remote:
            return None
        tables = {table for stage in STAGES.values() for table in stage.outputs}
        with ThreadPoolExecutor(_LOOKERS) as threads:
            found = threads.map(self.lake.files.find, sorted(tables))
            return {path: entry.size for entries in found for path, entry in entries.items()}
