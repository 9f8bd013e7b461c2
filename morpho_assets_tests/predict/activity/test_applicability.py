import numpy as np
import pytest

from morpho_assets.predict.activity.applicability import calibration_error, conformal
from morpho_assets.predict.activity.models import HeldOut
from morpho_assets.predict.activity.neighbours import nearest_elsewhere, of_other_folds, similar_actives, tanimoto


def test_conformal_p_values_keep_their_error_rate_in_both_classes():
    rng = np.random.default_rng(0)
    n, assays = 300, 20
    truth = (rng.random((n, assays)) < 0.2).astype(float)
    score = truth + rng.normal(size=(n, assays))
    fold = np.arange(n) % 5
    held = HeldOut(score, np.broadcast_to(score, (5, n, assays)))
    active, inactive = conformal(held, truth, fold)
    assert (active[truth == 1] <= 0.1).mean() == pytest.approx(0.1, abs=0.03)
    assert (inactive[truth == 0] <= 0.1).mean() == pytest.approx(0.1, abs=0.03)
    assert (active[truth == 0] <= 0.1).mean() > 0.3


def test_conformal_by_hand():
    truth = np.array([[1.0], [1], [0], [np.nan]])
    score = np.array([[1.0], [3], [2], [2.5]])
    active, inactive = conformal(HeldOut(score, np.stack([score] * 2)), truth, np.array([0, 0, 0, 1]))
    assert active[3, 0] == pytest.approx(2 / 3)  # of 1 and 3 one is at most 2.5
    assert inactive[3, 0] == pytest.approx(1 / 2)  # 2 is not at least 2.5
    assert np.isnan(active[0, 0])


def test_calibration_error_by_hand():
    assert calibration_error(np.array([0.25, 0.25, 0.95]), np.array([0.0, 1, 1])) == pytest.approx((0.5 + 0.05) / 3)
    assert np.isnan(calibration_error(np.array([np.nan]), np.array([1.0])))


def test_the_nearest_active_is_of_another_fold_and_never_itself():
    bits = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [np.nan] * 4], float)
    ((_, found),) = tanimoto(bits)
    np.testing.assert_allclose(found[0], [1, 2 / 3, 0, 1, np.nan])
    labels = np.array([[1.0], [1], [1], [0], [1]])
    fold = np.array([0, 1, 2, 1, 2])
    similarity, which, nested = of_other_folds(*similar_actives(bits, labels, fold), fold)
    np.testing.assert_allclose(similarity[:4, 0], [2 / 3, 2 / 3, 0.25, 1])
    assert which[:4, 0].tolist() == [1, 0, 1, 0]
    assert nested[0, 1, 0] == 0.25  # neither fold 0 nor its own: the compound of fold 2
    assert nested[1, 1, 0] == pytest.approx(2 / 3)


def test_the_nearest_elsewhere_is_whatever_was_tested():
    bits = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [np.nan] * 3], float)
    found = nearest_elsewhere(bits, np.array([0, 0, 1, 1, 1]))
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0, np.nan])
    assert np.isnan(nearest_elsewhere(bits, np.zeros(5, int))).all()
