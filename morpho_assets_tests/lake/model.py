"""A model of the ledger and the plan: anything that people and machines do to a lake, in any order.

Stages are run alone or in order, settings and sources change (also while a stage is at work), images break and are
restored, files of the lake are lost, processes die between any two operations on files, and two runs are at work at
once. Whatever came before, after each step:

- no commit lacks a site: done and failed are all, and a site that is done has its rows;
- every file that a commit names is there and holds what its name says;
- every file of the ledger can be read: nothing half-written is seen.

And whenever somebody has looked, what the plan calls current is what a fresh run in an empty lake gives, byte for byte;
when all has been run, nothing is left to do. Any number of examples, and a failing one again:

    python -m morpho_assets_tests.lake.model --examples 5000 --seed 7
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from morpho_assets.errors import MorphoError
from morpho_assets.lake.files import LocalFiles
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.lake.sweep import sweep
from morpho_assets.lake.tables import TABLES
from morpho_assets.runs import Run
from morpho_assets.stages import STAGES
from morpho_assets.workspace import Workspace
from morpho_assets_tests.lake.faults import Bucket, Fault, Killed, disk, no_pauses
from morpho_assets_tests.lake.toy import ALL, PLATES, STAGES_OF, STUDY, Toy, bury, problems, toy_stages

# Most of what happens happens to one plate and to one of its images, so that it meets what happened before.
plates = st.sampled_from([*["P1"] * 3, "P2"])
partitions = st.sampled_from([*ALL[:1] * 3, *ALL[1:]])
indices = st.sampled_from([0, 0, 0, 1, 2])
words = st.sampled_from(["2", "7", "bad", None, "touched"])
deaths = st.tuples(st.integers(1, 250), st.sampled_from(["fails", "lost", "dies", "dies after"]))
PLATE_STAGES = STAGES_OF["plate"]
FRESH: dict[Any, dict[str, pl.DataFrame]] = {}
"""What fresh runs gave, by all that they were made from: the same sources and settings give the same."""


class LedgerModel(RuleBasedStateMachine):
    """One lake and all that happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.open.enter_context(toy_stages())
        self.open.enter_context(no_pauses())
        self.folder = Path(tempfile.mkdtemp(dir=_MEMORY))
        self.open.callback(shutil.rmtree, self.folder)
        self.toy = Toy.make(self.folder)
        self.lost: set[str] = set()

    @initialize(in_memory=st.booleans(), made=st.sampled_from([[], ALL[:1], ALL]))
    def begin(self, in_memory: bool, made: list[Partition]) -> None:
        """On a disk or in an object store, where some of it is made already."""
        if in_memory:
            self.toy = replace(self.toy, files=Bucket().files())
        for partition in made:
            _make(partition, STAGES_OF[partition.kind], self.toy.workspace())

    # What people do

    @rule(
        partition=partitions,
        stages=st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
        how=st.sampled_from(["", "", "force", "retry"]),
    )
    def make(self, partition: Partition, stages: int, how: str) -> None:
        """A partition's stages in order, or one of them alone."""
        names = STAGES_OF[partition.kind]
        chosen = [names[stages % len(names)]] if stages else names
        self._tried(partial(_make, partition, chosen, **({how: True} if how else {})))

    @rule(factor=st.integers(1, 2), shift=st.integers(0, 1))
    def change_settings(self, factor: int, shift: int) -> None:
        self.toy.settings = self.toy.settings.model_copy(update={"factor": factor, "shift": shift})

    @rule(plate=plates, treatment=st.sampled_from(["water", "salt"]), without=st.integers(0, 1))
    def change_sheet(self, plate: str, treatment: str, without: int) -> None:
        self.toy.write_sheet(plate, treatment, without)

    @rule(plate=plates, index=indices, word=words)
    def change_image(self, plate: str, index: int, word: str | None) -> None:
        """Another image, a bad one, none, or the same one written again."""
        image = self.toy.image(plate, index)
        if word is None:
            image.unlink(missing_ok=True)
        elif word != "touched":
            image.write_text(word)
        elif image.exists():
            os.utime(image)

    # What happens to them

    @rule(partition=partitions, death=deaths)
    def make_and_die(self, partition: Partition, death: tuple[int, Any]) -> None:
        self._struck(Fault(*death), partial(_make, partition, STAGES_OF[partition.kind]))

    @rule(death=st.none() | deaths)
    def clean(self, death: tuple[int, Any] | None) -> None:
        self._struck(Fault(*death) if death else Fault(), lambda workspace: sweep(workspace.lake, days=-1))

    @rule(data=st.data(), cut=st.booleans())
    def lose_file(self, data: st.DataObject, cut: bool) -> None:
        """A file of a table or a label image is gone, or cut short."""
        found = [path for path in self.toy.files.find("") if path.split("/")[0] in {*TABLES, "label_images"}]
        if found:
            path = data.draw(st.sampled_from(found), label="file")
            body = self.toy.files.read(path)
            self.toy.files.remove(path)
            if cut:
                self.toy.files.write(path, body[:-1])
            self.lost.add(path)

    @rule(stage=st.sampled_from([*PLATE_STAGES, "feature_space"]), plate=plates, when=st.booleans(), data=st.data())
    def make_while(self, stage: str, plate: str, when: bool, data: st.DataObject) -> None:
        """While a stage is at work, before or after it has read its inputs, something else happens; where that is a
        run, it is by somebody who takes no notice of leases."""
        partition = Partition("study", STUDY) if stage == "feature_space" else Partition("plate", plate)
        events = ["image", "sheet", "settings", "run", "run of all"]
        meanwhile = data.draw(st.sampled_from(events), label="meanwhile")
        word = data.draw(words, label="word")
        happened = []

        def happen() -> None:
            if happened:
                return
            happened.append(meanwhile)
            if meanwhile == "image":
                self.change_image(plate, 0, word)
            elif meanwhile == "sheet":
                self.change_sheet(plate, "salt", 0)
            else:
                if meanwhile == "settings":
                    self.change_settings(2, 1)
                bury(self.toy.files)
                names = [stage] if meanwhile != "run of all" else STAGES_OF[partition.kind]
                self._tried(partial(_make, partition, names, force=True))

        plain = STAGES[stage].function

        def function(work: Any) -> None:
            if when:
                happen()
            plain(work)
            if not when:
                happen()

        with patch.dict(STAGES, {stage: replace(STAGES[stage], function=function)}):
            self._tried(partial(_make, partition, STAGES_OF[partition.kind]))

    # What must hold

    @invariant()
    def whole(self) -> None:
        workspace = self.toy.workspace()
        state = workspace.lake.ledger.state()
        assert not state.broken, state.broken
        for key, commit in state.commits.items():
            if not _names_of(workspace, commit) & self.lost:
                assert not problems(workspace, {key: commit})
        for (stage, partition), commit in state.commits.items():
            assert workspace.lake.ledger.numbers(stage, partition) == list(range(1, commit.number + 1))
        assert not workspace.lake.files.find("ledger/leases")

    @rule()
    def what_is_current_is_fresh(self) -> None:
        workspace = self.toy.workspace()
        tasks = {(task.stage, task.partition) for task in workspace.plan(PLATES, [STUDY])}
        commits = workspace.lake.ledger.state().commits
        for (stage, partition), commit in commits.items():
            if (stage, partition) not in tasks:
                assert not _names_of(workspace, commit) & self.lost or not workspace.lake.damage(commit, deep=True)
                for name, expected in self._fresh(stage, partition).items():
                    found = workspace.lake.snapshot([commit]).read(name, partition.key)
                    _same(found, expected, f"{name} of {stage} of {partition}, commit {commit.number}")

    def teardown(self) -> None:
        """All is run until nothing is stale, and is what a fresh run gives."""
        try:
            for _ in range(4):  # a gate that closes is waived, and then there is more to do
                tasks = self.toy.workspace().plan(PLATES, [STUDY])
                for partition in dict.fromkeys(task.partition for task in tasks):
                    self._tried(partial(_make, partition, STAGES_OF[partition.kind]))
                    _waive(self.toy.workspace(), partition)
            assert not tasks, tasks
            self.lost.clear()
            self.whole()
            self.what_is_current_is_fresh()
        finally:
            self.open.close()

    # How

    def _tried(self, action: Callable[[Workspace], None]) -> None:
        """What a person does, who reads the message where it cannot be done."""
        with suppress(MorphoError):
            action(self.toy.workspace())

    def _struck(self, fault: Fault, action: Callable[[Workspace], Any]) -> None:
        try:
            if isinstance(self.toy.files, LocalFiles):
                with disk(fault, self.folder / "lake"):
                    action(self.toy.workspace())
            else:
                self.toy.files.store.fault = fault
                action(self.toy.workspace())
        except (Killed, OSError, MorphoError):
            pass
        finally:
            if not isinstance(self.toy.files, LocalFiles):
                self.toy.files.store.fault = Fault()
        bury(self.toy.files)
        for path in self.toy.files.find("ledger/leases"):
            self.toy.files.remove(path)  # they run out

    def _fresh(self, stage: str, partition: Partition) -> dict[str, pl.DataFrame]:
        """The tables that a stage gives in an empty lake, from the sources and settings as they are."""
        if partition.kind == "study":
            return {"profiles": self._joined([self._fresh("well_profiles", Partition("plate", p))["well_profiles"]
                                              for p in PLATES])}  # fmt: skip
        plate = self.toy.folder / partition.key
        sources = {path.name: path.read_bytes() for path in plate.iterdir()}
        key = (partition, tuple(sorted(sources.items())), self.toy.settings.factor, self.toy.settings.shift)
        if key not in FRESH:
            with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
                FRESH[key] = _made_fresh(self.toy.elsewhere(Path(folder)), partition)
        tables = STAGES[stage].outputs
        return {name: _placed(FRESH[key][f"{stage} {name}"], self.folder) for name in tables}

    def _joined(self, wells: list[pl.DataFrame]) -> pl.DataFrame:
        labels = {"study": STUDY, "space": "toy", "step": "selected"}
        return pl.concat(wells).with_columns(pl.lit(text).alias(name) for name, text in labels.items())


