"""Sweeping: what no recent commit, no catalog and no live lease names, and is older than a day, is removed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from morpho_assets.lake.files import ASIDE, Entry
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.leases import live
from morpho_assets.lake.ledger import Partition, State, Unreadable
from morpho_assets.lake.tables import TABLES

KEPT_COMMITS = 2
"""The last commits of a stage whose files stay: a run that pinned the one before may still read it."""
_WORK = ".work"
_FOLDERS = (_WORK, *TABLES, "label_images", "illumination", "checkpoints", "reports", "ledger/keys")
"""Sites that were kept on the way come first: they name files of the others."""


@dataclass(frozen=True)
class Swept:
    """What a sweep removed, and how many files it left because commits name them."""

    files: int
    bytes: int
    kept: int


def sweep(
    lake: Lake,
    days: float = 1.0,
    published: Collection[str] = (),
    folders: Sequence[str] = (),
) -> Swept:
    """Remove files that nothing names any more, if they are older than `days`.

    Kept are the files of the last two commits of every stage, those that are `published` (of which a catalog has
    views), those of plates and studies with a live lease or with sites that were kept on the way, and what is younger.
    `folders` are local ones, such as that of the images, in which killed runs may have left what they were writing.
    """
    before = time.time() - days * 86_400
    listed = {path: entry for folder in _FOLDERS for path, entry in lake.files.find(folder).items()}
    named, unknown = _named(lake)
    named |= set(published)
    at_work = [path for path, entry in listed.items() if path.startswith(_WORK) and entry.written > before]
    spared = unknown | {_key(path) for path in [*live(lake.files), *at_work]}
    removed = size = 0
    for path, entry in listed.items():
        if path not in named and _key(path) not in spared and _is_old(lake, path, entry, before):
            lake.files.remove(path)
            removed, size = removed + 1, size + entry.size
    removed += _ended_leases(lake, before)
    for folder in [*folders, *([] if lake.files.remote else [lake.root])]:
        removed += _asides(folder, before)
    return Swept(removed, size, len(named & listed.keys()))


def _named(lake: Lake) -> tuple[set[str], set[str]]:
    """The files that recent commits name; and the plates and studies of which a commit cannot be read."""
    state = lake.ledger.state()
    named: set[str] = set()
    unknown = {_key(path) for path in state.broken}
    for stage, partition, number in _recent(lake, state):
        try:
            commit = lake.ledger.read(stage, partition, number)
            keys = lake.ledger.keys(commit)
        except (Unreadable, FileNotFoundError, ValueError):
            unknown.add(_key(partition.folder))
            continue
        named.update(file.path for output in commit.outputs.values() for file in output.files)
        named.update(keys["files"], [commit.files] if commit.files else [])
    return named, unknown


def _recent(lake: Lake, state: State) -> Iterator[tuple[str, Partition, int]]:
    """The last commits of every stage of every partition."""
    for stage, partition in state.commits:
        for number in lake.ledger.numbers(stage, partition)[-KEPT_COMMITS:]:
            yield stage, partition, number


def _key(path: str) -> str:
    """The plate or study that a folder of the path is of."""
    return next((part.partition("=")[2] for part in path.split("/") if "=" in part), "")


def _is_old(lake: Lake, path: str, entry: Entry, before: float) -> bool:
    """Whether a file is still the old one: a run may have written the same content anew since it was listed."""
    return entry.written < before and lake.files.entry(path) == entry


def _ended_leases(lake: Lake, before: float) -> int:
    """Remove leases of runs that were killed, and whose stages nobody has made since."""
    alive = live(lake.files)
    old = [path for path, entry in lake.files.find("ledger/leases").items() if entry.written < before]
    ended = [path for path in old if path not in alive]
    for path in ended:
        lake.files.remove(path)
    return len(ended)


def _asides(root: str, before: float) -> int:
    """Remove what killed runs were writing; in an object store a file is there whole or not at all."""
    removed = 0
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names if name.endswith(ASIDE)):
            if os.path.getmtime(path) < before:
                os.remove(path)
                removed += 1
    return removed
