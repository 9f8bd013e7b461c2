"""Readers who query the catalog without pause while runs write plates: `python -m morpho_assets_tests.crowd …` is one.

What is published is known from outside: a run that has ended with status 0 has published, and whoever opens the catalog
afterwards must see its commits.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from morpho_assets_tests.project import ROOT, Project

QUERIES = (
    "SELECT Metadata_Plate, count(*), sum(ObjectNumber) FROM single_cells GROUP BY ALL ORDER BY ALL",
    "SELECT Metadata_Plate, count(*) FROM normalized_profiles GROUP BY ALL ORDER BY ALL",
    "SELECT stage, key, number FROM partitions ORDER BY ALL",
)
NUMBERS = "SELECT key, max(number) FROM partitions WHERE stage = 'well_profiles' AND published GROUP BY ALL"


@dataclass
class Crowd:
    """What the readers met: connections that were opened, errors in words (`refused`: for a lock that somebody else
    had, for DuckDB refuses where others wait), publications that were not seen, answers that changed under an open
    connection; and how many runs wrote meanwhile, with those that failed."""

    reads: int = 0
    errors: list[str] = field(default_factory=list)
    refused: int = 0
    stale: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    runs: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0


def gather(project: Project, plates: Sequence[str], readers: int, seconds: float) -> Crowd:
    """Let so many readers query, and a run write each of the plates again and again, for so long."""
    catalog, published = project.workspace.settings.catalog, project.folder / "published.json"
    publishes = {plate: _number(project, plate) for plate in plates}
    _tell(published, publishes)
    crowd, end = Crowd(), time.monotonic() + seconds
    command = [sys.executable, "-m", "morpho_assets_tests.crowd", catalog, str(published), str(seconds)]
    reading = [subprocess.Popen([*command, str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
               for seed in range(readers)]  # fmt: skip
    writing = {plate: project.start("run", "--force", "--plate", plate) for plate in plates}
    while writing:
        for plate, run in list(writing.items()):
            if run.poll() is None:
                continue
            output, _ = run.communicate()
            crowd.runs += 1
            if run.returncode:
                crowd.failed.append(output[-500:])
            publishes[plate] = _number(project, plate)
            _tell(published, publishes)
            if time.monotonic() < end and not run.returncode:
                writing[plate] = project.start("run", "--force", "--plate", plate)
            else:
                del writing[plate]
        time.sleep(0.05)
    for reader in reading:
        output, _ = reader.communicate()
        told = json.loads(output)
        crowd.reads += told["reads"]
        crowd.errors += told["errors"]
        crowd.refused += told["refused"]
        crowd.stale += told["stale"]
        crowd.moved += told["moved"]
        crowd.slowest = max(crowd.slowest, told["slowest"])
    return crowd


def _number(project: Project, plate: str) -> int:
    commit = project.commit("well_profiles", plate)
    return commit.number if commit else 0


def _tell(file: Path, numbers: dict[str, int]) -> None:
    aside = file.with_suffix(".aside")
    aside.write_text(json.dumps(numbers))
    aside.replace(file)


def read(catalog: str, published: str, seconds: float, seed: int) -> dict[str, object]:
    """Open the catalog, ask, ask the same again, close; until the time is over."""
    import duckdb

    rng, end = random.Random(seed), time.monotonic() + seconds
    told = Crowd()
    while time.monotonic() < end:
        known = json.loads(Path(published).read_text())
        query = rng.choice(QUERIES)
        began = time.monotonic()
        try:
            with duckdb.connect(catalog, read_only=True) as connection:
                told.slowest = max(told.slowest, time.monotonic() - began)
                connection.execute("SET enable_progress_bar = false")
                numbers = dict(connection.execute(NUMBERS).fetchall())
                first = connection.execute(query).fetchall()
                time.sleep(rng.uniform(0, 0.5))
                second = connection.execute(query).fetchall()
        except duckdb.Error as error:
            told.refused += "lock" in str(error)
            told.errors.append(str(error))
            continue
        told.reads += 1
        told.stale += [f"{plate}: {numbers.get(plate)} after {least}" for plate, least in known.items()
                       if numbers.get(plate, 0) < least]  # fmt: skip
        if first != second:
            told.moved.append(query)
    return vars(told)


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))))  # noqa: T201
