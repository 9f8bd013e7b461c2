"""The profile stages of a study: feature spaces over its plates, and the chain of corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.profiles.aggregate import AggregateConfig, aggregate
from morpho_assets.profiles.consensus import PROFILE_COUNT, consensus
from morpho_assets.profiles.correct import CorrectorConfig, Tuner, correct_steps
from morpho_assets.profiles.features import FEATURES, feature_columns, require_columns
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.recipe import apply_recipe, load_recipe
from morpho_assets.profiles.select import SelectConfig, select_features
from morpho_assets.profiles.tuning import mark_tuning

KEYS = ["Metadata_Plate", "Metadata_Well"]
SELECTED = "selected"
"""The step of a space before any correction."""
AGGREGATED = "aggregated"
"""The step of a space with a recipe before the recipe: wells as they were aggregated."""
SWEEP = "sweep"
"""The evaluator of the rows of `metrics` that a sweep leaves."""
SHUFFLED = "shuffled treatments"
"""What is added to the name of a variant whose treatments were shuffled."""
SPACE_PREFIXES = (*FEATURES, "Count_")


COUNT = NormalizeConfig(prefixes=("Count_",), flat="zero")


class SpaceConfig(BaseModel):
    """One feature space: what its columns are, and how they are prepared for comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: Literal["cells", "embedding", "cell_count"] = Field(
        description="cells: CellProfiler features; embedding: an encoder's; cell_count: the baseline that sees no image"
    )
    encoder: str | None = Field(default=None, description="name of the study's encoder, for an embedding")
    select: SelectConfig | None = Field(
        default=SelectConfig(), description="feature selection of cells; null: complete features"
    )
    recipe: str | None = Field(
        default=None,
        description="a published recipe for cells, shipped or a YAML file: it takes the wells before normalisation, in "
        "place of `select` and of the study's corrections",
    )
    aggregate: AggregateConfig = Field(
        default=AggregateConfig(method="mean", prefixes=("Embedding_",)), description="cells to wells, for an embedding"
    )
    normalize: NormalizeConfig = Field(
        default=NormalizeConfig(prefixes=("Embedding_",)), description="the scale of each plate, for an embedding"
    )


def build_spaces(work: Work) -> None:
    """Write the step `selected` of every space of a study to `profiles`, what selection left out, and as
    `correction_notes` which plates lack features that others have.

    Wells without cells have no place in a space of cells or embeddings; the cell count has all wells. A space with a
    recipe starts with the step `aggregated` instead. With a `tuning_share` (see `tuning_share`) the same treatments
    are marked in Metadata_tuning of every space.
    """
    study, plates = work.settings, list(work.source)  # spaces, tuning_share, seed
    build = {"cells": _cell_space, "embedding": _embedding_space, "cell_count": _count_space}
    wells = work.inputs.scan("normalized_profiles", plates).collect()
    frames, dropped, notes = [], [], []
    lacking = _lacking(wells)
    for name, config in study.spaces.items():
        if config.of == "cells":
            notes += [{"study": work.key, "space": name, "step": SELECTED, "note": note} for note in lacking]
        if config.recipe is None:
            config = config.model_copy(update={"encoder": config.encoder or name})
            frame, selection = build[config.of](work, wells, config)
        else:
            frame, selection = _aggregated(work.inputs.scan("well_profiles", plates).collect(), name)
        step = SELECTED if config.recipe is None else AGGREGATED
        frames.append(frame.with_columns(study=pl.lit(work.key), space=pl.lit(name), step=pl.lit(step)))
        dropped.append(selection.with_columns(study=pl.lit(work.key), space=pl.lit(name)))
    profiles = pl.concat(frames, how="diagonal")
    if study.tuning_share is not None:
        profiles = mark_tuning(profiles, study.tuning_share, study.seed)
    work.write("feature_selection", pl.concat(dropped))
    work.write("correction_notes", pl.DataFrame(notes, table("correction_notes").schema))
    work.write("profiles", profiles)


def _lacking(wells: pl.DataFrame) -> list[str]:
    """A sentence for each plate that lacks features which other plates have."""
    features = feature_columns(wells, SPACE_PREFIXES)
    counts = wells.group_by("Metadata_Plate", maintain_order=True).agg(pl.col(features).count())
    sentences = []
    for plate, *numbers in counts.rows():
        absent = [name for name, number in zip(features, numbers, strict=True) if not number]
        some = [name for name in absent if counts[name].sum()]
        if some and len(absent) < len(features):
            shown = ", ".join(some[:8]) + (" …" if len(some) > 8 else "")
            sentences.append(f"plate {plate} lacks {len(some)} of {len(features)} features that others have: {shown}")
    return sentences


