"""Publication: which commits go into the catalog, and whether it is behind the ledger."""

from __future__ import annotations

import os
from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import MorphoError
from morpho_assets.lake.catalog import Published, publish_catalog, published_commits, publishing
from morpho_assets.lake.ledger import Partition, State
from morpho_assets.lake.sweep import Swept, sweep
from morpho_assets.plan import why
from morpho_assets.stages import STAGES
from morpho_assets.workspace import Workspace


def publish(workspace: Workspace) -> pl.DataFrame:
    """Bring the catalog up to date with the ledger; returns a row per table. Publications take turns.

    The ledger is read once the turn has come: of many that wait, the first publishes what all of them made, and the
    others find nothing to do.
    """
    path = workspace.settings.catalog
    with publishing(path):
        state = workspace.lake.ledger.state()
        return publish_catalog(workspace.lake, path, publishable(workspace, state), state)


def is_behind(workspace: Workspace) -> bool:
    """Whether the catalog lacks something that is in the ledger, or has what is no longer in force."""
    if not os.path.exists(workspace.settings.catalog):
        return True
    wanted = publishable(workspace, workspace.lake.ledger.state())
    now = {_name(each.commit.stage, each.commit.partition): (each.commit.number, each.left_out) for each in wanted}
    return now != published_commits(workspace.settings.catalog)


def clean(workspace: Workspace, days: float = 1.0) -> Swept:
    """Remove files of the lake, and of the folder of images, that nothing names any more (`lake/sweep.py`)."""
    published = published_commits(workspace.settings.catalog)
    return sweep(workspace.lake, days, published, [workspace.settings.images.folder])


def publishable(workspace: Workspace, state: State) -> Sequence[Published]:
    """Every last commit, with why it is left out: what was made with other settings or code than those in force never
    mixes with what was made with them."""
    chains: dict[tuple[str, Partition], str | None] = {}

    def left_out(stage: str, partition: Partition) -> str | None:
        key = (stage, partition)
        if key not in chains:
            chains[key] = None  # of a circle, which there is none, this would be the end
            chains[key] = _left_out(workspace, state, stage, partition) or next(
                (reason for name, own in _upstream(state, key) if (reason := left_out(name, own))), None
            )
        return chains[key]

    return [Published(commit, left_out(*key)) for key, commit in sorted(state.commits.items())]


def _left_out(workspace: Workspace, state: State, stage: str, partition: Partition) -> str | None:
    if stage not in STAGES:
        return "no such stage any more"
    commit = state.commits[stage, partition]
    plates = sorted({read.key for read in commit.reads if read.kind == "plate"})
    try:
        target = workspace.target(partition, state, plates)
    except MorphoError as error:
        return str(error)
    reasons = why(STAGES[stage], target, commit, state.commits)
    return f"not as the settings in force would make it: {'; '.join(reasons)}" if reasons else None


def _upstream(state: State, key: tuple[str, Partition]) -> list[tuple[str, Partition]]:
    reads = state.commits[key].reads
    return [(read.stage, read.partition) for read in reads if (read.stage, read.partition) in state.commits]


def _name(stage: str, partition: Partition) -> tuple[str, ...]:
    return (stage, partition.kind, partition.key, partition.part)
