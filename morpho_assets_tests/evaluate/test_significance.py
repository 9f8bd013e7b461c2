"""Nulls of steps that read treatments: run anew with treatments shuffled before them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled, shuffled_before
from morpho_assets.evaluate.retrieval import mean_average_precision, treatment_scores
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.recipe import Recipe, Step, apply_recipe
from morpho_assets.profiles.refit import Refit
from morpho_assets_tests.evaluate.conftest import screen

SCALE = {"normalize": {"method": "standardize"}}
NOISE_REMOVAL = {"select": {"operations": [{"operation": "noise_removal", "cutoff": 0.85}]}}


def processed(frame: pl.DataFrame, *settings: dict[str, object]) -> tuple[pl.DataFrame, tuple[str, ...], Refit]:
    steps = tuple(Step.model_validate(setting) for setting in settings)
    names = tuple(feature_columns(frame))
    final = apply_recipe(frame, Recipe(about="", steps=steps), names).final
    return final.profiles, final.features, Refit(frame, names, steps, np.arange(frame.height))


def gain(table: pl.DataFrame) -> float:
    return float((table["mAP"] - table["chance"]).mean())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        (NOISE_REMOVAL, True), ({"select": {}}, False), ({"normalize": {}}, False),
        ({"correct": {"corrector": "combat"}}, False),
        ({"correct": {"corrector": "combat", "keep": ["Metadata_Perturbation"]}}, True),
        ({"correct": {"corrector": "chromosome_arm"}}, True), ({"correct": {"corrector": "well_position"}}, False),
        ({"correct": {"corrector": "sphering", "sweep": {}}}, False),  # of treatments that are not reported
    ],
)  # fmt: skip
def test_which_steps_read_treatments(settings: dict[str, object], reads: bool) -> None:
    assert Step.model_validate(settings).reads_labels is reads


def test_features_chosen_by_their_replicates_are_no_discovery() -> None:
    p, unaware, found, twin = [], [], [], []
    for seed in range(8):
        frame = screen(0, seed, treatments=12, plates=3, controls=16, features=300)
        profiles, features, refit = processed(frame, SCALE, NOISE_REMOVAL)
        config = RetrievalConfig(reruns=20, null_size=200, exact_limit=0)
        table = mean_average_precision(profiles, features, config, seed, refit)
        assert table["p_least"].to_list() == [1 / (20 * 12 + 1)] * 12  # the runs of all that are alike
        p += table["p_value"].to_list()
        found.append(gain(table))
        unaware += mean_average_precision(profiles, features, config, seed)["p_value"].to_list()
        twin.append(gain(treatment_scores(*shuffled_before(profiles, features, refit, seed)[:2], config, seed)))
    assert np.mean(np.array(unaware) < 0.05) > 0.15  # what this is about
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.09
    assert np.mean(found) > 0.06
    assert np.mean(twin) == pytest.approx(np.mean(found), abs=0.04)


def test_what_acts_is_found_against_runs_with_shuffled_treatments() -> None:
    frame = screen(3, treatments=20, plates=3, controls=8, features=30)
    profiles, features, refit = processed(frame, SCALE, NOISE_REMOVAL)
    table = mean_average_precision(profiles, features, RetrievalConfig(reruns=20), 0, refit)
    assert table["retrieved"].to_numpy().mean() > 0.8
    assert table["p_value"].min() == 1 / (20 * 20 + 1)  # shuffled, no feature is left, which scores what chance gives


def test_shuffled_before_is_the_whole_chain_on_shuffled_wells() -> None:
    frame = screen(1, treatments=8, plates=3, controls=6, features=20)
    settings = SCALE, NOISE_REMOVAL, {"correct": {"corrector": "pca", "components": 3}}
    profiles, features, refit = processed(frame, *settings)
    for seed in (3, 4):  # the second from what the first remembers of the steps before
        again, names, other = shuffled_before(profiles, features, refit, seed)
        expected, expected_names, _ = processed(shuffled(frame, seed), *settings)
        assert names == expected_names
        assert other is not None
        assert again.select(expected.columns).equals(expected)
        np.testing.assert_allclose(
            other.without(np.zeros(frame.height, dtype=bool)), again.select(names).to_numpy(), rtol=1e-5
        )


def test_where_no_step_reads_treatments_they_are_shuffled_at_the_end() -> None:
    profiles, features, refit = processed(screen(1, treatments=8), {"normalize": {}})
    again, names, other = shuffled_before(profiles, features, refit, 3)
    assert again.equals(shuffled(profiles, 3))
    assert (names, other) == (features, refit)


def test_treatments_that_a_sweep_chose_on_keep_their_wells() -> None:
    frame = screen(1, treatments=8)
    _, _, refit = processed(frame, SCALE, NOISE_REMOVAL)
    kept = np.flatnonzero(~frame["Metadata_Perturbation"].is_in(["t00", "t01"]).to_numpy())
    part = Refit(frame, refit.features, refit.steps, kept)
    _, _, again = shuffled_before(frame[kept], refit.features, part, 0)
    assert again is not None
    names = pl.Series(["t00", "t01", "DMSO"])
    before, after = (rows["Metadata_Perturbation"].is_in(names.implode()) for rows in (frame, again.start))
    assert before.equals(after)
    assert not again.start["Metadata_Perturbation"].equals(frame["Metadata_Perturbation"])
