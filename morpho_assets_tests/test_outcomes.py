"""What else may happen to a back-fill, each with the outcome that docs/reliability.md promises: a full or read-only
disk, a clock that jumps, a study that is edited and code that changes while plates are made."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from morpho_assets import stages
from morpho_assets.errors import LakeError
from morpho_assets.judging import judge
from morpho_assets.lake import leases, ledger
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.lake.files import LocalFiles
from morpho_assets.lake.ledger import Partition, Taken
from morpho_assets.publication import publish
from morpho_assets.runs import Run
from morpho_assets_tests.killed import project_over
from morpho_assets_tests.lake.toy import PLATES, STAGES_OF, STUDY, Toy, problems, rows_of, toy_stages

P1 = Partition("plate", "P1")
DAY = 86_400


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    with toy_stages():
        yield Toy.make(tmp_path / "toy")


def make(toy: Toy, *plates: str) -> None:
    run = Run(toy.workspace())
    for plate in plates or PLATES:
        for stage in STAGES_OF["plate"]:
            run.make(stage, Partition("plate", plate))


def rows(toy: Toy) -> dict[tuple[str, Partition], dict[str, list[str]]]:
    workspace = toy.workspace()
    return {key: rows_of(workspace, commit) for key, commit in workspace.lake.ledger.state().commits.items()}


# A disk that is full


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Callable[..., None]]:
    """A small disk in memory at a place; skips where this account may not mount. Yields what mounts it anew."""
    place.mkdir(parents=True, exist_ok=True)

    def mount(*words: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(words), "tmpfs", str(place)], check=True,
                       capture_output=True)  # fmt: skip

    try:
        mount(*options)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs the rights to")
    try:
        yield lambda *words: mount("remount", *words)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def expect_full(toy: Toy, full: Callable[[int], object], sizes: range, words: str) -> None:
    """With each size make everything until the disk is full: what is there is whole, and with room the end is as
    ever."""
    undisturbed = toy.elsewhere(toy.folder / "undisturbed")
    make(undisturbed)
    told: list[str] = []
    for size in sizes:
        with full(size) as room:  # type: ignore[attr-defined]
            try:
                make(toy)
                publish(toy.workspace())
            except LakeError as error:
                told.append(str(error))
            room()
        workspace = toy.workspace()
        state = workspace.lake.ledger.state()
        assert not state.broken, size
        assert not problems(workspace, state.commits), size
    assert len(told) > 3
    assert [sentence for sentence in told if words not in sentence or "\n" in sentence] == []
    make(toy)
    publish(toy.workspace())
    assert rows(toy) == rows(undisturbed)


def test_where_no_file_may_grow_what_is_committed_is_whole_and_one_sentence_says_why(toy: Toy) -> None:
    @contextmanager
    def full(size: int) -> Iterator[Callable[[], None]]:
        with limited(size):
            yield lambda: None

    expect_full(toy, full, range(0, 6000, 500), "cannot be written: the file is too large")


def test_at_whichever_write_a_disk_is_full_what_is_committed_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with mounted(place, "size=4k") as remount, toy_stages():
        toy = Toy.make(tmp_path / "toy", LocalFiles(str(place / "lake")))

        @contextmanager
        def full(kilobytes: int) -> Iterator[Callable[[], None]]:
            remount(f"size={kilobytes}k")
            yield lambda: remount("size=64m")

        def emptied(kilobytes: int) -> object:
            """Each time from the beginning."""
            subprocess.run(["rm", "-rf", str(place / "lake")], check=True)
            return full(kilobytes)

        expect_full(toy, emptied, range(8, 400, 28), "no space is left")


@pytest.mark.slow
def test_a_full_and_a_read_only_data_folder_are_one_message_and_reading_goes_on(
    tmp_path: Path, tiny_gallery: Path
) -> None:
    project = project_over(tmp_path / "project", tiny_gallery)
    plate = "SYN00000001"
    with mounted(project.folder / "data", "size=1200k") as remount:
        told = _one_message(project.start("run", "--plate", plate))
        assert "no space is left" in told or "cannot be written" in told, told
        remount("size=200m")
        project.run("run", "--plate", plate)
        remount("ro")
        assert "18" in project.run("sql", "SELECT count(*) FROM normalized_profiles")
        assert "up to date" in project.run("plan", "--plate", plate)
        told = _one_message(project.start("run", "--force", "--plate", plate))
        assert "read-only" in told, told
        remount("rw,size=200m")


def _one_message(process: subprocess.Popen[str]) -> str:
    """What a command that fails says: nothing but lines of its own, and no traceback."""
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "Traceback" not in output, output
    lines = [line for line in output.splitlines() if line.startswith("morpho: ")]
    assert lines, output
    return "\n".join(lines)


# A clock that jumps


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day ahead", "a day back"])
def test_a_clock_that_jumps_while_a_run_works_loses_nothing(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """A second run may then take what the first is at: one commits, the other is told, and both would be the same."""
    make(toy.elsewhere(toy.folder / "undisturbed"))
    run = Run(toy.workspace())
    for stage in ("plate_manifest", "raw_images"):
        run.make(stage, P1)
    label = stages.STAGES["masks"].function
    clock, others = time.time, []

    def meanwhile(work: object) -> None:
        label(work)  # type: ignore[arg-type]
        if not others:
            others.append(None)
            monkeypatch.setattr(leases.time, "time", lambda: clock() + jump)
            with suppress(leases.Busy):
                others[0] = Run(toy.workspace()).make("masks", P1)

    monkeypatch.setitem(stages.STAGES, "masks", replace(stages.STAGES["masks"], function=meanwhile))
    with suppress(Taken):
        run.make("masks", P1)
    make(toy)
    assert toy.workspace().lake.ledger.numbers("masks", P1) == [1]
    assert rows(toy) == rows(toy.elsewhere(toy.folder / "undisturbed"))


def test_a_lease_from_a_time_to_come_holds_nobody_up(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer died on another machine before the clocks were set back by a day."""
    monkeypatch.setattr(leases, "machine", lambda: "another")
    with suppress(KeyboardInterrupt), leases.held(LocalFiles(toy.files.url("")), "masks", P1, "gone"):
        monkeypatch.setattr(leases.os, "getpid", lambda: 1)
        [path] = toy.files.find("ledger/leases")
        ahead = toy.files.read(path).replace(b'"until":', b'"until":9')  # a digit more: centuries ahead
        monkeypatch.setattr(LocalFiles, "remove", lambda *_: None)
        raise KeyboardInterrupt
    monkeypatch.undo()
    toy.files.write(path, ahead)
    make(toy, "P1")


