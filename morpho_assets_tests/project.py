"""A user's project in a temporary folder: settings, a gallery, a small study, and the `morpho` command run in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import yaml

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.stages import STAGES
from morpho_assets.workspace import Workspace
from morpho_assets_tests.factories import write_settings

ROOT = Path(__file__).resolve().parent.parent
# The simulator's own nuclei, as a study of a synthetic gallery names them: relative to the folder morpho runs in.
MASKS = {
    "evaluator": "segmentation",
    "folder": "data/gallery/cpg9999-synthetic/source_0/workspace/truth/2026_01_01_Batch1",
    "nuclei": "{plate}/masks/{well}-{site}-nuclei.tiff",
}
QUICK_STUDY = {
    "name": "demo",
    "title": "Quick study",
    "about": "A study small enough for a test.",
    "encoders": {"vae": {"kind": "vae", "latent": 4, "crop_size": 32, "shrink": 2, "epochs": 2, "max_cells": 40}},
    "spaces": {"cellprofiler": {"of": "cells"}, "vae": {"of": "embedding"}, "cell_count": {"of": "cell_count"}},
    "corrections": [{"corrector": "sphering", "method": "ZCA"}],
    "evaluators": {
        "replicates": {"evaluator": "retrieval", "null_size": 200},
        "masks": MASKS,
        "truth": {"evaluator": "truth"},
    },
}


@dataclass(frozen=True)
class Project:
    """`folder` holds morpho.yaml; everything a run writes lies in it."""

    folder: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace.open(self.folder / "morpho.yaml")

    def tables(self, key: str) -> Snapshot:
        """What was committed last of a plate or a study, with its encoders and embeddings."""
        lake = self.workspace.lake
        return lake.snapshot(each for each in lake.ledger.state().commits.values() if each.partition.key == key)

    def read(self, table: str, key: str) -> pl.DataFrame:
        return self.tables(key).read(table, key)

    def commit(self, stage: str, key: str) -> Commit | None:
        """The last commit of a plate's or a study's stage that has no second part."""
        return self.workspace.lake.ledger.latest(stage, Partition(STAGES[stage].kind, key))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `morpho` with these arguments in a process group of its own."""
        state = {"DAGSTER_HOME": str(self.folder), "MORPHO_STATE_DIR": str(self.folder / "data/dagster")}
        state["MORPHO_SETTINGS"] = str(self.folder / "morpho.yaml")
        return subprocess.Popen(
            [sys.executable, "-m", "morpho_assets.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, **state, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> str:
        """Run `morpho` to its end and return what it printed; fails the test, showing it, unless it succeeds."""
        process = self.start(*arguments)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output


def make_project(folder: Path, gallery: Path | None = None, **settings: object) -> Project:
    """A project over a gallery (a folder, linked), with the quick study; `settings` are further keys of morpho.yaml."""
    write_settings(folder, **settings)
    shutil.copy(ROOT / "dagster.yaml", folder)
    if gallery is not None:
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data/gallery").symlink_to(gallery)
    (folder / "studies").mkdir()
    (folder / "studies/demo.yaml").write_text(yaml.safe_dump(QUICK_STUDY))
    return Project(folder)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL the process and all it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
