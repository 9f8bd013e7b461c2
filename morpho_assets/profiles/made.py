"""How the profiles of a study's spaces came to be, for what has to make them once more: without some wells, or with
other treatments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.correct import CorrectorConfig
from morpho_assets.profiles.recipe import Step, load_recipe
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets.profiles.space import KEYS, SpaceConfig
from morpho_assets.profiles.study import SWEEP, read_space, space_features, space_steps, variant_name


@dataclass(frozen=True)
class Chains:
    """The steps of every space of a study, and what its sweeps chose, from the tables `profiles` and `metrics` of its
    corrections."""

    inputs: Snapshot
    study: str
    spaces: Mapping[str, SpaceConfig]
    corrections: Sequence[CorrectorConfig]
    seed: int

    def refit(self, space: str, step: str, wells: pl.DataFrame) -> Refit | None:
        """How the `wells` (or sites) of a space came to be that it has after a step; None if no step is known.

        The first step, what the space's list of steps gives, is known as the scale of its plates alone: its rows are
        made from cells, images and other spaces, which are not made again.
        """
        first, *names = space_steps(self.spaces, self.corrections)[space]
        start = read_space(self.inputs, self.study, space, first)
        features = space_features(start)
        recipe = self.spaces[space].recipe
        scale = None if recipe is not None else scaled(start, features)
        every = load_recipe(recipe).steps if recipe is not None else tuple(Step(correct=c) for c in self.corrections)
        done = names[: names.index(step) + 1] if step != first else []
        steps = [self._settled(each, space, name) for each, name in zip(every, done, strict=False)]
        steps = [*(scale.steps if scale is not None else ()), *steps]
        if not steps:
            return None
        return Refit(start, tuple(features), tuple(steps), _places(start, wells), self.seed)

    def _settled(self, step: Step, space: str, name: str) -> Step:
        """The step with the value that its sweep chose."""
        if step.correct is None or step.correct.sweep is None:
            return step
        sweep = step.correct.sweep
        rows = self.inputs.read("metrics", self.study).filter(
            evaluator=SWEEP, variant=variant_name(space, name), metric="normalised_AP_tuning"
        )
        scores = dict(rows.select("scope", "value").iter_rows())
        tuning = [scores[f"{sweep.setting}={value:g}"] for value in sweep.values]
        return Step(correct=step.correct.chosen(pl.DataFrame({"tuning": tuning})))


def _places(start: pl.DataFrame, wells: pl.DataFrame) -> npt.NDArray[np.intp]:
    """Row numbers of `wells`, or sites, in `start`."""
    keys = KEYS["site" if "Metadata_Site" in start.columns else "well"]
    numbered = start.select(keys).with_row_index("__row")
    found = wells.select(keys).join(numbered, on=keys, how="left", maintain_order="left")
    return found["__row"].to_numpy().astype(np.intp)
