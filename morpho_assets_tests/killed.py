"""A back-fill that is killed: two real runs over the same plates, struck down at moments spread over all that they do.

The runs are `morpho run` in processes of their own, over the plates in opposite order, so that they meet. A moment is a
number of commits and then a pause, a moment of the next stage, or a number of its sites: moments by the clock
would mostly fall on Python loading its libraries.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import duckdb
import polars as pl

from morpho_assets.lake.leases import live
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.lake.tables import TABLES
from morpho_assets.stages import PLATE_STAGES
from morpho_assets_tests.project import Project, make_project

Tables = Mapping[tuple[str, str, str], pl.DataFrame]
"""The rows of a stage's table of a plate, sorted by their keys."""
_NAMES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
LONGEST = 300.0  # seconds that a run may take: one that hangs is a fault, too
SOURCE = {"name": "demo", "kind": "gallery", "project": "cpg9999-synthetic", "source": "source_0"}


@dataclass
class Killing:
    """What was done and found. `problems` are half-written things that somebody could see, rows that differ from those
    of the undisturbed runs, sites that were measured again, and runs that failed, in words; `at_work` counts the
    kills by the stage that was being made."""

    kills: int = 0
    backfills: int = 0
    problems: list[str] = field(default_factory=list)
    at_work: Counter[str] = field(default_factory=Counter)
    resumed: int = 0


def project_over(folder: Path, gallery: Path, **settings: object) -> Project:
    """A project over the gallery where it lies: the paths of images, which are in tables, are those of every other."""
    folder.mkdir(parents=True)
    return make_project(folder, sources=[{**SOURCE, "root": str(gallery)}], **settings)


def tables_of(project: Project, plates: Sequence[str]) -> Tables:
    """Every table of every stage of the plates, as it was committed last."""
    lake = project.workspace.lake
    found = {}
    for (stage, own), commit in lake.ledger.state().commits.items():
        if own.key in plates:
            for name in commit.outputs:
                rows = lake.snapshot([commit]).read(name, own.key)
                found[stage, own.key, name] = rows.sort(TABLES[name].keys)
    return found


def undisturbed(folder: Path, gallery: Path, plates: Sequence[str], **settings: object) -> Tables:
    """The tables that runs give which nobody kills."""
    project = project_over(folder, gallery, **settings)
    project.run("run", *named(plates))
    return tables_of(project, plates)


def named(plates: Sequence[str]) -> list[str]:
    return [part for plate in plates for part in ("--plate", plate)]


