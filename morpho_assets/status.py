"""The state of plates at a glance: how far each has come, what failed, what is flagged, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import MorphoError
from morpho_assets.lake.ledger import Partition
from morpho_assets.stages import PLATE_STAGES
from morpho_assets.workspace import Workspace

COLUMNS = ("plate", "stage", "sites", "failed", "flags", "gate", "next")


def status_table(workspace: Workspace, plates: Sequence[str]) -> pl.DataFrame:
    """One row per plate: its last finished stage, sites that are done and that failed, warnings of checks, closed gates
    and a person's rejection with their sentence, and the next step with its reason. Sources are not looked at."""
    state = workspace.state(plates)
    rows = []
    for plate in plates:
        partition = Partition("plate", plate)
        done = [state.commits[name, partition] for name in PLATE_STAGES if (name, partition) in state.commits]
        failed = {key for commit in done for key in commit.sites.failed}
        closed = [f"{commit.stage}: {verdict.text}" for commit in done for verdict in state.closed(commit)]
        judged = state.in_force(plate)
        closed += [judged[""].text] if "" in judged and judged[""].said == "rejected" else []
        flags = [v.check for commit in done for v in commit.verdicts if not v.passed and not v.blocking]
        flags += [f"{place} {each.said}" for place, each in judged.items() if place]
        try:
            tasks = workspace.plan([plate], look=False, state=state)
            step = f"{tasks[0].stage}: {'; '.join(tasks[0].reasons)}" if tasks else "up to date"
        except MorphoError as error:
            step = str(error)
        attempts = [attempt for (_, own), found in state.attempts.items() if own == partition for attempt in found]
        if attempts and step != "up to date":
            step += f" (failed {len(attempts)} times, last: {attempts[-1].sentence})"
        sites = max((commit.sites.total for commit in done), default=0)
        rows.append((plate, done[-1].stage if done else "-", sites - len(failed), len(failed),
                     ", ".join(flags) or "-", "; ".join(closed) or "open", step))  # fmt: skip
    return pl.DataFrame(rows, schema=dict(zip(COLUMNS, _TYPES, strict=True)), orient="row")


_TYPES = (pl.String, pl.String, pl.Int64, pl.Int64, pl.String, pl.String, pl.String)