def correct_spaces(work: Work, tune: Tuner | None = None) -> None:
    """Apply the study's chain of correctors, or its recipe, to every space but the cell count: a step of `profiles`
    each. What a recipe leaves out goes to `feature_selection`; features that are missing in some well after a step,
    which a later one drops, are left out of that step's rows. What a corrector notes goes to `correction_notes`, the
    curve of one with a sweep (which `tune` chooses) to `metrics`."""
    study, spaces, corrections, seed = work.key, work.settings.spaces, work.settings.corrections, work.settings.seed
    frames, dropped = [], [pl.DataFrame(schema=_DROPPED).with_columns(space=pl.lit(None, pl.String))]
    notes: list[dict[str, str]] = []
    curves = [table("metrics").empty()]
    for name, (first, *steps) in space_steps(spaces, corrections).items():
        space = read_space(work.inputs, study, name, first)
        recipe = spaces[name].recipe
        if recipe is None:
            states = [
                s for _, s in correct_steps(space, corrections if steps else (), space_features(space), seed, tune)
            ]
            after = [state.profiles for state in states]
        else:
            result = apply_recipe(space, load_recipe(recipe), space_features(space), seed, tune)
            states = [state for _, state in result.steps]
            after = [_complete(state.profiles)[0] for state in states]
            dropped.append(result.dropped.select(*_DROPPED).with_columns(space=pl.lit(name)))
        frames += [profiles.with_columns(step=pl.lit(step)) for step, profiles in zip(steps, after, strict=True)]
        for step, state in zip(steps, states, strict=True):
            notes += [{"study": study, "space": name, "step": step, "note": note} for note in state.notes]
            if state.curve is not None:
                curves.append(_curve_rows(state.curve, study, f"{name}, {step}"))
    corrected = pl.concat(frames, how="diagonal_relaxed") if frames else table("profiles").empty()
    selection = pl.concat(dropped).with_columns(study=pl.lit(study))
    work.write("feature_selection", selection)
    work.write("correction_notes", pl.DataFrame(notes, table("correction_notes").schema))
    work.write("metrics", pl.concat(curves, how="diagonal"))
    work.write("profiles", corrected)


def consensus_spaces(work: Work) -> None:
    """Write `treatment_profiles`, the consensus of every space of a study after its last step.

    One row per value of `config.by`; wells where one of these is null belong to no row. InputError as of `consensus`.
    """
    study, config = work.key, work.settings.consensus
    frames = [table("treatment_profiles").empty()]
    for space, names in space_steps(work.settings.spaces, work.settings.corrections).items():
        wells = read_space(work.inputs, study, space, names[-1])
        features = space_features(wells)
        require_columns(wells, config.by, "consensus")
        profiles = consensus(wells.drop_nulls(config.by), config, features)
        treatment = pl.concat_str(config.by, separator=" | ")
        place = {"study": pl.lit(study), "space": pl.lit(space), "step": pl.lit(names[-1])}
        frames.append(profiles.with_columns(treatment=treatment, **place).cast({PROFILE_COUNT: pl.Int32}))
    work.write("treatment_profiles", pl.concat(frames, how="diagonal_relaxed"))


def tuning_share(spaces: Mapping[str, SpaceConfig], corrections: Sequence[CorrectorConfig]) -> float | None:
    """The share of treatments that the study's sweeps, in its chain or its recipes, choose on; None without a sweep.
    InputError where two sweeps differ: a treatment is reported or not."""
    recipes = [load_recipe(space.recipe) for space in spaces.values() if space.recipe is not None]
    chain = [*corrections, *(step.correct for recipe in recipes for step in recipe.steps if step.correct)]
    shares = {corrector.sweep.tuning_share for corrector in chain if corrector.sweep is not None}
    if len(shares) > 1:
        found = ", ".join(f"{share:g}" for share in sorted(shares))
        raise InputError("study", "tuning_share", found, "one share for all sweeps", "Give every sweep the same.")
    return next(iter(shares), None)


def _curve_rows(curve: pl.DataFrame, study: str, variant: str) -> pl.DataFrame:
    """A sweep's curve as rows of `metrics`: a scope per value, its scores as metrics, shuffled ones as a variant."""
    setting = curve.columns[0]
    parts = [
        curve.select(
            study=pl.lit(study),
            variant=pl.lit(f"{variant}, {SHUFFLED}" if shuffled else variant),
            evaluator=pl.lit(SWEEP),
            scope=pl.Series([f"{setting}={value:g}" for value in curve[setting]]),
            metric=pl.lit(f"normalised_AP_{part}"),
            value=f"{part}{shuffled}",
            chance=pl.lit(0.0),
            n=f"n_{part}",
        )
        for part in ("tuning", "reported")
        for shuffled in ("", "_shuffled")
    ]
    return pl.concat(parts)


def space_steps(spaces: Mapping[str, SpaceConfig], corrections: Sequence[CorrectorConfig]) -> dict[str, list[str]]:
    """The steps that each space goes through, `selected` first; the cell count is never corrected.

    A space with a recipe has the recipe's steps after `aggregated`. A step that comes again is numbered: sphering_2.
    """
    shared = [correction.corrector for correction in corrections]
    steps = {}
    for name, space in spaces.items():
        if space.recipe is not None:
            steps[name] = [AGGREGATED, *_numbered([step.name for step in load_recipe(space.recipe).steps])]
        else:
            steps[name] = [SELECTED, *(_numbered(shared) if space.of != "cell_count" else [])]
    return steps


