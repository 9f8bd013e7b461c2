"""The evaluator `truth`: every check that a study's plates allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.metrics import Evaluation, metrics_frame
from morpho_assets.evaluate.truth.batches import DRAWS, WELL, correction, mechanisms, positions
from morpho_assets.evaluate.truth.checks import Finding, beside, points_frame
from morpho_assets.evaluate.truth.images import Labels, quality_flags, segmentation, stains
from morpho_assets.evaluate.truth.treatments import counting, lengths, null_wells, parameters, planted_lengths, ranks
from morpho_assets.gallery.truth import Truth
from morpho_assets.imaging.images import read_labels
from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.correct import CorrectorConfig, correct_steps
from morpho_assets.profiles.recipe import Step
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets.profiles.rows import groups_of
from morpho_assets.profiles.sphering import SpheringConfig
from morpho_assets.profiles.study import SELECTED, read_space, space_features

OTHER_SITES = 100  # that are compared with the masks of others


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
    rows = [row for finding in findings for row in finding.rows()]
    return Evaluation(metrics_frame(rows), {"points": points_frame(findings)})


def _findings(
    inputs: Snapshot, study: str, spaces: Sequence[str], truth: Truth, config: TruthConfig, seed: int
) -> Iterator[Finding]:
    plates = sorted(truth.folders)
    seeds = range(seed, seed + DRAWS)
    others = islice(of_the_site_before(label_pairs(inputs, truth, plates)), OTHER_SITES)
    yield from beside(segmentation(label_pairs(inputs, truth, plates)), [segmentation(others)])
    quality = inputs.scan("image_quality", plates).collect()
    faults = (_shuffled(truth.sites, ["focus", "saturated"], [], s) for s in seeds)
    yield from beside(quality_flags(truth.sites, quality), (quality_flags(sites, quality) for sites in faults))
    exchanged = (_exchanged_plates(quality, s) for s in seeds)
    yield from beside(stains(truth.wells, quality), (stains(truth.wells, other) for other in exchanged))

    planted = planted_lengths(truth.treatments)
    measured = inputs.scan("well_profiles", plates).collect()
    normalised = inputs.scan("normalized_profiles", plates).collect()
    yield from beside(parameters(normalised, planted), (parameters(shuffled(normalised, s), planted) for s in seeds))
    elsewhere = (_shuffled(truth.wells, ["position_effect"], ["Metadata_Plate"], s) for s in seeds)
    yield from beside(
        positions(measured, truth.wells, planted), (positions(measured, wells, planted) for wells in elsewhere)
    )
    if config.space in spaces:
        profiles = _space(inputs, study, config.space, plates)
        yield from on_profiles(profiles, measured, planted, config, seed)
    if config.count_space in spaces:
        counts = _space(inputs, study, config.count_space, plates)
        names = space_features(counts)
        wrong = (counting(shuffled(counts, s), names, planted, seed) for s in seeds)
        toxic = ([f for f in draw if f.check == "count_finds_toxic"] for draw in wrong)
        yield from beside(counting(counts, names, planted, seed), toxic)


def on_profiles(
    profiles: pl.DataFrame, measured: pl.DataFrame, planted: pl.DataFrame, config: TruthConfig, seed: int
) -> Iterator[Finding]:
    """The checks of one space: `profiles` normalised and selected, `measured` the well profiles before that."""
    features = space_features(profiles)
    seeds = range(seed, seed + DRAWS)
    few = RetrievalConfig(null_size=1000, exact_limit=1000)
    wrong = (ranks(shuffled(profiles, s), features, planted, seed, few) for s in seeds)
    yield from beside(ranks(profiles, features, planted, seed), wrong)
    yield from null_wells(profiles, features, planted, seed)
    corrected, names = profiles, features
    for _, state in correct_steps(profiles, config.correction, features, seed):
        corrected, names = state.profiles, list(state.features)
    mixed = [shuffled(corrected, s) for s in seeds]
    yield from beside(lengths(corrected, names, planted), (lengths(frame, names, planted) for frame in mixed))
    nsc_wrong = ([f for f in mechanisms(frame, names, planted, seed) if f.check == "nsc"] for frame in mixed)
    yield from beside(mechanisms(corrected, names, planted, seed), nsc_wrong)
    raw = profiles.select(WELL).join(measured, on=WELL, maintain_order="left")
    if set(features) <= set(raw.columns):
        scale = scaled(profiles, features)
        steps = (*(scale.steps if scale is not None else ()), *(Step(correct=each) for each in config.correction))
        refit = Refit(profiles, tuple(features), steps, np.arange(profiles.height), seed)
        yield from correction(raw, corrected, features, names, seed, refit)


def of_the_site_before(
    sites: Iterable[tuple[str, dict[str, Labels], dict[str, Labels]]],
) -> Iterator[tuple[str, dict[str, Labels], dict[str, Labels]]]:
    """Each site but the first with its true labels and those found in the site before."""
    for (_, _, found), (name, true, _) in pairwise(sites):
        yield name, true, found


def _shuffled(frame: pl.DataFrame, columns: Sequence[str], within: Sequence[str], seed: int) -> pl.DataFrame:
    """`frame` with the rows of some columns in another order, the same for all of them."""
    rng = np.random.default_rng(seed)
    order = np.arange(frame.height)
    for _, rows in groups_of(frame, within):
        order[rows] = rng.permutation(rows)
    return frame.with_columns(frame[order].select(columns))


def _exchanged_plates(quality: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Every plate's images under the name of another."""
    names = quality["Metadata_Plate"].unique().sort().to_list()
    turn = 1 + seed % max(len(names) - 1, 1)
    others = dict(zip(names, names[turn:] + names[:turn], strict=True))
    return quality.with_columns(pl.col("Metadata_Plate").replace_strict(others))


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
