"""Published recipes as configuration: an ordered list of steps from raw well profiles to corrected ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.errors import InputError
from morpho_assets.profiles.correct import CorrectorConfig, Tuner, apply_corrector
from morpho_assets.profiles.corrected import Corrected
from morpho_assets.profiles.features import require_features
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.pca import PcaConfig
from morpho_assets.profiles.select import SelectConfig, select_features
from morpho_assets.profiles.subset import SubsetConfig, subset
from morpho_assets.yaml_files import read_yaml

SHIPPED = Path(__file__).parent / "recipes"
DROPPED = {"feature": pl.String, "operation": pl.String, "value": pl.Float64}
"""Columns of what a selection left out."""


class Step(BaseModel):
    """One step: exactly one of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subset: SubsetConfig | None = Field(default=None, description="features chosen by what their names say")
    normalize: NormalizeConfig | None = Field(default=None, description="settings of a normalisation")
    select: SelectConfig | None = Field(default=None, description="settings of a feature selection")
    reduce: PcaConfig | None = Field(default=None, description="principal components: so many, or a share of variance")
    correct: CorrectorConfig | None = Field(default=None, description="settings of a corrector")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"exactly one of {known} in a step, such as `select: {{}}`; there are {len(given)}")
        return self

    @property
    def kind(self) -> str:
        """Which of the keys it is."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def config(self) -> Any:
        """Its settings."""
        return getattr(self, self.kind)

    @property
    def name(self) -> str:
        """Its key, or the name of the corrector."""
        return self.correct.corrector if self.correct is not None else self.kind

    @property
    def reads_labels(self) -> bool:
        """Whether it looks at which wells have which treatment. What it finds there it may have put there, so that
        nulls are made by running it anew."""
        return any(config.reads_labels for config in (self.select, self.correct) if config is not None)


class Recipe(BaseModel):
    """Steps in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = Field(description="where it comes from, and how it differs from there")
    steps: tuple[Step, ...] = Field(min_length=1, description="each step works on what the previous left")


@dataclass(frozen=True)
class RecipeResult:
    """`steps`: (name, profiles and features after it) of each step; `dropped`: feature, operation and value of every
    feature that a selection left out; `settled`: the steps as they were run, with what sweeps chose in their place."""

    steps: tuple[tuple[str, Corrected], ...]
    dropped: pl.DataFrame
    settled: tuple[Step, ...]

    @property
    def final(self) -> Corrected:
        """Profiles and features after the last step."""
        return self.steps[-1][1]


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def recipe_file(name: str | Path) -> Path:
    """The file of a shipped recipe, or the one that is named. Raises InputError where there is none."""
    path = SHIPPED / f"{name}.yaml" if str(name) in recipe_names() else Path(name)
    if not path.is_file():
        raise InputError("recipes", str(name), "no such recipe or file", f"one of {', '.join(recipe_names())}",
                         "Choose one, or give a YAML file.")  # fmt: skip
    return path


def load_recipe(name: str | Path) -> Recipe:
    """The shipped recipe of this name, or the one in a YAML file; InputError naming what is wrong in it."""
    return read_yaml(Recipe, recipe_file(name))


def apply_recipe(
    profiles: pl.DataFrame, recipe: Recipe, features: Sequence[str] | None = None, seed: int = 0,
    tune: Tuner | None = None,
) -> RecipeResult:  # fmt: skip
    """Run all steps; features are those of the compartments unless named, `tune` is as in `apply_corrector`."""
    state = Corrected(profiles, tuple(require_features(profiles, features)))
    steps, dropped, settled = [], [pl.DataFrame(schema=DROPPED)], []
    for step in recipe.steps:
        state, left_out = apply_step(state, step, seed, tune)
        if state.curve is not None:
            step = Step.model_validate({step.kind: step.config.chosen(state.curve)})
        steps.append((step.name, state))
        settled.append(step)
        dropped.append(left_out)
    return RecipeResult(tuple(steps), pl.concat(dropped), tuple(settled))


def apply_step(
    state: Corrected, step: Step, seed: int = 0, tune: Tuner | None = None
) -> tuple[Corrected, pl.DataFrame]:
    """(`state` after one step, rows of DROPPED for what a selection left out)."""
    none = pl.DataFrame(schema=DROPPED)
    if step.subset is not None:
        kept = subset(state.features, step.subset)
        return Corrected(state.profiles.drop(set(state.features) - set(kept)), tuple(kept)), none
    if step.normalize is not None:
        return Corrected(normalize(state.profiles, step.normalize, state.features), state.features), none
    if step.select is not None:
        selection = select_features(state.profiles, step.select, state.features)
        return Corrected(selection.apply(state.profiles), selection.kept), selection.dropped.select(*DROPPED)
    corrector = step.reduce or step.correct
    assert corrector is not None
    return apply_corrector(state, corrector, seed, tune), none
