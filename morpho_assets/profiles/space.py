"""What a feature space is: where its rows come from, and an ordered list of steps over them.

A list begins at the level of its source (cells, sites or wells) and comes to wells, or stops at sites. The short forms
of a study (`{of: cells}`, `{of: embedding}`) stand for such lists: `as_steps` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, ClassVar, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.lake.tables import OBJECT, PLATE, SITE, TILE, WELL
from morpho_assets.profiles.aggregate import AggregateConfig
from morpho_assets.profiles.normalize import NormalizeConfig
from morpho_assets.profiles.recipe import Step
from morpho_assets.profiles.select import SelectConfig

Level = Literal["cell", "tile", "site", "well", "treatment"]
LEVELS: tuple[Level, ...] = get_args(Level)
KEYS: dict[Level, list[str]] = {
    "cell": [PLATE.name, WELL.name, SITE.name, OBJECT.name],
    "tile": [PLATE.name, WELL.name, SITE.name, TILE.name],
    "site": [PLATE.name, WELL.name, SITE.name],
    "well": [PLATE.name, WELL.name],
}
"""The columns that name a row of each level."""


class AggregateStep(AggregateConfig):
    """Rows to the next level. Several in a row are a ladder: cells to sites by the median, sites to wells by the mean.

    To treatments comes last, after the study's corrections: it is the consensus of this space (table
    `treatment_profiles`) in the place of the study's.
    """

    to: Literal["site", "well", "treatment"] = Field(default="well", description="level of the rows that it gives")
    by: tuple[str, ...] = Field(default=("Metadata_Perturbation",), description="columns of a treatment")


class JoinConfig(BaseModel):
    """Early fusion: the features of other spaces beside this one's, wells (or sites) that all of them have.

    Each space is a block, brought to one length: its rows have the mean square 1. The weights are 1 and nothing chooses
    them: a weight that is tuned on what is scored would flatter the fusion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spaces: tuple[str, ...] = Field(min_length=1, description="names of other spaces of the study")


class SpaceStep(Step):
    """One step of a space: exactly one of its keys."""

    aggregate: AggregateStep | None = Field(default=None, description="rows to sites, wells or treatments")
    join: JoinConfig | None = Field(default=None, description="the features of other spaces beside this one's")


