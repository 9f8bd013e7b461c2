"""Spaces of a study: recipes step by step, and the studies that ship with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.study import evaluate_study
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.lake.work import Work
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.recipe import apply_recipe, load_recipe
from morpho_assets.profiles.study import (
    build_spaces,
    correct_spaces,
    read_space,
    space_features,
    space_steps,
)
from morpho_assets.stages import STAGES
from morpho_assets.studies.model import Study, load_study
from morpho_assets_tests.factories import commit_tables, commit_work, last, plate, study_work, tables_of
from morpho_assets_tests.factories import study as of_study

PLATES = ("P0", "P1", "P2", "P3")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Four plates in two batches: 60 genes on two arms at random wells, 16 controls, 30 features, one flat."""
    rng = np.random.default_rng(0)
    lake = Lake(str(tmp_path))
    effect = rng.normal(size=(60, 30))
    for number, key in enumerate(PLATES):
        place = rng.permutation(76)
        values = rng.normal(10 + number, 1, (76, 30))
        values[:60] += 3 * effect
        frame = pl.DataFrame(values, schema=[f"Cells_AreaShape_F{i}" for i in range(30)]).with_columns(
            pl.lit(1.0).alias("Cells_AreaShape_Flat"),
            pl.lit(key).alias("Metadata_Plate"),
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
        commit_profiles(lake, key, well_profiles=frame, normalized_profiles=frame)
    return lake


def commit_profiles(lake: Lake, key: str, **tables: pl.DataFrame) -> None:
    commit_tables(lake, "well_profiles", plate(key), tables)


def work_on(lake: Lake, stage: str, study: Study, plates: Sequence[str] = PLATES) -> Work:
    return study_work(lake, stage, study, dict.fromkeys(plates))


def make(lake: Lake, study: Study, *stages: str) -> None:
    for stage in stages or ("feature_space", "corrected_profiles"):
        work = work_on(lake, stage, study)
        STAGES[stage].function(work)
        commit_work(work)


def spaces_of(lake: Lake, study: str) -> Snapshot:
    return lake.latest(["feature_space", "corrected_profiles"], [of_study(study)])


@pytest.mark.parametrize("name", ["pycytominer", "jump_compound", "jump_orf", "jump_crispr"])
def test_a_shipped_study_runs_its_recipe_step_by_step(lake: Lake, name: str, tmp_path: Path) -> None:
    study = load_study(name, tmp_path / "none")
    make(lake, study)
    steps = space_steps(study.spaces, study.corrections)
    assert steps["cell_count"] == ["selected"]
    assert len(steps[name]) == len(set(steps[name])) == 1 + len(load_recipe(name).steps)
    wells = lake.latest(["well_profiles"], map(plate, PLATES)).scan("well_profiles", PLATES).collect()
    expected = apply_recipe(wells, load_recipe(name), feature_columns(wells), study.seed).final
    tables = spaces_of(lake, name)
    found = read_space(tables, name, name, steps[name][-1])
    assert set(space_features(found)) == set(expected.features)
    keys = ["Metadata_Plate", "Metadata_Well"]
    both = [frame.sort(keys).select(expected.features).to_numpy() for frame in (found, expected.profiles)]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-4)  # the lake holds float32
    for step in steps[name]:
        frame = read_space(tables, name, name, step)
        assert frame.height == wells.height
        assert not frame.select(space_features(frame)).null_count().sum_horizontal().item()
    assert "Cells_AreaShape_Flat" in tables.read("feature_selection", name)["feature"].to_list()


def test_plates_that_lack_features_say_which(lake: Lake) -> None:
    """P2 lacks two features: they are left out of the space, and the study says why."""
    short = last(lake, "well_profiles", "normalized_profiles", "P2").drop("Cells_AreaShape_F3", "Cells_AreaShape_F7")
    commit_profiles(lake, "P2", normalized_profiles=short)
    study = Study(name="s", title="S", spaces={"a": {"of": "cells"}, "b": {"of": "cell_count"}}, evaluators={})
    work = work_on(lake, "feature_space", study)
    build_spaces(work)
    commit_work(work)
    notes = last(lake, "feature_space", "correction_notes", "s")
    sentence = "plate P2 lacks 2 of 31 features that others have: Cells_AreaShape_F3, Cells_AreaShape_F7"
    assert notes.rows() == [("s", "a", "selected", sentence)]
    dropped = last(lake, "feature_space", "feature_selection", "s").filter(operation="drop_na_columns")
    assert dropped["feature"].sort().to_list() == ["Cells_AreaShape_F3", "Cells_AreaShape_F7"]


