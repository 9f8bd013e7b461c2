"""Whatever fails, and wherever a process dies: the ledger has the old commit or the new one, whole; whoever runs again
gets what an undisturbed run gives; and sweeping leaves nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from morpho_assets.errors import MorphoError
from morpho_assets.gallery.images import UNREACHABLE
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.lake.digests import digest
from morpho_assets.lake.files import Files, LocalFiles
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.lake.sweep import sweep
from morpho_assets.publication import publish
from morpho_assets.runs import Run
from morpho_assets.workspace import Workspace
from morpho_assets_tests.lake.faults import Bucket, Fault, Killed, disk, no_pauses
from morpho_assets_tests.lake.toy import STAGES_OF, Toy, bury, problems, rows_of, said, toy_stages
from morpho_assets_tests.object_store import ObjectStore

P1 = Partition("plate", "P1")
PLATE_STAGES = STAGES_OF["plate"]
# Every operation in all three ways, or for a quick look the death at a few.
EVERY = 1_000_000
HOW = [pytest.param(how, EVERY, marks=pytest.mark.slow, id=f"{how} at every") for how in ("fails", "lost", "dies")]
HOW.append(pytest.param("dies", 4, id="dies at some"))
IN_EVERY_WAY = pytest.mark.parametrize(("how", "times"), HOW)


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
           times: int, error: type[OSError] = OSError) -> None:  # fmt: skip
    """Let the action meet a fault at each of its operations, or at so many of them evenly spread, and check what is
    left each time."""
    place.put_back()
    undisturbed = Fault()
    place.struck(undisturbed, action)
    operations = len(undisturbed.seen)
    assert operations > 10
    for at in sorted({1 + number * operations // times for number in range(times)} if times < operations
                     else range(1, operations + 1)):  # fmt: skip
        place.put_back()
        fault = Fault(at, how, error)
        with suppress(Killed, OSError, MorphoError):
            place.struck(fault, action)
        assert fault.happened
        if fault.dead or fault.name in ("remove", "delete"):  # a lease that cannot be given up runs out
            bury(place.toy.files)
        check(fault)


PLACES = {"disk": Disk, "store": Store}
ERRORS = {"disk": OSError, "store": PermissionError}
"""What will not pass; a fault of an object store that may pass is borne."""


@IN_EVERY_WAY
@pytest.mark.parametrize("stage", PLATE_STAGES)
@pytest.mark.parametrize("kind", PLACES)
def test_a_stage_is_committed_whole_or_not_at_all(tmp_path, kind, stage, how, times):
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
        where = f"{stage}: operation {fault.at}, {fault.name}, {how}"
        workspace = toy.workspace()
        state = workspace.lake.ledger.state()
        assert not state.broken, where
        assert not problems(workspace, state.commits), where
        found = state.commits[stage, P1]
        unread = UNREACHABLE in found.sources.values()  # an image that could not be read failed, and is tried again
        assert unread or said(found) in (said(before), said(undisturbed)), (where, difference(found, undisturbed))
        make(toy.workspace())
        workspace = toy.workspace()
        again = workspace.lake.ledger.latest(stage, P1)
        assert said(again) == said(undisturbed), (where, difference(again, undisturbed))
        assert again.number == 2 + unread, where
        assert rows_of(workspace, again) == rows, where
        assert not problems(workspace, workspace.lake.ledger.state().commits), where
        sweep(workspace.lake, days=-1)
        assert files_of(toy.files) == left or unread, where

    strike(place, make, check, how, times, ERRORS[kind])


@pytest.mark.parametrize("how", ["fails", "lost"])
def test_a_fault_of_an_object_store_that_passes_is_not_noticed(tmp_path, how):
    place = Store.make(tmp_path)
    for name in PLATE_STAGES[:2]:
        Run(place.toy.workspace()).make(name, P1)
    place.keep()
    made = []

    def make(workspace: Workspace) -> None:
        made.append(Run(workspace).make("masks", P1))

    def check(fault: Fault) -> None:
        workspace = place.toy.workspace()
        found = workspace.lake.ledger.latest("masks", P1)
        assert said(found) == said(made[0])
        assert (found.number, len(made)) == (1, len(made))
        assert not workspace.lake.ledger.state().attempts
        assert not workspace.lake.files.find("ledger/leases")

    strike(place, make, check, how, 20, ConnectionResetError)


# A fetch from an object store


@pytest.fixture
def remote(tmp_path: Path, object_store: ObjectStore) -> Disk:
    """A project whose images lie in a bucket; the lake and the fetched images on the disk."""
    place = Disk.make(tmp_path)
    toy, bucket = place.toy, f"b-{digest(str(tmp_path))}"
    object_store.create(bucket)
    for path in sorted((toy.folder / "P1").iterdir()):
        object_store.put(bucket, path.name, path.read_bytes())
        if path.name != "sheet.csv":
            path.unlink()
    sheet = toy.folder / "P1/sheet.csv"
    sheet.write_text(sheet.read_text().replace("DNA,", f"DNA,s3://{bucket}/"))
    source = toy.settings.sources[0].model_copy(update={"endpoint_url": object_store.url, "retries": 2})
    toy.settings = toy.settings.model_copy(update={"sources": (source, toy.settings.sources[1])})
    Run(toy.workspace()).make("plate_manifest", P1)
    place.keep()
    return place


def fetch(workspace: Workspace) -> None:
    Run(workspace).make("raw_images", P1)


def fetched(toy: Toy) -> list[str]:
    """What lies in the folder of the images, each whole."""
    found = sorted(path for path in (toy.folder / "images/P1").glob("*") if not path.name.endswith(".aside"))
    assert {path.read_text() for path in found} <= {"0", "1", "2"}
    return [path.name for path in found]


@IN_EVERY_WAY
def test_a_fetch_goes_on_where_it_ended(remote, how, times):
    toy = remote.toy
    fetch(toy.workspace())
    undisturbed = toy.workspace().lake.ledger.latest("raw_images", P1)
    assert fetched(toy) == ["A01-1-DNA", "B01-1-DNA", "B01-2-DNA"]

    def put_back() -> None:
        shutil.rmtree(toy.folder / "images", ignore_errors=True)
        Disk.put_back(remote)

    def check(fault: Fault) -> None:
        where = f"operation {fault.at}, {fault.name}"
        fetched(toy)
        found = toy.workspace().lake.ledger.latest("raw_images", P1)
        assert found is None or UNREACHABLE in found.sources.values() or said(found) == said(undisturbed), where
        fetch(toy.workspace())
        workspace = toy.workspace()
        again = workspace.lake.ledger.latest("raw_images", P1)
        assert said(again) == said(undisturbed), (where, difference(again, undisturbed))
        assert not problems(workspace, workspace.lake.ledger.state().commits), where
        assert len(fetched(toy)) == 3
        sweep(workspace.lake, -1, folders=[toy.settings.images.folder])
        assert not list(toy.folder.rglob("*.aside")), where

    with patch.object(remote, "put_back", put_back):
        strike(remote, fetch, check, how, times)


FAULTS = ("refused", "slow down", "reset", "lost", "truncated", "garbled")


@pytest.mark.parametrize(
    "faults", [pytest.param(FAULTS, marks=pytest.mark.slow, id="every"), pytest.param(FAULTS[3:5], id="some")]
)
def test_a_fetch_bears_what_the_network_does_to_any_request(remote, object_store, faults):
    toy = remote.toy
    with object_store.network.spoil() as requests:
        fetch(toy.workspace())
        count = len(requests)
    undisturbed = toy.workspace().lake.ledger.latest("raw_images", P1)
    assert count > 6
    for at, fault in product(range(count), faults):
        remote.put_back()
        shutil.rmtree(toy.folder / "images")
        with object_store.network.spoil(*[None] * at, fault) as requests:
            fetch(toy.workspace())
            assert len(requests) >= count
        assert said(toy.workspace().lake.ledger.latest("raw_images", P1)) == said(undisturbed), at


def test_images_that_may_not_be_read_are_tried_once_and_again_when_somebody_looks(remote, object_store):
    toy = remote.toy
    with object_store.network.spoil(*[None] * 2, *["forbidden"] * 100) as requests:
        fetch(toy.workspace())
        assert len(requests) < 10
    found = toy.workspace().lake.ledger.latest("raw_images", P1)
    assert len(found.sites.failed) == 3
    assert "may not be read" in found.sites.failed["A01-1"]
    assert next(task.stage for task in toy.workspace().plan(["P1"])) == "raw_images"
    fetch(toy.workspace())
    assert not toy.workspace().lake.ledger.latest("raw_images", P1).sites.failed


# A sweep


@IN_EVERY_WAY
@pytest.mark.parametrize("kind", PLACES)
def test_a_sweep_removes_nothing_that_is_named_wherever_it_ends(tmp_path, kind, how, times):
    place = PLACES[kind].make(tmp_path)
    toy = place.toy
    for factor in (1, 2, 3):
        toy.settings = toy.settings.model_copy(update={"factor": factor})
        for name in PLATE_STAGES:
            Run(toy.workspace()).make(name, P1)
    place.keep()
    for at in range(20, 200, 5):  # a run that dies leaves sites that are done, and what they name
        place.put_back()
        with suppress(Killed):
            place.struck(Fault(at, "dies"), lambda workspace: Run(workspace, force=True).make("masks", P1))
        if toy.files.find(".work"):
            break
    bury(toy.files)
    shutil.rmtree(tmp_path / "before", ignore_errors=True)
    place.keep()

    def swept(workspace: Workspace) -> None:
        sweep(workspace.lake, days=-1)

    before = files_of(toy.files)
    swept(toy.workspace())
    left = files_of(toy.files)
    assert len(before) - len(left) > 5
    masks = [path for path in left if path.startswith("masks/")]
    assert len(masks) == 2  # of the last two commits

    def check(fault: Fault) -> None:
        where = f"operation {fault.at}, {fault.name}"
        workspace = toy.workspace()
        ledger = workspace.lake.ledger
        for number in (-1, -2):
            commits = {name: ledger.read(name, P1, ledger.numbers(name, P1)[number:][0]) for name in PLATE_STAGES}
            assert not problems(workspace, {(name, P1): commit for name, commit in commits.items()}), where
        swept(workspace)
        assert files_of(toy.files) == left, where
        assert Run(workspace, force=True).make("masks", P1).number == 4, where

    strike(place, swept, check, how, times, ERRORS[kind])


# The catalog


@IN_EVERY_WAY
def test_whoever_opens_the_catalog_sees_the_old_one_or_the_new(tmp_path, how, times):
    place = Disk.make(tmp_path)
    toy = place.toy
    for name in PLATE_STAGES:
        Run(toy.workspace()).make(name, P1)
    publish(toy.workspace())
    old = in_catalog(toy)
    change_everything(toy)
    for name in PLATE_STAGES:
        Run(toy.workspace()).make(name, P1)
    place.keep()
    shutil.copy(toy.settings.catalog, tmp_path / "catalog")

    def put_back() -> None:
        Path(toy.settings.catalog).unlink()
        shutil.copy(tmp_path / "catalog", toy.settings.catalog)
        Disk.put_back(place)

    put_back()
    publish(toy.workspace())
    new = in_catalog(toy)
    assert old != new

    def check(fault: Fault) -> None:
        where = f"operation {fault.at}, {fault.name}"
        assert in_catalog(toy) in (old, new), where
        publish(toy.workspace())
        assert in_catalog(toy) == new, where
        assert [path.name for path in toy.folder.glob("catalog.duckdb*") if path.name.endswith(("aside", "wal"))] == []

    with patch.object(place, "put_back", put_back):
        strike(place, publish, check, how, times)


def in_catalog(toy: Toy) -> list[list[Any]]:
    """What the catalog says of every table, and which commits it is of."""
    queries = ["SELECT stage, number FROM partitions ORDER BY ALL", *(f"FROM {name} ORDER BY ALL" for name in (
        "wells", "sites", "image_files", "masks", "objects", "site_failures", "well_profiles"))]  # fmt: skip
    return [query_catalog(toy.settings.catalog, query).rows() for query in queries]


def difference(one: Commit, other: Commit) -> dict[str, Any]:
    first, second = said(one), said(other)
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def files_of(files: Files) -> set[str]:
    """All files of a lake but the records of what was tried, of which the failed runs may have left some."""
    found = {path for path in files.find("") if not path.startswith("ledger/attempts/")}
    if isinstance(files, LocalFiles):
        found |= {path.name for path in Path(files.root).rglob("*.aside")}
    return found
