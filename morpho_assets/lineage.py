"""What each stage is made from: its inputs, its settings, its code version. Fingerprints follow from this table alone.

A change of a setting makes stale what depends on it, and nothing else; so does a new `code_version`, which is raised
by hand whenever a stage would give other values from the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from morpho_assets.errors import LakeError
from morpho_assets.gallery.manifest import SOURCE
from morpho_assets.imaging.segmentation import made_with
from morpho_assets.imaging.sites import complete_sites
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance, digest


@dataclass(frozen=True)
class Stage:
    """One asset: the table whose partition stands for it, the stages it reads, and its part of the settings.

    `settings` takes the platform's settings for a plate's stage and the study for a study's. `through` names the table
    of an input that alone is read, where the input's stage writes several. `files` gives what the stage adds to its
    inputs by itself, such as the checksums of files that no stage made, as they are now.
    """

    name: str
    table: str
    inputs: tuple[str, ...] = ()
    settings: Callable[[Any], object] = lambda settings: None
    code_version: str = "1"
    through: Mapping[str, str] = field(default_factory=dict)
    files: Callable[[Lake, str, Any], Mapping[str, str]] = lambda lake, plate, settings: {}


def _mask_files(lake: Lake, plate: str, settings: Any) -> Mapping[str, str]:
    config = settings.segmentation
    sites = complete_sites(lake, plate) if config.method == "external" else []
    return made_with(config, [site.names for site in sites])


_PLATE = (
    Stage("plate_manifest", "wells", code_version="4"),
    Stage("raw_images", "image_files", ("plate_manifest",), through={"plate_manifest": "sites"}),
    Stage("illumination", "illumination_functions", ("raw_images",), lambda s: s.illumination, "2"),
    Stage("image_quality", "image_quality", ("raw_images",), lambda s: s.quality, "4"),
    Stage("masks", "masks", ("raw_images", "illumination"), lambda s: s.segmentation, "5", files=_mask_files),
    Stage("single_cells", "single_cells", ("illumination", "masks"), lambda s: s.measurement),
    Stage(
        "well_profiles",
        "normalized_profiles",
        ("plate_manifest", "image_quality", "masks", "single_cells"),
        lambda s: s.profiles,
        "2",
    ),
)
_STUDY = (
    Stage("encoder", "encoders", (), lambda s: [s.plates, s.encoders]),
    Stage("embeddings", "embeddings", ("encoder",)),
    Stage(
        "feature_space",
        "profiles",
        ("embeddings",),
        lambda s: [s.plates, s.spaces, s.tuning_share and [s.tuning_share, s.seed]],
        "2",
    ),
    Stage("corrected_profiles", "profiles", ("feature_space",), lambda s: [s.corrections, s.seed], "2"),
    Stage("treatment_profiles", "treatment_profiles", ("corrected_profiles",), lambda s: s.consensus),
    Stage("projections", "projections", ("corrected_profiles",), lambda s: s.projection),
    Stage("evaluation", "metrics", ("corrected_profiles",), lambda s: [s.evaluators, s.seed], "2"),
)
PLATE_STAGES = {stage.name: stage for stage in _PLATE}
STUDY_STAGES = {stage.name: stage for stage in _STUDY}


def settings_digest(stage: Stage, settings: object, stages: dict[str, Stage]) -> str:
    """Names the settings of a stage together with those of all stages before it."""
    before = [settings_digest(stages[name], settings, stages) for name in stage.inputs]
    own = stage.settings(settings)
    return digest([stage.name, stage.code_version, own, before])[:16]


def plate_provenance(lake: Lake, name: str, plate: str, settings: object) -> Provenance:
    """What a stage of a plate would be made from now. Raises LakeError for an input that is not there."""
    stage = PLATE_STAGES[name]
    inputs = _plate_inputs(lake, stage, plate)
    return Provenance(name, stage.code_version, settings_digest(stage, settings, PLATE_STAGES), inputs)


def _plate_inputs(lake: Lake, stage: Stage, plate: str) -> dict[str, str]:
    return {
        before: fingerprint(lake, PLATE_STAGES[before], plate, stage.through.get(before)) for before in stage.inputs
    }


def study_provenance(
    lake: Lake, name: str, study: Any, plates: list[str], reads: tuple[str, ...] = (), settings: object = None
) -> Provenance:
    """What a stage of a study would be made from now: its own inputs, and the plate stages that it `reads`.

    Raises LakeError for an input that is not there, and for plates that were made with different settings.
    """
    stage = STUDY_STAGES[name]
    inputs = {before: fingerprint(lake, STUDY_STAGES[before], study.name) for before in stage.inputs}
    for before in reads:
        same_settings(lake, before, plates, settings)
        inputs |= {f"{before}/{plate}": fingerprint(lake, PLATE_STAGES[before], plate) for plate in plates}
    return Provenance(name, stage.code_version, settings_digest(stage, study, STUDY_STAGES), inputs)


def fingerprint(lake: Lake, stage: Stage, partition: str, table: str | None = None) -> str:
    """The fingerprint of what is in the lake of a stage (in one of its tables). LakeError where there is nothing."""
    made = lake.provenance(table or stage.table, partition, part_of(stage))
    if made is None:
        raise LakeError(f"{stage.name} of {partition} is not there; materialise it first")
    return made.fingerprint


def part_of(stage: Stage) -> str:
    """The part of a table that a stage writes: two stages write `profiles`, each its own parts."""
    return {"feature_space": "selected", "corrected_profiles": "corrected"}.get(stage.name, "0")


def is_current(lake: Lake, name: str, plate: str, settings: object) -> bool:
    """Whether a plate's stage is there and made with these settings from what is in the lake, and in its files, now.

    Nothing is current after a manifest that is not: what it says may change. Made anew, it leaves current what does not
    read what changed: images do not mind other names of the controls.
    """
    stage = PLATE_STAGES[name]
    made = lake.provenance(stage.table, plate)
    if made is None or made.settings != settings_digest(stage, settings, PLATE_STAGES):
        return False
    if name == "plate_manifest" and not source_is_current(lake, plate, settings):
        return False
    if any(made.inputs[before] != now for before, now in _plate_inputs(lake, stage, plate).items()):
        return False
    if not made.inputs.items() >= stage.files(lake, plate, settings).items():
        return False
    return all(is_current(lake, before, plate, settings) for before in stage.inputs)


def source_is_current(lake: Lake, plate: str, settings: Any) -> bool:
    """Whether a source with the settings that the plate's manifest was read with is still there."""
    made = lake.provenance("wells", plate)
    read_with = made.inputs.get(SOURCE) if made else None
    return read_with is None or read_with in {digest(source.contents())[:16] for source in settings.sources}


def same_settings(lake: Lake, name: str, plates: list[str], settings: object) -> None:
    """Raise LakeError unless a stage of all these plates was made with the present settings: they never mix."""
    wanted = settings_digest(PLATE_STAGES[name], settings, PLATE_STAGES)
    stale = []
    for plate in plates:
        made = lake.provenance(PLATE_STAGES[name].table, plate)
        if made is None:
            raise LakeError(f"{name} of plate {plate} is not there; materialise the plate first")
        if made.settings != wanted or not source_is_current(lake, plate, settings):
            stale.append(plate)
    if stale:
        raise LakeError(
            f"{name} of {', '.join(stale)} was made with other settings than those in force, or of another source; "
            "materialise these plates again: two settings never mix in one study"
        )
