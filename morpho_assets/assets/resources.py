"""Resources: the workspace that assets open, and how their progress is told. The environment is read here alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import dagster as dg

from morpho_assets.compute import Progress
from morpho_assets.workspace import Workspace

SETTINGS_FILE = "MORPHO_SETTINGS"
"""Environment variable with the path of the settings file; without it, `morpho.yaml` in the working directory."""


def settings_file() -> Path:
    """The settings file that is in force for this process."""
    return Path(os.environ.get(SETTINGS_FILE, "morpho.yaml")).resolve()


class WorkspaceResource(dg.ConfigurableResource):
    """Opens the workspace of a settings file."""

    file: str

    def open(self) -> Workspace:
        return Workspace.open(Path(self.file))


class ProgressTeller(Protocol):
    """Where the progress of an asset is told."""

    def of(self, context: dg.AssetExecutionContext) -> Progress: ...


class LoggedProgress:
    """Tells progress in the run's log, at most ten times for each piece of work."""

    def of(self, context: dg.AssetExecutionContext) -> Progress:
        tenths: dict[str, int] = {}

        def progress(label: str, done: int, total: int) -> None:
            tenth = 10 * done // total if total else 10
            if tenth > tenths.get(label, -1):
                tenths[label] = tenth
                context.log.info(f"{label}: {done} of {total}")

        return progress
