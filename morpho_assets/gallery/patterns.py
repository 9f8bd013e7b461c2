"""Paths that match a pattern, found by listing folder after folder: each listing is asked for on its own.

fsspec's own `glob` passes over a folder whose listing fails, and what is in it is then not there, without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Info = Mapping[str, Any]
Listing = Callable[[str], Iterable[Info]]
"""What a folder holds: for each entry its path (`name`), its `type` (file or directory) and what else the store says;
nothing for a folder that is not there."""
_LISTED_AT_ONCE = 8


def matching(pattern: str, listing: Listing) -> dict[str, Info]:
    """The files and folders that match, sorted, each with what the listing says of it.

    `*` stands for any part of a name, and `**`, where it is a whole name, for any number of folders; all else is
    itself.
    """
    parts = pattern.split("/")
    first = next((number for number, part in enumerate(parts) if "*" in part), len(parts) - 1)
    base = "/".join(parts[:first])
    expression = re.compile(_expression(parts[first:]))
    start = base + "/" if base else ""
    found = _below([base], parts[first:], listing)
    return {path: info for path, info in sorted(found) if expression.fullmatch(path.removeprefix(start))}


def _expression(parts: list[str]) -> str:
    """What is below the base, as a regular expression."""
    pieces = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            pieces.append(".+" if last else "(?:.+/)?")
        else:
            name = "[^/]*".join(map(re.escape, part.split("*"))) if part != "*" else "[^/]+"
            pieces.append(name if last else name + "/")
    return "".join(pieces)


def _below(folders: list[str], parts: list[str], listing: Listing) -> Iterator[tuple[str, Info]]:
    """What may match, from folders on, name after name of the pattern."""
    part, rest = parts[0], parts[1:]
    if rest and "*" not in part:  # nothing to look up: what is not there has no entries
        yield from _below([f"{folder}/{part}" for folder in folders], rest, listing)
        return
    name = re.compile(_expression([part]) if part != "**" else ".+")
    entries = []
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as threads:
        for folder, listed in zip(folders, threads.map(listing, folders), strict=True):
            for info in listed:
                path = str(info["name"]).rstrip("/")
                if path != folder.rstrip("/") and name.fullmatch(path.rsplit("/", 1)[-1]):
                    entries.append((path, info))
    inner = [path for path, info in entries if info["type"] == "directory"]
    if not rest or part == "**":
        yield from entries
    if part == "**" and inner:
        yield from _below(inner, parts, listing)
    elif rest and inner:
        yield from _below(inner, rest, listing)
