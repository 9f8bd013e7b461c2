"""Profiles made once more without some wells: a control that made the scale is no fair rival on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.normalize import NORMALIZED_ON, NormalizeConfig
from morpho_assets.profiles.recipe import Recipe, Step, apply_recipe
from morpho_assets.profiles.rows import CONDITIONS, rows_where

HELD_OUT = "Metadata_held_out"
KEPT = 16  # results that are remembered: all of four folds and their pairs


@dataclass(frozen=True)
class Refit:
    """How profiles came to be: `steps` over the wells `start` with these `features`; `rows` are the row numbers of the
    profiles in `start`. No step has a sweep: what it chose stands in the step. `together`: controls rank in folds
    whether these steps need it or not, so that profiles made by other steps are ranked alike."""

    start: pl.DataFrame
    features: tuple[str, ...]
    steps: tuple[Step, ...]
    rows: npt.NDArray[np.intp]
    seed: int = 0
    together: bool = False
    _made: dict[bytes, npt.NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)

    def fitted(self, across_plates: bool) -> npt.NDArray[np.bool_]:
        """(rows,) which profiles a step was fitted on that was not fitted on all of them: a normalisation, which sees
        each plate by itself, or, `across_plates`, any other step."""
        used = np.zeros(self.start.height, dtype=bool)
        for step in self.steps:
            if (step.normalize is None) == across_plates:
                for condition in _conditions(step).values():
                    if condition != "all":
                        used |= rows_where(self.start, condition).to_numpy()
        return used[self.rows]

    def without(self, held_out: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """(rows, features) values of the profiles if no step had been fitted on those `held_out` (rows,), which go
        through every step like the others. A plate that is left with too few reference wells is scaled by all of its
        wells; a feature without a value somewhere is left out."""
        key = held_out.tobytes()
        if key not in self._made:
            if len(self._made) >= KEPT:
                self._made.clear()
            marks = np.zeros(self.start.height, dtype=bool)
            marks[self.rows[held_out]] = True
            frame = self.start.with_columns(pl.Series(HELD_OUT, marks))
            recipe = Recipe(about="without some wells", steps=tuple(_without(step) for step in self.steps))
            made = apply_recipe(frame, recipe, self.features, self.seed).final
            values = to_matrix(made.profiles, made.features)[self.rows]
            self._made[key] = values[:, ~np.isnan(values).any(axis=0)].astype(np.float32)
        return self._made[key]


def scaled(profiles: pl.DataFrame, features: Sequence[str], config: NormalizeConfig | None = None) -> Refit | None:
    """The refit of profiles of which nothing else is known than that each plate was brought to the scale of some of
    its wells, as `normalize` notes; None where that were all of them, or it notes nothing.

    Scaled again by fewer wells, scaled profiles are what raw ones would be: a scale is an affine map of each feature.
    """
    if NORMALIZED_ON not in profiles.columns:
        return None
    on = [name for name in profiles[NORMALIZED_ON].drop_nulls().unique().sort() if name not in ("all", "none")]
    if not on:
        return None
    again = (config or NormalizeConfig()).model_copy(update={"reference": on[0], "flat": "zero"})
    return Refit(profiles, tuple(features), (Step(normalize=again),), np.arange(profiles.height))


def _conditions(step: Step) -> dict[str, str]:
    """The settings of a step that say which rows it is fitted on."""
    return {name: getattr(step.config, name) for name in ("reference", "among") if hasattr(step.config, name)}


def _without(step: Step) -> Step:
    narrowed = {
        setting: condition if condition == "all" else f"({CONDITIONS.get(condition, condition)}) AND NOT {HELD_OUT}"
        for setting, condition in _conditions(step).items()
    }
    if step.normalize is not None:
        narrowed["too_few"] = "all"
    return Step.model_validate({step.kind: step.config.model_copy(update=narrowed)})
