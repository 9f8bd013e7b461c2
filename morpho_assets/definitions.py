"""The front door: `build_defs` joins everything that Dagster sees."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from morpho_assets.assets.automation import (
    CATALOG_JOB,
    PLATE_JOB,
    STUDY_JOB,
    backfill_schedule,
    look_at_sources,
    new_plates,
    publish_commits,
    sweep_files,
)
from morpho_assets.assets.exports import EXPORTS
from morpho_assets.assets.judging import VERDICT_JOB
from morpho_assets.assets.made import ASSETS
from morpho_assets.assets.pools import sleep_while_waiting
from morpho_assets.assets.resources import LoggedProgress, ProgressTeller, WorkspaceResource, settings_file
from morpho_assets.settings import Settings, load_settings


def build_defs(file: Path | None = None, progress: ProgressTeller | None = None) -> dg.Definitions:
    """All definitions over one settings file (default: the one in force), telling progress to `progress`.

    Without a settings file the defaults stand, and the graph can be looked at. Raises InputError for a wrong file.
    """
    sleep_while_waiting()
    file = file or settings_file()
    settings = load_settings(file) if file.exists() else Settings()
    return dg.Definitions(
        assets=[*ASSETS, *EXPORTS],
        jobs=[PLATE_JOB, STUDY_JOB, CATALOG_JOB, VERDICT_JOB],
        schedules=[backfill_schedule(settings.backfill)],
        sensors=[new_plates, look_at_sources, publish_commits, sweep_files],
        resources={"workspace": WorkspaceResource(file=str(file)), "progress": progress or LoggedProgress()},
        executor=dg.in_process_executor,
    )


defs = build_defs()
