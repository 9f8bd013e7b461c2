"""The front door: `build_defs` joins everything that Dagster sees."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from morpho_assets.assets import (
    catalog,
    encoder,
    evaluation,
    feature_space,
    illumination,
    image_quality,
    masks,
    plate_manifest,
    raw_images,
    single_cells,
    well_profiles,
)
from morpho_assets.assets.automation import PLATE_JOB, STUDY_JOB, backfill_schedule, new_plates
from morpho_assets.assets.checks import CHECKS
from morpho_assets.assets.resources import LoggedProgress, ProgressTeller, WorkspaceResource, settings_file
from morpho_assets.lake.provenance import digest
from morpho_assets.lineage import PLATE_STAGES, STUDY_STAGES
from morpho_assets.settings import Settings, load_settings

MODULES = [
    plate_manifest,
    raw_images,
    illumination,
    image_quality,
    masks,
    single_cells,
    well_profiles,
    encoder,
    feature_space,
    evaluation,
    catalog,
]


def build_defs(file: Path | None = None, progress: ProgressTeller | None = None) -> dg.Definitions:
    """All definitions over one settings file (default: the one in force), telling progress to `progress`.

    Without a settings file the defaults stand, and the graph can be looked at. Raises InputError for a wrong file.
    """
    file = file or settings_file()
    settings = load_settings(file) if file.exists() else Settings()
    return dg.Definitions(
        assets=[asset.map_asset_specs(_with_version(settings)) for asset in dg.load_assets_from_modules(MODULES)],  # type: ignore[union-attr]
        asset_checks=CHECKS,
        jobs=[PLATE_JOB, STUDY_JOB],
        schedules=[backfill_schedule(settings.backfill)],
        sensors=[
            new_plates,
            dg.AutomationConditionSensorDefinition("automation", target=dg.AssetSelection.assets("catalog")),
        ],
        resources={"workspace": WorkspaceResource(file=str(file)), "progress": progress or LoggedProgress()},
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    )


def _with_version(settings: Settings):  # type: ignore[no-untyped-def]
    """Adds the code version that covers a stage's own settings: the UI then shows what a change made stale."""

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        stage = PLATE_STAGES.get(name)
        version = f"{stage.code_version}-{digest(stage.settings(settings))[:8]}" if stage else "1"
        return spec.replace_attributes(
            code_version=STUDY_STAGES[name].code_version if name in STUDY_STAGES else version
        )

    return versioned


defs = build_defs()
