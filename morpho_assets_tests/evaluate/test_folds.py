"""Noise, on which controls have made the scale that they are ranked on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.asked import Asked
from morpho_assets.evaluate.average_precision import RetrievalConfig, average_precision
from morpho_assets.evaluate.folds import Folds, drawn_folds
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import mean_average_precision, treatment_scores
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.recipe import Recipe, Step, apply_recipe
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets_tests.evaluate.conftest import screen


def folds_of(frame: pl.DataFrame, config: RetrievalConfig, refit: Refit | None) -> tuple[Folds | None, bool]:
    return drawn_folds(to_matrix(frame, feature_columns(frame)), frame, config, refit, 0)


PUBLISHED_SPHERING = {"corrector": "sphering", "epsilon": 1e-6, "unseen": "accept"}
PUBLISHED = RetrievalConfig(pairing="published")


def one_plate(effect: float, seed: int, wells: int = 4, **design: int) -> pl.DataFrame:
    """`wells` wells of each treatment beside each other, with the controls of one plate."""
    frame = screen(effect, seed, plates=wells, **design)
    spare = (pl.col("Metadata_Plate") != "P0") & (pl.col("Metadata_control_type") == "negcon")
    return frame.filter(~spare.fill_null(False)).with_columns(Metadata_Plate=pl.lit("P"))


def corrected(frame: pl.DataFrame, *settings: dict[str, object]) -> tuple[pl.DataFrame, tuple[str, ...], Refit]:
    steps = tuple(Step.model_validate(setting) for setting in settings)
    names = tuple(feature_columns(frame))
    final = apply_recipe(frame, Recipe(about="", steps=steps), names).final
    return final.profiles, final.features, Refit(frame, names, steps, np.arange(frame.height))


def gain(table: pl.DataFrame) -> float:
    return float((table["mAP"] - table["chance"]).mean())  # type: ignore[arg-type]


@pytest.mark.parametrize(("controls", "features"), [(6, 100), (16, 20), (16, 300), (64, 100)])
def test_noise_on_one_plate_is_at_chance(controls: int, features: int) -> None:
    found, published, p = [], [], []
    for seed in range(12):
        frame = normalize(one_plate(0, seed, treatments=15, controls=controls, features=features))
        table = mean_average_precision(frame, feature_columns(frame), RetrievalConfig(null_size=500, exact_limit=0))
        found.append(gain(table))
        p += table["p_value"].to_list()
        published.append(gain(treatment_scores(frame, feature_columns(frame), PUBLISHED, 0)))
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(12)
    assert abs(np.mean(found)) < 0.03
    assert np.mean(np.array(p) < 0.05) < 0.09
    assert np.mean(published) > {16: 0.02, 6: 0.02, 64: 0.0}[controls]  # what this is about


@pytest.mark.parametrize(
    "corrector", [PUBLISHED_SPHERING, {"corrector": "sphering"}, {"corrector": "tvn"}, {"corrector": "coral"}]
)
def test_noise_is_at_chance_after_a_correction_that_was_fitted_on_the_controls(corrector: dict[str, object]) -> None:
    found, unaware, p = [], [], []
    few = RetrievalConfig(null_size=200, exact_limit=0)
    for seed in range(8):
        frame = screen(0, seed, treatments=20, plates=3, controls=12, features=60)
        profiles, names, refit = corrected(frame, {"normalize": {}}, {"correct": corrector})
        table = mean_average_precision(profiles, names, few, 0, refit)
        found.append(gain(table))
        p += table["p_value"].to_list()
        unaware.append(gain(treatment_scores(profiles.drop("Metadata_normalized_on"), names, RetrievalConfig(), 0)))
    assert abs(np.mean(found)) < 0.02
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.1
    assert corrector is not PUBLISHED_SPHERING or np.mean(unaware) > 0.05  # what this is about


def test_effects_are_found_in_folds() -> None:
    frame = normalize(one_plate(1.0, 0, treatments=20, controls=16))
    table = mean_average_precision(frame, feature_columns(frame))
    assert table["normalised_AP"].mean() > 0.5  # type: ignore[operator]
    assert table["retrieved"].to_numpy().mean() > 0.8
    assert table["n_total"].to_list() == [3 + 2] * 20  # of one fold of eight


def test_only_treatments_with_wells_beside_each_other_need_folds_on_a_mere_scale() -> None:
    frame = normalize(screen(0, treatments=6, plates=2, controls=16))
    twice = pl.col("Metadata_Perturbation").replace({"t05": "t04"})
    table = mean_average_precision(frame.with_columns(twice), feature_columns(frame))
    assert dict(table.select("Metadata_Perturbation", "n_total").iter_rows()) == {
        **{f"t0{i}": 1 + 16 for i in range(4)}, "t04": 3 + 2 * 2,
    }  # fmt: skip


@pytest.mark.parametrize(("controls", "count"), [(2, 4), (6, 6), (12, 8), (16, 8), (20, 5), (64, 4)])
def test_a_scale_without_two_folds_keeps_a_dozen_controls_where_there_are_enough(controls: int, count: int) -> None:
    frame = normalize(one_plate(0, 0, treatments=2, controls=controls))
    folds, _ = folds_of(frame, RetrievalConfig(), scaled(frame, feature_columns(frame)))
    assert folds is not None
    assert folds.count == count
    folds, _ = folds_of(frame, RetrievalConfig(folds=3), scaled(frame, feature_columns(frame)))
    assert folds is not None
    assert folds.count == 3


def test_folds_are_of_the_controls_and_needed_where_they_were_fitted_on() -> None:
    frame = normalize(one_plate(0, 0, treatments=4, controls=10))
    features = feature_columns(frame)
    control = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    folds, needed = folds_of(frame, RetrievalConfig(folds=4), scaled(frame, features))
    assert folds is not None
    assert needed
    assert not folds.everywhere
    assert sorted(np.bincount(folds.number[control]).tolist()) == [2, 2, 3, 3]
    assert sorted(np.bincount(folds.number[~control]).tolist()) == [4, 4, 4, 4]
    among_treated = RetrievalConfig(negatives=PairRule(where="treated"))
    whole = normalize(frame, NormalizeConfig(reference="all"))
    for rows, config, refit in (
        (frame, among_treated, scaled(frame, features)), (whole, RetrievalConfig(), scaled(whole, features)),
        (frame, RetrievalConfig(), None),
    ):  # fmt: skip
        folds, needed = folds_of(rows, config, refit)
        assert folds is not None  # to see what other controls would give
        assert not needed
    assert folds_of(frame.filter(~pl.Series(control)), among_treated, None) == (None, False)


def test_a_score_is_the_mean_over_folds_each_on_a_scale_without_it() -> None:
    frame = normalize(one_plate(0.5, 0, treatments=3, controls=8))
    features = feature_columns(frame)
    folds, _ = folds_of(frame, RetrievalConfig(folds=4), scaled(frame, features))
    assert folds is not None
    rows = np.flatnonzero(frame["Metadata_control_type"].is_null().to_numpy())
    expected = []
    for fold in range(4):
        left_out = folds.controls & (folds.number == fold)
        fit = pl.Series(folds.controls & ~left_out)
        again = normalize(frame.with_columns(Metadata_fit=fit), NormalizeConfig(reference="Metadata_fit"))
        there = RetrievalConfig(negatives=PairRule(where="Metadata_left_out"))
        marked = again.with_columns(Metadata_left_out=pl.Series(left_out))
        expected.append(average_precision(marked.select(features).to_numpy(), marked, there).ap)
    found = folds.scores(frame, RetrievalConfig(), rows)
    np.testing.assert_allclose(found.ap, np.mean(expected, axis=0), atol=1e-6)


def test_two_profiles_are_compared_on_a_scale_that_neither_has_made() -> None:
    frame = normalize(one_plate(0.5, 0, treatments=3, controls=8))
    features = feature_columns(frame)
    folds, _ = folds_of(frame, RetrievalConfig(), scaled(frame, features))
    assert folds is not None
    columns = np.arange(frame.height)
    similar = np.empty((frame.height, frame.height))
    for block, values in folds.apart(columns, "cosine", 2000):
        similar[block] = values
    for one, other in ((0, 1), (2, 17), (5, 5)):
        out = {folds.number[one], folds.number[other]}
        out |= {(folds.number[one] + 1) % 4} if len(out) == 1 else set()
        fit = pl.Series(folds.controls & ~np.isin(folds.number, list(out)))
        again = normalize(frame.with_columns(Metadata_fit=fit), NormalizeConfig(reference="Metadata_fit"))
        values = again.select(features).to_numpy()
        cosine = values[one] @ values[other] / np.linalg.norm(values[one]) / np.linalg.norm(values[other])
        assert similar[one, other] == pytest.approx(cosine, abs=1e-5)


def test_without_a_fold_it_is_as_if_its_controls_were_not_there() -> None:
    frame = normalize(screen(0.5, treatments=3, plates=2))
    features = feature_columns(frame)
    asked = Asked.of(frame, features, RetrievalConfig(), 0, None)
    assert asked.folds is not None
    assert not asked.treatments()["folded"].any()
    fewer = normalize(frame.filter(~pl.Series(asked.folds.controls & (asked.folds.number == 1))))
    expected = treatment_scores(fewer, features, RetrievalConfig(), 0)
    np.testing.assert_allclose(asked.treatments(without=1)["mAP"], expected["mAP"], atol=1e-5)


def test_without_a_fold_the_others_rank_on_scales_that_it_did_not_make() -> None:
    frame = normalize(one_plate(0.5, 0, treatments=3, controls=8))
    folds, _ = folds_of(frame, RetrievalConfig(folds=4), scaled(frame, feature_columns(frame)))
    assert folds is not None
    rows = np.flatnonzero(frame["Metadata_control_type"].is_null().to_numpy())
    expected = [
        average_precision(
            folds.out(*sorted((0, f))), frame, RetrievalConfig(), rows, folds.controls & (folds.number == f)
        )
        for f in (1, 2, 3)
    ]
    found = folds.scores(frame, RetrievalConfig(), rows, without=0)
    np.testing.assert_allclose(found.ap, np.mean([each.ap for each in expected], axis=0))
