"""Whatever fails, and wherever a process dies: the ledger has the old commit or the new one, whole; whoever runs again
gets what an undisturbed run gives; and sweeping leaves nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from morpho_assets.lake.files import Files, LocalFiles
from morpho_assets.lake.ledger import Partition
from morpho_assets.lake.sweep import sweep
from morpho_assets.runs import Run
from morpho_assets.workspace import Workspace
from morpho_assets_tests.lake.faults import WAYS, Bucket, Fault, Killed, disk, no_pauses
from morpho_assets_tests.lake.toy import STAGES_OF, Toy, bury, problems, rows_of, said, toy_stages

P1 = Partition("plate", "P1")
PLATE_STAGES = STAGES_OF["plate"]
EVERY = 1
SOME = 7  # of the operations, where a test is to be quick


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_stages(), no_pauses():
        yield


@dataclass
class Disk:
    """A project on the disk that can be put back to how it was, and that a fault can strike."""

    toy: Toy
    before: Path

    @classmethod
    def make(cls, folder: Path) -> Disk:
        return cls(Toy.make(folder / "project"), folder / "before")

    def keep(self) -> None:
        shutil.copytree(self.toy.folder / "lake", self.before)

    def put_back(self) -> None:
        shutil.rmtree(self.toy.folder / "lake")
        shutil.copytree(self.before, self.toy.folder / "lake")

    def struck(self, fault: Fault, action: Callable[[Workspace], Any]) -> None:
        with disk(fault, self.toy.folder):
            action(self.toy.workspace())


@dataclass
class Store:
    """The same on an object store."""

    toy: Toy
    bucket: Bucket
    before: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> Store:
        bucket = Bucket()
        return cls(Toy.make(folder / "project", bucket.files()), bucket)

    def keep(self) -> None:
        self.before = dict(self.bucket.objects)

    def put_back(self) -> None:
        self.bucket.objects = dict(self.before)

    def struck(self, fault: Fault, action: Callable[[Workspace], Any]) -> None:
        self.bucket.fault = fault
        try:
            action(self.toy.workspace())
        finally:
            self.bucket.fault = Fault()


def change_everything(toy: Toy) -> None:
    """Every stage of plate P1 has something to do."""
    toy.write_sheet("P1", "salt")
    toy.image("P1", 0).write_text("9")
    toy.settings = toy.settings.model_copy(update={"factor": 3, "shift": 1})


def strike(place: Disk | Store, action: Callable[[Workspace], Any], check: Callable[[Fault], None], how: str,
           step: int, error: type[OSError] = OSError) -> int:  # fmt: skip
    """Let the action meet a fault at every `step`-th operation, and check what is left each time; returns how many."""
    operations = Fault()
    place.put_back()
    place.struck(operations, action)
    count = len(operations.seen)
    for at in range(1 + step // 2, count + 1, step):
        place.put_back()
        fault = Fault(at, how, error)
        try:
            place.struck(fault, action)
        except (Killed, OSError):
            pass
        assert fault.happened, f"operation {at} of {count}"
        if fault.dead:
            bury(place.toy.files)
        check(fault)
    return count


PLACES = {"disk": Disk, "store": Store}


@pytest.mark.parametrize("step", [pytest.param(EVERY, marks=pytest.mark.slow, id="every"), pytest.param(SOME, id="some")])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("stage", PLATE_STAGES)
@pytest.mark.parametrize("kind", PLACES)
def test_a_stage_is_committed_whole_or_not_at_all(tmp_path, kind, stage, how, step):
    place = PLACES[kind].make(tmp_path)
    toy = place.toy
    old = [Run(toy.workspace()).make(name, P1) for name in PLATE_STAGES]
    change_everything(toy)
    for name in PLATE_STAGES[: PLATE_STAGES.index(stage)]:
        Run(toy.workspace()).make(name, P1)
    place.keep()
    before = old[PLATE_STAGES.index(stage)]

    def make(workspace: Workspace) -> None:
        Run(workspace).make(stage, P1)

    make(toy.workspace())
    workspace = toy.workspace()
    undisturbed = workspace.lake.ledger.latest(stage, P1)
    assert undisturbed.number == 2
    rows = rows_of(workspace, undisturbed)
    sweep(workspace.lake, days=-1)
    left = files_of(toy.files)

    def check(fault: Fault) -> None:
        where = f"{stage}: operation {fault.at} of {count}, {fault.seen[fault.at - 1]}, {how}"
        workspace = toy.workspace()
        state = workspace.lake.ledger.state()
        assert not state.broken, where
        assert not problems(workspace, state.commits), where
        found = state.commits[stage, P1]
        assert said(found) in (said(before), said(undisturbed)), where
        make(toy.workspace())
        workspace = toy.workspace()
        again = workspace.lake.ledger.latest(stage, P1)
        assert said(again) == said(undisturbed), where
        assert again.number == 2, where
        assert rows_of(workspace, again) == rows, where
        assert not problems(workspace, workspace.lake.ledger.state().commits), where
        sweep(workspace.lake, days=-1)
        assert files_of(toy.files) == left, where

    count = 0
    count = strike(place, make, check, how, step)


def files_of(files: Files) -> set[str]:
    """All files of a lake but the records of what was tried, of which the failed runs may have left some."""
    found = {path for path in files.find("") if not path.startswith("ledger/attempts/")}
    if isinstance(files, LocalFiles):
        found |= {path.name for path in Path(files.root).rglob("*.aside")}
    return found
