"""L2 logistic regression: scikit-learn's, certified, on whatever axes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from morpho_assets.predict.elastic_net import fit_elastic_nets, objective_of


def problem(n=60, d=8, k=3, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(k, size=n)
    x = rng.normal(size=(n, d))
    x[np.arange(n), codes % d] += 1.5
    return x, codes, rng.choice([0.0, 1.0, 2.5], n)


@pytest.mark.parametrize("d", [8, 200], ids=["more rows", "more features than rows"])
def test_it_is_scikit_learn_s_and_says_how_near_it_came(d):
    x, codes, weights = problem(d=d)
    last = None
    for cost in (0.01, 1.0):
        last = fits = fit_elastic_nets(x, codes, 3, cost, 0.0, weights, last, tolerance=1e-9)
        theirs = LogisticRegression(C=cost, tol=1e-9, max_iter=10000).fit(x, codes, sample_weight=weights)
        ours, best = (
            objective_of(x, codes, w, b, cost, 0.0, weights)
            for w, b in ((fits.weights[0], fits.intercepts[0]), (theirs.coef_, theirs.intercept_))
        )
        assert ours <= best * (1 + 1e-6)
        assert fits.objective[0] == pytest.approx(ours, rel=1e-9)
        assert fits.gap[0] < 1e-5
        logits = fits.logits(x, 0)
        probability = np.exp(logits - logits.max(1, keepdims=True))
        probability /= probability.sum(1, keepdims=True)
        np.testing.assert_allclose(probability, theirs.predict_proba(x), atol=1e-3)


def test_it_is_what_the_proximal_gradient_finds():
    """With a share of L1 that is next to nothing."""
    x, codes, weights = problem()
    fits = fit_elastic_nets(x, codes, 3, 0.1, [0.0, 1e-9], weights, tolerance=1e-8, precision="float64")
    np.testing.assert_allclose(fits.weights[0], fits.weights[1], atol=1e-4)
    assert (fits.iterations > 0).all()


def test_it_ends_where_an_objective_is_reached():
    x, codes, weights = problem()
    whole = fit_elastic_nets(x, codes, 3, 10.0, 0.0, weights)
    early = fit_elastic_nets(x, codes, 3, 10.0, 0.0, weights, reach=1.2 * whole.objective)
    assert whole.objective < early.objective <= 1.2 * whole.objective
    assert early.iterations < whole.iterations


def test_a_fit_that_was_stopped_has_a_gap():
    x, codes, weights = problem()
    fits = fit_elastic_nets(x, codes, 3, 100.0, 0.0, weights, most=1)
    assert fits.gap[0] > 1e-3


def test_a_class_without_rows_and_a_feature_without_spread():
    x, codes, weights = problem()
    x[:, 3] = 0
    fits = fit_elastic_nets(x, codes * 2, 5, 1.0, 0.0, weights)
    assert np.isfinite(fits.weights).all()
    assert (fits.logits(x, 0).argmax(axis=1) % 2 == 0).all()
    np.testing.assert_allclose(fits.weights[0, :, 3], 0, atol=1e-8)
