"""The folder of an export: what lies in it whole, and what it was made from.

A file, or a folder that counts as one, is written aside and renamed; then a line in `export.jsonl` says what it was
made from. A run that is killed leaves nothing half-written under its name, and the next keeps what is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from morpho_assets.errors import InputError, MorphoError
from morpho_assets.lake.digests import digest

LOG, ASIDE, LOCK = "export.jsonl", ".aside", ".lock"


@dataclass(frozen=True)
class _Made:
    """What the log says of a name: the digest of what it was made from, and its files."""

    recipe: str
    files: tuple[str, ...]


@dataclass
class Written:
    """`made` and `kept` count what was written and what was there already."""

    folder: Path
    _known: dict[str, _Made] = field(default_factory=dict)
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

    def put(self, name: str, made_from: object, write: Callable[[Path], None]) -> bool:
        """Have `name` under the folder as `write` makes it at a path where nothing is; False where it lies there, made
        from the same."""
        recipe = digest(made_from)
        if self._is_whole(name, recipe, [name]):
            return False
        with self._aside() as aside:
            write(aside / Path(name).name)
            self._move(aside / Path(name).name, name)
        self._note(name, recipe, [name])
        return True

    def put_all(self, name: str, made_from: object, write: Callable[[Path], None]) -> bool:
        """Have all files that `write` makes in a folder under ours, with their folders; `name` stands for them all.

        Files of that name that an earlier export made and this does not are removed. False as of `put`.
        """
        recipe = digest(made_from)
        before = self._known.get(name)
        if self._is_whole(name, recipe, before.files if before else []):
            return False
        with self._aside() as aside:
            write(aside)
            files = sorted(str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file())
            for file in files:
                self._move(aside / file, file)
        for file in set(before.files if before else []) - set(files):
            (self.folder / file).unlink(missing_ok=True)
        self._note(name, recipe, files)
        return True

    def files(self, name: str) -> list[str]:
        """The files, relative to the folder, that stand under a name."""
        return list(self._known[name].files) if name in self._known else []

    def _is_whole(self, name: str, recipe: str, files: Iterable[str]) -> bool:
        known = self._known.get(name)
        if known is None or known.recipe != recipe or not all((self.folder / file).exists() for file in files):
            return False
        self.kept += 1
        return True

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        aside = self.folder / ASIDE / uuid.uuid4().hex
        aside.mkdir(parents=True)
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _move(self, made: Path, name: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():  # a folder cannot be renamed over one that holds something
            os.rename(target, made.parent / f"{uuid.uuid4().hex}.old")
        os.replace(made, target)

    def _note(self, name: str, recipe: str, files: list[str]) -> None:
        with open(self.folder / LOG, "a") as log:
            log.write(json.dumps({"name": name, "made_from": recipe, "files": files}) + "\n")
        self._known[name] = _Made(recipe, tuple(files))
        self.made += 1


def _read_log(path: Path) -> dict[str, _Made]:
    """Name to what was made; the last line counts, and one that was cut off does not."""
    known: dict[str, _Made] = {}
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            with open(path, "a") as log:
                log.write("\n")
        for line in lines:
            try:
                row = json.loads(line)
                known[row["name"]] = _Made(row["made_from"], tuple(row["files"]))
            except (ValueError, KeyError, TypeError):
                continue
    return known
