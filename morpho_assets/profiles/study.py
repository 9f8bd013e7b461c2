"""The profile stages of a study: feature spaces over its plates, and the chain of corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.profiles.aggregate import CELL_COUNT
from morpho_assets.profiles.algebra import Made, make_space
from morpho_assets.profiles.consensus import PROFILE_COUNT, ConsensusConfig, consensus
from morpho_assets.profiles.correct import CorrectorConfig, Tuner, correct_steps
from morpho_assets.profiles.features import feature_columns, require_columns
from morpho_assets.profiles.recipe import DROPPED, apply_recipe, load_recipe
from morpho_assets.profiles.space import KEYS, Level, SpaceConfig, ordered, space_levels
from morpho_assets.profiles.space_rows import SPACE_PREFIXES, read_rows
from morpho_assets.profiles.tuning import TUNING, mark_tuning

SELECTED = "selected"
"""The step of a space before any correction."""
AGGREGATED = "aggregated"
"""The step of a space with a recipe before the recipe: wells as they were aggregated."""
SWEEP = "sweep"
"""The evaluator of the rows of `metrics` that a sweep leaves."""
SHUFFLED = "shuffled treatments"
"""What is added to the name of a variant whose treatments were shuffled."""
TABLE_OF: dict[Level, str] = {"well": "profiles", "site": "site_profiles"}
"""The table of a space by the level of its rows."""


def build_spaces(work: Work) -> None:
    """Write every space of a study after its list of steps, as step `selected` of `profiles`, or of `site_profiles`
    where its rows are sites; `space_steps`, what each step was fitted on; what was left out; and as `correction_notes`
    what is worth knowing of the source, such as which plates lack features that others have.

    Wells without cells have no place in a space of cells or embeddings; the cell count has all wells. A space with a
    recipe starts with the step `aggregated` instead. With a `tuning_share` (see `tuning_share`) the same treatments
    are marked in Metadata_tuning of every space. InputError for a list that does not fit, before any work.
    """
    study = work.settings  # spaces, tuning_share, seed
    levels = space_levels(study.spaces)
    made: dict[str, Made] = {}
    for name in ordered(study.spaces):
        config = study.spaces[name]
        rows = read_rows(work, name, config, {other: each.rows for other, each in made.items()})
        made[name] = make_space(name, config, rows, made, study.list_seed)
    frames: dict[str, list[pl.DataFrame]] = {"profiles": [], "site_profiles": []}
    steps, dropped, notes = [], [], []
    for name, config in study.spaces.items():
        space, step = pl.lit(name), SELECTED if config.recipe is None else AGGREGATED
        frame = made[name].frame.with_columns(space=space, step=pl.lit(step))
        frames[TABLE_OF[levels[name]]].append(frame)
        steps.append(made[name].steps.with_columns(space=space))
        dropped.append(made[name].dropped.with_columns(space=space))
        notes += [{"study": work.key, "space": name, "step": step, "note": note} for note in made[name].source_notes]
    tables = {name: pl.concat(parts, how="diagonal_relaxed") for name, parts in frames.items() if parts}
    if study.tuning_share is not None:
        named = pl.concat(each.select("Metadata_Perturbation", "Metadata_control_type") for each in tables.values())
        marks = mark_tuning(named, study.tuning_share, study.seed)[TUNING]
        for name, profiles in tables.items():
            tables[name], marks = profiles.with_columns(marks[: profiles.height]), marks[profiles.height :]
    for name in frames:
        profiles = tables.get(name, table(name).empty())
        work.write(name, profiles.with_columns(study=pl.lit(work.key)))
    work.write("space_steps", pl.concat(steps).with_columns(study=pl.lit(work.key)))
    work.write("feature_selection", pl.concat(dropped).with_columns(study=pl.lit(work.key)))
    work.write("correction_notes", pl.DataFrame(notes, table("correction_notes").schema))


def correct_spaces(work: Work, tune: Tuner | None = None) -> None:
    """Apply the study's chain of correctors, or its recipe, to every space but the cell count: a step of `profiles`
    each. What a recipe leaves out goes to `feature_selection`; features that are missing in some well after a step,
    which a later one drops, are left out of that step's rows. What a corrector notes goes to `correction_notes`, the
    curve of one with a sweep (which `tune` chooses) to `metrics`."""
    study, spaces, corrections, seed = work.key, work.settings.spaces, work.settings.corrections, work.settings.seed
    frames, dropped = [], [pl.DataFrame(schema=DROPPED).with_columns(space=pl.lit(None, pl.String))]
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
            after = [_complete(state.profiles) for state in states]
            dropped.append(result.dropped.select(*DROPPED).with_columns(space=pl.lit(name)))
        frames += [profiles.with_columns(step=pl.lit(step)) for step, profiles in zip(steps, after, strict=True)]
        for step, state in zip(steps, states, strict=True):
            notes += [{"study": study, "space": name, "step": step, "note": note} for note in state.notes]
            if state.curve is not None:
                curves.append(_curve_rows(state.curve, study, f"{name}, {step}"))
    of_sites = [frame for frame in frames if "Metadata_Site" in frame.columns]
    of_wells = [frame for frame in frames if "Metadata_Site" not in frame.columns]
    selection = pl.concat(dropped).with_columns(study=pl.lit(study))
    work.write("feature_selection", selection)
    work.write("correction_notes", pl.DataFrame(notes, table("correction_notes").schema))
    work.write("metrics", pl.concat(curves, how="diagonal"))
    for name, parts in (("profiles", of_wells), ("site_profiles", of_sites)):
        work.write(name, pl.concat(parts, how="diagonal_relaxed") if parts else table(name).empty())


def _complete(wells: pl.DataFrame) -> pl.DataFrame:
    """The rows with any value, with the features that all of them have."""
    features = feature_columns(wells, SPACE_PREFIXES)
    wells = wells.filter(pl.any_horizontal(pl.col(features).is_not_null()))
    return wells.drop([name for name in features if wells[name].null_count()])


def consensus_spaces(work: Work) -> None:
    """Write `treatment_profiles`, the consensus of every space of a study after its last step: as the study says, or as
    the last step of the space's list does. Sites become wells first, by the median.

    One row per value of `config.by`; wells where one of these is null belong to no row. InputError as of `consensus`.
    """
    study = work.key
    frames = [table("treatment_profiles").empty()]
    for space, names in space_steps(work.settings.spaces, work.settings.corrections).items():
        wells = as_wells(read_space(work.inputs, study, space, names[-1]))
        config = consensus_of(work.settings.spaces[space], work.settings.consensus)
        features = space_features(wells)
        require_columns(wells, config.by, "consensus")
        profiles = consensus(wells.drop_nulls(config.by), config, features)
        treatment = pl.concat_str(config.by, separator=" | ")
        place = {"study": pl.lit(study), "space": pl.lit(space), "step": pl.lit(names[-1])}
        frames.append(profiles.with_columns(treatment=treatment, **place).cast({PROFILE_COUNT: pl.Int32}))
    work.write("treatment_profiles", pl.concat(frames, how="diagonal_relaxed"))


def consensus_of(space: SpaceConfig, config: ConsensusConfig) -> ConsensusConfig:
    """How the wells of a space become treatments: as its list says, else by the study's `config`."""
    last = space.as_steps[-1].aggregate if space.as_steps else None
    if last is None or last.to != "treatment":
        return config
    return ConsensusConfig.model_validate({"method": last.method, "by": last.by})


def as_wells(profiles: pl.DataFrame) -> pl.DataFrame:
    """Profiles of sites as those of their wells, by the median; those of wells as they are."""
    if "Metadata_Site" not in profiles.columns:
        return profiles
    features = space_features(profiles)
    annotation = pl.col("^Metadata_.*$").exclude(*KEYS["well"], "Metadata_Site", CELL_COUNT).first()
    others = [pl.col(name).first() for name in ("study", "space", "step") if name in profiles.columns]
    return profiles.group_by(KEYS["well"], maintain_order=True).agg(*others, annotation, pl.col(features).median())


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
    """The rows of one space after one step, wells or sites, with its own features only."""
    chosen = (pl.col("space") == space, pl.col("step") == step)
    frame = inputs.scan("profiles", [study]).filter(*chosen).collect()
    if frame.is_empty() and inputs.has("site_profiles", study):
        frame = inputs.scan("site_profiles", [study]).filter(*chosen).collect()
    return frame.drop(set(feature_columns(frame, SPACE_PREFIXES)) - set(space_features(frame)))
