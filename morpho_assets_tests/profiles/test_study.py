"""Spaces of a study: recipes step by step, and the studies that ship with them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.study import evaluate_study
from morpho_assets.evaluate.sweep import sweep
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.recipe import apply_recipe, load_recipe
from morpho_assets.profiles.study import (
    build_spaces,
    consensus_spaces,
    correct_spaces,
    read_space,
    space_features,
    space_steps,
)
from morpho_assets.studies.model import Study, load_study

MADE = Provenance("well_profiles", "1", "", {})
PLATES = ("P0", "P1", "P2", "P3")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Four plates in two batches: 60 genes on two arms at random wells, 16 controls, 30 features, one flat."""
    rng = np.random.default_rng(0)
    lake = Lake(str(tmp_path))
    effect = rng.normal(size=(60, 30))
    for number, plate in enumerate(PLATES):
        place = rng.permutation(76)
        values = rng.normal(10 + number, 1, (76, 30))
        values[:60] += 3 * effect
        frame = pl.DataFrame(values, schema=[f"Cells_AreaShape_F{i}" for i in range(30)]).with_columns(
            pl.lit(1.0).alias("Cells_AreaShape_Flat"),
            pl.lit(plate).alias("Metadata_Plate"),
            pl.lit(f"B{number // 2}").alias("Metadata_Batch"),
            pl.Series("Metadata_Well", [f"{'ABCDEFGH'[i // 12]}{i % 12 + 1:02d}" for i in place]),
            pl.Series("Metadata_Row", place // 12 + 1),
            pl.Series("Metadata_Col", place % 12 + 1),
            pl.Series("Metadata_Perturbation", [f"G{i}" for i in range(60)] + ["control"] * 16),
            pl.Series("Metadata_pert_type", ["trt"] * 60 + ["control"] * 16),
            pl.Series("Metadata_control_type", [None] * 60 + ["negcon"] * 16, dtype=pl.String),
            pl.Series("Metadata_arm", [f"{i % 2 + 1}p" for i in range(60)] + [None] * 16),
            pl.Series("Metadata_zfpkm", ["-4"] * 50 + ["2"] * 10 + [None] * 16),
            pl.Series("Metadata_Count_Cells", rng.poisson(100, 76)),
        )
        for table in ("well_profiles", "normalized_profiles"):
            lake.write(table, plate, frame, MADE)
    return lake


@pytest.mark.parametrize("name", ["pycytominer", "jump_compound", "jump_orf", "jump_crispr"])
def test_a_shipped_study_runs_its_recipe_step_by_step(lake: Lake, name: str, tmp_path: Path) -> None:
    study = load_study(name, tmp_path / "none")
    build_spaces(lake, name, MADE, study.spaces, PLATES)
    correct_spaces(lake, name, MADE, study.corrections, study.spaces, study.seed)
    steps = space_steps(study.spaces, study.corrections)
    assert steps["cell_count"] == ["selected"]
    assert len(steps[name]) == len(set(steps[name])) == 1 + len(load_recipe(name).steps)
    wells = lake.scan("well_profiles", PLATES).collect()
    expected = apply_recipe(wells, load_recipe(name), feature_columns(wells), study.seed).final
    found = read_space(lake, name, name, steps[name][-1])
    assert set(space_features(found)) == set(expected.features)
    keys = ["Metadata_Plate", "Metadata_Well"]
    both = [frame.sort(keys).select(expected.features).to_numpy() for frame in (found, expected.profiles)]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-4)  # the lake holds float32
    for step in steps[name]:
        frame = read_space(lake, name, name, step)
        assert frame.height == wells.height
        assert not frame.select(space_features(frame)).null_count().sum_horizontal().item()
    assert "Cells_AreaShape_Flat" in lake.read("feature_selection", name)["feature"].to_list()


def test_a_recipe_asks_for_profiles_before_normalisation(lake: Lake) -> None:
    wells = lake.read("well_profiles", "P3").select(pl.col("^Metadata_.*$"))
    lake.write("well_profiles", "P3", wells, MADE)
    study = load_study("jump_compound", Path("none"))
    with pytest.raises(InputError, match=r"jump_compound: found plate P3 with profiles that were published normalised"):
        build_spaces(lake, "jump_compound", MADE, study.spaces, PLATES)
    with pytest.raises(InputError, match="plate P3"):
        build_spaces(lake, "jump_compound", MADE, study.spaces, ["P3"])


