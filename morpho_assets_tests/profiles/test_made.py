"""How the profiles of a study came to be, read from the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.sweep import sweep
from morpho_assets.lake.lake import Lake
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.made import Chains
from morpho_assets.profiles.normalize import normalize
from morpho_assets.profiles.study import correct_spaces, read_space, space_features
from morpho_assets.profiles.tuning import mark_tuning, reported
from morpho_assets.studies.model import Study
from morpho_assets_tests.evaluate.conftest import screen
from morpho_assets_tests.factories import commit_tables, commit_work, study, study_work

SWEPT = {"corrector": "sphering", "sweep": {"setting": "epsilon", "values": [1e3, 1e-3], "tuning_share": 0.5}}


def chains(folder: Path, frame: pl.DataFrame, space: dict[str, Any], *corrections: dict[str, Any]) -> Chains:
    """Those of a study of `frame` as its space `cells`, all of its corrections made."""
    lake = Lake(str(folder))
    names = [f"{chr(64 + row)}{column:02d}" for row, column in frame.select("Metadata_Row", "Metadata_Col").iter_rows()]
    first = "selected" if "recipe" not in space else "aggregated"
    wells = mark_tuning(frame, 0.5).with_columns(
        pl.Series("Metadata_Well", names), study=pl.lit("s"), space=pl.lit("cells"), step=pl.lit(first)
    )
    commit_tables(lake, "feature_space", study("s"), {"profiles": wells})
    asked = Study.model_validate({
        "name": "s", "title": "", "spaces": {"cells": {"of": "cells", **space}}, "evaluators": {},
        "corrections": corrections,
    })  # fmt: skip
    work = study_work(lake, "corrected_profiles", asked, {})
    correct_spaces(work, sweep)
    commit_work(work)
    inputs = lake.latest(["feature_space", "corrected_profiles"], [study("s")])
    return Chains(inputs, "s", asked.spaces, asked.corrections, 0)


@pytest.mark.parametrize(
    ("space", "corrections", "step"),
    [
        ({}, (SWEPT, {"corrector": "pca", "components": 5}), "sphering"),
        ({}, (SWEPT, {"corrector": "pca", "components": 5}), "pca"),
        ({"recipe": "moshkov"}, (), "sphering"),
    ],
    ids=["swept", "two steps", "recipe"],
)
def test_made_once_more_they_are_what_they_are(
    space: dict[str, Any], corrections: tuple[dict[str, Any], ...], step: str, tmp_path: Path
) -> None:
    frame = screen(1, plates=2)
    known = chains(tmp_path / "lake", frame if space else normalize(frame), space, *corrections)
    wells = reported(read_space(known.inputs, "s", "cells", step)).sample(fraction=1, shuffle=True, seed=1)
    refit = known.refit("cells", step, wells)
    assert refit is not None
    profiles, features = refit.made()
    assert profiles["Metadata_Well"].to_list() == wells["Metadata_Well"].to_list()
    np.testing.assert_allclose(
        to_matrix(profiles, features), to_matrix(wells, space_features(wells)), rtol=1e-4, atol=1e-5
    )
    assert all(each.correct is None or each.correct.sweep is None for each in refit.steps)


def test_the_first_step_is_known_by_its_scale_alone(tmp_path: Path) -> None:
    frame = screen(1, plates=2)
    known = chains(tmp_path / "one", normalize(frame), {})
    refit = known.refit("cells", "selected", read_space(known.inputs, "s", "cells", "selected"))
    assert refit is not None
    assert [step.name for step in refit.steps] == ["normalize"]
    raw = chains(tmp_path / "other", frame, {"recipe": "moshkov"})
    assert raw.refit("cells", "aggregated", read_space(raw.inputs, "s", "cells", "aggregated")) is None