def variant_name(space: str, step: str) -> str:
    """How `metrics` and `treatments` call a space after one step: by its name alone before any correction."""
    return space if step == SELECTED else f"{space}, {step}"


def _numbered(names: Sequence[str]) -> list[str]:
    return [name if name not in names[:i] else f"{name}_{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def space_features(space: pl.DataFrame) -> list[str]:
    """The feature columns of one space of `profiles`; those of other spaces, which are null there, are not."""
    names = feature_columns(space, SPACE_PREFIXES)
    return [name for name in names if space[name].null_count() < space.height]


def read_space(inputs: Snapshot, study: str, space: str, step: str) -> pl.DataFrame:
    """The wells of one space after one step, with its own features only."""
    frame = inputs.scan("profiles", [study]).filter(pl.col("space") == space, pl.col("step") == step).collect()
    return frame.drop(set(feature_columns(frame, SPACE_PREFIXES)) - set(space_features(frame)))


_DROPPED = {"feature": pl.String, "operation": pl.String, "value": pl.Float64}


def _cell_space(work: Work, wells: pl.DataFrame, config: SpaceConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    if config.select is None:
        return _complete(wells)
    wells = _measured(wells)
    features = feature_columns(wells, config.select.prefixes) or space_features(wells)  # published embeddings
    selection = select_features(wells, config.select, features)
    return selection.apply(wells), selection.dropped.select(*_DROPPED)


def _measured(wells: pl.DataFrame) -> pl.DataFrame:
    """The wells that have any measurement."""
    return wells.filter(pl.any_horizontal(pl.col(feature_columns(wells, SPACE_PREFIXES)).is_not_null()))


def _complete(wells: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Wells with measurements and the features that all of them have; and the features left out."""
    wells = _measured(wells)
    missing = [name for name in feature_columns(wells, SPACE_PREFIXES) if wells[name].null_count()]
    dropped = {"feature": missing, "operation": "drop_na_columns", "value": None}
    return wells.drop(missing), pl.DataFrame(dropped, schema=_DROPPED)


def _aggregated(wells: pl.DataFrame, space: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`_complete` wells before any normalisation. InputError for plates that have none."""
    measured = _measured(wells) if feature_columns(wells, SPACE_PREFIXES) else wells.clear()
    absent = sorted(set(wells["Metadata_Plate"]) - set(measured["Metadata_Plate"]))
    if absent:
        raise InputError("spaces", space, f"plate {absent[0]} with profiles that were published normalised",
                         "profiles before normalisation, with which the recipe begins",
                         "Name the unnormalised files in the source (normalized: false), or use `select` and "
                         "`corrections` in place of the recipe.")  # fmt: skip
    return _complete(wells)


def _embedding_space(work: Work, wells: pl.DataFrame, config: SpaceConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    cells = work.inputs.scan("embeddings", list(work.source))
    cells = cells.filter(pl.col("study") == work.key, pl.col("encoder") == config.encoder)
    vectors = cells.select(*KEYS, "Metadata_Site", "embedding").collect()
    size = len(vectors["embedding"][0]) if vectors.height else 0
    columns = [pl.col("embedding").list.get(i).alias(f"Embedding_{i}") for i in range(size)]
    profiles = aggregate(vectors.select(*KEYS, "Metadata_Site", *columns), KEYS, config.aggregate).drop(
        "Metadata_Count_Cells"
    )
    annotation = wells.select(pl.col("^Metadata_.*$"))
    profiles = annotation.join(profiles, on=KEYS, how="inner", maintain_order="left")
    profiles = normalize(profiles, config.normalize)
    flat = [name for name in feature_columns(profiles, ("Embedding_",)) if profiles[name].null_count()]
    dropped = pl.DataFrame({"feature": flat, "operation": "drop_na_columns", "value": None}, schema=_DROPPED)
    return profiles.drop(flat), dropped


def _count_space(work: Work, wells: pl.DataFrame, config: SpaceConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cell count in units of the controls, and a constant 1: the cosine of one number would only be its sign.

    Raises InputError for a plate of published profiles that do not say how many cells are behind a well.
    """
    uncounted = wells.filter(pl.col("Metadata_Count_Cells").is_null().all().over("Metadata_Plate"))
    if uncounted.height:
        todo = "Leave the space out of the study."
        found = "profiles that were published without a count"
        raise InputError("spaces", f"plate {uncounted['Metadata_Plate'][0]}", found, "Metadata_Count_Cells", todo)
    counts = wells.select(pl.col("^Metadata_.*$"), pl.col("Metadata_Count_Cells").cast(pl.Float64).alias("Count_Cells"))
    counts = normalize(counts, COUNT).with_columns(Count_Unit=pl.lit(1.0))
    return counts, pl.DataFrame(schema=_DROPPED)
