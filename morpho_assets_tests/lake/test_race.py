"""Two processes race for one commit, again and again, on an object store that may lose the winner's answer."""

from __future__ import annotations

import json
from multiprocessing import get_context
from typing import Any

import pytest

from morpho_assets.lake.files import ObjectFiles
from morpho_assets.lake.ledger import Commit, Ledger, Partition, Sites, Taken, commit_path, now

P1 = Partition("plate", "P1")
EVERY = 10
"""Of the commits that are won, the answer to every tenth is lost."""


def draft(number: int, writer: str) -> Commit:
    return Commit(
        stage="masks", partition=P1, number=number, before=number - 1 or None, recipe="", content="", outputs={},
        files=None, reads=(), sources={}, settings=None, code_version="1", package_version="0", sites=Sites(),
        verdicts=(), writer=writer, who="somebody", at=now(),
    )  # fmt: skip


def race(root: str, options: dict[str, Any], commits: int, start: Any, results: Any) -> None:
    """One of the processes: tries to commit every number, when the other does."""
    ledger = Ledger(ObjectFiles(root, options))
    won = []
    ledger.files.find("")  # connected before the race begins
    for number in range(1, commits + 1):
        start.wait()
        try:
            ledger.commit(draft(number, ledger.writer))
            won.append(number)
        except Taken:
            pass
    results.put((ledger.writer, won))


@pytest.mark.parametrize("commits", [pytest.param(1000, marks=pytest.mark.slow), 50])
def test_each_commit_has_one_winner_who_knows_it(object_store, commits):
    root = f"s3://bucket/race-{commits}"
    context = get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    arguments = (root, object_store.options, commits, start, results)
    object_store.network.lose_every = EVERY
    try:
        with object_store.network.spoil() as requests:
            racers = [context.Process(target=race, args=arguments) for _ in range(2)]
            for racer in racers:
                racer.start()
            won = dict(results.get(timeout=300) for _ in racers)
            for racer in racers:
                racer.join()
    finally:
        object_store.network.lose_every = 0
    first, second = (set(numbers) for numbers in won.values())
    assert first | second == set(range(1, commits + 1))  # each was won, also where the answer was lost
    assert not first & second  # and once
    assert min(len(first), len(second)) > commits / 20  # it was a race
    puts = sum(method == "PUT" for method, _ in requests)
    assert puts >= 2 * commits + commits // EVERY  # whose answer was lost asked again
    ledger = Ledger(ObjectFiles(root, object_store.options))
    for writer, numbers in won.items():
        for number in numbers:
            assert json.loads(ledger.files.read(commit_path("masks", P1, number)))["writer"] == writer
