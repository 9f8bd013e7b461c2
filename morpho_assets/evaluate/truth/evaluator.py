"""The evaluator `truth`: every check that a study's plates allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.metrics import Evaluation, metrics_frame
from morpho_assets.evaluate.truth.batches import WELL, correction, mechanisms, positions
from morpho_assets.evaluate.truth.checks import Finding, points_frame
from morpho_assets.evaluate.truth.images import Labels, quality_flags, segmentation, stains
from morpho_assets.evaluate.truth.treatments import counting, lengths, null_wells, parameters, planted_lengths, ranks
from morpho_assets.gallery.truth import Truth
from morpho_assets.imaging.images import read_labels
from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.correct import CorrectorConfig, correct_steps
from morpho_assets.profiles.sphering import SpheringConfig
from morpho_assets.profiles.study import SELECTED, read_space, space_features


class TruthConfig(BaseModel):
    """What was found in simulated plates against what was planted in them (docs/truth.md). Real plates have no truth:
    there the evaluator writes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["truth"] = "truth"
    space: str = Field(default="cellprofiler", description="space in which treatments and mechanisms are checked")
    count_space: str = Field(default="cell_count", description="space that holds the cell count only")
    correction: tuple[CorrectorConfig, ...] = Field(
        default=(SpheringConfig(),), description="correctors, applied to the space, that have to keep the biology"
    )


def truth_checks(
    inputs: Snapshot, study: str, spaces: Sequence[str], truth: Truth | None, config: TruthConfig, seed: int
) -> Evaluation:
    """A row per check with its bound, and `points` (POINTS) for pictures; both empty where there is no truth.

    `spaces` are those of the study; a space that it does not have leaves out the checks that need it.
    """
    if truth is None:
        return Evaluation(metrics_frame([]), {"points": points_frame([])})
    findings = list(_findings(inputs, study, spaces, truth, config, seed))
    return Evaluation(metrics_frame([found.row() for found in findings]), {"points": points_frame(findings)})


def _findings(
    inputs: Snapshot, study: str, spaces: Sequence[str], truth: Truth, config: TruthConfig, seed: int
) -> Iterator[Finding]:
    plates = sorted(truth.folders)
    yield from segmentation(label_pairs(inputs, truth, plates))
    quality = inputs.scan("image_quality", plates).collect()
    yield from quality_flags(truth.sites, quality)
    yield from stains(truth.wells, quality)

    planted = planted_lengths(truth.treatments)
    measured = inputs.scan("well_profiles", plates).collect()
    normalised = inputs.scan("normalized_profiles", plates).collect()
    yield from parameters(normalised, planted)
    yield from positions(measured, truth.wells, planted)
    if config.space in spaces:
        profiles = _space(inputs, study, config.space, plates)
        yield from on_profiles(profiles, measured, planted, config, seed)
    if config.count_space in spaces:
        counts = _space(inputs, study, config.count_space, plates)
        yield from counting(counts, space_features(counts), planted, seed)


def on_profiles(
    profiles: pl.DataFrame, measured: pl.DataFrame, planted: pl.DataFrame, config: TruthConfig, seed: int
) -> Iterator[Finding]:
    """The checks of one space: `profiles` normalised and selected, `measured` the well profiles before that."""
    features = space_features(profiles)
    yield from ranks(profiles, features, planted, seed)
    yield from null_wells(profiles, features, planted, seed)
    corrected, names = profiles, features
    for _, state in correct_steps(profiles, config.correction, features, seed):
        corrected, names = state.profiles, list(state.features)
    yield from lengths(corrected, names, planted)
    yield from mechanisms(corrected, names, planted, seed)
    raw = profiles.select(WELL).join(measured, on=WELL, maintain_order="left")
    if set(features) <= set(raw.columns):
        yield from correction(raw, corrected, features, names, seed)


def _space(inputs: Snapshot, study: str, space: str, plates: Sequence[str]) -> pl.DataFrame:
    return read_space(inputs, study, space, SELECTED).filter(pl.col("Metadata_Plate").is_in(plates))


def label_pairs(
    inputs: Snapshot, truth: Truth, plates: Sequence[str]
) -> Iterator[tuple[str, dict[str, Labels], dict[str, Labels]]]:
    """Of each segmented site: its name, and its true and found label images by compartment."""
    for plate in plates:
        for row in inputs.read("masks", plate).iter_rows(named=True):
            well, site = row["Metadata_Well"], row["Metadata_Site"]
            bodies = {name: inputs.lake.read_bytes(row[name]) for name in ("nuclei", "cells")}
            found = {name: read_labels(body, name=row[name]) for name, body in bodies.items()}
            true = {
                name: read_labels(truth.labels(plate, well, site, name), name=f"true {name} of {plate} {well}-{site}")
                for name in ("nuclei", "cells")
            }
            yield f"{plate} {well}-{site}", true, found
