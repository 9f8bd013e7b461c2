import numpy as np
from sklearn.metrics import roc_auc_score

from morpho_assets.predict.activity.scores import (
    auroc,
    enrichment_factor,
    interval,
    mean_interval,
    score_assays,
    unit_draws,
)


def test_auroc_is_scikit_learns_with_ties_and_weights():
    rng = np.random.default_rng(1)
    positive, score = rng.random(80) < 0.3, rng.integers(6, size=80).astype(float)
    weight = rng.integers(3, size=(80, 4)).astype(float)
    found = auroc(positive, score, weight)
    for draw in range(4):
        np.testing.assert_allclose(found[draw], roc_auc_score(positive, score, sample_weight=weight[:, draw]))
    assert auroc(positive, score)[0] == roc_auc_score(positive, score)


def test_auroc_by_hand_and_at_its_edges():
    assert auroc(np.array([True, False, False]), np.array([2.0, 1, 2]))[0] == 0.75
    assert np.isnan(auroc(np.array([True, True]), np.array([1.0, 2]))[0])
    assert np.isnan(auroc(np.array([], bool), np.array([]))[0])


def test_enrichment_counts_ties_in_part():
    positive = np.array([True, False, False, False])
    assert enrichment_factor(positive, np.array([4.0, 3, 2, 1]), 0.25) == 4
    assert enrichment_factor(positive, np.ones(4), 0.25) == 1
    assert np.isnan(enrichment_factor(np.zeros(4, bool), np.ones(4)))


def test_folds_of_one_class_are_dropped_and_counted():
    truth = np.array([[1.0], [0], [1], [1], [np.nan], [0]])
    score = np.array([[2.0], [1], [0], [1], [9], [9]])
    fold = np.array([0, 0, 1, 1, 2, -1])
    found = score_assays(truth, score, fold)
    assert found.auroc[0] == 1
    assert found.dropped[0] == 2
    assert (found.actives[0], found.tested[0]) == (3, 4)
    assert np.isnan(score_assays(truth, score, np.full(6, -1)).auroc[0])


def test_the_interval_of_chance_holds_a_half_and_widens_with_whole_units():
    rng = np.random.default_rng(3)
    n, assays = 300, 40
    truth = (rng.random((n, assays)) < 0.3).astype(float)
    score = rng.normal(size=(n, assays))
    fold = rng.integers(5, size=n)
    units = (np.arange(n) // 3).astype(str)
    found = score_assays(truth, score, fold, unit_draws(units, 100))
    low, high = found.interval()
    assert ((low <= 0.5) & (high >= 0.5)).mean() >= 0.85
    mean, below, above = mean_interval(found.draws, found.auroc)
    assert below < mean < above
    assert below < 0.5 < above


def test_draws_keep_units_whole():
    units = np.array(["a", "b", "a", "c", "b"])
    draws = unit_draws(units, 50)
    assert draws.shape == (5, 50)
    np.testing.assert_array_equal(draws[0], draws[2])
    np.testing.assert_array_equal(draws[1], draws[4])
    assert (draws[[0, 1, 3]].sum(axis=0) == 3).all()
    low, high = interval(np.empty((0, 3)))
    assert np.isnan(low).all()
    assert np.isnan(high).all()
