"""Who is at work on a partition, and what others are told."""

from __future__ import annotations

import json
import time

import pytest

from morpho_assets.lake import leases
from morpho_assets.lake.files import LocalFiles
from morpho_assets.lake.leases import Busy, held, live
from morpho_assets.lake.ledger import Partition
from morpho_assets_tests.lake.faults import Fault, FaultyFiles, Killed
from morpho_assets_tests.lake.toy import bury

P1, P2 = Partition("plate", "P1"), Partition("plate", "P2")


@pytest.fixture
def files(tmp_path):
    return LocalFiles(str(tmp_path / "lake"))


def test_a_second_run_is_told_who_is_at_it(files):
    with held(files, "masks", P1, "one"):
        with pytest.raises(Busy, match=r"masks of plate P1 is being made by .* \(process \d+\) since 20"), held(
            files, "masks", P1, "two"
        ):  # fmt: skip
            pass
        with held(files, "masks", P2, "two"), held(files, "objects", P1, "two"):
            assert len(live(files)) == 3
        part = P1._replace(part="S/vae")
        with held(files, "masks", part, "two"):
            pass
    assert files.find("ledger/leases") == {}
    with held(files, "masks", P1, "two"):
        pass


def test_it_is_given_up_where_the_run_fails(files):
    with pytest.raises(ValueError, match="of the run"), held(files, "masks", P1, "one"):
        raise ValueError("of the run")
    assert files.find("ledger/leases") == {}


def test_it_is_renewed_while_the_run_goes_on(files):
    with held(files, "masks", P1, "one", seconds=0.3):
        time.sleep(0.7)
        assert len(live(files)) == 1
        with pytest.raises(Busy), held(files, "masks", P1, "two"):
            pass


@pytest.mark.parametrize("how", ["dead", "run out", "broken"])
def test_of_a_run_that_was_killed_it_is_taken_over(files, how):
    faulty = FaultyFiles(files)
    with pytest.raises(Killed), held(faulty, "masks", P1, "one"):
        faulty.fault.dead = True
    (path,) = files.find("ledger/leases")
    if how == "dead":
        bury(files)
    elif how == "run out":
        files.write(path, json.dumps({**json.loads(files.read(path)), "until": time.time() - 1}).encode())
    else:
        files.write(path, b"")
    with held(files, "masks", P1, "two"):
        (lease,) = live(files).values()
        assert lease.writer == "two"
    assert files.find("ledger/leases") == {}


def test_of_another_machine_s_process_only_time_can_tell(files, monkeypatch):
    faulty = FaultyFiles(files)
    with pytest.raises(Killed), held(faulty, "masks", P1, "one"):
        faulty.fault.dead = True
    bury(files)
    monkeypatch.setattr(leases, "machine", lambda: "another")
    with pytest.raises(Busy, match="if it was killed on another machine, in two minutes"), held(
        files, "masks", P1, "two"
    ):  # fmt: skip
        pass


@pytest.mark.parametrize("how", ["fails", "lost"])
def test_a_fault_of_the_store_leaves_no_lease_behind(files, how):
    """It is taken where its file is there, and nobody holds it where the run did not begin."""
    for at in range(1, 10):
        fault = Fault(at, how)
        began = False
        try:
            with held(FaultyFiles(files, fault), "masks", P1, "one"):
                began = True
                assert len(live(files)) == 1
        except OSError:
            assert not began
        if not fault.happened:
            break
        if fault.name != "remove":
            assert files.find("ledger/leases") == {}, fault.seen
        bury(files)
    assert at > 3


def test_a_run_that_slept_too_long_takes_nothing_from_who_came_after(files):
    """Its lease ran out, another took over; when it wakes it renews a file that nobody heeds."""
    with held(files, "masks", P1, "one", seconds=0.05):
        (path,) = files.find("ledger/leases")
        files.write(path, json.dumps({**json.loads(files.read(path)), "until": time.time() - 1}).encode())
        with held(files, "masks", P1, "two"):
            time.sleep(0.1)
            with pytest.raises(Busy), held(files, "masks", P1, "three"):
                pass