@pytest.mark.parametrize("by", [("Metadata_Perturbation",), ("Metadata_Perturbation", "Metadata_Batch")])
@pytest.mark.parametrize("method", ["median", "modz"])
def test_the_consensus_of_a_study_is_by_treatment_or_what_it_names(
    lake: Lake, by: tuple[str, ...], method: Literal["median", "modz"]
) -> None:
    study = load_study("pycytominer", Path("none"))
    build_spaces(lake, "pycytominer", MADE, study.spaces, PLATES)
    correct_spaces(lake, "pycytominer", MADE, study.corrections, study.spaces)
    steps = space_steps(study.spaces, study.corrections)
    config = ConsensusConfig(method=method, by=by)
    consensus_spaces(lake, "pycytominer", MADE, config, steps)
    found = lake.read("treatment_profiles", "pycytominer").filter(space="pycytominer")
    assert found["step"].unique().to_list() == [steps["pycytominer"][-1]]
    assert found.height == 61 * (1 if len(by) == 1 else 2)
    assert set(found["treatment"].head(3)) <= {" | ".join(row) for row in found.select(by).iter_rows()}
    wells = read_space(lake, "pycytominer", "pycytominer", steps["pycytominer"][-1])
    expected = consensus(wells, config, space_features(wells))
    both = [frame.sort(by).select(space_features(wells)).to_numpy() for frame in (found, expected)]
    np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-6)
    assert found["Metadata_Count_Profiles"].sum() == wells.height


SWEPT = {
    "name": "swept",
    "title": "Swept",
    "spaces": {"cells": {"of": "cells", "select": None}, "cell_count": {"of": "cell_count"}},
    "corrections": [{"corrector": "sphering", "method": "ZCA", "sweep": {"values": [0.1, 10]}}],
    "evaluators": {"activity": {"evaluator": "retrieval", "null_size": 100}},
}


def test_a_swept_study_reports_the_treatments_that_it_was_not_tuned_on(lake: Lake) -> None:
    study = Study.model_validate(SWEPT)
    build_spaces(lake, "swept", MADE, study.spaces, PLATES, study.tuning_share, study.seed)
    correct_spaces(lake, "swept", MADE, study.corrections, study.spaces, study.seed, sweep)
    profiles = lake.read("profiles", "swept")
    marks = profiles.group_by("Metadata_Perturbation").agg(pl.col("Metadata_tuning").unique())
    kinds = {name: kinds[0] for name, kinds in marks.iter_rows() if len(kinds) == 1}  # the same in every space and step
    assert kinds.pop("control") is None
    assert sorted(kinds.values()) == ["false"] * 30 + ["true"] * 30
    steps = space_steps(study.spaces, study.corrections)
    evaluate_study(lake, "swept", MADE, steps, study.evaluators, study.seed, {})
    tuned = {name for name, kind in kinds.items() if kind == "true"}
    treatments = lake.read("treatments", "swept")
    assert treatments["variant"].n_unique() == 6
    assert set(treatments["treatment"]) == set(kinds) - tuned
    curve = lake.read("metrics", "swept").filter(evaluator="sweep")
    assert curve.height == 2 * 2 * 2  # values, tuning and reported, as they are and shuffled
    assert curve.select("variant", "n").unique().sort("variant").rows() == [
        ("cells, sphering", 30), ("cells, sphering, shuffled treatments", 30),
    ]  # fmt: skip
    tuning = curve.filter(metric="normalised_AP_tuning", variant="cells, sphering")
    best = tuning["scope"][tuning["value"].arg_max()]  # type: ignore[index]
    [note] = lake.read("correction_notes", "swept")["note"]
    assert note == f"{best.replace('=', ' ')}, of 2 values the best on 30 treatments"


def test_a_sweep_within_a_recipe(lake: Lake, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "about: MAD, then a swept sphering\nsteps:\n  - normalize: {flat: zero}\n"
        "  - correct: {corrector: sphering, method: ZCA, sweep: {values: [0.1, 10], tuning_share: 0.25}}\n"
    )
    study = Study.model_validate({**SWEPT, "spaces": {"mine": {"of": "cells", "recipe": str(recipe)}},
                                  "corrections": []})  # fmt: skip
    assert study.tuning_share == 0.25
    build_spaces(lake, "swept", MADE, study.spaces, PLATES, study.tuning_share, study.seed)
    correct_spaces(lake, "swept", MADE, study.corrections, study.spaces, study.seed, sweep)
    assert read_space(lake, "swept", "mine", "sphering").filter(Metadata_tuning="true").height == 15 * len(PLATES)
    assert lake.read("metrics", "swept")["variant"].unique().sort()[0] == "mine, sphering"
    assert lake.read("correction_notes", "swept")["note"][0].endswith("of 2 values the best on 15 treatments")


def test_sweeps_of_a_study_choose_on_the_same_treatments() -> None:
    other = {"corrector": "coral", "sweep": {"setting": "regularisation", "values": [1], "tuning_share": 0.2}}
    with pytest.raises(InputError, match=r"tuning_share: found 0.2, 0.5; expected one share"):
        Study.model_validate({**SWEPT, "corrections": [*SWEPT["corrections"], other]})  # type: ignore[misc]


def test_a_sweep_needs_something_to_score_it_by(lake: Lake) -> None:
    study = Study.model_validate(SWEPT)
    build_spaces(lake, "swept", MADE, study.spaces, PLATES, study.tuning_share, study.seed)
    with pytest.raises(InputError, match="tune=sweep"):
        correct_spaces(lake, "swept", MADE, study.corrections, study.spaces)
