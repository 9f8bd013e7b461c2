import numpy as np
import pytest

from morpho_assets.predict.activity.fusion import by_rule, fused, stacked
from morpho_assets.predict.activity.models import HeldOut
from morpho_assets.predict.activity.scores import score_assays


def test_rules_by_hand_take_what_is_there():
    one, two = np.array([0.2, np.nan, np.nan]), np.array([0.5, 0.3, np.nan])
    np.testing.assert_allclose(by_rule([one, two], "max"), [0.5, 0.3, np.nan])
    np.testing.assert_allclose(by_rule([one, two], "mean"), [0.35, 0.3, np.nan])
    np.testing.assert_allclose(by_rule([one, two], "noisy_or"), [0.6, 0.3, np.nan])


def held(score, folds=4):
    return HeldOut(score, np.broadcast_to(score, (folds, *score.shape)).copy())


def drawn(n=400, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 1)) < 0.3).astype(float)
    noise = [1 / (1 + np.exp(-(1.5 * truth - 1 + rng.normal(size=(n, 1))))) for _ in range(2)]
    useless = rng.random((n, 1))
    return truth, [*noise, useless], np.arange(n) % 4


def test_stacking_weighs_what_is_good_and_gives_chances():
    truth, parts, fold = drawn()
    found = stacked([held(part) for part in parts], truth, fold)
    alone = max(score_assays(truth, part, fold).auroc[0] for part in parts)
    assert score_assays(truth, found.score, fold).auroc[0] > alone
    assert found.score.mean() == pytest.approx(truth.mean(), abs=0.03)
    assert np.isfinite(found.nested).all()


def test_a_fold_is_never_learned_from_by_what_predicts_it():
    truth, parts, fold = drawn()
    before = stacked([held(part) for part in parts], truth, fold)
    other = truth.copy()
    other[fold == 2] = 1 - other[fold == 2]
    after = stacked([held(part) for part in parts], other, fold)
    np.testing.assert_array_equal(before.score[fold == 2], after.score[fold == 2])
    assert (before.score[fold == 1] != after.score[fold == 1]).any()


def test_what_cannot_be_learned_has_no_prediction():
    truth = np.array([[1.0], [0], [0], [0], [0], [0], [0], [0]])
    found = stacked([held(np.full((8, 1), 0.5))], truth, np.arange(8) % 4)
    assert np.isnan(found.score).all()


def test_fusion_keeps_what_is_nested():
    _, parts, _ = drawn()
    found = fused([held(part) for part in parts], "max")
    np.testing.assert_array_equal(found.nested[1], found.score)
