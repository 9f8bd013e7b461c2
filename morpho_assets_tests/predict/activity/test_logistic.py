"""Many logistic regressions at once, against scikit-learn's one by one."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from morpho_assets.predict.activity.logistic import fit_logistic


def problems(n=160, d=30, b=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.2, 3, d)
    active = (x[:, :3].sum(1)[:, None] + rng.normal(size=(n, b)) * 3 > 2).astype(float)
    weights = np.where(rng.random((n, b)) < 0.7, rng.uniform(0.5, 5, (n, b)), 0)
    return x, active, weights


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_each_problem_is_scikit_learns(C):
    x, active, weights = problems()
    found = fit_logistic(x, active, weights, C, tolerance=1e-13, most=500)
    for number in range(active.shape[1]):
        model = LogisticRegression(C=C, tol=1e-9, max_iter=5000)
        model.fit(x, active[:, number], sample_weight=weights[:, number])
        np.testing.assert_allclose(found.weights[:, number], model.coef_[0], rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(found.intercepts[number], model.intercept_[0], rtol=1e-3, atol=2e-4)


def test_sparse_rows_give_what_dense_ones_do():
    x, active, weights = problems()
    bits = (x > 1).astype(np.float32)
    dense = fit_logistic(bits, active, weights, 1.0, tolerance=1e-9)
    sparse = fit_logistic(scipy.sparse.csr_matrix(bits), active, weights, 1.0, tolerance=1e-9)
    np.testing.assert_allclose(sparse.weights, dense.weights, atol=1e-3)


def test_each_problem_has_its_own_penalty_and_none_sees_rows_without_weight():
    x, active, weights = problems()
    C = np.array([0.01, 0.1, 1, 1, 10, 100.0])
    whole = fit_logistic(x, active, weights, C, tolerance=1e-12, most=500)
    kept = weights[:, 2] > 0
    alone = fit_logistic(x[kept], active[kept, 2:3], weights[kept, 2:3], 1.0, tolerance=1e-12, most=500)
    np.testing.assert_allclose(whole.weights[:, 2], alone.weights[:, 0], atol=1e-4)
    hidden = np.where(weights > 0, active, 1 - active)
    np.testing.assert_array_equal(fit_logistic(x, hidden, weights, C, tolerance=1e-12, most=500).weights, whole.weights)


def test_features_that_say_nothing_leave_the_share_of_actives():
    active = np.array([[1.0], [0], [0], [0]])
    found = fit_logistic(np.zeros((4, 2)), active, np.ones((4, 1)))
    np.testing.assert_allclose(found.weights, 0)
    np.testing.assert_allclose(found.intercepts, np.log(1 / 3), atol=1e-3)