_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where files are synced in no time: what is on the disk when the power goes is counted, not tried."""


def _make(partition: Partition, names: list[str], workspace: Workspace, **how: bool) -> None:
    run = Run(workspace, **how)
    for name in names:
        run.make(name, partition)


def _made_fresh(toy: Toy, partition: Partition) -> dict[str, pl.DataFrame]:
    found = {}
    for stage in STAGES_OF[partition.kind]:
        workspace = toy.workspace()
        commit = Run(workspace).make(stage, partition)
        _waive(workspace, partition)
        snapshot = workspace.lake.snapshot([commit])
        for name in commit.outputs:
            found[f"{stage} {name}"] = snapshot.read(name, partition.key).with_columns(
                pl.col(pl.String).str.replace(str(toy.folder), "", literal=True)
            )
    return found


def _placed(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Paths as they are in another folder."""
    return frame.with_columns(pl.col(pl.String).str.replace("^/P", f"{folder}/P"))


def _waive(workspace: Workspace, partition: Partition) -> None:
    state = workspace.lake.ledger.state([partition])
    for commit in state.commits.values():
        for verdict in state.closed(commit):
            workspace.lake.ledger.waive(commit, verdict.check, "the model goes on")


def _names_of(workspace: Workspace, commit: Commit) -> set[str]:
    """Every file that a commit names."""
    tables = {file.path for output in commit.outputs.values() for file in output.files}
    return tables | set(workspace.lake.ledger.keys(commit)["files"])


def _same(found: pl.DataFrame, expected: pl.DataFrame, what: str) -> None:
    """Equal rows and columns, byte for byte, in any order."""
    columns = sorted(expected.columns)
    assert sorted(found.columns) == columns, what
    one, two = (sorted(map(repr, frame.select(columns).rows())) for frame in (found, expected))
    assert one == two, f"{what}:\nfound    {one}\nexpected {two}"


def check(examples: int, number: int, steps: int = 8) -> None:
    """Run the model with so many examples of a seed; raises for the first that fails, made as short as can be."""
    options = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    run_state_machine_as_test(seed(number)(LedgerModel), settings=options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="anything that can happen to a lake, in any order")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    print(f"{chosen.examples} examples of seed {chosen.seed}")  # noqa: T201
    check(chosen.examples, chosen.seed)
