import multiprocessing
import os
import signal

import pytest

from morpho_assets.compute import ComputeConfig, map_items
from morpho_assets.errors import ImageError, MorphoError


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


def test_nothing_to_do_is_no_work():
    assert list(map_items(square, [], ComputeConfig(workers=2))) == []


def square_all(numbers):
    list(map_items(square, numbers, ComputeConfig(workers=2)))


def test_a_child_process_ends_when_its_work_is_done():
    """A step of a run is a child process: it must not wait until its idle workers give up, minutes later."""
    child = multiprocessing.get_context("spawn").Process(target=square_all, args=([1, 2, 4],))
    child.start()
    child.join(timeout=90)
    assert child.exitcode == 0


def test_a_worker_that_is_killed_is_told_with_what_to_do():
    with pytest.raises(MorphoError, match=r"Lower compute.workers"):
        list(map_items(die, [1, 2], ComputeConfig(workers=2), label="masks"))
