"""Profiles made once more without some wells: a control that made the scale is no fair rival on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.profiles.corrected import Corrected
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.normalize import NORMALIZED_ON, NormalizeConfig
from morpho_assets.profiles.recipe import Recipe, Step, apply_recipe
from morpho_assets.profiles.rows import CONDITIONS, groups_of, rows_where

HELD_OUT = "Metadata_held_out"
LEAST = 3  # rows that a correction of a batch is fitted on
KEPT_BYTES = 500_000_000  # of results that are remembered, and of what comes before a step that reads treatments


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
    _before: dict[bytes, Corrected] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def reads_labels(self) -> bool:
        """Whether a step looks at which wells have which treatment."""
        return any(step.reads_labels for step in self.steps)

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
        wells, and a correction of such a batch fitted on all; a feature without a value somewhere is left out."""
        key = held_out.tobytes()
        if key not in self._made:
            marks = np.zeros(self.start.height, dtype=bool)
            marks[self.rows[held_out]] = True
            made = self._run(marks)
            every = to_matrix(made.profiles, made.features)[self.rows]
            values = every[:, ~np.isnan(every).any(axis=0)].astype(np.float32)
            if (len(self._made) + 1) * values.nbytes > KEPT_BYTES:
                self._made.clear()
            self._made[key] = values
        return self._made[key]

    def relabelled(self, start: pl.DataFrame) -> Refit:
        """How they would come to be of wells `start` that differ in treatments, and what goes with them, alone. What
        steps give before the first that reads treatments is not made again."""
        return replace(self, start=start, _made={})

    def made(self) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """The profiles and their features, those without a value somewhere left out."""
        made = self._run(np.zeros(self.start.height, dtype=bool))
        profiles = made.profiles.drop(HELD_OUT)[self.rows]
        missing = [name for name in made.features if profiles[name].null_count()]
        return profiles.drop(missing), tuple(name for name in made.features if name not in set(missing))

    def _run(self, held_out: npt.NDArray[np.bool_]) -> Corrected:
        """All wells after the last step, none of them fitted on those `held_out` (start,)."""
        steps = self.steps
        if held_out.any():
            wells = self.start.with_columns(pl.Series(HELD_OUT, held_out))
            steps = tuple(_without(step, wells) for step in self.steps)
        first = next((at for at, step in enumerate(self.steps) if step.reads_labels), len(steps))
        state = self._before.get(held_out.tobytes())
        if state is None:
            frame = self.start.with_columns(pl.Series(HELD_OUT, held_out))
            state = _applied(Corrected(frame, self.features), steps[:first], self.seed)
            if self.reads_labels and (len(self._before) + 1) * state.profiles.estimated_size() < KEPT_BYTES:
                self._before[held_out.tobytes()] = state
        return _applied(_annotated(state, self.start), steps[first:], self.seed)


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
    again = (config or NormalizeConfig()).model_copy(update={"reference": on[0], "flat": "keep"})
    return Refit(profiles, tuple(features), (Step(normalize=again),), np.arange(profiles.height))


def _applied(state: Corrected, steps: tuple[Step, ...], seed: int) -> Corrected:
    if not steps:
        return state
    return apply_recipe(state.profiles, Recipe(about="anew", steps=steps), state.features, seed).final


def _annotated(state: Corrected, start: pl.DataFrame) -> Corrected:
    """`state` with the metadata of the wells `start`, but for what a step wrote."""
    told = [name for name in start.columns if name.startswith("Metadata_") and name != NORMALIZED_ON]
    return replace(state, profiles=state.profiles.with_columns(start.select(told)))


def _conditions(step: Step) -> dict[str, str]:
    """The settings of a step that say which rows it is fitted on."""
    return {name: getattr(step.config, name) for name in ("reference", "among") if hasattr(step.config, name)}


def _without(step: Step, wells: pl.DataFrame) -> Step:
    """The step fitted on none of the `wells` that are HELD_OUT. One that too few are left for, of some batch, is fitted
    on all of them, as a plate is scaled."""
    narrowed = {
        setting: condition if condition == "all" else f"({CONDITIONS.get(condition, condition)}) AND NOT {HELD_OUT}"
        for setting, condition in _conditions(step).items()
    }
    if step.normalize is not None:
        narrowed["too_few"] = "all"
    else:
        by = [*getattr(step.config, "batch", ()), *getattr(step.config, "by", ())]
        for setting, condition in narrowed.items():
            left = rows_where(wells, condition).to_numpy()
            if min(left[rows].sum() for _, rows in groups_of(wells, by)) < LEAST:
                narrowed[setting] = "all"
    if hasattr(step.config, "unseen"):
        narrowed["unseen"] = "accept"  # with all wells it was not refused
    return Step.model_validate({step.kind: step.config.model_copy(update=narrowed)})
