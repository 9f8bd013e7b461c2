from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.recipe import Recipe, apply_recipe, load_recipe, recipe_names
from morpho_assets_tests.profiles.test_correct import screen


def raw_screen() -> pl.DataFrame:
    """A screen in raw units with one constant feature, and what the recipes ask for of the genes."""
    frame = pl.concat([screen(), screen(seed=1).with_columns(Metadata_Plate="Q" + pl.col("Metadata_Plate"))])
    return frame.with_columns(
        pl.col(feature_columns(frame)).exp(),
        Cells_Flat=pl.lit(1.0),
        Metadata_Batch=pl.col("Metadata_Plate").str.head(1),
        Metadata_arm=pl.lit("1p"),
        Metadata_zfpkm=pl.when(pl.col("Metadata_Perturbation") == "DMSO").then(None).otherwise(-5.0),
    )


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_runs(name: str) -> None:
    settings = load_recipe(name).model_dump()
    for step in settings["steps"]:
        if step["correct"] and step["correct"]["corrector"] == "chromosome_arm":
            step["correct"]["more_than"] = 5
    result = apply_recipe(raw_screen(), Recipe.model_validate(settings))
    assert [step for step, _ in result.steps] == [step.name for step in load_recipe(name).steps]
    assert np.isfinite(to_matrix(result.final.profiles, result.final.features)).all()
    selects = any(step["select"] is not None for step in settings["steps"])
    assert ("Cells_Flat" in result.dropped["feature"].to_list()) is selects


def test_the_jump_compound_steps() -> None:
    steps = [step.name for step in load_recipe("jump_compound").steps]
    assert steps == ["select", "normalize", "normal_scores", "select", "harmony"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: x\nsteps: [{normalise: {}}]", "normalise"),
        ("about: x\nsteps: [{normalize: {}, select: {}}]", "exactly one"),
        ("about: x\nsteps: [{correct: {corrector: magic}}]", "magic"),
        ("about: [", "no readable YAML"),
    ],
)
def test_a_recipe_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(tmp_path / "recipe.yaml")


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(InputError, match="jump_compound"):
        load_recipe("jump")
