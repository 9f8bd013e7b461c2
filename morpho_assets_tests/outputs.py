"""What every stage gives on one small plate and a study of it, kept in outputs.json.

`python -m morpho_assets_tests.outputs` writes the file anew, after the code version of what changed was raised.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from morpho_assets.lake.digests import digest
from morpho_assets.lake.ledger import Commit
from morpho_assets.lake.tables import TABLES
from morpho_assets.runs import Run
from morpho_assets.simulator import write_gallery
from morpho_assets.stages import STAGES
from morpho_assets.workspace import Workspace
from morpho_assets_tests.project import make_project
from morpho_assets_tests.simulator.conftest import SMALL

FILE = Path(__file__).with_name("outputs.json")
DESIGN = SMALL.model_copy(update={"cells_per_site": 8, "plates_per_batch": 2})
BY_PROCESSOR = {"encoder", "embeddings", "projections", "montages"}
"""Stages whose numbers depend on the order in which a processor adds: their rows and columns are kept, no values."""
_PLACES = ("uri", "path", "illumination_uri", "source")
_EMBEDDING = "Embedding_"
"""So do the columns of an embedding, wherever they go."""


def make_everything(folder: Path) -> Workspace:
    """A project of which every stage of its plates and of its study is made."""
    gallery = folder / "gallery"
    gallery.mkdir()
    plates = write_gallery(gallery, DESIGN, seed=5)
    (folder / "project").mkdir()
    workspace = make_project(folder / "project", gallery).workspace
    while tasks := [task for task in workspace.plan(plates) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            assert task.held is None, task.held
            run.make(task.stage, task.partition)
    while tasks := [task for task in workspace.plan(studies=["demo"]) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            assert task.held is None, task.held
            run.make(task.stage, task.partition)
    return workspace


def summaries(workspace: Workspace) -> dict[str, Any]:
    """By stage its code version, and by table the rows and, by column, the mean and deviation to 6 digits or the digest
    of the texts."""
    found: dict[str, Any] = {}
    for (stage, partition), commit in sorted(workspace.lake.ledger.state().commits.items()):
        if partition.key not in ("SYN00000001", "demo"):
            continue
        found[stage] = {"code_version": commit.code_version, "tables": _tables(workspace, commit)}
    assert set(found) == set(STAGES)
    return found


def _tables(workspace: Workspace, commit: Commit) -> dict[str, Any]:
    snapshot = workspace.lake.snapshot([commit])
    return {
        name: _summary(snapshot.read(name, commit.partition.key), commit.stage not in BY_PROCESSOR)
        for name in commit.outputs
    }


def _summary(frame: pl.DataFrame, values: bool) -> dict[str, Any]:
    columns = {name: _column(frame[name]) for name in frame.columns
               if name not in _PLACES and not name.startswith(_EMBEDDING)} if values else {}  # fmt: skip
    places = {column.name for table in TABLES.values() for column in table.columns if column.is_file}
    return {
        "rows": frame.height,
        "columns": digest(frame.columns),
        "values": {name: value for name, value in columns.items() if name not in places},
    }


def _column(column: pl.Series) -> Any:
    if column.dtype.is_numeric():
        mean, deviation = column.mean(), column.std()
        return [column.null_count(), _six(mean), _six(deviation)]
    return digest(column.cast(pl.String, strict=False).to_list() if column.dtype != pl.List else column.to_list())


def _six(value: Any) -> float | None:
    return None if value is None else float(f"{float(value):.6g}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = summaries(make_everything(Path(folder)))
    lines = [f"{json.dumps(stage)}: {json.dumps(kept, sort_keys=True)}" for stage, kept in found.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