def test_of_two_verdicts_the_later_is_in_force_though_the_clock_was_set_back(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(toy, "P1")
    workspace = toy.workspace()
    judge(workspace, "rejected", "P1", "A01", None, "bubbles", "Ann")
    plain = ledger.datetime

    class Yesterday(plain):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, zone: object = None) -> object:
            return plain.fromtimestamp(time.time() - DAY, zone)

    monkeypatch.setattr(ledger, "datetime", Yesterday)
    judge(workspace, "withdrawn", "P1", "A01", None, "it was B01", "Ann")
    assert workspace.state(["P1"]).in_force("P1") == {}


# A study that is edited, code that changes


def test_a_study_that_is_edited_while_it_runs_is_made_as_it_was_and_then_stale(toy: Toy) -> None:
    make(toy)
    run = Run(toy.workspace())
    assert run.plates(STUDY) == list(PLATES)
    study = toy.folder / f"studies/{STUDY}.yaml"
    study.write_text(study.read_text().replace("[P1, P2]", "[P1]"))
    commit = run.make("feature_space", Partition("study", STUDY))
    assert sorted(read.key for read in commit.reads) == ["P1", "P2"]
    [task] = toy.workspace().plan(studies=[STUDY])
    assert task.reasons == ("well_profiles of plate P2 is no longer read",)
    again = Run(toy.workspace()).make("feature_space", Partition("study", STUDY))
    assert [read.key for read in again.reads] == ["P1"]


def test_code_that_changes_between_two_plates_never_mixes(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    make(toy, "P1")
    new = replace(stages.STAGES["masks"], code_version="2")
    monkeypatch.setitem(stages.STAGES, "masks", new)
    make(toy, "P2")
    with pytest.raises(LakeError, match=r"masks of plate P1 .*code 1 -> 2.*Two settings never mix"):
        Run(toy.workspace()).make("feature_space", Partition("study", STUDY))
    publish(toy.workspace())
    published = query_catalog(toy.settings.catalog, "SELECT stage, key FROM partitions WHERE NOT published").rows()
    assert set(published) == {("masks", "P1"), ("well_profiles", "P1")}
    assert {task.stage for task in toy.workspace().plan(["P1"]) if not task.waits} == {"masks"}
    make(toy, "P1")
    assert Run(toy.workspace()).make("feature_space", Partition("study", STUDY)).number == 1
