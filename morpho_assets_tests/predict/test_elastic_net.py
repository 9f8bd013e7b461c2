"""The batched elastic net against scikit-learn's solvers, its own gap, and folds as row weights."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from morpho_assets.predict.elastic_net import fit_elastic_nets, fit_grid, objective_of

EXACT = {"precision": "float64", "tolerance": 1e-9, "most": 5000}


def problem(n=200, d=12, classes=4, seed=0):
    """Correlated features, and classes that follow them loosely."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3)
    x = (x - x.mean(0)) / x.std(0)
    codes = (x @ rng.normal(size=(d, classes)) / 2 + rng.gumbel(size=(n, classes))).argmax(1)
    return x, codes


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_without_l1_it_agrees_with_lbfgs(C):
    x, codes = problem()
    fits = fit_elastic_nets(x, codes, 4, C, 0.0, **EXACT)
    theirs = LogisticRegression(C=C, l1_ratio=0, tol=1e-9, max_iter=10_000).fit(x, codes)
    expected = objective_of(x, codes, theirs.coef_, theirs.intercept_, C, 0.0)
    ours = objective_of(x, codes, fits.weights[0], fits.intercepts[0], C, 0.0)
    assert abs(ours - expected) <= 1e-6 * expected
    assert fits.objective[0] == pytest.approx(ours, rel=1e-12)
    probability = softmax(fits.logits(x, 0), axis=1)
    np.testing.assert_allclose(probability, theirs.predict_proba(x), atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.1, 0.5, 1.0])
def test_its_objective_is_never_above_saga_s(precision, l1_ratio):
    x, codes = problem()
    for C in (0.001, 0.1, 10.0, 1000.0):
        fits = fit_elastic_nets(x, codes, 4, C, l1_ratio, precision=precision, tolerance=1e-6, most=5000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 100 passes are too few for it, which is the published setting
            theirs = LogisticRegression(C=C, l1_ratio=l1_ratio, solver="saga", max_iter=100, random_state=0)
            theirs.fit(x, codes)
        expected = objective_of(x, codes, theirs.coef_, theirs.intercept_, C, l1_ratio)
        ours = objective_of(x, codes, fits.weights[0], fits.intercepts[0], C, l1_ratio)
        assert ours <= expected * (1 + 2e-6)


def test_the_gap_bounds_what_is_missing():
    x, codes = problem()
    ratios = np.array([0.0, 0.3, 0.7, 1.0])
    best = fit_elastic_nets(x, codes, 4, 1.0, ratios, **EXACT).objective
    rough = fit_elastic_nets(x, codes, 4, 1.0, ratios, tolerance=1e-2, precision="float64")
    assert (rough.gap <= 1e-2).all()
    assert (rough.objective - best <= rough.gap * rough.objective).all()
    assert (rough.objective >= best * (1 - 1e-9)).all()


@pytest.mark.parametrize("seed", [13, 19, 21, 30])
def test_rounding_leaves_the_gap_of_the_lasso_finite(seed):
    rng = np.random.default_rng(seed)
    x, codes = rng.normal(size=(80, 12)), rng.integers(3, size=80)
    assert np.isfinite(fit_elastic_nets(x, codes, 3, np.geomspace(0.05, 5, 12), 1.0, most=10).gap).all()


def test_a_row_of_weight_zero_is_a_row_left_out_and_two_are_weight_two():
    x, codes = problem(n=120)
    rows = np.ones((3, 120))
    rows[0, :30], rows[1, 60:] = 0, 2
    together = fit_elastic_nets(x, codes, 4, 0.3, 0.5, rows, **EXACT)
    alone = fit_elastic_nets(x[30:], codes[30:], 4, 0.3, 0.5, **EXACT)
    doubled = np.r_[np.arange(120), np.arange(60, 120)]
    twice = fit_elastic_nets(x[doubled], codes[doubled], 4, 0.3, 0.5, **EXACT)
    np.testing.assert_allclose(together.weights[0], alone.weights[0], atol=1e-4)
    np.testing.assert_allclose(together.weights[1], twice.weights[0], atol=1e-4)
    assert together.objective[0] == pytest.approx(alone.objective[0], rel=1e-8)


def test_a_grid_gives_what_single_fits_give():
    x, codes = problem(n=100)
    folds = np.ones((2, 100))
    folds[0, ::2], folds[1, 1::2] = 0, 0
    grid = fit_grid(x, codes, 4, [1.0, 0.01], [0.0, 1.0], folds, tolerance=1e-7, precision="float64")
    assert list(grid) == [0.01, 1.0]
    for C, fits in grid.items():
        for number, (ratio, fold) in enumerate((ratio, fold) for ratio in (0.0, 1.0) for fold in folds):
            alone = fit_elastic_nets(x, codes, 4, C, ratio, fold, **EXACT)
            assert fits.objective[number] == pytest.approx(alone.objective[0], rel=1e-6)


def test_the_strongest_l1_leaves_the_shares_of_the_classes():
    x, codes = problem()
    fits = fit_elastic_nets(x, codes, 4, 1e-6, 1.0, **EXACT)
    assert not fits.weights.any()
    shares = np.bincount(codes, minlength=4) / len(codes)
    np.testing.assert_allclose(softmax(fits.intercepts[0]), shares, atol=1e-6)


def test_a_constant_feature_and_a_single_one():
    x, codes = problem()
    x[:, 0] = 0
    fits = fit_elastic_nets(x, codes, 4, 1.0, 0.5, **EXACT)
    assert not fits.weights[0, :, 0].any()
    one = fit_elastic_nets(x[:, 1:2], codes, 4, 1.0, 0.0, **EXACT)
    theirs = LogisticRegression(l1_ratio=0, tol=1e-9, max_iter=1000).fit(x[:, 1:2], codes)
    np.testing.assert_allclose(one.weights[0], theirs.coef_, atol=1e-4)


def test_a_class_without_rows_keeps_a_small_probability():
    x, codes = problem()
    fits = fit_elastic_nets(x, codes, 5, 1.0, 0.5)
    assert np.isfinite(fits.intercepts).all()
    assert softmax(fits.logits(x, 0), axis=1)[:, 4].max() < 1e-2


def test_it_stops_at_an_objective_that_is_asked_for():
    x, codes = problem()
    best = fit_elastic_nets(x, codes, 4, 10.0, 0.5, **EXACT)
    soon = fit_elastic_nets(x, codes, 4, 10.0, 0.5, reach=best.objective * 1.01, tolerance=0, precision="float64")
    assert best.objective[0] <= soon.objective[0] <= best.objective[0] * 1.01
    assert soon.iterations[0] < best.iterations[0]


def test_what_cannot_be_fitted_is_refused():
    x, codes = problem()
    with pytest.raises(ValueError, match="not finite"):
        fit_elastic_nets(np.where(x > 2, np.nan, x), codes, 4, 1.0, 0.0)
    with pytest.raises(ValueError, match="row weights"):
        fit_elastic_nets(x, codes, 4, 1.0, 0.0, np.zeros(len(x)))
    with pytest.raises(ValueError, match="199 classes"):
        fit_elastic_nets(x, codes[1:], 4, 1.0, 0.0)
