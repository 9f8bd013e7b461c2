"""Sweeping: what no recent commit and no live lease names, and is older than a day, is removed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass

from morpho_assets.lake.files import ASIDE
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.leases import live
from morpho_assets.lake.ledger import Commit
from morpho_assets.lake.tables import TABLES

KEPT_COMMITS = 2
"""The last commits of a stage whose files stay: a run that pinned the one before may still read it."""
_FOLDERS = (*TABLES, "label_images", "illumination", "checkpoints", "reports", ".work")


@dataclass(frozen=True)
class Swept:
    """What a sweep removed, and how many files it left because commits name them."""

    files: int
    bytes: int
    kept: int


def sweep(lake: Lake, days: float = 1.0, published: Collection[str] = ()) -> Swept:
    """Remove files that nothing names any more, if they are older than `days`.

    Kept are the files of the last two commits of every stage, those that are `published` (of which a catalog has
    views), those of plates with a live lease, and what is younger.
    """
    named = _named(lake) | set(published)
    busy = {path.split("/")[2] for path in live(lake.files)}
    removed = size = kept = 0
    for folder in _FOLDERS:
        for path, entry in lake.files.find(folder).items():
            if path in named:
                kept += 1
            elif not busy & set(path.split("/")) and time.time() - entry.written > days * 86_400:
                lake.files.remove(path)
                removed, size = removed + 1, size + entry.size
    removed += _asides(lake, days)
    return Swept(removed, size, kept)


def _named(lake: Lake) -> set[str]:
    named: set[str] = set()
    for commit in _recent(lake):
        named.update(file.path for output in commit.outputs.values() for file in output.files)
        if commit.files:
            named.add(commit.files)
            named.update(lake.ledger.keys(commit)["files"])
    return named


def _recent(lake: Lake) -> list[Commit]:
    """The last commits of every stage of every partition."""
    ledger = lake.ledger
    return [
        ledger.read(stage, partition, number)
        for stage, partition in ledger.state().commits
        for number in ledger.numbers(stage, partition)[-KEPT_COMMITS:]
    ]


def _asides(lake: Lake, days: float) -> int:
    """Remove what killed runs were writing; in an object store a file is there whole or not at all."""
    if lake.files.remote:
        return 0
    removed = 0
    for folder, _, names in os.walk(lake.root):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(ASIDE) and time.time() - os.path.getmtime(path) > days * 86_400:
                os.remove(path)
                removed += 1
    return removed
