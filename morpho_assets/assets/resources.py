"""Resources: the run that an asset works in, and how its progress is told. The environment is read here alone."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import dagster as dg

from morpho_assets.assets.dead_runs import PROCESS, this_process
from morpho_assets.compute import Progress
from morpho_assets.runs import Run
from morpho_assets.workspace import Workspace

SETTINGS_FILE = "MORPHO_SETTINGS"
"""Environment variable with the path of the settings file; without it, `morpho.yaml` in the working directory."""
FORCE = "morpho/force"
"""Run tag: make again what is current."""
RETRY = "morpho/retry"
"""Run tag: make again what has failed sites."""

_RUNS: OrderedDict[str, Run] = OrderedDict()
_KEPT = 4  # of a process that runs one after the other, as tests and the command line do


def settings_file() -> Path:
    """The settings file that is in force for this process."""
    return Path(os.environ.get(SETTINGS_FILE, "morpho.yaml")).resolve()


class WorkspaceResource(dg.ConfigurableResource):
    """Opens the workspace of a settings file; a run of Dagster's reads it once and keeps what it pinned."""

    file: str

    def open(self) -> Workspace:
        return Workspace.open(Path(self.file))

    def run(self, context: dg.AssetExecutionContext, progress: Progress) -> Run:
        """The run of which this step is one: settings, plates and commits are those it began with."""
        name = context.run.run_id
        if name not in _RUNS:
            tags = context.run.tags
            if PROCESS not in tags:
                context.instance.add_run_tags(name, {PROCESS: this_process()})
            _RUNS[name] = Run(self.open(), force=tags.get(FORCE) == "true", retry=tags.get(RETRY) == "true")
            while len(_RUNS) > _KEPT:
                _RUNS.popitem(last=False)
        _RUNS[name].progress = progress
        return _RUNS[name]


class ProgressTeller(Protocol):
    """Where the progress of an asset is told."""

    def of(self, context: Any) -> Progress: ...


class LoggedProgress:
    """Tells progress in the run's log, at most ten times for each piece of work."""

    def of(self, context: Any) -> Progress:
        tenths: dict[str, int] = {}

        def progress(label: str, done: int, total: int) -> None:
            tenth = 10 * done // total if total else 10
            if tenth > tenths.get(label, -1):
                tenths[label] = tenth
                context.log.info(f"{label}: {done} of {total}")

        return progress
