import multiprocessing
import os
import signal
import subprocess
import sys

import joblib
import pytest

from morpho_assets.compute import ComputeConfig, map_items
from morpho_assets.errors import ImageError, MorphoError
from morpho_assets_tests.project import ROOT


def square(number):
    if number == 3:
        raise ImageError("three.tiff", "is odd")
    return number * number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_with_their_items_and_image_errors_in_their_place(workers):
    told = []
    pairs = dict(map_items(square, [1, 2, 3], ComputeConfig(workers=workers), lambda *now: told.append(now), "squares"))
    assert (pairs[1], pairs[2]) == (1, 4)
    assert isinstance(pairs[3], ImageError)
    assert pairs[3].path == "three.tiff"
    assert told == [("squares", done, 3) for done in range(4)]


def test_workers_are_joblib_s_and_are_left_to_it_and_taken_back():
    """joblib's own work before, between and after, as when plates are drawn and then run in one process."""
    for _ in range(2):
        assert joblib.Parallel(2)(joblib.delayed(square)(number) for number in (4, 5)) == [16, 25]
        assert dict(map_items(square, [1, 2, 4], ComputeConfig(workers=2))) == {1: 1, 2: 4, 4: 16}


def fail(number):
    raise ValueError("no picture")


def test_an_error_ends_the_work_and_the_next_work_has_workers():
    with pytest.raises(ValueError, match="no picture"):
        list(map_items(fail, range(50), ComputeConfig(workers=2)))
    found = map_items(square, range(10, 60), ComputeConfig(workers=2))
    next(found)
    found.close()  # nobody wants the rest
    assert dict(map_items(square, [1, 2], ComputeConfig(workers=2))) == {1: 1, 2: 4}


def test_nothing_to_do_is_no_work():
    assert list(map_items(square, [], ComputeConfig(workers=2))) == []


def square_all(numbers):
    list(map_items(square, numbers, ComputeConfig(workers=2)))


# macOS starts processes by spawn, Python 3.14 on Linux by forkserver: nothing may lean on what fork would have copied.
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_process_ends_when_its_work_is_done(method):
    """A step of a run is a child process: it must not wait until its idle workers give up, minutes later."""
    child = multiprocessing.get_context(method).Process(target=square_all, args=([1, 2, 4],))
    child.start()
    child.join(timeout=90)
    assert child.exitcode == 0


KERNELS = """
import multiprocessing, sys
import numpy as np

def use_kernels():
    from morpho_assets.profiles.group_statistics import OVER_GROUPS
    for kernel in OVER_GROUPS.values():
        kernel(np.arange(6.0), np.array([3, 6]), False, 0.1, np.empty(2))
    print(sum(sum(kernel.stats.cache_misses.values()) for kernel in OVER_GROUPS.values()), flush=True)

if __name__ == "__main__":
    for method in ("spawn", "forkserver", "spawn"):
        child = multiprocessing.get_context(method).Process(target=use_kernels)
        child.start()
        child.join()
"""


def test_processes_of_every_start_method_share_what_the_first_compiled(tmp_path):
    script = tmp_path / "kernels.py"
    script.write_text(KERNELS)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    first, *others = map(int, run.stdout.split())
    assert first > 0
    assert others == [0, 0]


def test_cores_are_counted_where_the_system_tells_no_affinity(monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert 1 <= ComputeConfig().processes <= os.cpu_count()


def test_nothing_asks_for_fork_or_for_affinity():
    for file in [*(ROOT / "morpho_assets").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        text = file.read_text()
        for name in ("sched_getaffinity", "os.fork", '"fork"', "set_start_method"):
            assert name not in text, file


def test_a_worker_that_is_killed_is_told_with_what_to_do():
    with pytest.raises(MorphoError, match=r"Lower compute.workers"):
        list(map_items(die, [1, 2], ComputeConfig(workers=2), label="masks"))