class _Space(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[SpaceStep, ...] | None = Field(
        default=None, description="subset, aggregate, normalize, select, reduce, correct, join, in their order"
    )
    recipe: str | None = Field(
        default=None,
        description="a published recipe, shipped or a YAML file, scored step by step in place of the study's "
        "corrections; without `steps` it takes the rows of the source, cells as wells before normalisation",
    )

    @property
    def as_steps(self) -> tuple[SpaceStep, ...]:
        """The list; of a short form the one that it stands for."""
        return self.steps or ()

    @property
    def of_spaces(self) -> tuple[str, ...]:
        """The spaces of the study that it is made from."""
        return tuple(name for step in self.as_steps if step.join is not None for name in step.join.spaces)


class CellsSpace(_Space):
    """CellProfiler's features of single cells, streamed plate by plate. Without `steps` it is the short form of
    `{of: normalized, steps: [select: {}]}`; with a `recipe` that of `{of: wells, recipe: …}`."""

    of: Literal["cells"] = Field(description="the source")
    select: SelectConfig | None = Field(
        default=SelectConfig(), description="without `steps`: the feature selection; null: complete features"
    )
    implausible: bool = Field(
        default=True, description="with `steps`: whether cells count that the single-cell quality control lists"
    )

    @property
    def source(self) -> str:
        """The source of its rows: the short forms begin at wells."""
        if self.steps is not None:
            return "cells"
        return "normalized" if self.recipe is None else "wells"

    @property
    def as_steps(self) -> tuple[SpaceStep, ...]:
        if self.steps is not None or self.recipe is not None or self.select is None:
            return self.steps or ()
        return (SpaceStep(select=self.select),)


class WellsSpace(_Space):
    """Well profiles before normalisation, aggregated from cells as the settings say, or as they were published."""

    of: Literal["wells"] = Field(description="the source")


class NormalizedSpace(_Space):
    """Well profiles in units of their plate's controls, as the settings say or as they were published."""

    of: Literal["normalized"] = Field(description="the source")


class ImagesSpace(_Space):
    """Features of whole images: what `image_quality` holds of every site and channel (focus, intensity, how the channel
    lies on the others), `ImageQuality_…_DNA`. Rows are sites."""

    of: Literal["images"] = Field(description="the source")


class PixelsSpace(_Space):
    """The pixels themselves, each channel resized by averaging and flattened: `Pixel_DNA_0_0`. Rows are sites. A
    reference that learned features have to beat; images are read again by every step that is fitted on all plates."""

    of: Literal["pixels"] = Field(description="the source")
    size: int = Field(default=16, ge=1, le=256, description="rows and columns of the resized image")
    channels: tuple[str, ...] = Field(default=(), description="channels that are taken; none: all")


class EmbeddingSpace(_Space):
    """An encoder's embedding of cells, tiles or sites, as its `unit` says. Without `steps` it is the short form of
    aggregating to wells, as `aggregate` says, and normalising, as `normalize` says; with a `recipe` of aggregating
    alone."""

    of: Literal["embedding"] = Field(description="the source")
    encoder: str | None = Field(default=None, description="name of the study's encoder; null: that of the space's name")
    unit: Literal["cell", "tile", "site"] = Field(
        default="cell", description="what its rows are: filled in from the encoder, and need not be given"
    )
    aggregate: AggregateConfig = Field(
        default=AggregateConfig(prefixes=("Embedding_",)), description="without `steps`: cells, tiles or sites to wells"
    )
    normalize: NormalizeConfig = Field(
        default=NormalizeConfig(prefixes=("Embedding_",)), description="without `steps`: the scale of each plate"
    )

    @property
    def source(self) -> str:
        """The source of its rows."""
        return "embedding" if self.unit == "cell" else f"{self.unit}_embedding"

    @property
    def as_steps(self) -> tuple[SpaceStep, ...]:
        if self.steps is not None:
            return self.steps
        steps = (SpaceStep(aggregate=AggregateStep(**dict(self.aggregate))), SpaceStep(normalize=self.normalize))
        return steps if self.recipe is None else steps[:1]


class CellCountSpace(BaseModel):
    """The number of cells of a well, in units of the controls: the baseline that sees no image, never corrected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_steps: ClassVar[tuple[SpaceStep, ...]] = ()
    of_spaces: ClassVar[tuple[str, ...]] = ()
    steps: ClassVar[None] = None
    recipe: ClassVar[None] = None

    of: Literal["cell_count"] = Field(description="the source")


class NoiseSpace(_Space):
    """Numbers drawn at random for each well: what a space that knows nothing scores, and adds where it is joined."""

    of: Literal["noise"] = Field(description="the source")
    numbers: int = Field(default=64, ge=1, description="numbers of each well")
    seed: int = Field(default=0, ge=0, description="seed of the draw; a well has the same numbers in every study")


class TableSpace(_Space):
    """A table of your own, a row per well: CSV, Parquet or AnnData with plate, well and features. Wells of the study
    that it lacks are left out."""

    of: Literal["table"] = Field(description="the source")
    file: str = Field(description="the file, from the folder of the settings")
    features: tuple[str, ...] = Field(
        default=(), description="starts of the features' names; none: CellProfiler's, embeddings, numbered columns"
    )


class PhenotypesSpace(_Space):
    """The probabilities of a phenotype's classes by well: table `phenotype_profiles`."""

    of: Literal["phenotypes"] = Field(description="the source")
    phenotype: str | None = Field(
        default=None, description="name of the study's phenotype; null: that of the space's name"
    )


class SetSpace(_Space):
    """Wells by a set of the study: table `set_profiles`. Without `steps` it is the short form of normalising, as
    `normalize` says; with a `recipe` of taking them as they are."""

    of: Literal["set"] = Field(description="the source")
    set: str | None = Field(default=None, description="name of the study's set; null: that of the space's name")
    normalize: NormalizeConfig = Field(
        default=NormalizeConfig(prefixes=("Embedding_",), flat="zero"),
        description="without `steps`: the scale of each plate",
    )

    @property
    def as_steps(self) -> tuple[SpaceStep, ...]:
        if self.steps is not None or self.recipe is not None:
            return self.steps or ()
        return (SpaceStep(normalize=self.normalize),)


class OtherSpace(_Space):
    """Another space of the study, before the study's corrections."""

    of: Literal["space"] = Field(description="the source")
    space: str = Field(description="name of the other space")

    @property
    def of_spaces(self) -> tuple[str, ...]:
        return (self.space, *super().of_spaces)


SpaceConfig = Annotated[
    CellsSpace | WellsSpace | NormalizedSpace | ImagesSpace | PixelsSpace | EmbeddingSpace | CellCountSpace
    | NoiseSpace | TableSpace | PhenotypesSpace | SetSpace | OtherSpace,
    Field(discriminator="of"),
]  # fmt: skip
"""A feature space of a study; `of` names its source."""


class Source(NamedTuple):
    """What a source of rows gives: their level, and the tables that it reads beside the wells' annotation."""

    level: Level
    tables: tuple[str, ...] = ()


SOURCES: dict[str, Source] = {
    "cells": Source("cell", ("single_cells",)),
    "wells": Source("well", ("well_profiles",)),
    "normalized": Source("well"),
    "images": Source("site", ("image_quality",)),
    "pixels": Source("site", ("sites", "image_files", "illumination_functions")),
    "embedding": Source("cell", ("embeddings",)),
    "tile_embedding": Source("tile", ("tile_embeddings",)),
    "site_embedding": Source("site", ("tile_embeddings",)),
    "noise": Source("well"),
    "cell_count": Source("well"),
    "table": Source("well"),
    "phenotypes": Source("well", ("phenotype_profiles",)),
    "set": Source("well", ("set_profiles",)),
    "space": Source("well"),  # or the level of the other space
}
STREAMED = ("subset", "normalize", "select", "reduce", "aggregate")
"""Steps that see cells and tiles: one plate at a time, or a sample, or sums over plates."""
FINE = ("cell", "tile")
"""Levels whose rows are streamed, and are never scored."""


def tables_of(spaces: Iterable[SpaceConfig]) -> set[str]:
    """The tables that spaces read, beside those of well profiles."""
    return {table for space in spaces for table in SOURCES[source_of(space)].tables}


def source_of(space: SpaceConfig) -> str:
    """The source that the rows of a space come from."""
    return space.source if isinstance(space, CellsSpace | EmbeddingSpace) else space.of


def ordered(spaces: Mapping[str, SpaceConfig]) -> list[str]:
    """Names of the spaces, each after those that it is made from. InputError for one that is not there or that is made
    from itself."""
    found: list[str] = []

    def visit(name: str, on_the_way: tuple[str, ...]) -> None:
        if name in found:
            return
        for other in spaces[name].of_spaces:
            require_known(f"spaces.{name}", other, list(spaces), "space")
            if other in (*on_the_way, name):
                raise InputError("study", f"spaces.{name}", f"{' from '.join((*on_the_way, name, other))}",
                                 "spaces that are not made from themselves", "Break the circle.")  # fmt: skip
            visit(other, (*on_the_way, name))
        found.append(name)

    for name in spaces:
        visit(name, ())
    return found


def space_levels(spaces: Mapping[str, SpaceConfig]) -> dict[str, Level]:
    """The level of the rows that each space is scored by: wells or sites. InputError for a list that does not fit its
    source, before any work: the space, the number of the step, what was found and what to do."""
    levels: dict[str, Level] = {}
    for name in ordered(spaces):
        space = spaces[name]
        level = levels[space.space] if isinstance(space, OtherSpace) else SOURCES[source_of(space)].level
        for number, step in enumerate(space.as_steps, start=1):
            level = _after(f"spaces.{name}, step {number}", level, step, levels, number == len(space.as_steps))
        if level in FINE:
            raise InputError("study", f"spaces.{name}", f"a list that ends with {level}s", "a list that comes to wells",
                             "Add `- aggregate: {to: well}` (or `to: site`).")  # fmt: skip
        if level == "site" and space.recipe is not None:
            raise InputError("study", f"spaces.{name}", f"the recipe {space.recipe} of sites", "a recipe of wells",
                             "Add `- aggregate: {to: well}`.")  # fmt: skip
        levels[name] = level
    return levels


def _after(where: str, level: Level, step: SpaceStep, levels: Mapping[str, Level], last: bool) -> Level:
    """The level after a step."""
    if step.aggregate is not None:
        to = step.aggregate.to
        if to == "treatment":
            if not last or level != "well":
                found = f"aggregate to treatment of {level}s" if last else "aggregate to treatment before other steps"
                raise InputError("study", where, found, "wells to treatments, as the last step",
                                 "Aggregate to wells first, and put it last.")  # fmt: skip
            if step.aggregate.method == "trimmed_mean":
                raise InputError("study", where, "trimmed_mean to treatment", "median or mean", "Choose one of them.")
            return level
        if LEVELS.index(to) <= LEVELS.index(level):
            raise InputError("study", where, f"aggregate to {to} of {level}s", "a level above the one there is",
                             "Leave the step out.")  # fmt: skip
        return to
    if level in FINE and step.kind not in STREAMED:
        raise InputError("study", where, f"{step.name} of {level}s, which are streamed plate by plate",
                         f"one of {', '.join(STREAMED)}", "Aggregate to sites or wells before it.")  # fmt: skip
    if step.correct is not None and step.correct.sweep is not None:
        raise InputError("study", where, "a sweep", "a corrector as it is", "Put it under `corrections` of the study, "
                         "or into a recipe: what it was tuned on is then not reported.")  # fmt: skip
    for other in step.join.spaces if step.join is not None else ():
        if levels[other] != level:
            raise InputError("study", where, f"join of {other}, whose rows are {levels[other]}s, to {level}s",
                             "spaces of one level", "Aggregate the finer one first.")  # fmt: skip
    return level


def require_encoders(spaces: Mapping[str, SpaceConfig], units: Mapping[str, str]) -> None:
    """InputError for the space of an embedding whose encoder the study does not have, or whose unit is another; `units`
    are those of the study's encoders."""
    for name, space in spaces.items():
        if isinstance(space, EmbeddingSpace):
            encoder = space.encoder or name
            require_known(f"spaces.{name}", encoder, list(units), "encoder")
            if space.unit != units[encoder]:
                raise InputError("study", f"spaces.{name}, unit", space.unit, f"{units[encoder]}, as of the encoder "
                                 f"{encoder}", "Leave `unit` of the space out.")  # fmt: skip


def require_phenotypes(spaces: Mapping[str, SpaceConfig], phenotypes: Sequence[str]) -> None:
    """InputError for the space of a phenotype that the study does not have."""
    for name, space in spaces.items():
        if isinstance(space, PhenotypesSpace):
            require_known(f"spaces.{name}", space.phenotype or name, phenotypes, "phenotype")


def require_sets(spaces: Mapping[str, SpaceConfig], sets: Sequence[str]) -> None:
    """InputError for the space of a set that the study does not have."""
    for name, space in spaces.items():
        if isinstance(space, SetSpace):
            require_known(f"spaces.{name}", space.set or name, sets, "set")


def require_known(where: str, name: str, known: Sequence[str], kind: str) -> None:
    """InputError for a name that is none of the known, with the nearest of them."""
    if name not in known:
        near = get_close_matches(name, known, 1)
        todo = f"Did you mean {near[0]}?" if near else f"Add the {kind}, or name another."
        raise InputError("study", where, f"the {kind} {name}, which the study has not",
                         f"one of {', '.join(known) or 'none'}", todo)  # fmt: skip
