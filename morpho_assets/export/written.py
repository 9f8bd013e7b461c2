"""The folder of an export: what lies in it whole, and what it was made from.

A file, or a folder that counts as one, is written aside and renamed; then a line in `export.jsonl` says what it was
made from. A run that is killed leaves nothing half-written under its name, and the next keeps what is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from morpho_assets.errors import InputError, MorphoError
from morpho_assets.lake.digests import digest

LOG, ASIDE, LOCK = "export.jsonl", ".aside", ".lock"


@dataclass
class Written:
    """`made` and `kept` count what was written and what was there already."""

    folder: Path
    _known: dict[str, str] = field(default_factory=dict)
    made: int = 0
    kept: int = 0

    @classmethod
    @contextmanager
    def opened(cls, folder: str | Path) -> Iterator[Written]:
        """The folder, made where there is none, for one run at a time.

        Raises InputError for an object store and for a file, and MorphoError where another run is at it.
        """
        if "://" in str(folder):
            raise InputError("--out", "", str(folder), "a folder of this machine", "Export there, then copy it.")
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise InputError("--out", "", f"{path}, which is a file", "a folder", "Name another.")
        path.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock, Timeout

        try:
            with FileLock(path / LOCK, timeout=0):
                shutil.rmtree(path / ASIDE, ignore_errors=True)
                yield cls(path, _read_log(path / LOG))
        except Timeout:
            raise MorphoError(f"another export writes to {path}; wait for it, or name another folder") from None

    def put(self, name: str, made_from: object, write: Callable[[Path], None], trace: str | None = None) -> bool:
        """Have `name` under the folder as `write` makes it; False where it lies there, made from the same.

        `write` gets a path at which nothing is. `trace` is a file whose being there stands for `name`, where `name` is
        no path but the name of a set of files that `write` puts by itself.
        """
        recipe = digest(made_from)
        if self._known.get(name) == recipe and (trace is not None or (self.folder / name).exists()):
            self.kept += 1
            return False
        aside = self.folder / ASIDE / uuid.uuid4().hex / Path(name).name
        aside.parent.mkdir(parents=True)
        write(aside)
        if trace is None:
            self._rename(aside, self.folder / name)
        shutil.rmtree(aside.parent, ignore_errors=True)
        self._note(name, recipe)
        self.made += 1
        return True

    def _rename(self, aside: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():  # a folder cannot be renamed over one that holds something
            os.rename(target, aside.parent / "old")
        os.replace(aside, target)

    def _note(self, name: str, recipe: str) -> None:
        with open(self.folder / LOG, "a") as log:
            log.write(json.dumps({"name": name, "made_from": recipe}) + "\n")
        self._known[name] = recipe


def _read_log(path: Path) -> dict[str, str]:
    """Name to what it was made from; the last line counts, and one that was cut off does not."""
    known: dict[str, str] = {}
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            with open(path, "a") as log:
                log.write("\n")
        for line in lines:
            try:
                row = json.loads(line)
                known[row["name"]] = row["made_from"]
            except (ValueError, KeyError, TypeError):
                continue
    return known