def test_published_embeddings_are_a_space(lake: Lake) -> None:
    for key in PLATES:
        frame = last(lake, "well_profiles", "normalized_profiles", key)
        names = {name: f"Embedding_net_{i}" for i, name in enumerate(feature_columns(frame))}
        commit_profiles(lake, key, normalized_profiles=frame.rename(names))
    study = Study(name="s", title="S", spaces={"a": {"of": "cells"}}, evaluators={})
    work = work_on(lake, "feature_space", study)
    build_spaces(work)
    commit_work(work)
    space = read_space(tables_of(lake, "corrected_profiles"), "s", "a", "selected")
    assert 0 < len(space_features(space)) <= 30  # the flat one is left out


def test_a_recipe_asks_for_profiles_before_normalisation(lake: Lake) -> None:
    wells = last(lake, "well_profiles", "well_profiles", "P3").select(pl.col("^Metadata_.*$"))
    commit_profiles(lake, "P3", well_profiles=wells)
    study = load_study("jump_compound", Path("none"))
    with pytest.raises(InputError, match=r"jump_compound: found plate P3 with profiles that were published normalised"):
        build_spaces(work_on(lake, "feature_space", study))
    with pytest.raises(InputError, match="plate P3"):
        build_spaces(work_on(lake, "feature_space", study, ["P3"]))


@pytest.mark.parametrize("by", [("Metadata_Perturbation",), ("Metadata_Perturbation", "Metadata_Batch")])
@pytest.mark.parametrize("method", ["median", "modz"])
def test_the_consensus_of_a_study_is_by_treatment_or_what_it_names(
    lake: Lake, by: tuple[str, ...], method: Literal["median", "modz"]
) -> None:
    config = ConsensusConfig(method=method, by=by)
    study = load_study("pycytominer", Path("none")).model_copy(update={"consensus": config})
    make(lake, study, "feature_space", "corrected_profiles", "treatment_profiles")
    steps = space_steps(study.spaces, study.corrections)
    found = last(lake, "treatment_profiles", "treatment_profiles", "pycytominer").filter(space="pycytominer")
    assert found["step"].unique().to_list() == [steps["pycytominer"][-1]]
    assert found.height == 61 * (1 if len(by) == 1 else 2)
    assert set(found["treatment"].head(3)) <= {" | ".join(row) for row in found.select(by).iter_rows()}
    wells = read_space(spaces_of(lake, "pycytominer"), "pycytominer", "pycytominer", steps["pycytominer"][-1])
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
    make(lake, study)
    profiles = spaces_of(lake, "swept").read("profiles", "swept")
    marks = profiles.group_by("Metadata_Perturbation").agg(pl.col("Metadata_tuning").unique())
    kinds = {name: kinds[0] for name, kinds in marks.iter_rows() if len(kinds) == 1}  # the same in every space and step
    assert kinds.pop("control") is None
    assert sorted(kinds.values()) == ["false"] * 30 + ["true"] * 30
    work = work_on(lake, "evaluation", study, [])
    evaluate_study(work)
    commit_work(work)
    tuned = {name for name, kind in kinds.items() if kind == "true"}
    treatments = last(lake, "evaluation", "treatments", "swept")
    assert treatments["variant"].n_unique() == 8  # cells, sphered, with common post-processing; the count; and shuffled
    assert set(treatments["treatment"]) == set(kinds) - tuned
    curve = last(lake, "corrected_profiles", "metrics", "swept")
    assert set(curve["evaluator"]) == {"sweep"}
    assert curve.height == 2 * 2 * 2  # values, tuning and reported, as they are and shuffled
    assert curve.select("variant", "n").unique().sort("variant").rows() == [
        ("cells, sphering", 30), ("cells, sphering, shuffled treatments", 30),
    ]  # fmt: skip
    tuning = curve.filter(metric="normalised_AP_tuning", variant="cells, sphering")
    best = tuning["scope"][tuning["value"].arg_max()]  # type: ignore[index]
    note, rests_on = spaces_of(lake, "swept").read("correction_notes", "swept")["note"]
    assert "controls span" in rests_on
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
    make(lake, study)
    tables = spaces_of(lake, "swept")
    assert read_space(tables, "swept", "mine", "sphering").filter(Metadata_tuning="true").height == 15 * len(PLATES)
    assert tables.read("metrics", "swept")["variant"].unique().sort()[0] == "mine, sphering"
    assert tables.read("correction_notes", "swept")["note"][0].endswith("of 2 values the best on 15 treatments")


def test_sweeps_of_a_study_choose_on_the_same_treatments() -> None:
    other = {"corrector": "coral", "sweep": {"setting": "regularisation", "values": [1], "tuning_share": 0.2}}
    with pytest.raises(InputError, match=r"tuning_share: found 0.2, 0.5; expected one share"):
        Study.model_validate({**SWEPT, "corrections": [*SWEPT["corrections"], other]})  # type: ignore[misc]


def test_a_sweep_needs_something_to_score_it_by(lake: Lake) -> None:
    study = Study.model_validate(SWEPT)
    make(lake, study, "feature_space")
    with pytest.raises(InputError, match="tune=sweep"):
        correct_spaces(work_on(lake, "corrected_profiles", study))