@dataclass
class Backfill:
    """A back-fill of plates, from nothing to the end, with what was killed on the way."""

    project: Project
    plates: Sequence[str]
    expected: Tables
    rng: random.Random
    killing: Killing
    _kept: dict[tuple[str, str], int] = field(default_factory=dict)
    _before: dict[tuple[str, str], int] = field(default_factory=dict)

    def until_done(self, most: int) -> None:
        """Kill at most so many times, at moments that lie anywhere in the back-fill, then let it come to its end, and
        compare."""
        self.killing.backfills += 1
        end, last = self.killing.kills + most, len(self.plates) * len(PLATE_STAGES)
        for commits in sorted(self.rng.sample(range(1, last + 1), most)):
            done = self._commits()
            if self.killing.kills < end and done < last:
                both = self.rng.random() < 0.5 or self.killing.kills == end - 1
                self._struck(max(commits, done + 1), both)
        process = self.project.start("run", *named(self.plates))
        output, _ = process.communicate(timeout=LONGEST)
        if process.returncode:
            self.killing.problems.append(f"the last run ended with {process.returncode}: {output[-500:]}")
        self._look()
        found = tables_of(self.project, self.plates)
        if found.keys() != self.expected.keys():
            self.killing.problems.append(f"other tables: {sorted(found.keys() ^ self.expected.keys())[:5]}")
        self.killing.problems += [
            f"{' of '.join(key)} differs from that of an undisturbed run"
            for key in found.keys() & self.expected.keys()
            if not found[key].equals(self.expected[key])
        ]

    def _struck(self, commits: int, both: bool) -> None:
        """Two runs at once until there are so many commits, and then a pause is over, a stage is at work or has some
        sites. Then both are killed, or one, and somewhat later, when it may have taken over what that had begun, the
        other."""
        runs = [self.project.start("run", *named(plates)) for plates in (self.plates, list(reversed(self.plates)))]
        self._wait(runs, LONGEST, lambda: self._commits() >= commits)
        chosen = self.rng.random()
        if chosen < 0.5:
            time.sleep(0.2)  # the stage that has committed gives up its lease
            self._wait(runs, 15, lambda: bool(self._at_work(runs)))
            time.sleep(self.rng.uniform(0, 0.6))
        elif chosen < 0.8:
            files = self.rng.randint(2, 14)
            self._wait(runs, 10, lambda: self._kept_files() >= files)
        else:
            time.sleep(self.rng.uniform(0, 1.5))
        for group in [runs] if both else [runs[:1], runs[1:]]:
            time.sleep(0 if group[0] is runs[0] else self.rng.uniform(0, 6))
            struck = [run for run in group if run.poll() is None]
            if struck:
                self.killing.kills += 1
                self.killing.at_work.update(self._at_work(struck) or ["starting, waiting or publishing"])
            for run in struck:
                os.killpg(run.pid, signal.SIGKILL)
        for run in runs:
            output, _ = run.communicate(timeout=LONGEST)
            if run.returncode not in (0, -signal.SIGKILL) and not _met_the_other(output):
                self.killing.problems.append(f"a run ended with {run.returncode}: {output[-500:]}")
        self._look()
        self._kept, self._before = self._kept_sites(), self._numbers()

    def _look(self) -> None:
        """What anybody may see now: commits that can be read and whose files are whole, and a catalog that opens. Sites
        that were finished when the last kill came were not worked on again."""
        lake = self.project.workspace.lake
        state = lake.ledger.state()
        self.killing.problems += [f"{path} cannot be read" for path in state.broken]
        for (stage, own), commit in state.commits.items():
            if damage := lake.damage(commit, deep=True):
                self.killing.problems.append(f"{stage} of {own} is committed, and {damage}")
            self._not_again(stage, own, commit)
        catalog = self.project.workspace.settings.catalog
        if os.path.exists(catalog):
            try:
                with duckdb.connect(catalog, read_only=True) as connection:
                    for (name,) in connection.execute(_NAMES).fetchall():
                        connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()
            except duckdb.Error as error:
                self.killing.problems.append(f"the catalog: {error}")

    def _not_again(self, stage: str, own: Partition, commit: Commit) -> None:
        kept = self._kept.get((stage, own.key), 0)
        again = commit.number > self._before.get((stage, own.key), 0)
        if kept and again:
            self.killing.resumed += 1
            worked = commit.notes["sites worked on"]
            if worked + kept > commit.sites.total:
                self.killing.problems.append(
                    f"{stage} of {own}: {worked} sites were worked on, and {kept} of {commit.sites.total} were finished"
                )

    def _wait(self, runs: Sequence[subprocess.Popen[str]], seconds: float, until: Callable[[], bool]) -> None:
        """Until it holds, no run is at work any more, or so many seconds are over."""
        deadline = time.monotonic() + seconds
        while not until() and any(run.poll() is None for run in runs) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _kept_files(self) -> int:
        """How many files of finished sites are there; a site of most stages has two."""
        return sum(1 for _ in (self.project.folder / "data/lake/.work").glob("*/*/*/*.arrow"))

    def _commits(self) -> int:
        folder = self.project.folder / "data/lake/ledger/commits"
        return sum(1 for _ in folder.glob("*/*.json")) if folder.is_dir() else 0

    def _numbers(self) -> dict[tuple[str, str], int]:
        state = self.project.workspace.lake.ledger.state()
        return {(stage, own.key): commit.number for (stage, own), commit in state.commits.items()}

    def _kept_sites(self) -> dict[tuple[str, str], int]:
        """The sites of which all tables are kept, by stage and plate."""
        found: dict[tuple[str, str], list[set[str]]] = {}
        for folder in (self.project.folder / "data/lake/.work").glob("*/*/*"):
            if folder.is_dir():
                stage, plate = folder.parts[-3], unquote(folder.parts[-2].partition("=")[2])
                found.setdefault((stage, plate), []).append({file.name for file in folder.glob("*.arrow")})
        tables = {"image_quality": 2, "masks": 2, "single_cells": 2}
        return {
            key: len(set.intersection(*names)) for key, names in found.items() if len(names) == tables.get(key[0], 1)
        }

    def _at_work(self, runs: Sequence[subprocess.Popen[str]]) -> list[str]:
        """The stages that these runs hold leases of."""
        processes = {run.pid for run in runs}
        leases = live(self.project.workspace.lake.files)
        return [path.rsplit("/", 1)[-1].split(".")[0] for path, each in leases.items() if each.process in processes]


def _met_the_other(output: str) -> bool:
    """Whether all that stopped a run was the other one, which was at it or was faster."""
    told = [line for line in output.splitlines() if line.startswith("morpho:")]
    words = ("is being made by", "committed number", "others keep taking it", "not made: ")
    return bool(told) and all(any(word in line for word in words) for line in told)


def _side_by_side(project: Project) -> None:
    """Let two runs compute at the same time, which take turns by the settings that are shipped."""
    file = project.folder / "dagster.yaml"
    before = file.read_text()
    file.write_text(before.replace("default_limit: 1,", "default_limit: 2,"))
    assert file.read_text() != before


def kill(folder: Path, gallery: Path, plates: Sequence[str], kills: int, each: int, seed: int) -> Killing:
    """Kill back-fills until so many kills have been made, at most `each` times a back-fill. In every other back-fill
    the two runs compute at the same time."""
    rng, killing = random.Random(seed), Killing()
    expected = undisturbed(folder / "undisturbed", gallery, plates)
    while killing.kills < kills:
        project = project_over(folder / f"backfill-{killing.backfills}", gallery)
        if killing.backfills % 2:
            _side_by_side(project)
        Backfill(project, plates, expected, rng, killing).until_done(min(each, kills - killing.kills))
    return killing
